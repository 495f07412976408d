"""Exact powers under normal laws: of the most powerful test, of tests on mean and variance, of simple tests in R^K.

[1] Neyman & Pearson (1933), Philosophical Transactions A 231, 289-337.
"""

import numpy as np
from scipy import special, stats

from sigreg_lab.alternatives import MultivariateAlternative

PARTS = 20_000  # of equal weight, of the law of the variance


def most_powerful(level: float, n: int, mean: float, sd: float) -> float:
    """Power of the likelihood-ratio test of N(0, 1) against N(mean, 1) or N(0, sd^2); no test has more [1].

    The ratio is monotone in the sum of the samples, N(n mean, n), or in the sum of their squares, sd^2 chi-squared(n).

    Args:
        level: of the test.
        n: number of samples.
        mean: of the alternative.
        sd: standard deviation of the alternative; one of both differs from the null's.

    Raises:
        ValueError: both differ, or neither.
    """
    if (mean == 0) == (sd == 1):
        raise ValueError(f"one of mean and sd must differ from 0 and 1, got mean={mean:g}, sd={sd:g}")
    if sd == 1:
        return float(special.ndtr(special.ndtri(level) + np.sqrt(n) * abs(mean)))
    if sd > 1:
        return float(stats.chi2.sf(stats.chi2.isf(level, n) / sd**2, n))
    return float(stats.chi2.cdf(stats.chi2.ppf(level, n) / sd**2, n))


def power_of_moments(statistic: str, critical_value: float, n: int, mean: float, sd: float) -> float:
    """Power of VCReg or of mean^2 + (std - 1)^2 on n samples of N(mean, sd^2).

    Mean and variance are independent there, normal and chi-squared. Given the variance, the test rejects where the
    squared mean exceeds a bound; the mean over the variance is taken at the midpoints of parts of equal weight.

    Args:
        statistic: "vcreg" or "mean_std".
        critical_value: above which the test rejects.
        n: number of samples.
        mean: of the law.
        sd: its standard deviation.
    """
    share = (np.arange(PARTS) + 0.5) / PARTS
    variance = sd**2 * special.chdtri(n - 1, 1 - share) / (n - 1)
    if statistic == "vcreg":
        bound = variance / n * (critical_value - (n - 1) * (variance - 1) ** 2 / 2)
    else:
        bound = critical_value - (np.sqrt(variance) - 1) ** 2
    root, error = np.sqrt(np.maximum(bound, 0.0)), sd / np.sqrt(n)
    return float(np.mean(special.ndtr((-root - mean) / error) + special.ndtr((mean - root) / error)))


def power_of_mean(critical_value: float, n: int, law: MultivariateAlternative) -> float:
    """Power of N |mean|^2 on n samples of N(mean, sd^2 P), P a projection: a noncentral chi-squared variable."""
    variance, rank, shift = _spherical(n, law)
    return float(stats.ncx2.sf(critical_value / variance, rank, shift / variance))


def power_of_radius(critical_value: float, n: int, law: MultivariateAlternative) -> float:
    """Power of |sum_j |x_j|^2 / (N K) - 1| on n samples of N(mean, sd^2 P), P a projection; 0 if all |x|^2 are K."""
    if law.name in ("sphere", "vertices"):
        return 0.0
    variance, rank, shift = _spherical(n, law)
    ends = n * law.dim * np.array([1 - critical_value, 1 + critical_value]) / variance
    sums = stats.ncx2(n * rank, shift / variance)
    return float(sums.cdf(ends[0]) + sums.sf(ends[1]))


def _spherical(n: int, law: MultivariateAlternative) -> tuple[float, int, float]:
    """Variance and rank of a covariance sd^2 P, and n |mean|^2."""
    variances = law.covariance.diagonal()
    return float(variances.max()), int((variances > 0).sum()), float(n * (law.mean @ law.mean))
