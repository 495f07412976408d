"""Kernel Stein discrepancies in K dimensions against autograd's derivatives, quadrature and known expectations."""

import math

import mpmath
import pytest
import torch
from torch import Tensor

from sigreg_lab.multivariate import KSD, InfiniteSliceKSD
from sigreg_lab.multivariate.stein import slice_gaussian
from sigreg_lab.univariate import KSD as UnivariateKSD


def sample(*shape: int, seed: int = 0) -> Tensor:
    return 1.2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.3


def base_kernel(name: str, h2: float, x: Tensor, y: Tensor) -> Tensor:
    q = (x - y).square().sum()
    return torch.exp(-q / (2 * h2)) if name == "gaussian" else (1 + q / h2) ** -0.5


def stein_kernel(name: str, h2: float, x: Tensor, y: Tensor) -> float:
    """The definition with every derivative by autograd: no formula of its own."""
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    k = base_kernel(name, h2, x, y)
    kx, ky = torch.autograd.grad(k, (x, y), create_graph=True)
    trace = sum(float(torch.autograd.grad(kx[i], y, retain_graph=True)[0][i]) for i in range(len(x)))
    return float(((x @ y) * k - x @ ky - y @ kx).detach()) + trace


@pytest.mark.parametrize("estimator", ["v", "u"])
@pytest.mark.parametrize("kernel", ["gaussian", "imq"])
@pytest.mark.parametrize(("dim", "bandwidth"), [(1, 1.0), (3, 1.0), (3, 0.5)])
def test_equals_a_double_loop_over_the_definition(dim, bandwidth, kernel, estimator):
    x = sample(5, dim)
    x[3] = x[1]  # a tie
    pairs = [(i, j) for i in range(5) for j in range(5) if estimator == "v" or i != j]
    total = sum(stein_kernel(kernel, bandwidth**2 * dim, x[i], x[j]) for i, j in pairs)
    expected = total / (5 if estimator == "v" else 4)
    assert float(KSD(kernel, bandwidth, estimator)(x)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (0.4, 1.0), (0.0, 0.6), (0.3, 1.4)])
