"""Samples close to collapse: how fast gradients vanish or blow up, rates of growth.

Near the origin the gradient of Epps-Pulley, T = N int |phi_hat - phi_0|^2 w dt, is linear, and its flow is

    dx_i/dt = -dT/dx_i = 2 (k'(0) (x_i - mean x) - g'(0) x_i),   k'(0) = int t^2 w dt,   g'(0) = int t^2 phi_0 w dt

so that the spread grows as exp(rate time), rate = 2 (k'(0) - g'(0)); over all directions of R^K it is rate/K, since the
mean of a a' is I/K. Shapes of collapse, z standard normal:

    point     eps z: all points near the origin            offset    c + eps z, |c| = 1: near another point
    rank      half the coordinates N(0, 1), others eps z   ties      N/2 points and their twins, eps z away
"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BY_RANK = ("anderson_darling", "cramer_von_mises", "watson", "wasserstein")
SHAPES = ("point", "offset", "rank", "ties")
SPREAD = 0.5  # the standard deviation at which a sample has escaped


def gradient_exponent(statistic: str, shape: str) -> float:
    """Exponent of eps in the size of a statistic's gradient near a shape of collapse, as eps falls to 0.

    Of "rank" it is that in the collapsed coordinates, of "ties" that of the difference of the twins' gradients.
    Statistics of mean and variance have mean^2/s^2: of a point it does not change with scale, off the origin it is
    (c/eps)^2. A rank does not change with scale. Epps-Pulley is smooth. NaN where not known.
    """
    moments = statistic in ("extended_jarque_bera", "vcreg")
    if shape == "point":
        return -1.0 if moments else 0.0 if statistic in (*BY_RANK, "mean_std") else 1.0
    if shape == "offset":
        return -3.0 if moments else 0.0
    if shape == "ties":
        return 0.0 if statistic in BY_RANK else 1.0
    return 1.0 if statistic == "infinite_slice_epps_pulley" else math.nan


def linear_terms(t: Array, target: Array, weight: Array) -> tuple[float, float]:
    """k'(0) and g'(0) on a grid of nodes t > 0, with phi_0 and weights there."""
    return float((weight * t**2).sum()), float((weight * t**2 * target).sum())


def growth_rate(t: Array, target: Array, weight: Array) -> float:
    """Of the spread of a sample near the origin, in the time of the gradient flow."""
    within, across = linear_terms(t, target, weight)
    return 2 * (within - across)


def period(t: Array) -> float:
    """Distance at which a grid of nodes k h takes two points for one: 2 pi/h."""
    return float(2 * math.pi / t[0])
