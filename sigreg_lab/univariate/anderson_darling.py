"""Anderson-Darling.

The sum cancels N to leave a value near 1, so it is taken in float64 whatever the input; the tails stay in log space, so
|x| = 50 is no special case.
"""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.nulls import WeightedChiSquares
from sigreg_lab.univariate.base import UnivariateTest

if TYPE_CHECKING:
    from sigreg_lab.univariate.evaluate import SharedSample

_TERMS = 1000  # of the infinite sum; the rest enters by its mean
_SAFE = 36.0  # beyond it Phi(-x) nears the least float64, and only logarithms taken as such will do


class AndersonDarling(UnivariateTest):
    """Anderson-Darling statistic: distance of the empirical distribution function F_N to Phi, weighted to the tails.

        A2 = N int (F_N - Phi)^2 / (Phi (1 - Phi)) dPhi
           = -N - 1/N sum_i (2 i - 1) (log Phi(x_(i)) + log Phi(-x_(N+1-i)))                                [1; 2]

    Null: N(0, 1) fully specified. Law: simulated below N = 128, from there on the limit, the sum over j >= 1 of
    independent chi2_1 with weights 1/(j (j + 1)) [1]. Gradient: at every sample; far out it grows like |x|. Cost
    O(N log N). Shapes, dtypes, p-values and errors: ``UnivariateTest``.

    [1] Anderson & Darling (1952), Annals of Mathematical Statistics 23, 193-212.
    [2] Stephens (1974), JASA 69, 730-737.
    """

    name = "anderson_darling"
    sensitive_to = "any departure, the tails most"
    uses_order = True
    asymptotic_from = 128

    def _statistic(self, x: Tensor) -> Tensor:
        s = x.double()
        return _from_logs(torch.special.log_ndtr(s), torch.special.log_ndtr(-s)).to(x.dtype)

    def bulk(self, sample: "SharedSample") -> Tensor:
        if sample.ordered[0].min() > -_SAFE and sample.ordered[-1].max() < _SAFE:
            return _from_logs(sample.cdf.log(), sample.upper_tail.log())
        return super().bulk(sample)

    def asymptotic_law(self, n: int) -> WeightedChiSquares:
        return _limit_law()


@cache
def _limit_law() -> WeightedChiSquares:
    j = np.arange(1, _TERMS + 1)
    return WeightedChiSquares(1 / (j * (j + 1.0)), shift=1 / (_TERMS + 1))


def _from_logs(lower: Tensor, upper: Tensor) -> Tensor:
    """From log Phi(x_(i)) and log Phi(-x_(i)). The second sum is re-indexed: log Phi(-x_(N+1-i)) with weight 2 i - 1
    is log Phi(-x_(i)) with weight 2 N + 1 - 2 i."""
    n = lower.shape[-2]
    weight = 2 * torch.arange(n, dtype=lower.dtype, device=lower.device) + 1
    return -n - (weight @ lower + (2 * n - weight) @ upper) / n
