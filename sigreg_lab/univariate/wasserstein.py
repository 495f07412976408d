"""Squared Wasserstein distance of order 2 between a sample and N(0, 1). The arithmetic is in float64."""

from functools import lru_cache
from typing import Literal

import numpy as np
from torch import Tensor

from sigreg_lab.nulls.law import Array
from sigreg_lab.univariate.base import UnivariateTest
from sigreg_lab.validation import table

QUANTILES = ("midpoint", "mean", "exact")


class Wasserstein(UnivariateTest):
    """Squared 2-Wasserstein distance to N(0, 1).

        W = 1/N sum_i (x_(i) - q_i)^2,   q_i = Phi^-1((i - 1/2)/N) "midpoint",  Phi^-1(i/(N + 1)) "mean"      [1, 2]
        W = int_0^1 (F_N^-1(p) - Phi^-1(p))^2 dp
          = 1/N sum_i x_i^2 - 2 sum_i x_(i) (phi(z_(i-1)) - phi(z_i)) + 1,   z_i = Phi^-1(i/N)           "exact" [1]

    Its mean over slices is the sliced Wasserstein distance, the shape term of VISReg [2]. It carries no factor N. Null:
    N(0, 1) fully specified. Law: simulated (N W has no limit law: its mean grows like log log N [1]). Gradient:
    2/N (x_(i) - q_i), at every sample and at any distance; for "exact" q_i = N (phi(z_(i-1)) - phi(z_i)). Cost
    O(N log N). Shapes, dtypes, p-values and errors: ``UnivariateTest``.

    Args:
        quantiles: "midpoint", quantiles at (i - 1/2)/N; "mean", at i/(N + 1); "exact", the distance itself.

    Raises:
        ValueError: unknown ``quantiles``.

    [1] del Barrio, Giné & Utzet (2005), Bernoulli 11, 131-189.
    [2] Wu, Balestriero & Levine (2026), VISReg, arXiv:2606.02572.
    """

    name = "wasserstein"
    sensitive_to = "any departure, in units of x: location, scale, tails"
    uses_order = True

    def __init__(self, quantiles: Literal["midpoint", "mean", "exact"] = "midpoint") -> None:
        super().__init__()
        if quantiles not in QUANTILES:
            raise ValueError(f"quantiles must be one of {', '.join(QUANTILES)}, got {quantiles!r}")
        self.quantiles = quantiles

    def extra_repr(self) -> str:
        return f"quantiles={self.quantiles!r}"

    def _statistic(self, x: Tensor) -> Tensor:
        s = x.double()
        n = s.shape[-2]
        _, constant = _scores(n, self.quantiles)
        value = ((s - _column(s.device, n, self.quantiles)) ** 2).mean(-2) + constant
        return value.to(x.dtype)


@lru_cache(maxsize=64)
def _scores(n: int, quantiles: str) -> tuple[Array, float]:
    """Quantiles q and a constant c, so that W = mean (x_(i) - q_i)^2 + c.

    For "exact", q_i is the mean of N(0, 1) over its i-th part of mass 1/N, and c what is lost within the parts.
    """
    from scipy.special import ndtri

    rank = np.arange(1, n + 1)
    if quantiles == "mean":
        return ndtri(rank / (n + 1)), 0.0
    if quantiles == "midpoint":
        return ndtri((rank - 0.5) / n), 0.0
    density = np.exp(-(ndtri(np.arange(n + 1) / n) ** 2) / 2) / np.sqrt(2 * np.pi)
    means = -n * np.diff(density)
    return means, float(1 - (means**2).mean())


_column = table(lambda n, quantiles: _scores(n, quantiles)[0][:, None])
