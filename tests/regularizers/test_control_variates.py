"""SIGReg with control variates: exact by quadrature in the plane, unbiased elsewhere, as precise as theory has it."""

import math

import numpy as np
import pytest
import torch

from sigreg_lab.regularizers import ControlledSIGReg, SIGReg, make_regularizer
from sigreg_lab.slicing import infinite_slice_epps_pulley, make_directions, seeded_generator
from sigreg_lab.theory import slices
from sigreg_lab.univariate import AndersonDarling, EppsPulley

GENERATOR = seeded_generator(0)
STATISTICS = [EppsPulley(), EppsPulley(estimator="u"), EppsPulley(t_max=5.0, n_points=9, sigma=0.8)]


def sample(n: int, dim: int, *, scale: float = 1.0, shift: float = 0.3, seed: int = 0) -> torch.Tensor:
    """Anisotropic and skew, of one view."""
    z = torch.randn(1, n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    z[..., 0] = 2 * z[..., 0].abs()
    return (scale * (z + shift)).requires_grad_()


def exact(z: torch.Tensor, statistic: EppsPulley) -> tuple[torch.Tensor, torch.Tensor]:
    value = infinite_slice_epps_pulley(z, statistic).mean()
    return value.detach(), torch.autograd.grad(value, z)[0]


def estimate(z: torch.Tensor, regularizer: SIGReg, directions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    value = regularizer(z, GENERATOR, directions=directions)
    return value.detach(), torch.autograd.grad(value, z)[0]


@pytest.mark.parametrize("scale", [1e-7, 1e-2, 1.0, 6.0])
@pytest.mark.parametrize("statistic", STATISTICS, ids=str)
def test_is_the_mean_over_all_directions_of_the_plane_by_quadrature(statistic, scale):
    """Evenly spaced directions integrate trigonometric polynomials exactly, and an analytic function to rounding."""
    z = sample(7, 2, scale=scale)
    angle = torch.arange(500, dtype=torch.float64) * (math.pi / 500)
    found = estimate(z, ControlledSIGReg(statistic, 500), torch.stack([angle.cos(), angle.sin()]))
    expected = exact(z, statistic)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-10, atol=0)
    assert (found[1] - expected[1]).norm() < 1e-8 * expected[1].norm()


@pytest.mark.parametrize("kind", ["iid", "orthogonal"])
@pytest.mark.parametrize("statistic", STATISTICS[:2], ids=str)
@pytest.mark.parametrize(("n", "dim"), [(6, 8), (20, 4)])
def test_value_and_gradient_are_unbiased(n, dim, statistic, kind):
    z, draws = sample(n, dim), 60
    value, gradient = exact(z, statistic)
    functionals = [gradient / gradient.norm(), torch.randn(z.shape, generator=seeded_generator(4), dtype=z.dtype)]
    found, regularizer = np.empty((draws, 3)), ControlledSIGReg(statistic, 40)
    for draw in range(draws):
        directions = make_directions(kind, dim, 40, generator=seeded_generator(1, draw), dtype=z.dtype)
        one, slope = estimate(z, regularizer, directions)
        found[draw] = [one - value, *((slope - gradient).mul(f).sum() for f in functionals)]
    error = found.std(0, ddof=1) / math.sqrt(draws)
    assert (abs(found.mean(0)) < 4 * error).all()
    assert (error < 0.05 * np.array([value.abs(), gradient.norm(), gradient.norm()])).all()


@pytest.mark.parametrize(("n", "dim"), [(256, 64), (48, 64)])
def test_leaves_the_share_of_the_error_that_theory_says(n, dim):
    """The share is that of large N and K; the error of independent slices is exact, its samples' mean included."""
    statistic, squares = EppsPulley(), []
    grid = statistic.nodes()
    norm = slices.exact_square(n, dim, grid)
    for draw in range(24):
        z = torch.randn(1, n, dim, generator=seeded_generator(7, draw), dtype=torch.float64).requires_grad_()
        directions = make_directions("iid", dim, dim, generator=seeded_generator(8, draw), dtype=z.dtype)
        _, found = estimate(z, ControlledSIGReg(statistic, dim), directions)
        squares.append(float((found - exact(z, statistic)[1]).square().sum()) / norm)
    independent = slices.squared_error(slices.spread(n, dim, grid), dim, dim, orthogonal=False)
    share = slices.slices_per_dimension("degree 2", grid) / slices.slices_per_dimension("iid", grid)
    error = float(np.std(squares, ddof=1)) / math.sqrt(len(squares)) / independent
    assert abs(np.mean(squares) / independent - share) < 4 * error + 0.03 * share
    assert error < 0.04 * share


def test_small_embeddings_leave_slices_nothing_to_do():
    """To fourth order in the embeddings the value is a function of mean and covariance."""
    z = sample(12, 6, scale=0.02)
    value, gradient = exact(z, EppsPulley())
    directions = make_directions("iid", 6, 2, generator=seeded_generator(2), dtype=torch.float64)
    found, slope = estimate(z, make_regularizer("sigreg-ep-cv", num_slices=2), directions)
    assert float(abs(found - value) / value) < 1e-6
    assert (slope - gradient).norm() < 1e-3 * gradient.norm()
    _, rough = estimate(z, make_regularizer("sigreg-ep", num_slices=2), directions)
    assert (rough - gradient).norm() > 0.1 * gradient.norm()


def test_few_samples_take_the_short_way_to_the_same_forms():
    """Rows twice over: the same characteristic function and moments, by another product; N doubles the value."""
    few = sample(6, 9)
    many = few.detach().repeat(1, 2, 1).requires_grad_()
    directions = make_directions("iid", 9, 7, generator=seeded_generator(2), dtype=torch.float64)
    (one, slope), (two, steep) = (estimate(z, ControlledSIGReg(EppsPulley(), 7), directions) for z in (few, many))
    torch.testing.assert_close(two, 2 * one, rtol=1e-12, atol=0)
    torch.testing.assert_close(steep[:, :6], slope, rtol=1e-9, atol=1e-14)


def test_all_views_as_one_sample_and_views_apart():
    z = torch.cat([sample(8, 5, seed=1), sample(8, 5, seed=2, scale=1.5)]).detach()
    directions = make_directions("iid", 5, 7, generator=seeded_generator(2), dtype=torch.float64)
    apart = [ControlledSIGReg(EppsPulley(), 7)(view[None], GENERATOR, directions=directions) for view in z]
    both = ControlledSIGReg(EppsPulley(), 7)(z, GENERATOR, directions=directions)
    torch.testing.assert_close(both, (apart[0] + apart[1]) / 2, rtol=1e-10, atol=0)
    flat = ControlledSIGReg(EppsPulley(), 7, per_view=False)(z, GENERATOR, directions=directions)
    merged = ControlledSIGReg(EppsPulley(), 7)(z.reshape(1, 16, 5), GENERATOR, directions=directions)
    torch.testing.assert_close(flat, merged, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("n", "dim"), [(64, 8), (9, 8), (7, 8), (12, 1)])
def test_white_embeddings_have_no_covariance_to_control(n, dim, dtype):
    """Where S is I to rounding, or as near as N < K lets it be; of one dimension slices are all alike."""
    q = torch.linalg.qr(torch.randn(max(n, dim), min(n, dim), generator=seeded_generator(3), dtype=torch.float64))[0]
    z = (math.sqrt(n) * (q if n >= dim else q.T)).to(dtype)[None].requires_grad_()
    value, gradient = exact(z, EppsPulley())
    directions = make_directions("iid", dim, 4000, generator=seeded_generator(2), dtype=dtype)
    found, slope = estimate(z, ControlledSIGReg(EppsPulley(), 4000), directions)
    assert float(abs(found - value)) < 0.02 * float(value)
    assert (slope - gradient).norm() < 0.2 * gradient.norm()


@pytest.mark.parametrize(("n", "dim"), [(300, 40), (40, 300)])
def test_single_precision_is_near_double(n, dim):
    z = sample(n, dim)
    directions = make_directions("iid", dim, 16, generator=seeded_generator(2), dtype=torch.float64)
    value, slope = estimate(z, ControlledSIGReg(EppsPulley(), 16), directions)
    short = z.detach().float().requires_grad_()
    found, steep = estimate(short, ControlledSIGReg(EppsPulley(), 16), directions)
    assert found.dtype == torch.float32
    assert float(abs(found - value) / value) < 1e-5
    assert (steep - slope).norm() < 1e-4 * slope.norm()


@pytest.mark.parametrize("estimator", ["v", "u"])
@pytest.mark.parametrize("kind", ["iid", "hd3"])
def test_gradcheck(kind, estimator):
    for z in (sample(4, 3), sample(3, 4)):
        dim = 16 if kind == "hd3" else z.shape[-1]
        wide = torch.nn.functional.pad(z.detach(), (0, dim - z.shape[-1]), value=0.2).requires_grad_()
        regularizer = ControlledSIGReg(EppsPulley(estimator=estimator), 3, directions=kind)
        assert torch.autograd.gradcheck(lambda x, one=regularizer: one(x, seeded_generator(0)), wide)


def test_what_it_cannot_control_is_refused():
    with pytest.raises(TypeError, match=r"statistic must be an EppsPulley, got .*; SIGReg takes any statistic"):
        ControlledSIGReg(AndersonDarling())
    for options in ({"integration": "exact"}, {"estimator": "split"}):
        with pytest.raises(ValueError, match=r"statistic must be on a grid .* with estimator 'v' or 'u'"):
            ControlledSIGReg(EppsPulley(**options))
    with pytest.raises(ValueError, match="num_slices must be at least 1"):
        ControlledSIGReg(EppsPulley(), 0)
    with pytest.raises(ValueError, match=r"beyond the .* drop those rows"):
        ControlledSIGReg(EppsPulley(), 4)(sample(5, 3, scale=1e6), GENERATOR)
