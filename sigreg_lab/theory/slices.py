"""How far the gradient of a mean over M slices is from that of the mean over all directions; proofs in docs/slices.md.

G(a) = g(a) a' is the gradient in the sample of one slice's statistic, a matrix (N, K); all directions have the mean
E G. With

    rho = E |g|^2/|E G|^2

the relative squared error E |mean of G - E G|^2/|E G|^2 of M slices is

    independent   (rho - 1)/M
    orthogonal    rho/M - (b K^2 + r^2)/M^2,   M = b K + r: b whole blocks of K directions and r < K of another

for any statistic and any sample: the gradients of orthogonal directions are orthogonal. Hence rho >= K, and b blocks
save (K - 1)/tau^2 slices of those that independent ones need for an error of tau, whatever tau. Blocks of n > K
directions cut to K coordinates, as those of HD3 where K is no power of two, are nearly orthogonal, and have

    cut blocks    rho/M - (K/n (b n^2 + r^2) + (1 - K/n) M)/M^2,   M = b n + r,   to leading order in 1/n

Epps-Pulley on a grid under N(0, I): the mean alone is in E G at order 1/K, and

    rho/K -> 4 SS w_t w_u t u exp(-t^2 - u^2) f(t u)/(2 S w t^2 exp(-t^2))^2,   f(x) = sinh x (2 cosh x - 1)

What independent slices need when parts of low degree are exact (``regularizers.ControlledSIGReg``) has another f:

    directions of degree 1   (cosh x - 1)(2 sinh x - x)              the mean, orthogonal to all of shape
    of degree 2 as well      (sinh x - x)(2 cosh x - 2 - x^2/2)      and the covariance
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sigreg_lab.theory.views import embedding_square

Array = NDArray[np.float64]
Grid = tuple[Array, Array, Array]

#: f of the limits above: independent slices, orthogonal ones, independent ones beside exact low degrees.
LEFT: dict[str, Callable[[Array], Array]] = {
    "iid": lambda x: np.sinh(x) * (2 * np.cosh(x) - 1),
    "orthogonal": lambda x: np.sinh(x) * (2 * np.cosh(x) - 1) - x,
    "degree 1": lambda x: (np.cosh(x) - 1) * (2 * np.sinh(x) - x),
    "degree 2": lambda x: (np.sinh(x) - x) * (2 * np.cosh(x) - 2 - x**2 / 2),
}


def slices_per_dimension(kind: str, grid: Grid) -> float:
    """M/K for an error of 100%, N and K large, under N(0, I); for an error of tau it is 1/tau^2 times that.

    Args:
        kind: a key of ``LEFT``; blocks of "orthogonal" are whole.
        grid: nodes t > 0, targets and weights.
    """
    t, _, weight = grid
    factor = np.multiply.outer(weight * t, weight * t) * np.exp(-np.add.outer(t**2, t**2))
    whole = 4 * (factor * LEFT[kind](np.multiply.outer(t, t))).sum()
    return float(whole / (2 * (weight * t**2 * np.exp(-(t**2))).sum()) ** 2)


def spread(n: int, dim: int, grid: Grid) -> float:
    """E E_a |g|^2/E |E_a G|^2 of samples of N rows of N(0, I) in R^K: rho of a large sample; outer E over samples."""
    return n * embedding_square(1.0, n, dim, 1, grid) / exact_square(n, dim, grid)


def exact_square(n: int, dim: int, grid: Grid) -> float:
    """E |E_a G|^2 of samples of N rows of N(0, I) in R^K: the square of the exact gradient, a mean over samples."""
    return n * embedding_square(1.0, n, dim, math.inf, grid)


def squared_error(rho: float, dim: int, num_slices: int, *, orthogonal: bool, block: int | None = None) -> float:
    """E |mean of G - E G|^2/|E G|^2 of M slices, independent ones or blocks of orthogonal ones.

    Args:
        rho: see above.
        dim: K.
        num_slices: M.
        orthogonal: whether they come in blocks.
        block: n, directions of a block; K of them if not given.
    """
    if not orthogonal:
        return (rho - 1) / num_slices
    size = block or dim
    blocks, rest = divmod(num_slices, size)
    share = dim / size
    return rho / num_slices - (share * (blocks * size**2 + rest**2) + (1 - share) * num_slices) / num_slices**2


def least_slices(rho: float, dim: int, error: float, *, orthogonal: bool, block: int | None = None) -> int:
    """The least M whose error, the root of the squared one, is at most ``error``; arguments as above."""
    if not orthogonal:
        return max(1, math.ceil((rho - 1) / error**2))
    size = block or dim
    least = max(1, math.ceil((rho - dim - 1 + dim / size) / error**2))  # of whole blocks, which have the least error
    whole = -(-least // size) * size
    m = np.arange(least, whole + 1, dtype=np.float64)
    rest, share = m % size, dim / size
    square = rho / m - (share * ((m - rest) * size + rest**2) + (1 - share) * m) / m**2
    return int(m[np.argmax(square <= error**2 * (1 + 1e-12))])


def slices_needed(rho: float, dim: int, error: float, *, orthogonal: bool) -> float:
    """M for an error of tau, the root of the squared one; of orthogonal directions in whole blocks."""
    return (rho - (dim if orthogonal else 1)) / error**2
