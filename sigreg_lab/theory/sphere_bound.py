"""What directions without a defect leave open: Theorem 5 of the LeJEPA paper, term by term.

The theorem: if the statistic is 0 on M directions, f(a) = int |phi_a - phi_0|^2 w dt has over all directions of R^K

    E f  <=  C(K, alpha) M^(-2 alpha/(K-1))  x  squared Sobolev norm of order alpha,
    C = 2^(2 alpha) pi^((K-1)/2) Gamma(alpha + (K-1)/2) / ((K-1) Gamma(alpha) Gamma((K-1)/2))

The norm of order 0 is a bound without any direction: the theorem says something once C M^(-2 alpha/(K-1)) < 1. Values
on points are defined for alpha > (K-1)/2 alone; for alpha to 0 C falls to 0, and the inequality is wrong.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize, special

Array = NDArray[np.float64]


def log10_constant(dim: int, alpha: float) -> float:
    """log10 C(K, alpha)."""
    half = (dim - 1) / 2
    gammas = special.gammaln(alpha + half) - special.gammaln(alpha) - special.gammaln(half)
    return float((2 * alpha * math.log(2) + half * math.log(math.pi) + gammas - math.log(dim - 1)) / math.log(10))


def log10_directions(dim: int) -> float:
    """log10 of the M above which the bound says something for some alpha > (K-1)/2.

    2^(K-1), approached for large alpha, but for small K.
    """

    def needed(log_alpha: float) -> float:
        alpha = math.exp(log_alpha)
        return (dim - 1) / (2 * alpha) * log10_constant(dim, alpha)

    ends = math.log((dim - 1) / 2), math.log(1e6 * dim)
    return min(float(optimize.minimize_scalar(needed, bounds=ends, method="bounded").fun), *map(needed, ends))


def hidden_covariance(directions: Array, rounds: int = 30) -> Array:
    """A covariance S with a'S a = 1 for every direction: N(0, S) is N(0, 1) along each, and not N(0, I).

    S = I + D with a'D a = 0 on the directions, D as long as S has no negative eigenvalue. D is the projection of v v'
    on these matrices, v in turn D's first eigenvector. S = I if the squares of the directions span all matrices, for
    which K (K + 1)/2 are needed.

    Args:
        directions: unit columns, shape (K, M).
    """
    dim = len(directions)
    row, column = np.triu_indices(dim)
    weight = np.where(row == column, 1.0, math.sqrt(2))  # so that the product of vectors is that of matrices
    free = linalg.null_space((directions[row] * directions[column] * weight[:, None]).T)
    v, d = np.ones(dim), np.zeros((dim, dim))
    for _ in range(rounds if free.size else 0):
        d[row, column] = d[column, row] = free @ (free.T @ (v[row] * v[column] * weight)) / weight
        values, vectors = np.linalg.eigh(d)
        d, v = d / -values[0], vectors[:, -1]
    return np.eye(dim) + d


def worst_in_the_plane(angles: Array, alpha: float, frequencies: int = 256) -> float:
    """The largest int f^2 among even functions on the circle, 0 at the angles, whose norm of order alpha is 1.

    f = sum_k c_k e_k over an orthonormal basis of period pi, norm sum_k (1 + k^2)^alpha c_k^2.
    """
    k = np.repeat(2.0 * np.arange(frequencies + 1), 2)[1:]
    waves = np.where(np.arange(len(k)) % 2 == 0, np.cos(np.outer(angles, k)), np.sin(np.outer(angles, k)))
    scale = np.where(k == 0, 1.0, math.sqrt(2)) * (1 + k**2) ** (-alpha / 2)  # c = scale b, |b| = 1
    rows = waves * scale
    free = linalg.qr(rows.T)[0][:, len(angles) :]
    weights = (1 + k**2) ** -alpha
    last = free.shape[1] - 1
    return float(linalg.eigvalsh((free.T * weights) @ free, subset_by_index=[last, last])[0])


def cauchy_coefficients(orders: Array, t: float = 1.0, points: int = 1 << 14) -> Array:
    """|Fourier coefficients| of the angle in the plane of exp(-t (|cos| + |sin|)), a product of Cauchy laws' phi.

    It has a kink on each axis, so that they fall as 1/k^2: the Sobolev norm is finite for alpha < 3/2 alone.
    """
    angle = 2 * np.pi * np.arange(points) / points
    values = np.exp(-t * (np.abs(np.cos(angle)) + np.abs(np.sin(angle))))
    return np.asarray(np.abs(np.fft.rfft(values))[orders.astype(int)] / points)
