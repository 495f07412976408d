"""Epps-Pulley of rows that come in clusters: frames of a clip, crops of a picture, nodes of a graph.

C clusters of m rows in one dimension, N = C m,

    x_ci = b u_c + s e_ci,   u, e independent standard normal: scatter b between clusters, s within

are equicorrelated: variance b^2 + s^2, correlation b^2/(b^2 + s^2) of two rows of a cluster. Of the N^2 pairs in
|phi_hat|^2, N are a row with itself, N (m - 1) differ by N(0, 2 s^2), the rest are independent. With
phi = exp(-t^2 (b^2 + s^2)/2),

    E T = N S w (phi - tau)^2 + S w (1 + (m - 1) exp(-t^2 s^2) - m phi^2)

of the V-statistic: that of V = m views of C samples taken as one sample (``theory.views``). The U-statistic lacks the 1
and has m - 1 in the place of m, times N/(N - 1); it is not unbiased here, for it leaves out a row's pair with
itself alone. At N(0, 1) the first sum is 0 and

    E T = S w (1 + (m - 1) exp(-t^2 s^2) - m exp(-t^2)) >= S w (1 - exp(-t^2))

with equality for independent rows. So rows of clusters with the right marginal law have a larger statistic, least at
s^2 = 1: the loss pushes the rows of a cluster apart, and its minimum has less scatter between clusters than 1 - s^2.
Rows less the mean of their cluster have variance s^2 (1 - 1/m), correlation -1/(m - 1), and nothing of b.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from sigreg_lab.theory.views import flattened_mean

Array = NDArray[np.float64]
Grid = tuple[Array, Array, Array]


def mean_value(between: float, within: float, clusters: int, size: int, grid: Grid) -> float:
    """E T of ``clusters`` clusters of ``size`` rows, scatters b = ``between`` and s = ``within``; V-statistic."""
    variance = between**2 + within**2
    correlation = between**2 / variance if variance else 0.0
    return flattened_mean(math.sqrt(variance), correlation, clusters, size, grid)[0]


def slope_between(between: float, within: float, clusters: int, size: int, grid: Grid) -> float:
    """Its derivative by b: what a gradient step on the scatter between clusters follows, in the mean over batches."""
    deviation = math.hypot(between, within)
    _, in_sd, in_correlation = flattened_mean(deviation, (between / deviation) ** 2, clusters, size, grid)
    return in_sd * between / deviation + in_correlation * 2 * between * within**2 / deviation**4


def mean_of_centred(within: float, clusters: int, size: int, grid: Grid) -> float:
    """E T of the rows less the mean of their cluster."""
    return flattened_mean(within * math.sqrt(1 - 1 / size), -1 / (size - 1), clusters, size, grid)[0]


def best_between(within: float, clusters: int, size: int, grid: Grid) -> float:
    """b at which E T is least, s given; 0 if scatter between clusters only adds to it."""

    def value(between: float) -> float:
        return mean_value(between, within, clusters, size, grid)

    candidates = np.linspace(0, 2, 41)
    start = int(np.argmin([value(b) for b in candidates]))
    low, high = candidates[max(start - 1, 0)], candidates[min(start + 1, 40)]
    found = float(optimize.minimize_scalar(value, bounds=(low, high), method="bounded", options={"xatol": 1e-10}).x)
    return found if value(found) < value(0.0) else 0.0
