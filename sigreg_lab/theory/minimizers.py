"""At which standard deviation a loss is least in the mean over batches of n samples sd z, z standard normal.

A statistic of the distance to N(0, 1) need not be least at sd = 1: a sample of N(0, 1) looks a little wider, or more
irregular, than the law it comes from. Means are up to a constant; F is the law of sd z. Slices of N(0, sd^2 I) are
N(0, sd^2): a mean over slices is least where its statistic is.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import integrate, optimize, special, stats

from sigreg_lab.theory.null_means import log_c4

Array = NDArray[np.float64]
Mean = Callable[[float], float]

RANGE = (0.2, 2.0)  # of sd, in which a minimum is looked for


def least(mean: Mean) -> float:
    """The minimiser of E R(sd z) over sd; 0 if R pulls inwards all the way."""
    found = float(optimize.minimize_scalar(mean, bounds=RANGE, method="bounded", options={"xatol": 1e-9}).x)
    return found if found > RANGE[0] + 1e-4 else 0.0


def variance(n: int) -> float:
    """Of VCReg and extended Jarque-Bera, whose variance term (s^2 - 1)^2 has the mean 1 - 2 sd^2 + sd^4 (n+1)/(n-1)."""
    return float(np.sqrt((n - 1) / (n + 1)))


def mean_and_deviation(n: int) -> float:
    """Of mean^2 + (std - 1)^2: sd^2/n + sd^2 - 2 sd c_4 + 1 is least at c_4/(1 + 1/n)."""
    return float(np.exp(log_c4(n)) / (1 + 1 / n))


def wasserstein(scores: Array) -> float:
    """Of sd^2 - 2 sd E 1/n sum_i q_i z_(i): E 1/n sum_i q_i z_(i), q_i the quantiles in use, in ascending order."""
    n = len(scores)
    z = np.linspace(-10, 10, 2001)
    chance = stats.binom.pmf(np.arange(n)[:, None], n - 1, special.ndtr(z))
    return float(np.trapezoid(z * stats.norm.pdf(z) * (scores @ chance), z))


def epps_pulley(t: Array, target: Array, weight: Array, n: int, *, biased: bool) -> Mean:
    """E T = sum w (n (phi_sd - phi_0)^2 + 1 - phi_sd^2) on a grid; the U-statistic has the first term alone."""

    def mean(sd: float) -> float:
        phi = np.exp(-((sd * t) ** 2) / 2)
        return float((weight * (n * (phi - target) ** 2 + biased * (1 - phi**2))).sum())

    return mean


def distribution_function(n: int, *, tails: bool, watson: bool = False) -> Mean:
    """E T = n int (F - Phi)^2 w dPhi + int F (1 - F) w dPhi, w = 1, or 1/(Phi (1 - Phi)) with ``tails``.

    Cramer-von Mises and Anderson-Darling. Watson takes n (mean F - 1/2)^2 away, arcsin(sd^2/(1 + sd^2))/(2 pi) in the
    mean: the two parts together are least at 1 for all n.
    """

    def mean(sd: float) -> float:
        def integrand(x: float) -> float:
            lower, upper = special.ndtr(x), special.ndtr(-x)
            law, rest = special.ndtr(x / sd), special.ndtr(-x / sd)
            density = 1 / (lower * upper) if tails else 1.0
            return float((n * (law - lower) ** 2 + law * rest) * density * stats.norm.pdf(x))

        value = 2 * float(integrate.quad(integrand, 0, 12, limit=200)[0])
        return value - np.arcsin(sd**2 / (1 + sd**2)) / (2 * np.pi) if watson else value

    return mean


def likelihood(n: int) -> Mean:
    """E [sd^2 z^2/2 - (n - 1) (Phi(z) log Phi(sd z) + Phi(-z) log Phi(-sd z))], of the order-statistic likelihood.

    A value z has (n - 1) Phi(z) others below it on average, the k - 1 of its density.
    """

    def mean(sd: float) -> float:
        def integrand(z: float) -> float:
            below = special.ndtr(z) * special.log_ndtr(sd * z) + special.ndtr(-z) * special.log_ndtr(-sd * z)
            return float(((sd * z) ** 2 / 2 - (n - 1) * below) * stats.norm.pdf(z))

        return 2 * float(integrate.quad(integrand, 0, 12, limit=200)[0])

    return mean


def bhep(n: int, beta: float, dim: int) -> Mean:
    """(n - 1) E exp(-b |x - x'|^2/2) - 2 n (1 + b)^(-K/2) E exp(-b |x|^2/(2 (1 + b))), b = beta^2, up to scale."""

    def mean(sd: float) -> float:
        pairs = (1 + 2 * (beta * sd) ** 2) ** (-dim / 2)
        crossed = (1 + beta**2 + (beta * sd) ** 2) ** (-dim / 2)
        return float((n - 1) * pairs - 2 * n * crossed)

    return mean


def stein(n: int, bandwidth: float) -> Mean:
    """E KSD = (n - 1) E k0(x, x') + E k0(x, x), with a Gaussian kernel: pairs give k0 the mean
    (1 + 2 sd^2/h^2)^(-1/2) (1 - sd^2)^2/(h^2 + 2 sd^2), which is 0 at 1 alone; the diagonal gives sd^2 + 1/h^2.
    """

    def mean(sd: float) -> float:
        square = bandwidth**2 + 2 * sd**2
        return float((n - 1) * bandwidth * (1 - sd**2) ** 2 / square**1.5 + sd**2)

    return mean


def vicreg(n: int, dim: int, *, gamma: float, eps: float, variance: float, covariance: float) -> Mean:
    """The hinge on sqrt(s^2 + eps), s^2 = sd^2 chi-squared(n-1)/(n-1), and the covariances' mean square sd^4/(n-1)."""

    def mean(sd: float) -> float:
        law = stats.chi2(n - 1, scale=sd**2 / (n - 1))
        hinge = integrate.quad(lambda v: max(0.0, gamma - np.sqrt(v + eps)) * law.pdf(v), 0, gamma**2 - eps, limit=200)[
            0
        ]
        return float(variance * hinge + covariance * (dim - 1) * sd**4 / (n - 1))

    return mean
