"""What a grid leaves of the null mean, against mpmath and the grid itself."""

import math

import mpmath
import numpy as np
import pytest
import torch

from sigreg_lab import alternatives
from sigreg_lab.theory.epps_pulley import expected_slope, expected_value
from sigreg_lab.theory.quadrature import (
    aliasing,
    end_term,
    gradient_error,
    least_gradient_error,
    null_expectation,
    null_gradient_error,
)
from sigreg_lab.univariate import EppsPulley
from sigreg_lab.univariate.epps_pulley import AUTO_GRID

NULL = alternatives.REGISTRY["null"]


def _integral(t_max, sigma2):
    """Nodes and weights that integrate over [-t_max, t_max] to rounding: Gauss-Legendre on the half."""
    node, weight = np.polynomial.legendre.leggauss(200)
    t = t_max * (node + 1) / 2
    return t, t_max * weight * np.exp(-(t**2) / sigma2)


@pytest.mark.parametrize("t_max", [1.0, 3.0, 12.0])
@pytest.mark.parametrize("sigma2", [1.0, 2.0, 4.0])
def test_closed_form_of_the_null_mean_is_the_integral(t_max, sigma2):
    expected = 2 * mpmath.quad(lambda t: (1 - mpmath.exp(-(t**2))) * mpmath.exp(-(t**2) / sigma2), [0, 1, t_max])
    assert null_expectation(t_max, sigma2) == pytest.approx(float(expected), rel=1e-13)
    nodes = _integral(t_max, sigma2)
    assert expected_value(NULL, 77, *nodes) == pytest.approx(float(expected), rel=1e-13)


def test_end_term_and_aliasing_are_the_error_of_the_trapezoidal_rule():
    for t_max, points, leading in ((3.0, 65, end_term), (1.0, 65, end_term), (12.0, 8, aliasing)):
        t, _, weight = EppsPulley(t_max, points).nodes()
        step = t_max / (points - 1)
        expected = end_term(t_max, 2.0, step) if leading is end_term else aliasing(2.0, step)
        error = expected_value(NULL, 1, t, weight) - null_expectation(t_max, 2.0)
        assert error == pytest.approx(expected, rel=2e-3)


def test_slope_of_the_mean_is_exact_for_a_normal_scale():
    """E T(sd z) on the whole line in closed form: terms sqrt(pi / (1/2 + a sd^2 + b)); its derivative by mpmath."""

    def mean(sd):
        total = mpmath.sqrt(mpmath.pi / (mpmath.mpf(1) / 2 + sd**2)) * 9 - 20 * mpmath.sqrt(mpmath.pi / (1 + sd**2 / 2))
        return total + 10 * mpmath.sqrt(mpmath.pi / mpmath.mpf("1.5")) + mpmath.sqrt(2 * mpmath.pi)

    law = alternatives.REGISTRY["scale_1.25"]
    nodes = _integral(12.0, 2.0)
    assert expected_value(law, 10, *nodes) == pytest.approx(float(mean(mpmath.mpf("1.25"))), rel=1e-12)
    slope = mpmath.diff(mean, mpmath.mpf("1.25")) * mpmath.mpf("1.25")
    assert expected_slope(law, 10, *nodes) == pytest.approx(float(slope), rel=1e-6)


def _push_and_pull(distance, **options):
    """A and B of a grid from two samples each: the gradient in the first is 2 B(x_1) - A(x_1 - x_2)."""
    found = []
    for other in (0.0, float(distance)):
        x = torch.tensor([[float(distance)], [other]], dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(EppsPulley(**options)(x).sum(), x)
        found.append(slope[0].item())
    apart, together = found
    return together - apart, together / 2


@pytest.mark.parametrize("grid", [(3.0, 17), (3.0, 9), AUTO_GRID, (5.0, 9)])
@pytest.mark.parametrize("reach", [3.0, 6.0])
def test_the_gradient_error_is_that_of_the_statistic_itself(grid, reach):
    """A and B from gradients, on the grid and in the closed form of the whole line."""
    worst = np.zeros(2)
    largest = np.zeros(2)
    for distance in np.linspace(0, 2 * reach, 97):
        line = _push_and_pull(distance, integration="exact")
        off = np.abs(np.subtract(_push_and_pull(distance, t_max=grid[0], n_points=grid[1]), line))
        worst = np.maximum(worst, off * [1, distance <= reach])
        largest = np.maximum(largest, np.abs(line))
    found = gradient_error(*grid, reach)
    assert found >= (worst / largest).max() * (1 - 1e-2)  # the largest of 97 distances may miss the peak of the line
    assert (worst / largest).max() == pytest.approx(found, rel=0.1)


def test_the_automatic_grid_is_the_cheapest_within_one_percent():
    assert gradient_error(*AUTO_GRID) < 0.01
    assert all(least_gradient_error(points)[0] > 0.01 for points in range(3, AUTO_GRID[1]))
    assert abs(least_gradient_error(AUTO_GRID[1])[1] - AUTO_GRID[0]) < 0.02
    assert all(null_gradient_error(*AUTO_GRID, n) < 0.01 for n in (2, 32, 8192))
    assert gradient_error(3.0, 17) > 0.01  # the official grid is cut off too early for that
    assert 2 * math.pi * (AUTO_GRID[1] - 1) / AUTO_GRID[0] == pytest.approx(5 * math.pi)


@pytest.mark.parametrize("grid", [(3.0, 17), AUTO_GRID])
@pytest.mark.parametrize("n", [5, 60])
def test_the_null_gradient_error_is_that_of_simulated_samples(grid, n):
    x = torch.randn(n, 20_000, generator=torch.Generator().manual_seed(4), dtype=torch.float64, requires_grad=True)
    line, found = (
        torch.autograd.grad(EppsPulley(t_max, points)(x).sum(), x)[0] for t_max, points in ((12.0, 97), grid)
    )
    off, whole = (found - line).square().sum(0), line.square().sum(0)
    ratio = off.mean() / whole.mean()
    error = (off - ratio * whole).std() / whole.mean() / math.sqrt(len(off))
    assert abs(float(ratio) - null_gradient_error(*grid, n) ** 2) < 4 * float(error) < 0.1 * float(ratio)
