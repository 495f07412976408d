"""Sums over all pairs of a sample in bounded memory, differentiable.

    S = sum_{j,k} kernel(x_j, x_k)

Pairs are visited in blocks of rows. With a gradient, a block's intermediate values are not kept but computed again in
the backward pass, so that memory is O(block N + N K) and not O(N^2). Callers hand in float64: the statistics made of
these sums are small differences of large ones.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

#: Elements of one block of pairs: 4 MiB in float64, what a processor's cache holds.
BLOCK = 2**19

Kernel = Callable[[Tensor, Tensor], Tensor]
T = TypeVar("T")
LogKernel = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def squared_distances(rows: Tensor, columns: Tensor) -> Tensor:
    """|r_j - c_k|^2 for rows (B, b, K) and columns (B, c, K): shape (B, b, c).

    Rounding may leave a tie slightly below 0. It is left there: a clamp would cut the tie's second derivative off.
    """
    gram = rows @ columns.mT
    return rows.square().sum(-1)[..., :, None] + columns.square().sum(-1)[..., None, :] - 2 * gram


def pair_sum(x: Tensor, kernel: Kernel, *, block: int = BLOCK) -> Tensor:
    """Sum of a symmetric kernel over all ordered pairs, j = k included.

    Args:
        x: samples, shape (B, N, K), float64.
        kernel: (rows (B, b, K), columns (B, c, K)) -> (B, b, c), symmetric: only pairs j <= k are visited.
        block: elements of one block of pairs.

    Returns:
        Shape (B,).
    """

    def block_sum(rows: Tensor, columns: Tensor) -> Tensor:
        return _both_orders(kernel(rows, columns))

    return torch.stack([_run(block_sum, x[:, rows], x[:, rows.start :]) for rows in _blocks(x, x, block)]).sum(0)


def pair_scaled_sum(
    x: Tensor, log_kernel: LogKernel, y: Tensor | None = None, *, block: int = BLOCK
) -> tuple[Tensor, Tensor]:
    """Sum over all ordered pairs of a kernel that may overflow, as ``(s, m)`` with S = s exp(m).

    Args:
        x: shape (B, N, K), float64.
        log_kernel: (rows, columns) -> (exponent, factor), each (B, b, c) or broadcast to it; the kernel is
            factor exp(exponent), symmetric unless ``y`` is given.
        y: second members of the pairs, shape (B, C, K); those of ``x`` if not given.
        block: elements of one block of pairs.

    Returns:
        s and m, shape (B,); m is the largest exponent and carries no gradient, s carries it all.
    """

    def block_sum(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        exponent, factor = log_kernel(rows, columns)
        largest = exponent.detach().amax((-2, -1))
        values = factor * torch.exp(exponent - largest[:, None, None])
        return (_both_orders(values) if y is None else values.sum((-2, -1))), largest

    blocks = _blocks(x, x if y is None else y, block)
    parts = [_run(block_sum, x[:, rows], x[:, rows.start :] if y is None else y) for rows in blocks]
    shifts = torch.stack([shift for _, shift in parts])
    largest = shifts.amax(0)
    total = (torch.stack([value for value, _ in parts]) * torch.exp(shifts - largest)).sum(0)
    return total, largest


def _both_orders(values: Tensor) -> Tensor:
    """Sum of a symmetric kernel's block whose columns begin at its first row: later columns stand for both orders."""
    square = values.shape[1]
    return values[..., :square].sum((-2, -1)) + 2 * values[..., square:].sum((-2, -1))


def _blocks(x: Tensor, y: Tensor, block: int) -> list[slice]:
    n = x.shape[1]
    step = max(1, block // (x.shape[0] * y.shape[1]))
    return [slice(start, min(n, start + step)) for start in range(0, n, step)]


def _run(function: Callable[[Tensor, Tensor], T], rows: Tensor, columns: Tensor) -> T:
    if torch.is_grad_enabled() and (rows.requires_grad or columns.requires_grad):
        result: T = checkpoint(function, rows, columns, use_reentrant=False)
        return result
    return function(rows, columns)
