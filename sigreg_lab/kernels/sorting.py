"""Sorting of samples: the order statistics that the tests based on the distribution function share.

    s = x sorted along the samples,   dL/dx_perm(i) = dL/ds_i

The permutation is found once, in the forward pass; the backward pass writes the gradient back through it and sorts
nothing. Several statistics share one sort: hand the result to each with ``presorted=True``. On the CPU NumPy sorts,
many times faster than ``torch.sort`` there, in as many threads as torch has.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.kernels.operation import operation

_LEAST_PER_THREAD = 1 << 16  # values


def sort_samples(x: Tensor) -> Tensor:
    """Order statistics along the sample dimension, ascending; the gradient follows the permutation.

    Args:
        x: samples, shape (..., N, M), floating point.

    Returns:
        A tensor of the same shape and dtype, sorted along dimension -2.
    """
    return _SortSamples.apply(x, torch.is_grad_enabled() and x.requires_grad)[0]


def _describe_sort_last(x: Tensor, with_permutation: bool) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(x.shape if with_permutation else (0,), dtype=torch.int64)


@operation("sort_last", _describe_sort_last)
def _sort_last(x: Tensor, with_permutation: bool) -> tuple[Tensor, Tensor]:
    """Values sorted along the last dimension, and the permutation (empty unless asked for); ``x`` is contiguous."""
    if x.device.type != "cpu" or x.dtype == torch.bfloat16:
        values, permutation = x.sort(dim=-1)
        return values, permutation if with_permutation else permutation.new_empty(0)
    if with_permutation:
        permutation = _in_threads(np.argsort, x)
        return x.gather(-1, permutation), permutation
    return _in_threads(np.sort, x), torch.empty(0, dtype=torch.int64)


def _in_threads(function: Callable[[np.ndarray], np.ndarray], samples_last: Tensor) -> Tensor:
    """``function`` over the last axis; NumPy lets other threads run while it sorts."""
    rows = samples_last.reshape(-1, samples_last.shape[-1]).numpy()
    parts = min(torch.get_num_threads(), rows.size // _LEAST_PER_THREAD, len(rows))
    if parts < 2:
        out = function(rows)
    else:
        with ThreadPoolExecutor(parts) as pool:
            out = np.concatenate(list(pool.map(function, np.array_split(rows, parts))))
    return torch.from_numpy(out).view(samples_last.shape)


class _SortSamples(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, with_permutation: bool) -> tuple[Tensor, Tensor]:
        samples_last = x.transpose(-1, -2).contiguous()
        values, permutation = torch.ops.sigreg_lab.sort_last(samples_last, with_permutation)
        return values.transpose(-1, -2), permutation.transpose(-1, -2) if with_permutation else permutation

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, bool], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None]:
        (permutation,) = ctx.saved_tensors
        return torch.zeros_like(grad).scatter(-2, permutation, grad), None

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, x: Tensor, with_permutation: bool
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int | None]]:
        out = _SortSamples.apply(x.movedim(in_dims[0], 0), with_permutation)
        return out, (0, 0 if with_permutation else None)
