"""Sums and gathers over the processes of ``torch.distributed``, seen by autograd.

With x_r the tensor of rank r of W, and L_r the loss that rank r computes from the result:

    all_reduce_sum    y = sum_r x_r                       dL/dx_r = sum_s dL_s/dy
    gather_samples    y = concatenation of the x_r        dL/dx_r = the own part of sum_s dL_s/dy

The backward passes are the true adjoints of the forward passes, so they communicate too. A loss that every rank
computes equal to that of the whole batch therefore has gradients that sum to W times the right one, and the mean
over ranks that ``DistributedDataParallel`` takes is the gradient of one process on the whole batch. (A plain
``torch.distributed.all_reduce`` is not seen by autograd; it leaves the gradient short by the factor W.)

Every function here is a collective: all ranks have to call it, in the same order. Without an initialised process
group, or in a group of one, nothing is sent and the input comes back as it is. NaN and infinity pass through.
"""

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from sigreg_lab.validation import at_least_float32


def world_size() -> int:
    """Number of processes W; 1 without an initialised process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, 0 .. W - 1; 0 without an initialised process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def on_all_ranks(condition: bool, device: torch.device) -> bool:
    """Whether it holds on every rank: what is to be known before ranks part ways, one into a collective, one not.

    Args:
        condition: this rank's.
        device: that of the samples: NCCL sends tensors of its GPU alone, gloo those of the CPU.
    """
    if world_size() == 1:
        return condition
    flag = torch.full((), int(condition), device=device)
    dist.all_reduce(flag, op=dist.ReduceOp.MIN)
    return bool(flag)


def agreed_step(step: int | Tensor, device: torch.device) -> int:
    """The largest step of all ranks, for what is seeded by it: all then draw the same, whatever each has counted.

    Without other ranks nothing is sent; with them the host waits for that number.

    Args:
        step: this rank's.
        device: where the collective runs; that of the samples.
    """
    if world_size() > 1:
        step = torch.as_tensor(step).to(device, copy=True)
        dist.all_reduce(step, op=dist.ReduceOp.MAX)
    return int(step)


def leave_group() -> None:
    """End this process's part in the process group, if there is one; all ranks do so together, and send nothing after.

    torch asks for it where communication ends: NCCL's shutdown is a collective, and a rank that goes on alone for long
    would let the others wait in theirs.
    """
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _AllReduceSum.apply(grad)


def all_reduce_sum(x: Tensor) -> Tensor:
    """Sum of ``x`` over all ranks, differentiable.

    Args:
        x: the same shape on all ranks. bfloat16 and float16 are lifted to float32: no sum is taken in low precision.

    Returns:
        The sum, on every rank; without other ranks ``x`` itself (lifted).
    """
    x = at_least_float32(x)
    return x if world_size() == 1 else _AllReduceSum.apply(x)


def total_samples(num_samples: int, device: torch.device) -> int | Tensor:
    """Sum over the ranks of their numbers of samples, counted in int64.

    Args:
        num_samples: this rank's number.
        device: where the collective runs; that of the samples.

    Returns:
        An int without other ranks; else an int64 scalar on ``device``, which nobody has to wait for.
    """
    if world_size() == 1:
        return num_samples
    return all_reduce_sum(torch.full((), num_samples, dtype=torch.int64, device=device))  # made there, not copied


def mean_over_samples(x: Tensor, dim: int = -2) -> Tensor:
    """Mean over dimension ``dim`` of the samples of all ranks, differentiable; their numbers may differ.

    Args:
        x: the same shape on all ranks but for ``dim``.
        dim: the dimension that counts samples; it is dropped.

    Returns:
        The mean, float32 or better, on every rank.
    """
    x = at_least_float32(x)
    if world_size() == 1:
        return x.mean(dim)
    return all_reduce_sum(x.sum(dim)) / total_samples(x.shape[dim], x.device)


class _AllGather(torch.autograd.Function):
    """Concatenation along dimension 0 of tensors of ``sizes[r]`` rows, of which this rank's begin at ``start``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: list[int], start: int) -> Tensor:
        ctx.start, ctx.own = start, x.shape[0]
        padded = x.new_zeros((max(sizes), *x.shape[1:]))
        padded[: x.shape[0]] = x
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _AllReduceSum.apply(grad).narrow(0, ctx.start, ctx.own), None, None


class Gathered(NamedTuple):
    """Samples of all ranks, in rank order, and where this rank's begin."""

    samples: Tensor
    start: int


def gather_samples(x: Tensor, dim: int = -2) -> Gathered:
    """The samples of all ranks, concatenated along ``dim``, differentiable; their numbers may differ.

    For statistics that are no function of sums, such as those of sorted samples or of pairs. The ranks tell each other
    their numbers first, for which a GPU waits.

    Args:
        x: the same shape on all ranks but for ``dim``.
        dim: the dimension that counts samples.

    Returns:
        ``Gathered(samples, start)``.
    """
    if world_size() == 1:
        return Gathered(x, 0)
    size = torch.tensor([x.shape[dim]], dtype=torch.int64, device=x.device)
    sizes = [torch.empty_like(size) for _ in range(world_size())]
    dist.all_gather(sizes, size)
    counts = [int(count) for count in sizes]
    start = sum(counts[: rank()])
    samples = _AllGather.apply(x.movedim(dim, 0).contiguous(), counts, start).movedim(0, dim)
    return Gathered(samples, start)
