"""Regularisers that take a view's embeddings as they are: no slices are drawn.

    infinite slices    E_a EP({a' z_n}), a uniform on the unit sphere: what SIGReg's M slices estimate              [1]

averaged over views. They cost O(N^2): a sum over all pairs of samples. On several processes the embeddings are
gathered, and each process takes every W-th view.

[1] Balestriero & LeCun (2025), arXiv:2511.08544, Definition 2; the closed form is in ``sigreg_lab.slicing.infinite``.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from sigreg_lab.distributed import all_reduce_sum, gather_samples, rank, world_size
from sigreg_lab.regularizers.base import Regularizer
from sigreg_lab.slicing.infinite import infinite_slice_epps_pulley
from sigreg_lab.univariate import EppsPulley


def mean_over_views(z: Tensor, statistic: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean over views of a statistic of the embeddings of all ranks, each rank taking every W-th view.

    Args:
        z: this rank's embeddings, shape (V, N, K).
        statistic: (v, N, K) -> (v,).
    """
    samples = gather_samples(z).samples
    own = samples[rank() :: world_size()]
    # A rank without a view still takes part in the backward pass of the gather.
    total = statistic(own).sum() if own.shape[0] else 0 * samples.sum()
    return all_reduce_sum(total) / samples.shape[0]


class InfiniteSliceEP(Regularizer):
    """The exact mean over all directions of the Epps-Pulley statistic.

    Args:
        per_view: as for ``SIGReg``.
        t_max, n_points, integration, sigma: as for ``EppsPulley``.

    Raises:
        ValueError: as ``EppsPulley``.
    """

    def __init__(
        self,
        *,
        per_view: bool = True,
        t_max: float = 3.0,
        n_points: int = 17,
        integration: Literal["trapezoid", "exact"] = "trapezoid",
        sigma: float = math.sqrt(2.0),
    ) -> None:
        super().__init__()
        self.per_view = per_view
        self.statistic = EppsPulley(t_max, n_points, integration, sigma)

    def extra_repr(self) -> str:
        return f"per_view={self.per_view}"

    def _value(self, z: Tensor, generator: torch.Generator) -> Tensor:
        if not self.per_view:
            z = z.flatten(0, 1).unsqueeze(0)
        return mean_over_views(z, lambda x: infinite_slice_epps_pulley(x, self.statistic))
