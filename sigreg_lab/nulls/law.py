"""The contract of a null law."""

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sigreg_lab.arrays import ArrayLike, Kind, as_levels, as_tensor

Array = NDArray[np.float64]


class NullLaw(ABC):
    """Law of a statistic under the null hypothesis; large values of the statistic speak against the null.

    Attributes:
        kind: "asymptotic", the limit for large samples, "exact" or "simulated".
        replicates: of the simulation; None if nothing was simulated.
    """

    kind: str = "asymptotic"
    replicates: int | None = None

    @abstractmethod
    def survival(self, statistic: Array) -> Array:
        """P(T >= statistic) in float64, elementwise; the shape is kept."""

    @abstractmethod
    def threshold(self, alpha: float) -> float:
        """``critical_value`` of one level inside (0, 1)."""

    def critical_value(self, alpha: ArrayLike) -> Any:
        """The value that the statistic exceeds with probability ``alpha`` under the null.

        Args:
            alpha: a level, or several.

        Returns:
            A float; for several levels a value for each, in the kind of ``alpha``: an array, a tensor, a Series.

        Raises:
            ValueError: ``alpha`` outside (0, 1), or too small for the number of replicates of a simulated law.
        """
        levels, give = as_levels(alpha, check_alpha)
        return give([self.threshold(level) for level in levels])

    def pvalue(self, statistic: ArrayLike) -> Any:
        """P(T >= statistic), elementwise.

        Args:
            statistic: any shape; a floating-point tensor, or an array-like.

        Returns:
            The same shape, float64, in the caller's kind: a tensor on the same device and without gradient, a float,
            an array, a Series.

        Raises:
            ValueError: ``statistic`` is a tensor that is not floating point, or holds NaN.
        """
        value, labels = as_tensor(statistic, "statistic")
        if not value.is_floating_point():
            raise ValueError("statistic must be a floating-point tensor, or an array; statistic.double() makes it one")
        if value.isnan().any():
            raise ValueError("statistic holds NaN; check the sample that it was computed from")
        pvalues = torch.from_numpy(np.asarray(self.survival(self._least(value)), dtype=np.float64)).to(value.device)
        return Kind(labels is None, labels[-1] if labels else None).give(pvalues, "pvalue")

    def _least(self, statistic: Tensor) -> Array:
        """The values to rank, float64."""
        return statistic.detach().double().cpu().numpy()


def check_levels(alpha: ArrayLike) -> None:
    """Raise ``ValueError`` unless ``alpha``, one level or several, lies inside (0, 1)."""
    as_levels(alpha, check_alpha)


def check_alpha(alpha: float) -> float:
    """``alpha`` as a float; ``ValueError`` unless it lies inside (0, 1)."""
    alpha = float(alpha)
    if not (math.isfinite(alpha) and 0.0 < alpha < 1.0):
        raise ValueError(f"alpha must lie inside (0, 1), got {alpha}; 0.05 is usual")
    return alpha
