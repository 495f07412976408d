"""The contract of a univariate statistic: a sample goes in, a number comes out.

A statistic measures how far a sample is from N(0, 1), both parameters known ("case 0"), over dimension -2: shape
(..., N, M) gives (..., M), and (N,) gives a scalar. It is differentiable; larger means further away.
"""

from typing import ClassVar

import torch
from torch import Tensor

from sigreg_lab.kernels import sort_samples
from sigreg_lab.validation import at_least_float32, check_sample


class UnivariateTest(torch.nn.Module):
    """Base of all univariate statistics.

    A subclass sets the class attributes and writes ``_statistic``, the formula alone: it receives (..., N, M) in
    float32 or float64, sorted along dimension -2 if ``uses_order`` is set, and returns (..., M).

    Attributes:
        name: the name in registries, rows and tables.
        sensitive_to: which departures from N(0, 1) it reacts to, in a few words.
        min_samples: the least N for which it is defined.
        uses_order: whether the formula needs the sorted sample.
    """

    name: ClassVar[str]
    sensitive_to: ClassVar[str]
    min_samples: ClassVar[int] = 2
    uses_order: ClassVar[bool] = False

    def forward(self, x: Tensor) -> Tensor:
        """The statistic of each column.

        Args:
            x: samples, shape (..., N, M) or (N,), floating point. bfloat16 and float16 are lifted to float32;
                autocast is switched off inside; float64 stays float64.

        Returns:
            Shape (..., M), or a scalar for (N,); float32, or float64 for float64 input.

        Raises:
            ValueError: ``x`` is no floating-point tensor, is empty, has NaN or infinite values, or fewer than
                ``min_samples`` samples.
        """
        check_sample(x, "x", ndim=1, min_samples=self.min_samples, sample_dim=-1 if x.ndim == 1 else -2)
        return self.unchecked(x)

    def unchecked(self, x: Tensor, *, presorted: bool = False) -> Tensor:
        """``forward`` without its checks, for callers that have checked already.

        Args:
            x: as for ``forward``.
            presorted: ``x`` is sorted along dimension -2 already, as when several statistics share one sort.
        """
        with torch.autocast(device_type=x.device.type, enabled=False):
            x = at_least_float32(x)
            columns = x.unsqueeze(-1) if x.ndim == 1 else x
            if self.uses_order and not presorted:
                columns = sort_samples(columns)
            value = self._statistic(columns)
        return value.squeeze(-1) if x.ndim == 1 else value

    def _statistic(self, x: Tensor) -> Tensor:
        raise NotImplementedError
