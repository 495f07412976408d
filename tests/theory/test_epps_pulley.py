"""Means of Epps-Pulley against simulation and quadrature."""

import numpy as np
import pytest
import torch

from sigreg_lab import alternatives
from sigreg_lab.theory.epps_pulley import expected_slope, expected_value, population, rounded_mean
from sigreg_lab.univariate import EppsPulley

GRID = EppsPulley().nodes()


def test_without_rounding_the_mean_on_numbers_of_a_dtype_is_that_of_theorem_6():
    distance, distance_slope, excess, excess_slope = population(0.8, GRID)
    for dtype, tolerance in ((torch.float16, 1e-5), (torch.bfloat16, 1e-3)):
        value, slope = rounded_mean(dtype, 0.8, 64, GRID)
        assert value == pytest.approx(64 * distance + excess, rel=tolerance)
        assert slope == pytest.approx(64 * distance_slope + excess_slope, rel=tolerance)
        assert value != pytest.approx(64 * distance + excess, rel=1e-10)


def test_the_mean_on_rounded_numbers_is_that_of_a_coarse_simulation():
    # bfloat16 of 100 + x is a coarse grid: rounding then moves the mean far more than the simulation's error.
    rng = np.random.default_rng(0)
    z = rng.standard_normal((16, 40_000))
    rounded = torch.from_numpy(0.8 * z).to(torch.bfloat16).double()
    t, target, weight = GRID
    phi = torch.stack([torch.exp(1j * u * rounded).mean(0) for u in t])
    values = (torch.from_numpy(weight)[:, None] * (phi - torch.from_numpy(target)[:, None]).abs() ** 2).sum(0) * 16
    error = float(values.std()) / np.sqrt(values.numel())
    assert float(values.mean()) == pytest.approx(rounded_mean(torch.bfloat16, 0.8, 16, GRID)[0], abs=4 * error)


@pytest.mark.parametrize("name", ["laplace", "scale_1.25", "chi_squared_5"])
def test_mean_and_slope_are_those_of_samples(name):
    law, n, t, weight = alternatives.REGISTRY[name], 12, GRID[0], GRID[2]
    x = torch.from_numpy(law.sample(np.random.default_rng(3), (40_000, n))).T.requires_grad_()
    values = EppsPulley()(x)
    (gradient,) = torch.autograd.grad(values.sum(), x)
    for found, expected in (
        (values.detach(), expected_value(law, n, t, weight)),
        ((x * gradient).sum(0).detach(), expected_slope(law, n, t, weight)),
    ):
        assert abs(float(found.mean()) - expected) < 4 * float(found.std()) / 40_000**0.5


def test_the_population_s_slopes_are_those_of_its_values():
    step = 1e-5
    above, below, here = (population(0.8 + shift, GRID) for shift in (step, -step, 0.0))
    assert (above.distance - below.distance) / (2 * step) == pytest.approx(here.distance_slope, rel=1e-6)
    assert (above.bias - below.bias) / (2 * step) == pytest.approx(here.bias_slope, rel=1e-6)
    value = expected_value(alternatives.REGISTRY["null"], 12, GRID[0], GRID[2], 0.8)
    assert value == pytest.approx(12 * here.distance + here.bias, rel=1e-12)
