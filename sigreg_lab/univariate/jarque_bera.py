"""Moment tests of normality: skewness and kurtosis, with or without mean and variance.

With m_k the central moments, divisor N, skew = m_3 / m_2^(3/2) and kurt = m_4 / m_2^2, as in SciPy. (The official
LeJEPA code divides the third and fourth moment by powers of s instead, s^2 the variance with divisor N - 1.) The
moments are taken in float64. A variance that stands in a denominator is held at 1e-12 or more, in units of the range
where the statistic knows no scale, so that a collapsed sample gives a number and not NaN.
"""

import math
from functools import partial

from torch import Tensor

from sigreg_lab.nulls import ChiSquared
from sigreg_lab.univariate.base import UnivariateTest, in_own_units
from sigreg_lab.univariate.mean_variance import LEAST_VARIANCE, VCReg, mean_and_central_moments
from sigreg_lab.univariate.sums import SumForm


class JarqueBera(UnivariateTest):
    """Jarque-Bera statistic: skewness and kurtosis against 0 and 3.

        JB = N/6 (skew^2 + (kurt - 3)^2 / 4)                                                                     [1]

    skew = m_3 / m_2^(3/2), kurt = m_4 / m_2^2, m_k the central moments with divisor N. Null: any normal law; location
    and scale have no influence. Law: simulated below N = 32768, from there on chi-squared(2), reached slowly. Gradient:
    a cubic in x, so that outliers have most of it; no pull on mean or scale. Needs N >= 4. Cost O(N). Shapes, dtypes,
    p-values and errors: ``UnivariateTest``.

    [1] Jarque & Bera (1987), International Statistical Review 55, 163-172.
    """

    name = "jarque_bera"
    asymptotic_from = 32_768
    sensitive_to = "skewness, kurtosis"
    null_hypothesis = "composite"
    min_samples = 4  # fewer samples leave the kurtosis no freedom

    def _statistic(self, x: Tensor) -> Tensor:
        return _jarque_bera(_moments(in_own_units(x)), x.shape[-2]).to(x.dtype)

    def asymptotic_law(self, n: int) -> ChiSquared:
        return ChiSquared(2)


class ExtendedJarqueBera(UnivariateTest):
    """Extended Jarque-Bera statistic: mean, variance, skewness and kurtosis against 0, 1, 0 and 3.

        EJB = JB + VC
            = N/6 (skew^2 + (kurt - 3)^2 / 4) + N m^2 / s^2 + (N - 1) (s^2 - 1)^2 / 2                 [1, sec. 4.2.1]

    m is the mean, s^2 the variance with divisor N - 1; JB and VC are those of ``JarqueBera`` and ``VCReg``. Null:
    N(0, 1) fully specified. Law: simulated below N = 32768, from there on chi-squared(4), reached slowly. Gradient: a
    cubic in x, so that outliers have most of it; the pull of VC on a collapsing scale vanishes like s where m = 0. Cost
    O(N). Shapes, dtypes, p-values and errors: ``UnivariateTest``.

    [1] Balestriero & LeCun (2025), arXiv:2511.08544.
    """

    name = "extended_jarque_bera"
    asymptotic_from = 32_768
    sensitive_to = "mean, variance, skewness, kurtosis"

    def _statistic(self, x: Tensor) -> Tensor:
        return self._from_moments(_moments(x), x.shape[-2]).to(x.dtype)

    def sum_form(self) -> SumForm:
        return SumForm(partial(mean_and_central_moments, order=4), self._from_moments, centred=True)

    def _from_moments(self, moments: Tensor, n: float | Tensor) -> Tensor:
        mean, second = moments[..., 0, :], moments[..., 1, :]
        return VCReg()._from_mean_and_variance(mean, second * n / (n - 1), n) + _jarque_bera(moments, n)

    def asymptotic_law(self, n: int) -> ChiSquared:
        return ChiSquared(4)


