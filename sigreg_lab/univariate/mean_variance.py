"""Statistics of the first two moments: they see mean and variance, and nothing else.

The moments are taken in float64. A variance in a denominator or under a root is held at 1e-12 or more, so that a
collapsed sample gives a finite value and gradient.
"""

import itertools
from functools import partial

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.nulls import ChiSquared, WeightedChiSquares
from sigreg_lab.nulls.law import Array
from sigreg_lab.univariate.base import UnivariateTest
from sigreg_lab.univariate.sums import SumForm

LEAST_VARIANCE = 1e-12


def mean_and_central_moments(x: Tensor, mean: Tensor, order: int) -> Tensor:
    """``mean`` and the moments about it of order 2 .. ``order`` over dimension -2, (..., N, M) -> (..., order, M)."""
    centred = x.double() - mean.unsqueeze(-2)
    powers = itertools.accumulate([centred] * order, torch.mul)
    return torch.stack([mean, *(power.mean(-2) for power in itertools.islice(powers, 1, None))], dim=-2)


class MeanVarianceTest(UnivariateTest):
    """Base of the statistics that are functions of mean and variance; a subclass writes ``_from_mean_and_variance``."""

    sensitive_to = "mean, variance"

    def _statistic(self, x: Tensor) -> Tensor:
        y = x.double()
        return self._from_mean_and_variance(y.mean(-2), y.var(-2, correction=1), y.shape[-2]).to(x.dtype)

    def _from_mean_and_variance(self, mean: Tensor, variance: Tensor, n: float | Tensor) -> Tensor:
        raise NotImplementedError

    def sum_form(self) -> SumForm:
        def value(moments: Tensor, n: Tensor) -> Tensor:
            mean, second = moments.unbind(-2)
            return self._from_mean_and_variance(mean, second * n / (n - 1), n)

        return SumForm(partial(mean_and_central_moments, order=2), value, centred=True)

    def simulate(self, rng: np.random.Generator, replicates: int, n: int) -> Array:
        """Drawn from the joint law of mean and variance, which are independent: normal and chi-squared(n - 1)."""
        mean = torch.from_numpy(rng.standard_normal(replicates) / np.sqrt(n))
        variance = torch.from_numpy(rng.chisquare(n - 1, replicates) / (n - 1))
        return np.asarray(self._from_mean_and_variance(mean, variance, n))


class VCReg(MeanVarianceTest):
    """Mean and variance against 0 and 1, as a test.

        VC = N m^2 / s^2 + (N - 1) (s^2 - 1)^2 / 2                                                    [1, sec. 4.2.1]

    m is the mean and s^2 the variance with divisor N - 1. Null: N(0, 1) fully specified. Law: simulated below N = 4096,
    from there on chi-squared(2). Gradient: where m = 0, the pull on a collapsing scale vanishes like s. Cost O(N).
    Shapes, dtypes, p-values and errors: ``UnivariateTest``.

    [1] Balestriero & LeCun (2025), arXiv:2511.08544.
    """

    name = "vcreg"
    asymptotic_from = 4096

    def _from_mean_and_variance(self, mean: Tensor, variance: Tensor, n: float | Tensor) -> Tensor:
        return n * mean**2 / variance.clamp_min(LEAST_VARIANCE) + (n - 1) * (variance - 1) ** 2 / 2

    def asymptotic_law(self, n: int) -> ChiSquared:
        return ChiSquared(2)


class MeanStd(MeanVarianceTest):
    """Squared mean and squared distance of the standard deviation to 1.

        MS = m^2 + (s - 1)^2                                                                          [1, app. B.14]

    m is the mean and s^2 the variance with divisor N - 1. Averaged over all slices it is least at mean 0 and covariance
    I, which is a minimum of VICReg's terms too, but it is another loss. It carries no factor N.

    Null: N(0, 1) fully specified. Law: simulated below N = 256, from there on that of (chi2_1 + chi2_1' / 2) / N.
    Gradient: the pull on a collapsing scale keeps its strength, down to s = 1e-6. Cost O(N). Shapes, dtypes, p-values
    and errors: ``UnivariateTest``.

    [1] Balestriero & LeCun (2025), arXiv:2511.08544.
    """

    name = "mean_std"
    asymptotic_from = 256

    def _from_mean_and_variance(self, mean: Tensor, variance: Tensor, n: float | Tensor) -> Tensor:
        return mean**2 + (variance.clamp_min(LEAST_VARIANCE).sqrt() - 1) ** 2

    def asymptotic_law(self, n: int) -> WeightedChiSquares:
        return WeightedChiSquares([1 / n, 1 / (2 * n)])
