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
s^2 = 1: where b^2 + s^2 is all that counts, the minimum has b = 0. Rows less the mean of their cluster have variance
s^2 (1 - 1/m), correlation -1/(m - 1), and nothing of b.

In K = p + q dimensions, b u_c in p of them and s e_ci in the other q, up to a rotation: what a linear map makes of p
factors of clusters and q of rows. The slice a has the scatters b B^(1/2) and s (1 - B)^(1/2), B the squared length of a
in the p, of the law Beta(p/2, q/2), and the mean over slices is the mean over B. As K grows, B is nearly p/K, every
slice has the same variance, and b falls to 0.

Of R independent batches together, the first sum counts all R N rows, the second does not change: the minimum is that of
R C clusters. So it is if R workers each hold C clusters and take the statistic of all; the mean of their own statistics
has the minimum of C. A queue of R - 1 earlier batches without gradient: with phi' the derivative of phi and
A = exp(-t^2 s^2), the derivative of the mean by the batch alone is

    1/R S w [(m - 1) A' + 2 (N - m) phi phi' + 2 (R - 1) N phi phi' - 2 R N tau phi']

1/R of that of R N rows in R C clusters: the same minimum, as long as the queue has the batch's law.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Array = NDArray[np.float64]
Grid = tuple[Array, Array, Array]


def mean_value(between: float, within: float, clusters: int, size: int, grid: Grid) -> float:
    """E T of ``clusters`` clusters of ``size`` rows, scatters b = ``between`` and s = ``within``; V-statistic."""
    return float(_mean(between**2 + within**2, within**2, clusters, size, grid))


def mean_of_centred(within: float, clusters: int, size: int, grid: Grid) -> float:
    """E T of the rows less the mean of their cluster."""
    return float(_mean(within**2 * (1 - 1 / size), within**2, clusters, size, grid))


def best_scatters(dims: tuple[int, int], clusters: int, size: int, grid: Grid) -> tuple[float, float]:
    """(b, s) at which the mean over slices and batches is least; b = 0 where scatter between clusters only adds to it.

    Args:
        dims: p and q.
        clusters: C, or R C of R batches together.
        size: m.
        grid: nodes t > 0, targets and weights.
    """
    shares, weights = _shares(dims)

    def value(scatters: Array) -> float:
        b, s = scatters**2
        return float(weights @ _mean(b * shares + s * (1 - shares), s * (1 - shares), clusters, size, grid))

    candidates = [np.abs(_least(value, start)) for start in ((1.0, 1.0), (0.1, 1.2))]
    candidates += [np.array([0.0, s]) for _, s in candidates]
    between, within = min(candidates, key=value)
    return float(between) if between > 1e-6 else 0.0, float(within)


def best_within_of_centred(dims: tuple[int, int], clusters: int, size: int, grid: Grid) -> float:
    """s at which the mean of the rows less the mean of their cluster is least; b does not enter."""
    shares, weights = _shares(dims)

    def value(scatter: Array) -> float:
        s = scatter**2 * (1 - shares)
        return float(weights @ _mean(s * (1 - 1 / size), s, clusters, size, grid))

    return float(abs(_least(value, (1.2,))[0]))


def _mean(variance: Array | float, alike: Array | float, clusters: int, size: int, grid: Grid) -> Array:
    """E T of rows of a variance, half the mean square distance of two of a cluster being ``alike``; by element."""
    t, target, weight = grid
    phi, close = (np.exp(-np.multiply.outer(v, t**2) * half) for v, half in ((variance, 0.5), (alike, 1.0)))
    return np.asarray((clusters * size * (phi - target) ** 2 + 1 + (size - 1) * close - size * phi**2) @ weight)


def _shares(dims: tuple[int, int]) -> tuple[Array, Array]:
    """Nodes and weights of the law of B, by Gauss-Jacobi quadrature."""
    p, q = dims
    nodes, weights = special.roots_jacobi(32, q / 2 - 1, p / 2 - 1)
    return (1 + nodes) / 2, weights / weights.sum()


def _least(value: Callable[[Array], float], start: tuple[float, ...]) -> Array:
    return np.asarray(optimize.fmin(value, start, xtol=1e-8, ftol=1e-12, disp=False))
