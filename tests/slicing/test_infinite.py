"""The exact mean over slices: against mpmath, the circle, many slices; gradients by gradcheck."""

import math

import mpmath
import numpy as np
import pytest
import torch

from sigreg_lab.slicing import iid_directions, infinite, infinite_slice_epps_pulley, project
from sigreg_lab.slicing.infinite import sphere_cosine, sphere_gaussian
from sigreg_lab.univariate import EppsPulley

HALF_GRID = EppsPulley()
PAPER_GRID = EppsPulley(t_max=5.0, n_points=9)
FULL_LINE = EppsPulley(integration="exact")
NARROW = EppsPulley(integration="exact", sigma=0.7)
UNBIASED = EppsPulley(estimator="u")
DISCRETISATIONS = [HALF_GRID, PAPER_GRID, FULL_LINE, NARROW, UNBIASED]
DIMENSIONS = [1, 2, 3, 5, 16, 63, 64, 128, 512, 1025, 2048]


def sample(n, dim, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = 0.4 + 1.3 * torch.randn(n, dim, generator=generator, dtype=torch.float64)
    x[:, 0] = x[:, 0].abs()
    return x.to(dtype)


@pytest.mark.parametrize("dim", DIMENSIONS)
def test_special_functions_equal_mpmath(dim):
    v = np.concatenate([[0.0, 29.9, 30.1, dim / 2 * 0.999, dim / 2 * 1.001], np.geomspace(1e-3, 3000, 25)])
    with mpmath.workdps(50):
        cosine = [float(mpmath.hyp0f1(mpmath.mpf(dim) / 2, -(mpmath.mpf(float(u)) ** 2) / 4)) for u in v]
        np.testing.assert_allclose(sphere_cosine(v, dim), cosine, rtol=0, atol=3e-13)
        for order in (0, 1, 2):
            a, b = mpmath.mpf(1) / 2 + order, mpmath.mpf(dim) / 2 + order
            gaussian = [float(mpmath.hyp1f1(a, b, -mpmath.mpf(float(u)))) for u in v]
            np.testing.assert_allclose(sphere_gaussian(v, dim, order), gaussian, rtol=1e-13)


@pytest.mark.parametrize("dim", [2, 16, 512, 2048])
@pytest.mark.parametrize("statistic", DISCRETISATIONS, ids=str)
def test_radial_functions_and_their_derivatives_equal_mpmath(statistic, dim):
    within, _, _ = infinite._radial_functions(
        dim, statistic.t_max, statistic.n_points, statistic.integration, statistic.sigma
    )
    radii = np.concatenate([[0.0, 1e-8], np.geomspace(1e-2, 3 * math.sqrt(2 * dim), 10)])
    q = torch.tensor(radii**2)

    def exact(u):
        if statistic.integration == "exact":
            decay = 1 / mpmath.mpf(statistic.sigma) ** 2
            return mpmath.sqrt(mpmath.pi / decay) * mpmath.hyp1f1(0.5, mpmath.mpf(dim) / 2, -u / (4 * decay))
        t = [mpmath.mpf(statistic.t_max) * k / (statistic.n_points - 1) for k in range(1, statistic.n_points)]
        weights = [2 * t[0] * mpmath.exp(-((s / statistic.sigma) ** 2)) for s in t]
        weights[-1] /= 2
        return sum(w * mpmath.hyp0f1(mpmath.mpf(dim) / 2, -(s**2) * u / 4) for w, s in zip(weights, t, strict=True))

    with mpmath.workdps(40):
        values = np.array([float(exact(mpmath.mpf(float(u)))) for u in q])
        # the central difference's own error: step^2, relative to a scale of 1 in q, with 40 digits to lose
        step = mpmath.mpf(10) ** -8
        slopes = [(exact(u + step) - exact(u - step)) / (2 * step) for u in map(mpmath.mpf, q[2:].tolist())]
        slopes = np.array([float(s) for s in slopes])
    within.cover(math.sqrt(float(q.max())))
    np.testing.assert_allclose(within.evaluate(q, 0), values, rtol=0, atol=1e-13 * values.max())
    np.testing.assert_allclose(within.evaluate(q[2:], 1), slopes, rtol=0, atol=2e-13 * np.abs(slopes).max())


@pytest.mark.parametrize("dim", [1, 3, 128])
@pytest.mark.parametrize("statistic", DISCRETISATIONS, ids=str)
def test_chebyshev_series_equal_the_table(statistic, dim):
    within, _, _ = infinite._radial_functions(
        dim, statistic.t_max, statistic.n_points, statistic.integration, statistic.sigma
    )
    for radius in (1e-3, 1.0, 9.0, 3 * math.sqrt(2 * dim)):
        coefficients, reach = within.chebyshev(radius)
        assert radius <= reach
        assert len(coefficients) <= infinite.HIGHEST_DEGREE
        q = torch.linspace(0, reach**2, 501, dtype=torch.float64)
        within.cover(reach)
        values = np.polynomial.chebyshev.chebval(2 * q.numpy() / reach**2 - 1, coefficients.numpy())
        np.testing.assert_allclose(values, within.evaluate(q, 0).numpy(), rtol=0, atol=3e-14 * values.max())
    assert within.chebyshev(1e5) is None
    assert within.chebyshev(math.inf) is None


@pytest.mark.parametrize("statistic", DISCRETISATIONS, ids=str)
@pytest.mark.parametrize("n", [5, 100, 1023])
def test_one_dimension_is_the_univariate_statistic(statistic, n):
    x = sample(n, 1, seed=n)
    value = infinite_slice_epps_pulley(x, statistic)
    assert value.item() == pytest.approx(statistic(x).item(), rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("statistic", DISCRETISATIONS, ids=str)
def test_two_dimensions_equal_the_mean_over_the_circle(statistic):
    # the trapezoidal rule on a periodic smooth function is exact to rounding long before 4000 points
    x = sample(20, 2, seed=1)
    x[3] = x[7]  # a tie
    angle = 2 * math.pi * torch.arange(4000, dtype=torch.float64) / 4000
    mean = statistic(project(x, torch.stack([angle.cos(), angle.sin()]))).mean()
    assert infinite_slice_epps_pulley(x, statistic).item() == pytest.approx(mean.item(), rel=1e-11)


@pytest.mark.parametrize("dim", [2, 16, 128, 512])
def test_value_is_the_mean_over_a_hundred_thousand_slices(dim):
    x = sample(24, dim, seed=dim)
    generator = torch.Generator().manual_seed(dim + 1)
    statistics = [HALF_GRID, FULL_LINE]
    values: list[list[torch.Tensor]] = [[], []]
    for _ in range(20):
        directions = iid_directions(dim, 5000, generator=generator, dtype=torch.float64)
        projections = project(x, directions)
        for kept, statistic in zip(values, statistics, strict=True):
            kept.append(statistic(projections))
    for kept, statistic in zip(values, statistics, strict=True):
        slices = torch.cat(kept)
        error = slices.std() / math.sqrt(len(slices))
        exact = infinite_slice_epps_pulley(x, statistic)
        assert abs(slices.mean() - exact) < 4 * error
        assert error < 0.01 * exact  # the check has teeth


@pytest.mark.parametrize("statistic", [HALF_GRID, FULL_LINE], ids=str)
@pytest.mark.parametrize("dim", [1, 2, 7])
def test_gradient(statistic, dim):
    x = sample(6, dim, seed=3)
    x[1] = x[4]
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda y: infinite_slice_epps_pulley(y, statistic), (x,))
    assert torch.autograd.gradgradcheck(lambda y: infinite_slice_epps_pulley(y, statistic), (x,))


def test_batches_and_blocks_equal_a_loop(monkeypatch):
    x = sample(30, 8, seed=5).view(2, 1, 15, 8)
    whole = infinite_slice_epps_pulley(x)
    assert whole.shape == (2, 1)
    loop = torch.stack([infinite_slice_epps_pulley(y[0]) for y in x])
    torch.testing.assert_close(whole[:, 0], loop, rtol=1e-12, atol=1e-12)

    y = x[:, 0].clone().requires_grad_()
    infinite_slice_epps_pulley(y).sum().backward()
    pair_sum = infinite.pair_sum
    monkeypatch.setattr(infinite, "pair_sum", lambda z, kernel: pair_sum(z, kernel, block=100))
    z = x[:, 0].clone().requires_grad_()
    value = infinite_slice_epps_pulley(z)
    value.sum().backward()
    torch.testing.assert_close(value.detach(), loop, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(z.grad, y.grad, rtol=1e-10, atol=1e-12)


def test_dtypes():
    x = sample(64, 32, seed=6, dtype=torch.float32)
    exact = infinite_slice_epps_pulley(x.double())
    value = infinite_slice_epps_pulley(x)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(exact.item(), rel=1e-6)
    assert infinite_slice_epps_pulley(x.bfloat16()).dtype == torch.float32


def test_far_samples_are_exact_up_to_the_end_of_the_table_and_refused_beyond():
    x = 50.0 * sample(5, 2, seed=7).sign() + sample(5, 2, seed=8)
    angle = 2 * math.pi * torch.arange(4000, dtype=torch.float64) / 4000
    mean = HALF_GRID(project(x, torch.stack([angle.cos(), angle.sin()]))).mean()
    assert infinite_slice_epps_pulley(x).item() == pytest.approx(mean.item(), rel=1e-11)
    with pytest.raises(ValueError, match="use Energy or SlicingUnivariateTest, which take them"):
        infinite_slice_epps_pulley(1e6 * x)


def test_sample_splitting_is_refused():
    with pytest.raises(ValueError, match="estimator must be 'v' or 'u'"):
        infinite_slice_epps_pulley(sample(5, 2, seed=9), EppsPulley(estimator="split"))


@pytest.mark.parametrize("bad", [torch.ones(3), torch.ones(3, 2, dtype=torch.int64), torch.full((3, 2), torch.nan)])
def test_bad_input_is_refused(bad):
    with pytest.raises(ValueError, match="x "):
        infinite_slice_epps_pulley(bad)
