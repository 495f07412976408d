"""Means of Epps-Pulley against simulation and quadrature."""

import numpy as np
import pytest
import torch

from sigreg_lab import alternatives
from sigreg_lab.theory.epps_pulley import expected_slope, expected_value, population
from sigreg_lab.univariate import EppsPulley

GRID = EppsPulley().nodes()


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
