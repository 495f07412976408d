"""The sketch of Weak-SIGReg: its mean and minimum, against drawn sketches."""

import math

import numpy as np
import pytest
from scipy import optimize

from sigreg_lab.theory import sketches


@pytest.mark.parametrize(("rows", "dim", "scale"), [(3, 5, 1.0), (8, 20, 0.7), (8, 20, 1.4)])
def test_the_mean_square_is_that_of_drawn_sketches(rows, dim, scale):
    s = np.random.default_rng(0).standard_normal((20_000, rows, dim)) / math.sqrt(dim)
    squares = ((scale**2 * s @ s.transpose(0, 2, 1) - np.eye(rows)) ** 2).sum((1, 2))
    error = squares.std() / math.sqrt(len(squares))
    assert abs(squares.mean() - sketches.mean_square(scale, rows, dim)) < 4 * error
    assert error < 0.02 * squares.mean()


@pytest.mark.parametrize(("rows", "dim"), [(3, 5), (64, 512)])
def test_the_best_scale_is_where_it_is_least(rows, dim):
    found = optimize.minimize_scalar(lambda scale: sketches.mean_square(scale, rows, dim), bounds=(0.1, 2))
    assert sketches.best_scale(rows, dim) == pytest.approx(found.x, rel=1e-5)


def test_no_other_covariance_is_better():
    """Of diagonal ones in the plane, on the same drawn sketches: the best is a multiple of I, to their noise."""
    s = np.random.default_rng(1).standard_normal((200_000, 1, 2)) / math.sqrt(2)

    def mean(scales):
        return float((((s * np.square(scales)) @ s.transpose(0, 2, 1) - 1) ** 2).mean())

    found = optimize.minimize(mean, [0.5, 1.1], method="Nelder-Mead").x
    assert found == pytest.approx([sketches.best_scale(1, 2)] * 2, abs=0.01)
