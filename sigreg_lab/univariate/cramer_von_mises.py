"""Cramér-von Mises distance of a sample to N(0, 1), and Watson's, which a rotation of the circle leaves unchanged.

    W2 = N int (F_N - Phi)^2 dPhi = 1/(12 N) + sum_i (u_i - (2 i - 1)/(2 N))^2,      u_i = Phi(x_(i))     [1, eq. 2.2]
    U2 = W2 - N (mean u - 1/2)^2                                                                         [2; 1, eq. 2.4]

Both carry the factor N, as in SciPy (the official LeJEPA code leaves out N and 1/(12 N)). U2 is summed as squared
distances from the mean of u_i - (2 i - 1)/(2 N), so that nothing cancels. Null: N(0, 1) fully specified. The limit laws
are sums of weighted chi-squares, with weights 1/(pi j)^2 for W2 and, each twice, 1/(2 pi j)^2 for U2 [2].
Gradient: flows through the sorted values; it vanishes far out, where u is flat. Cost O(N log N).

[1] Stephens (1974), JASA 69, 730-737.
[2] Watson (1961), Biometrika 48, 109-114.
"""

from functools import cache

import numpy as np
from torch import Tensor

from sigreg_lab.nulls import WeightedChiSquares
from sigreg_lab.univariate.empirical_distribution import EmpiricalDistributionTest, plotting_positions

_TERMS = 1000  # of the infinite sums; the rest enters by its mean


class CramerVonMises(EmpiricalDistributionTest):
    """Cramér-von Mises statistic against N(0, 1)."""

    name = "cramer_von_mises"
    sensitive_to = "any departure, the centre most: location above all"
    asymptotic_from = 128

    def _from_cdf(self, u: Tensor) -> Tensor:
        gap = u - plotting_positions(u)
        return (gap**2).sum(-2) + 1 / (12 * u.shape[-2])

    def asymptotic_law(self, n: int) -> WeightedChiSquares:
        return _limit_law(circular=False)


class Watson(EmpiricalDistributionTest):
    """Watson's U2 against N(0, 1)."""

    name = "watson"
    sensitive_to = "scale and shape; little to location"
    asymptotic_from = 128

    def _from_cdf(self, u: Tensor) -> Tensor:
        gap = u - plotting_positions(u)
        return ((gap - gap.mean(-2, keepdim=True)) ** 2).sum(-2) + 1 / (12 * u.shape[-2])

    def asymptotic_law(self, n: int) -> WeightedChiSquares:
        return _limit_law(circular=True)


@cache
def _limit_law(circular: bool) -> WeightedChiSquares:
    if circular:
        weights = np.repeat(1 / (2 * np.pi * np.arange(1, _TERMS // 2 + 1)) ** 2, 2)
        return WeightedChiSquares(weights, shift=1 / 12 - weights.sum())
    weights = 1 / (np.pi * np.arange(1, _TERMS + 1)) ** 2
    return WeightedChiSquares(weights, shift=1 / 6 - weights.sum())
