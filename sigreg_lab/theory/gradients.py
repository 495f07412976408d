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

from sigreg_lab.theory.null_means import log_c4

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


def epps_pulley_mean_slope(t: Array, target: Array, weight: Array) -> float:
    """E sum_i x_i dT/dx_i under N(0, 1): the slope of the bias int (1 - phi_sd^2) w dt at sd = 1."""
    return float((2 * weight * (t * target) ** 2).sum())


def full_line_mean_slope(sigma: float) -> float:
    """The same on the full line."""
    return math.sqrt(math.pi) * (1 / sigma**2 + 1) ** -1.5


def mean_slope(statistic: str, n: int) -> float:
    """E sum_i x_i dT/dx_i under N(0, 1), which is dE T(sd x)/dsd at sd = 1; NaN where not known here.

    0 where scale leaves the statistic unchanged, for every sample; 2 (n - 1) Var s^2 for VCReg; 1 for the likelihood,
    since E -x d log f/dx = 1 for every density f; for Watson that of Cramer-von Mises less 2 Cov(Phi(x), x phi(x)),
    which are equal; for these d/dsd int F_sd (1 - F_sd) weight dPhi.
    """
    known = dict.fromkeys([*SCALE_FREE, "watson"], 0.0) | {"vcreg": 4.0, "extended_jarque_bera": 4.0, "nll": 1.0}
    if statistic in known:
        return known[statistic]
    if statistic == "mean_std":
        return float(2 / n + 2 - 2 * math.exp(log_c4(n)))
    x = np.linspace(-12, 12, 24_001)
    density: Array = stats.norm.pdf(x)
    if statistic in ("cramer_von_mises", "anderson_darling"):
        lower, upper = special.ndtr(x), special.ndtr(-x)
        integrand: Array = x * density * (lower - upper) * density
        return float(np.trapezoid(integrand / (lower * upper) if statistic == "anderson_darling" else integrand, x))
    if statistic == "wasserstein":
        rank = np.arange(1, n + 1)[:, None]
        log_density = -special.betaln(rank, n - rank + 1) + (rank - 1) * special.log_ndtr(x)
        order = np.exp(log_density + (n - rank) * special.log_ndtr(-x)) * density
        expected = np.trapezoid(order * x, x, axis=1)
        return float(2 - 2 * (special.ndtri((np.arange(n) + 0.5) / n) * expected).mean())
    return math.nan


def outlier_gradient(statistic: str, x: Array) -> Array | None:
    """dT/dx_0 of each column of ``x`` in closed form; None for a statistic without one here."""
    n, first = len(x), x[0]
    mean, variance = x.mean(0), x.var(0, ddof=1)
    if statistic == "mean_std":
        return 2 * mean / n + 2 * (1 - variance**-0.5) * (first - mean) / (n - 1)
    if statistic == "vcreg":
        slope = 2 * (variance - 1) - 2 * n * mean**2 / ((n - 1) * variance**2)
        return 2 * mean / variance + slope * (first - mean)
    if statistic == "moments":
        targets = {1: (1.0, 0.0), 2: (math.exp(-2), 1.0), 3: (math.exp(-3), 0.0), 4: (math.exp(-4), 3.0)}
        return sum(c * np.sign((x**j).mean(0) - m) * j * first ** (j - 1) / n for j, (c, m) in targets.items())
    if statistic == "wasserstein":
        rank = (x < first).sum(0)
        return 2 / n * (first - special.ndtri((rank + 0.5) / n))
    return None


def epps_pulley_gradient(terms: tuple[Term, Term], x: Array) -> Array:
    """dT/dx_0 of each column of ``x``."""
    pair, target = terms
    return 2 * (pair(x - x[0]).mean(0) + target(x[0]))
