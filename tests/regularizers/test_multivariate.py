"""Regularisers without slices: against quadrature on the circle, many slices, and quadrature over the plane."""

import math

import pytest
import torch

from sigreg_lab.multivariate import BHEP
from sigreg_lab.regularizers import MultivariateRegularizer, SIGReg, make_regularizer
from sigreg_lab.slicing import seeded_generator
from sigreg_lab.univariate import EppsPulley

GRIDS = {"half": {}, "paper": {"t_max": 5.0, "n_points": 9}, "line": {"integration": "exact"}}


def embeddings(*shape: int) -> torch.Tensor:
    return 1.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.2


@pytest.mark.parametrize("per_view", [True, False])
@pytest.mark.parametrize("grid", GRIDS)
def test_in_the_plane_it_is_the_mean_over_equally_spaced_directions(grid, per_view):
    """The trapezoidal rule over the angle: exact to rounding for a smooth periodic integrand."""
    z = embeddings(2, 6, 2)
    angle = torch.arange(256, dtype=torch.float64) * math.pi / 256
    directions = torch.stack((angle.cos(), angle.sin()))
    expected = SIGReg(EppsPulley(**GRIDS[grid]), per_view=per_view)(z, seeded_generator(0), directions=directions)
    value = make_regularizer("sigreg-ep-infinite", per_view=per_view, **GRIDS[grid])(z, seeded_generator(0))
    assert float(value) == pytest.approx(float(expected), rel=1e-10)


def test_is_the_mean_that_slices_estimate():
    z = embeddings(1, 8, 16)
    exact = float(make_regularizer("sigreg-ep-infinite")(z, seeded_generator(0)))
    sliced = SIGReg(EppsPulley(), 200)
    values = torch.stack([sliced(z, seeded_generator(seed)) for seed in range(50)])
    error = float(values.std()) / 50**0.5
    assert abs(float(values.mean()) - exact) < 4 * error
    assert error < 0.01 * exact


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_bhep_is_its_integral_over_the_plane(beta):
    """The definition by the trapezoidal rule in two dimensions, exact to rounding for a Gaussian weight."""
    z = embeddings(2, 6, 2)
    t = torch.linspace(-9, 9, 721, dtype=torch.float64) * beta
    grid = torch.cartesian_prod(t, t)
    weight = torch.exp(-grid.square().sum(1) / (2 * beta**2)) / (2 * math.pi * beta**2) * (t[1] - t[0]) ** 2
    total = 0.0
    for view in z:
        wave = torch.exp(1j * (grid @ view.T)).mean(1) - torch.exp(-grid.square().sum(1) / 2)
        total += 6 * float((weight * wave.abs().square()).sum()) / 2
    assert float(make_regularizer("bhep", beta=beta)(z, seeded_generator(0))) == pytest.approx(total, rel=1e-9)


def test_bad_options_are_refused_by_name():
    for wrong in (BHEP, EppsPulley(), 3):
        with pytest.raises(TypeError, match="statistic must be an instance of MultivariateTest"):
            MultivariateRegularizer(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="integration must be one of"):
        make_regularizer("sigreg-ep-infinite", integration="simpson")
    with pytest.raises(ValueError, match="beta must be positive"):
        make_regularizer("bhep", beta=0.0)
    with pytest.raises(ValueError, match="unknown option standardise"):
        make_regularizer("bhep", standardise=True)
