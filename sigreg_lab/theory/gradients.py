"""Gradients of statistics in one sample: sharp bounds, closed forms, exponents, means.

The Epps-Pulley statistic T = N int |phi_hat - phi_0|^2 w dt has, with

    k(d) = int t sin(t d) w dt,     g(x) = int t sin(t x) phi_0 w dt

the derivatives with respect to one sample

    dT/dx_i     = 2 (1/N sum_j k(x_j - x_i) + g(x_i)),        d2T/dx_i^2 = 2 (g'(x_i) - 1/N sum_{j != i} k'(x_j - x_i))

and since x_i and the distances x_j - x_i are free of each other, the largest values over all samples are exactly

    |dT/dx_i|    2 ((1 - 1/N) max k + max g)
    |d2T/dx_i^2| 2 max((1 - 1/N) max k' - min g',  max g' - (1 - 1/N) min k')

with w = exp(-t^2/sigma^2), on a grid as on the full line.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Array = NDArray[np.float64]
Term = Callable[[Array], Array]

#: Statistics that scale leaves unchanged.
SCALE_FREE = ["jarque_bera", "dagostino_k2", "shapiro_wilk", "shapiro_francia", "entropy"]
#: Exponent of |x| in the gradient by an outlier x, as |x| grows without bound. The scale-invariant statistics are
#: smooth functions of 1/x there: symmetric in the other samples, so even to first order (-3), but for those that weigh
#: them by rank (-2). "-inf": faster than any power. A grid is periodic, hence 0.
OUTLIER = {
    "epps_pulley": 0.0,
    "epps_pulley_paper_grid": 0.0,
    "epps_pulley_full_line": -math.inf,
    "epps_pulley_full_line_sigma_1": -math.inf,
    "cramer_von_mises": -math.inf,
    "watson": -math.inf,
    "anderson_darling": 1.0,
    "nll": 1.0,
    "wasserstein": 1.0,
    "mean_std": 1.0,
    "vcreg": 3.0,
    "extended_jarque_bera": 3.0,
    "moments": 3.0,
    "jarque_bera": -3.0,
    "dagostino_k2": -3.0,
    "shapiro_wilk": -2.0,
    "shapiro_francia": -2.0,
}
#: The same for the gradient at r times a sample, as r grows: -1 for every statistic that scale leaves unchanged.
SCALE = {
    **OUTLIER,
    **dict.fromkeys(SCALE_FREE, -1.0),
    # nan: while r is below N, a pair closer than 1/r or a sample nearer to 0 is left
    **dict.fromkeys(["epps_pulley_full_line", "epps_pulley_full_line_sigma_1", "cramer_von_mises", "watson"], math.nan),
}


def full_line_terms(sigma: float) -> tuple[Term, Term]:
    """k and g on the full line: int t sin(t d) exp(-a t^2) dt = sqrt(pi/a)/(2 a) d exp(-d^2/(4 a))."""
    return _gaussian_term(1 / sigma**2), _gaussian_term(1 / sigma**2 + 0.5)


def _gaussian_term(decay: float) -> Term:
    return lambda d: math.sqrt(math.pi / decay) / (2 * decay) * d * np.exp(-(d**2) / (4 * decay))


def grid_terms(t: Array, target: Array, weight: Array) -> tuple[Term, Term]:
    """k and g on a grid of nodes t > 0: sums over them."""
    return _sine_sum(t, weight), _sine_sum(t, weight * target)


def _sine_sum(t: Array, weight: Array) -> Term:
    def total(d: Array) -> Array:
        found = np.zeros_like(d)
        for node, mass in zip(t, weight * t, strict=True):
            found += mass * np.sin(node * d)
        return found

    return total


def sharp_bounds(terms: tuple[Term, Term], n: int, period: float = 40.0) -> tuple[float, float]:
    """The largest |dT/dx_i| and |d2T/dx_i^2| of Epps-Pulley over all samples of n.

    Args:
        terms: k and g.
        n: N.
        period: of the grid; on the full line a range beyond which both are 0.
    """
    d = np.linspace(-period / 2, period / 2, 80_001)
    k, g = (term(d) for term in terms)
    dk, dg = (np.gradient(values, d) for values in (k, g))
    others = 1 - 1 / n
    curvature = max(others * dk.max() - dg.min(), dg.max() - others * dk.min())
    return float(2 * (others * k.max() + g.max())), float(2 * curvature)


def cramer_von_mises_bound(n: int) -> float:
    """The largest |dT/dx_i|: 2 phi(x) (Phi(x) - (2 i - 1)/(2 n)) with i = 1, all others above x."""
    x = np.linspace(-1, 3, 40_001)
    return float((2 * stats.norm.pdf(x) * (special.ndtr(x) - 1 / (2 * n))).max())


def printed_bounds(sigma: float) -> tuple[float, float]:
    """Those of Theorem 4, for T/N times N: 4 sigma^2, and sqrt(pi) sigma^3/2, its constant C left out.

    C = 2 + 4 exp(-3/2) serves for every sigma (``CONSTANT``).
    """
    return 4 * sigma**2, math.sqrt(math.pi) * sigma**3 / 2


CONSTANT = 2 + 4 * math.exp(-1.5)
