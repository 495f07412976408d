"""The official package's sliced test, under its own names, on this library's parts."""

from typing import Literal

import torch
from torch import Tensor

from sigreg_lab.slicing import iid_directions, seeded_generator, sliced_statistic
from sigreg_lab.univariate import UnivariateTest


class SlicingUnivariateTest(torch.nn.Module):
    """A univariate statistic on random slices, drawn anew at each call.

    Args:
        univariate_test: the statistic.
        num_slices: M, directions per call.
        reduction: "mean", "sum" or None (one value per slice); over the batch dimensions too, as in the official code.
        sampler: "gaussian", independent uniform directions.
        clip_value: values below it count as 0.

    The directions of call number i are seeded by i (buffer ``global_step``), so that ranks that have made the same
    number of calls project on the same directions, and a checkpoint restores the sequence.

    Raises:
        ValueError: an unknown ``reduction`` or ``sampler``, ``num_slices`` below 1.
    """

    global_step: Tensor

    def __init__(
        self,
        univariate_test: UnivariateTest,
        num_slices: int,
        reduction: Literal["mean", "sum"] | None = "mean",
        sampler: str = "gaussian",
        clip_value: float | None = None,
    ) -> None:
        super().__init__()
        if reduction not in ("mean", "sum", None):
            raise ValueError(f"reduction must be 'mean', 'sum' or None, got {reduction!r}")
        if sampler != "gaussian":
            raise ValueError(f"sampler must be 'gaussian', got {sampler!r}")
        if num_slices < 1:
            raise ValueError(f"num_slices must be at least 1, got {num_slices}")
        self.univariate_test = univariate_test
        self.num_slices = num_slices
        self.reduction = reduction
        self.sampler = sampler
        self.clip_value = clip_value
        self.register_buffer("global_step", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        """The reduced statistic of ``x``, shape (..., N, K): a scalar, or (..., M) for ``reduction=None``."""
        generator = seeded_generator(int(self.global_step))
        directions = iid_directions(x.shape[-1], self.num_slices, generator=generator, device=x.device)
        self.global_step.add_(1)
        value = sliced_statistic(x, self.univariate_test, directions, reduction="none")
        if self.clip_value is not None:
            value = torch.where(value < self.clip_value, 0.0, value)
        if self.reduction is None:
            return value
        return value.mean() if self.reduction == "mean" else value.sum()
