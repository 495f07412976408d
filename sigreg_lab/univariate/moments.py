"""Raw moments of a sample against those of N(0, 1), up to a chosen order; taken in float64."""

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.nulls.law import Array
from sigreg_lab.univariate.base import UnivariateTest
from sigreg_lab.univariate.sums import SumForm
from sigreg_lab.validation import table


class Moments(UnivariateTest):
    """Weighted absolute differences of the first ``k_max`` raw moments.

        M_k = sum_{j=1..k} c_j |1/N sum_i x_i^j - m_j|,   c_1 = 1, c_j = exp(-j);   m_j = 0 (odd), (j - 1)!! (even)  [1]

    It carries no factor N. Null: N(0, 1) fully specified. Law: simulated. Gradient: that of each moment with the sign
    of its error, so it does not shrink as the error does; it jumps where a moment matches exactly, and is taken as 0
    there. Cost O(N k_max). Shapes, dtypes, p-values and errors: ``UnivariateTest``.

    Args:
        k_max: highest order, at least 1.

    Raises:
        ValueError: ``k_max`` below 1.

    [1] Balestriero & LeCun (2025), official code, ``univariate.Moments``; arXiv:2511.08544, Theorem 3.
    """

    name = "moments"
    sensitive_to = "the first k moments"

    def __init__(self, k_max: int = 4) -> None:
        super().__init__()
        if k_max < 1:
            raise ValueError(f"k_max must be at least 1, got {k_max}")
        self.k_max = int(k_max)

    def extra_repr(self) -> str:
        return f"k_max={self.k_max}"

    def _statistic(self, x: Tensor) -> Tensor:
        return self._from_moments(self._raw_moments(x)).to(x.dtype)

    def sum_form(self) -> SumForm:
        return SumForm(self._raw_moments, lambda moments, n: self._from_moments(moments))

    def _raw_moments(self, x: Tensor) -> Tensor:
        """Of order 1 .. k_max, (..., N, M) -> (..., k_max, M)."""
        powers = itertools.accumulate([x.double()] * self.k_max, torch.mul)
        return torch.stack([power.mean(-2) for power in powers], dim=-2)

    def _from_moments(self, moments: Tensor) -> Tensor:
        target, weight = _targets_and_weights(moments.device, self.k_max).to(moments.dtype)
        return weight @ (moments - target[:, None]).abs()


@table
def _targets_and_weights(k_max: int) -> Array:
    """Moments of N(0, 1) of order 1 .. k_max, and the weights of their errors, shape (2, k_max)."""
    orders = range(1, k_max + 1)
    target = [0.0 if k % 2 else float(math.prod(range(k - 1, 0, -2))) for k in orders]
    return np.array([target, [1.0 if k == 1 else math.exp(-k) for k in orders]])
