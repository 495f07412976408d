"""Regularisers that take a view's embeddings as they are: a multivariate statistic, no slices.

    R(z) = 1/V sum_v T({z_vn}_n)

With the infinite-slice Epps-Pulley statistic it is the exact value that SIGReg's M slices estimate; with BHEP it is the
weighted L2 distance of the characteristic functions in K dimensions. Formulas and sources stand with the statistics, in
``sigreg_lab.multivariate``. They cost O(N^2): a sum over all pairs of samples. On several processes the embeddings are
gathered, and each process takes every W-th view.
"""

import torch
from torch import Tensor

from sigreg_lab.distributed import all_reduce_sum, gather_samples, rank, world_size
from sigreg_lab.multivariate import MultivariateTest
from sigreg_lab.regularizers.base import Regularizer


class MultivariateRegularizer(Regularizer):
    """Mean over views of a multivariate statistic.

    Args:
        statistic: the statistic T.
        per_view: False takes it once over all V N embeddings, as for ``SIGReg``.
    """

    def __init__(self, statistic: MultivariateTest, *, per_view: bool = True) -> None:
        super().__init__()
        self.statistic = statistic
        self.per_view = per_view

    def extra_repr(self) -> str:
        return f"per_view={self.per_view}"

    def _value(self, z: Tensor, generator: torch.Generator) -> Tensor:
        if not self.per_view:
            z = z.flatten(0, 1).unsqueeze(0)
        samples = gather_samples(z).samples
        own = samples[rank() :: world_size()]
        # A rank without a view still takes part in the backward pass of the gather.
        total = self.statistic(own).sum() if own.shape[0] else 0 * samples.sum()
        return all_reduce_sum(total) / samples.shape[0]
