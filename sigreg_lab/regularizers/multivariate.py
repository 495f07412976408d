"""Regularisers that take a view's embeddings as they are: a multivariate statistic, no slices.

On several processes the embeddings are gathered, and each process takes every W-th view.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sigreg_lab.distributed import all_reduce_sum, gather_samples, rank, world_size
from sigreg_lab.multivariate import MultivariateTest
from sigreg_lab.regularizers.base import Regularizer


class MultivariateRegularizer(Regularizer):
    """Mean over views of a multivariate statistic.

        R(z) = 1/V sum_v T({z_vn}_n)

    With the infinite-slice Epps-Pulley statistic it is the exact value that SIGReg's M slices estimate [1]; with BHEP
    it is the weighted L2 distance of the characteristic functions in K dimensions [2]; with KSD and InfiniteSliceKSD
    it is KerJEPA's kernel Stein discrepancy, unsliced and analytically sliced [3]. Formula, gradient and source of
    T stand with the statistic, in ``sigreg_lab.multivariate``. Cost: V times that of T, O(N^2 K) for most. Shapes,
    dtypes and errors of a call: ``Regularizer``.

    Args:
        statistic: the statistic T.
        per_view: False takes it once over all V N embeddings, as for ``SIGReg``.

    Raises:
        TypeError: ``statistic`` is no ``MultivariateTest``, or is the class instead of an instance.
        ValueError: in use, what ``statistic`` refuses.

    [1] Balestriero & LeCun (2025), arXiv:2511.08544, Definition 2.
    [2] Baringhaus & Henze (1988), Metrika 35, 339-348.
    [3] Zimmermann, Wiltzer, Szeto, Alvarez-Melis & Mackey (2025), arXiv:2512.19605.
    """

    def __init__(self, statistic: MultivariateTest, *, per_view: bool = True) -> None:
        super().__init__()
        if not isinstance(statistic, MultivariateTest):
            raise TypeError(f"statistic must be an instance of MultivariateTest, such as BHEP(), got {statistic!r}")
        self.statistic = statistic
        self.per_view = per_view
        self.capturable = not statistic.reads_values

    def extra_repr(self) -> str:
        return f"per_view={self.per_view}"

    def _value(self, z: Tensor, generator: torch.Generator) -> Tensor:
        if not self.per_view:
            z = z.flatten(0, 1).unsqueeze(0)
        return mean_over_views(z, self.statistic)


def mean_over_views(z: Tensor, statistic: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean over views of a statistic of all ranks' embeddings, each rank taking every W-th view.

    Args:
        z: this rank's embeddings, shape (V, N, K).
        statistic: (V, N, K) -> (V,).
    """
    samples = gather_samples(z).samples
    own = samples[rank() :: world_size()]
    # A rank without a view still takes part in the backward pass of the gather.
    total = statistic(own).sum() if own.shape[0] else 0 * samples.sum()
    return all_reduce_sum(total) / samples.shape[0]
