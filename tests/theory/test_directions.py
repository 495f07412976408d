"""Errors in the plane, against many sets of directions."""

import numpy as np
import pytest
import torch

from sigreg_lab import alternatives
from sigreg_lab.slicing import make_directions, seeded_generator, sliced_statistic
from sigreg_lab.slicing.infinite import infinite_slice_epps_pulley
from sigreg_lab.theory.directions import errors_in_the_plane
from sigreg_lab.univariate import EppsPulley


@pytest.mark.parametrize("kind", ["iid", "orthogonal"])
def test_the_circle_s_integrals_are_the_mean_squares_of_many_sets(kind):
    x = torch.from_numpy(alternatives.MULTIVARIATE["null"](2).sample(np.random.default_rng(0), 32)).requires_grad_()
    exact = infinite_slice_epps_pulley(x)
    (exact_gradient,) = torch.autograd.grad(exact, x)
    squares = []
    for draw in range(600):
        directions = make_directions(kind, 2, 4, generator=seeded_generator(5, draw), dtype=torch.float64)
        value = sliced_statistic(x, EppsPulley(), directions)
        (gradient,) = torch.autograd.grad(value, x)
        relative = float((value - exact).detach() / exact.detach())
        squares.append([relative**2, float((gradient - exact_gradient).square().sum() / exact_gradient.square().sum())])
    found = np.array(squares)
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    expected = errors_in_the_plane(x, EppsPulley(), 4, orthogonal=kind == "orthogonal")
    assert (np.abs(found.mean(0) - expected) < 4.5 * error).all()