@pytest.mark.parametrize("dim", [1, 4])
def test_mean_of_the_u_statistic(dim, mean, sd):
    """The closed form of the docstring, 0 at the null; for "imq" the mean of it over a mixture of widths.

    (1 + q/h^2)^(-1/2) is the mean of exp(-g q/h^2) over the Gamma law of shape 1/2, and k0 is linear in the kernel.
    """
    n, replicates, h2 = 12, 8000, float(dim)
    x = torch.randn(replicates, n, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def gaussian(square: Tensor) -> Tensor:
        distance = dim * mean**2 + dim * (1 - sd**2) ** 2 / (square + 2 * sd**2)
        return n * (1 + 2 * sd**2 / square) ** (-dim / 2) * distance

    nodes = torch.linspace(0, 12, 20_001, dtype=torch.float64)[1:]  # v = sqrt g: density 2 exp(-v^2) / sqrt(pi)
    weight = 2 / math.sqrt(math.pi) * torch.exp(-(nodes**2)) * (nodes[1] - nodes[0])
    expected = {
        "gaussian": float(gaussian(torch.tensor(h2))),
        "imq": float((weight * gaussian(h2 / (2 * nodes**2))).sum()),
    }
    for kernel, value in expected.items():
        values = KSD(kernel)(mean + sd * x)
        assert abs(float(values.mean()) - value) < 4 * float(values.std()) / replicates**0.5, kernel
        assert (value == 0) == ((mean, sd) == (0.0, 1.0))


def test_pairs_of_a_sample_with_itself_pull_to_a_point_in_many_dimensions():
    """Why "u" is the default: with K = 4 N the V-statistic of a point is below that of N(0, I), the other above."""
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for kernel in ("gaussian", "imq"):
        assert KSD(kernel, estimator="v")(1e-3 * x) < KSD(kernel, estimator="v")(x)
        assert KSD(kernel, estimator="u")(1e-3 * x) > KSD(kernel, estimator="u")(x)


def test_the_gaussian_kernel_lets_go_of_wide_samples_and_the_inverse_multiquadric_does_not():
    """The docstring's closed form is largest at s^2 = 3 for large K and bandwidth 1."""
    x = torch.randn(400, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scales = torch.tensor([1.0, 1.3, 1.55, 1.75, 2.0, 2.5, 4.0]).double()
    values = {kernel: torch.stack([KSD(kernel)(s * x) for s in scales]) for kernel in ("gaussian", "imq")}
    assert (values["imq"].diff() > 0).all()
    assert int(values["gaussian"].argmax()) == 3


@pytest.mark.parametrize("estimator", ["v", "u"])
@pytest.mark.parametrize("bandwidth", [0.6, 1.0, 2.0])
def test_over_all_directions_of_the_plane_it_is_the_mean_of_the_univariate_one(bandwidth, estimator):
    """The trapezoidal rule over the angle: exact to rounding for a smooth periodic integrand."""
    x = sample(2, 6, 2)
    x[0, 3] = x[0, 1]  # a tie
    angle = torch.arange(256, dtype=torch.float64) * math.pi / 256
    directions = torch.stack((angle.cos(), angle.sin()))
    univariate = UnivariateKSD(bandwidth, t_max=9.0, n_points=129, estimator=estimator)
    expected = univariate(x @ directions).mean(-1)
    torch.testing.assert_close(InfiniteSliceKSD(bandwidth, estimator)(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dim", [2, 3, 16, 63, 64, 300, 2048])
def test_mean_of_a_gaussian_over_the_sphere_and_its_derivatives(dim):
    s = torch.tensor([0.0, 1e-9, 0.03, 1.0, 7.7, 60.0, 1e4, 1e9, 1e20], dtype=torch.float64)
    for order in range(4):
        values = slice_gaussian(s, dim, order)
        with mpmath.workdps(30):
            factor = (-1) ** order * mpmath.rf(0.5, order) / mpmath.rf(mpmath.mpf(dim) / 2, order)
            for x, value in zip(s.tolist(), values.tolist(), strict=True):
                expected = factor * mpmath.hyp1f1(order + mpmath.mpf(0.5), order + mpmath.mpf(dim) / 2, -mpmath.mpf(x))
                assert value == pytest.approx(float(expected), rel=2e-12 if x < 1e9 else 1e-7, abs=0), (order, x)


def test_over_all_directions_it_is_what_slices_estimate():
    x = sample(8, 16)
    directions = torch.randn(16, 40_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values = UnivariateKSD(t_max=9.0, n_points=65)(x @ (directions / directions.norm(dim=0)))
    error = float(values.std()) / 200
    exact = float(InfiniteSliceKSD()(x))
    assert abs(float(values.mean()) - exact) < 4 * error
    assert error < 0.02 * exact


@pytest.mark.parametrize("estimator", ["v", "u"])
def test_on_a_line_all_three_are_one(estimator):
    x = sample(7, 1)
    expected = UnivariateKSD(t_max=9.0, n_points=65, estimator=estimator)(x[:, 0])
    for statistic in (KSD("gaussian", estimator=estimator), InfiniteSliceKSD(estimator=estimator)):
        assert float(statistic(x)) == pytest.approx(float(expected), rel=1e-10)


STATISTICS = [KSD(), KSD("gaussian", 0.7, "v"), InfiniteSliceKSD(), InfiniteSliceKSD(1.5, "u")]


@pytest.mark.parametrize("statistic", STATISTICS, ids=str)
def test_order_and_rotation_do_not_matter_and_batches_are_loops(statistic):
    x = sample(3, 9, 4)
    expected = statistic(x)
    rotation = torch.linalg.qr(sample(4, 4, seed=1))[0]
    order = torch.randperm(9, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(statistic(x[:, order] @ rotation), expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(torch.stack([statistic(y) for y in x]), expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("statistic", STATISTICS, ids=str)
def test_gradients_of_both_orders(statistic):
    x = sample(1, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(statistic, x)
    assert torch.autograd.gradgradcheck(statistic, x)


@pytest.mark.parametrize("statistic", STATISTICS, ids=str)
def test_in_blocks_of_pairs_nothing_changes(statistic, monkeypatch):
    x = sample(2, 50, 3).requires_grad_()
    whole = torch.autograd.grad(statistic(x).sum(), x)[0]
    monkeypatch.setattr("sigreg_lab.multivariate.stein.pair_sum", _pair_sum_in_small_blocks)
    torch.testing.assert_close(torch.autograd.grad(statistic(x).sum(), x)[0], whole, rtol=1e-11, atol=1e-12)


def _pair_sum_in_small_blocks(x, kernel):
    from sigreg_lab.slicing.pairwise import pair_sum

    return pair_sum(x, kernel, block=2 * 50 * 7)


def test_standardised_it_sees_neither_location_nor_scale():
    x = sample(12, 3)
    statistic = KSD(standardise=True)
    torch.testing.assert_close(statistic(5 * x - 2), statistic(x), rtol=1e-9, atol=1e-10)


def test_bad_options_are_refused_by_name():
    with pytest.raises(ValueError, match="kernel must be one of imq, gaussian, got 'laplace'"):
        KSD("laplace")  # type: ignore[arg-type]
    for cls in (KSD, InfiniteSliceKSD):
        with pytest.raises(ValueError, match="bandwidth must be positive and finite"):
            cls(bandwidth=-1.0)
        with pytest.raises(ValueError, match="estimator must be one of v, u"):
            cls(estimator="w")  # type: ignore[arg-type]
