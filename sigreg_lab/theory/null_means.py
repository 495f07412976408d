"""Means of statistics under N(0, 1), whatever the number of slices."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]


def epps_pulley(target: Array, weight: Array) -> float:
    """Of the V-statistic on a grid: the bias sum w (1 - phi_0^2), all of it."""
    return float((weight * (1 - target**2)).sum())


def energy_of_plane() -> float:
    """Of the energy statistic n (2 E|x - z| - E|x - x'| - E|z - z'|), a V-statistic of x in the plane and z normal.

    All that is left is the diagonal of E|x - x'|, which is 0: E |z - z'| = sqrt(2) E |z| = sqrt(pi).
    """
    return math.sqrt(math.pi)


def covariance_distance(dim: int, n: int) -> float:
    """E |S - I|^2 of x'x/n: (K^2 + K)/n, each variance with 2/n and each covariance, twice, with 1/n."""
    return dim * (dim + 1) / n


def log_c4(n: int) -> float:
    """log E s of n samples: c_4 = sqrt(2/(n-1)) Gamma(n/2)/Gamma((n-1)/2)."""
    return float(special.gammaln(n / 2) - special.gammaln((n - 1) / 2) + 0.5 * math.log(2 / (n - 1)))


def null_mean(statistic: str, n: int) -> float:
    """E T of n samples of N(0, 1), by the name of the statistic; NaN where it is not known here.

    Anderson-Darling, Cramer-von Mises and Watson: E F_N (1 - F_N) summed against their weights, for every n. VCReg: the
    mean term has an F(1, n - 1) law, whose mean is infinite up to n = 3, the variance term is (n - 1) Var(s^2)/2.
    mean^2 + (std - 1)^2: 1/n + 2 - 2 E s. Jarque-Bera: E g1^2 and E (b2 - 3)^2 of moments with divisor n; the
    extended one adds VCReg.
    """
    skewness = 6 * (n - 2) / ((n + 1) * (n + 3))
    kurtosis = 24 * n * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5)) + (6 / (n + 1)) ** 2
    jarque_bera, vcreg = n / 6 * (skewness + kurtosis / 4), 1 + (n - 1) / (n - 3) if n > 3 else math.inf
    if statistic == "mean_std":
        return 1 / n + 2 - 2 * math.exp(log_c4(n))
    known = {
        "anderson_darling": 1.0,
        "cramer_von_mises": 1 / 6,
        "watson": 1 / 12,
        "vcreg": vcreg,
        "jarque_bera": jarque_bera,
        "extended_jarque_bera": jarque_bera + vcreg,
    }
    return known.get(statistic, math.nan)
