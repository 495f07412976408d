"""The contract of a null law."""

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


class NullLaw(ABC):
    """Law of a statistic under the null hypothesis; large values of the statistic speak against the null."""

    @abstractmethod
    def survival(self, statistic: Array) -> Array:
        """P(T >= statistic) in float64, elementwise; the shape is kept."""

    @abstractmethod
    def critical_value(self, alpha: float) -> float:
        """The value that the statistic exceeds with probability ``alpha`` under the null.

        Raises:
            ValueError: ``alpha`` outside (0, 1).
        """

    def pvalue(self, statistic: Tensor) -> Tensor:
        """P(T >= statistic), elementwise.

        Args:
            statistic: any shape, floating point.

        Returns:
            The same shape on the same device, float64, no gradient.

        Raises:
            ValueError: ``statistic`` is no floating-point tensor, or holds NaN.
        """
        if not isinstance(statistic, Tensor) or not statistic.is_floating_point():
            raise ValueError("statistic must be a floating-point torch.Tensor; use torch.as_tensor(statistic).double()")
        values = statistic.detach().double().cpu().numpy()
        if np.isnan(values).any():
            raise ValueError("statistic holds NaN; check the sample that it was computed from")
        return torch.from_numpy(np.asarray(self.survival(values), dtype=np.float64)).to(statistic.device)


def check_alpha(alpha: float) -> float:
    """``alpha`` as a float; ``ValueError`` unless it lies inside (0, 1)."""
    alpha = float(alpha)
    if not (math.isfinite(alpha) and 0.0 < alpha < 1.0):
        raise ValueError(f"alpha must lie inside (0, 1), got {alpha}; 0.05 is usual")
    return alpha