class DAgostinoK2(UnivariateTest):
    """D'Agostino and Pearson's K2: skewness and kurtosis, each transformed to be nearly standard normal.

        K2 = Z_1(skew)^2 + Z_2(kurt)^2                                                                           [1]

    Z_1 is an inverse hyperbolic sine [2], Z_2 a cube root [3], with constants that follow N; skew and kurt are those of
    ``JarqueBera``. As SciPy's ``normaltest``. Null: any normal law; location and scale have no influence. Law:
    simulated below N = 32768, from there on chi-squared(2). Gradient: no pull on mean or scale. Needs N >= 8. Cost
    O(N). Shapes, dtypes, p-values and errors: ``UnivariateTest``.

    [1] D'Agostino & Pearson (1973), Biometrika 60, 613-622.
    [2] D'Agostino (1970), Biometrika 57, 679-681.
    [3] Anscombe & Glynn (1983), Biometrika 70, 227-234.
    """

    name = "dagostino_k2"
    asymptotic_from = 32_768
    sensitive_to = "skewness, kurtosis"
    null_hypothesis = "composite"
    min_samples = 8  # the transformation of the skewness asks for it (D'Agostino 1970)

    def _statistic(self, x: Tensor) -> Tensor:
        n = x.shape[-2]
        skewness, kurtosis = _skewness_and_kurtosis(_moments(in_own_units(x)))
        return (_normal_skewness(skewness, n) ** 2 + _normal_kurtosis(kurtosis, n) ** 2).to(x.dtype)

    def asymptotic_law(self, n: int) -> ChiSquared:
        return ChiSquared(2)


def _moments(x: Tensor) -> Tensor:
    y = x.double()
    return mean_and_central_moments(y, y.mean(-2), 4)


def _jarque_bera(moments: Tensor, n: float | Tensor) -> Tensor:
    skewness, kurtosis = _skewness_and_kurtosis(moments)
    return n / 6 * (skewness**2 + (kurtosis - 3) ** 2 / 4)


def _skewness_and_kurtosis(moments: Tensor) -> tuple[Tensor, Tensor]:
    _, second, third, fourth = moments.unbind(-2)
    second = second.clamp_min(LEAST_VARIANCE)
    return third / second**1.5, fourth / second**2


def _normal_skewness(skewness: Tensor, n: int) -> Tensor:
    """Z_1: Johnson's S_U curve fitted to the null law of the skewness (D'Agostino 1970)."""
    y = skewness * math.sqrt((n + 1) * (n + 3) / (6 * (n - 2)))
    beta = 3 * (n**2 + 27 * n - 70) * (n + 1) * (n + 3) / ((n - 2) * (n + 5) * (n + 7) * (n + 9))
    squared_width = math.sqrt(2 * (beta - 1)) - 1
    delta = 1 / math.sqrt(0.5 * math.log(squared_width))
    alpha = math.sqrt(2 / (squared_width - 1))
    return delta * (y / alpha).asinh()


def _normal_kurtosis(kurtosis: Tensor, n: int) -> Tensor:
    """Z_2: Wilson and Hilferty's cube root on a shifted chi-squared fitted to the kurtosis (Anscombe & Glynn 1983)."""
    mean = 3 * (n - 1) / (n + 1)
    variance = 24 * n * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5))
    skewness = 6 * (n**2 - 5 * n + 2) / ((n + 7) * (n + 9)) * math.sqrt(6 * (n + 3) * (n + 5) / (n * (n - 2) * (n - 3)))
    a = 6 + 8 / skewness * (2 / skewness + math.sqrt(1 + 4 / skewness**2))
    denominator = 1 + (kurtosis - mean) / math.sqrt(variance) * math.sqrt(2 / (a - 4))
    root = denominator.sign() * ((1 - 2 / a) / denominator.abs()) ** (1 / 3)
    return (1 - 2 / (9 * a) - root) / math.sqrt(2 / (9 * a))
