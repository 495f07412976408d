"""Laws of test statistics under the null hypothesis; this room knows no statistic.

A law answers two questions, both for the upper tail (large values speak against the null): ``pvalue(statistic)``,
batched, and ``critical_value(alpha)``, the threshold that a statistic exceeds with probability ``alpha``. It holds for
independent rows; ``split_groups`` and ``combine_pvalues`` serve where rows depend in groups.
"""

from sigreg_lab.nulls.closed_form import ChiSquared, KolmogorovSmirnov, LogNormal, Normal
from sigreg_lab.nulls.dependence import combine_pvalues, split_groups
from sigreg_lab.nulls.law import NullLaw
from sigreg_lab.nulls.monte_carlo import MonteCarlo
from sigreg_lab.nulls.simulated import forget_laws, simulated_law
from sigreg_lab.nulls.weighted_chi_squares import WeightedChiSquares

__all__ = [
    "ChiSquared",
    "KolmogorovSmirnov",
    "LogNormal",
    "MonteCarlo",
    "Normal",
    "NullLaw",
    "WeightedChiSquares",
    "combine_pvalues",
    "forget_laws",
    "simulated_law",
    "split_groups",
]
