"""The infinite-slice regulariser against quadrature on the circle and against many slices."""

import math

import pytest
import torch

from sigreg_lab.regularizers import SIGReg, make_regularizer
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


def test_bad_options_are_refused_by_name():
    with pytest.raises(ValueError, match="integration must be one of"):
        make_regularizer("sigreg-ep-infinite", integration="simpson")
