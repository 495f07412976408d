"""Cramér-von Mises, and Watson's statistic, which a rotation of the circle leaves unchanged.

Both carry the factor N, as in SciPy (the official LeJEPA code leaves out N and 1/(12 N)).
"""

from functools import cache

import numpy as np
from torch import Tensor

from sigreg_lab.nulls import WeightedChiSquares
from sigreg_lab.univariate.empirical_distribution import EmpiricalDistributionTest, plotting_positions

_TERMS = 1000  # of the infinite sums; the rest enters by its mean


class CramerVonMises(EmpiricalDistributionTest):
    """Cramér-von Mises statistic: squared distance of the empirical distribution function F_N to Phi.

        W2 = N int (F_N - Phi)^2 dPhi = 1/(12 N) + sum_i (u_i - (2 i - 1)/(2 N))^2,   u_i = Phi(x_(i))   [1, eq. 2.2]

    Null: N(0, 1) fully specified. Law: simulated below N = 128, from there on the limit, the sum over j >= 1 of
    independent chi2_1 with weights 1/(pi j)^2. Gradient: in proportion to phi(x_i), so it vanishes far out, where u is
    flat. Cost O(N log N). Shapes, dtypes, p-values and errors: ``UnivariateTest``.

    [1] Stephens (1974), JASA 69, 730-737.
    """

    name = "cramer_von_mises"
    sensitive_to = "any departure, the centre most: location above all"
    asymptotic_from = 128

    def _from_cdf(self, u: Tensor) -> Tensor:
        gap = u - plotting_positions(u)
        return (gap**2).sum(-2) + 1 / (12 * u.shape[-2])

    def asymptotic_law(self, n: int) -> WeightedChiSquares:
        return _limit_law(circular=False)


class Watson(CramerVonMises):
    """Watson's U2: Cramér-von Mises less what the mean of u contributes.

        U2 = W2 - N (mean u - 1/2)^2,   u_i = Phi(x_(i)),   W2 of ``CramerVonMises``                    [1; 2, eq. 2.4]
           = 1/(12 N) + sum_i (g_i - mean g)^2,   g_i = u_i - (2 i - 1)/(2 N)

    It is summed in the second form, where nothing cancels. Null: N(0, 1) fully specified. Law: simulated below N = 128,
    from there on the limit, the sum over j >= 1 of independent chi2_1, two of each weight 1/(2 pi j)^2 [1]. Gradient:
    in proportion to phi(x_i), so it vanishes far out, where u is flat. Cost O(N log N). Shapes, dtypes, p-values and
    errors: ``UnivariateTest``.

    [1] Watson (1961), Biometrika 48, 109-114.
    [2] Stephens (1974), JASA 69, 730-737.
    """

    name = "watson"
    sensitive_to = "scale and shape; little to location"

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
