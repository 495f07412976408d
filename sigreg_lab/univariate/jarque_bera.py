"""Moment tests of N(0, 1) that ask for chosen values of the first two or four moments.

    JB  = N/6 (skew^2 + (kurt - 3)^2 / 4)                                                                        [1]
    EJB = N m^2 / s^2 + (N - 1) (s^2 - 1)^2 / 2 + JB                                                     [2, 4.2.1]
    VC  = N m^2 / s^2 + (N - 1) (s^2 - 1)^2 / 2                                                          [2, 4.2.1]

m is the mean and s^2 the variance with divisor N - 1; skew and kurt are the ratios of central moments with divisor N,
as in SciPy. (The official LeJEPA code divides the third and fourth moment by powers of s instead.) Each term is
asymptotically chi-squared with one degree of freedom under the null. The moments are taken in float64. A variance that
stands in a denominator is held at 1e-12 or more, so that a collapsed sample gives a huge number and not NaN.

[1] Jarque & Bera (1987), International Statistical Review 55, 163-172.
[2] Balestriero & LeCun (2025), arXiv:2511.08544.
"""

from torch import Tensor

from sigreg_lab.univariate.base import UnivariateTest

LEAST_VARIANCE = 1e-12


def _mean_and_variance_terms(x: Tensor) -> Tensor:
    n = x.shape[-2]
    mean = x.mean(-2)
    variance = x.var(-2, correction=1)
    return n * mean**2 / variance.clamp_min(LEAST_VARIANCE) + (n - 1) * (variance - 1) ** 2 / 2


def _skewness_and_kurtosis_terms(x: Tensor) -> Tensor:
    n = x.shape[-2]
    centred = x - x.mean(-2, keepdim=True)
    second = (centred**2).mean(-2).clamp_min(LEAST_VARIANCE)
    skewness = (centred**3).mean(-2) / second**1.5
    kurtosis = (centred**4).mean(-2) / second**2
    return n / 6 * (skewness**2 + (kurtosis - 3) ** 2 / 4)


class ExtendedJarqueBera(UnivariateTest):
    """Mean, variance, skewness and kurtosis against 0, 1, 0 and 3; chi-squared(4) in the limit."""

    name = "extended_jarque_bera"
    sensitive_to = "mean, variance, skewness, kurtosis"

    def _statistic(self, x: Tensor) -> Tensor:
        y = x.double()
        return (_mean_and_variance_terms(y) + _skewness_and_kurtosis_terms(y)).to(x.dtype)


class VCReg(UnivariateTest):
    """Mean and variance against 0 and 1; chi-squared(2) in the limit."""

    name = "vcreg"
    sensitive_to = "mean, variance"

    def _statistic(self, x: Tensor) -> Tensor:
        return _mean_and_variance_terms(x.double()).to(x.dtype)
