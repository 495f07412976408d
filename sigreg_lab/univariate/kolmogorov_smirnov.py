"""Kolmogorov-Smirnov: a test, unsuitable as a loss."""

import torch
from torch import Tensor

from sigreg_lab import nulls
from sigreg_lab.univariate.empirical_distribution import EmpiricalDistributionTest, plotting_positions


class KolmogorovSmirnov(EmpiricalDistributionTest):
    """Kolmogorov-Smirnov statistic: the largest gap between the empirical distribution function F_N and Phi.

        D = sup |F_N - Phi| = max_i max(i/N - u_i, u_i - (i - 1)/N),   u_i = Phi(x_(i))                          [1]

    Not multiplied by sqrt(N), as in SciPy. Null: N(0, 1) fully specified. Law: exact at every N [2], which stands for
    "asymptotic" too. Gradient: that of one sample, the one at which the largest gap lies; hence no loss. Cost
    O(N log N). Shapes, dtypes, p-values and errors: ``UnivariateTest``.

    [1] Smirnov (1948), Annals of Mathematical Statistics 19, 279-281.
    [2] Simard & L'Ecuyer (2011), Journal of Statistical Software 39(11).
    """

    name = "kolmogorov_smirnov"
    sensitive_to = "any departure, the centre most: location above all"
    suitable_as_loss = False
    asymptotic_from = 2

    def _from_cdf(self, u: Tensor) -> Tensor:
        gap = torch.abs(u - plotting_positions(u))
        return gap.amax(-2) + 1 / (2 * u.shape[-2])

    def asymptotic_law(self, n: int) -> nulls.KolmogorovSmirnov:
        return nulls.KolmogorovSmirnov(n)
