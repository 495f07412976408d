"""Raw moments of a sample against those of N(0, 1), up to a chosen order.

    M_k = sum_{j=1..k} c_j |1/N sum_i x_i^j - m_j|,   c_1 = 1, c_j = exp(-j);   m_j = 0 (odd), (j - 1)!! (even)      [1]

Null: N(0, 1) fully specified; the law is simulated. The value carries no factor N. It is not differentiable where a
moment matches exactly. The moments are taken in float64. Cost O(N k).

[1] Balestriero & LeCun (2025), official code, ``univariate.Moments``; arXiv:2511.08544, Theorem 3.
"""

import math

import torch
from torch import Tensor

from sigreg_lab.univariate.base import UnivariateTest


class Moments(UnivariateTest):
    """Weighted absolute differences of the first ``k_max`` raw moments.

    Args:
        k_max: highest order, at least 1.

    Raises:
        ValueError: ``k_max`` below 1.
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
        y = x.double()
        total = torch.zeros_like(y[..., 0, :])
        power = torch.ones_like(y)
        for order in range(1, self.k_max + 1):
            power = power * y
            target = 0.0 if order % 2 else float(math.prod(range(order - 1, 0, -2)))
            weight = 1.0 if order == 1 else math.exp(-order)
            total = total + weight * (power.mean(-2) - target).abs()
        return total.to(x.dtype)
