"""The statistic of the samples of all ranks, from sums that are reduced across them: O(S M) numbers, never samples."""

import torch
from torch import Tensor

from sigreg_lab.distributed import all_reduce_sum, mean_over_samples, total_samples
from sigreg_lab.univariate import SumForm


def reduced_statistic(x: Tensor, form: SumForm) -> Tensor:
    """The statistic of the samples of all ranks, of which ``x`` are this rank's, (..., N, M) -> (..., M)."""
    n = torch.as_tensor(total_samples(x.shape[-2], x.device)).to(torch.float64)
    means = form.means(x, mean_over_samples(x.double())) if form.centred else form.means(x)
    return form.value(all_reduce_sum(means * x.shape[-2]) / n, n).to(x.dtype)
