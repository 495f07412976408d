"""Means of the Epps-Pulley statistic over batches, and of its gradient.

    T = N int |phi_hat - phi_0|^2 w dt,   phi_0 = exp(-t^2/2)

on nodes t > 0 with targets phi_0 and weights w (``EppsPulley.nodes``). For samples of a law with the characteristic
function phi, E |phi_hat|^2 = |phi|^2 + (1 - |phi|^2)/N, so that

    E T = N L + b,   L = int |phi - phi_0|^2 w dt,   b = int (1 - |phi|^2) w dt

of the V-statistic; the U-statistic and sample splitting have N L.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sigreg_lab.alternatives import UnivariateAlternative

Array = NDArray[np.float64]
Grid = tuple[Array, Array, Array]


class Population(NamedTuple):
    """L and b of N(0, sd^2), and their slopes in sd."""

    distance: float
    distance_slope: float
    bias: float
    bias_slope: float


def population(sd: float, grid: Grid) -> Population:
    """L(sd) and b(sd) of N(0, sd^2) on a grid, with phi = exp(-sd^2 t^2/2) and dphi/dsd = -sd t^2 phi."""
    t, target, weight = grid
    phi = np.exp(-((sd * t) ** 2) / 2)
    slope = -sd * t**2 * phi
    distance, distance_slope = (weight * (phi - target) ** 2).sum(), (2 * weight * (phi - target) * slope).sum()
    return Population(distance, distance_slope, (weight * (1 - phi**2)).sum(), (-2 * weight * phi * slope).sum())


def expected_value(law: UnivariateAlternative, n: int, t: Array, weight: Array, scale: float = 1.0) -> float:
    """E T of n samples of ``scale`` times a law, the V-statistic."""
    phi = law.characteristic_function(scale * t)
    return float((weight * (n * np.abs(phi - np.exp(-(t**2) / 2)) ** 2 + 1 - np.abs(phi) ** 2)).sum())


def expected_slope(law: UnivariateAlternative, n: int, t: Array, weight: Array) -> float:
    """Its derivative by the scale, at 1, by central differences: the mean over samples of sum_i x_i dT/dx_i."""
    step = 1e-4
    ends = (expected_value(law, n, t, weight, 1 + side * step) for side in (1, -1))
    return (next(ends) - next(ends)) / (2 * step)
