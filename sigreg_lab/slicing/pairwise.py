"""Sums over all pairs of a sample in bounded memory, differentiable.

    S = sum_{j,k} kernel(x_j, x_k)

Pairs are visited in blocks of rows. With a gradient, a block's intermediate values are not kept but computed again in
the backward pass, so that memory is O(block N + N K) and not O(N^2). Callers hand in float64: the statistics made of
these sums are small differences of large ones.

The kernels of this file know a second way: where no gradient is asked for, on a CPU with a compiler, their sums come
from ``kernels/pairs.c``, which keeps no block at all. Both ways agree to rounding.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from sigreg_lab.kernels import native

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

    if isinstance(kernel, Gaussian | Distance | Radial) and _in_c(x):
        total = kernel.sum_in_c(x)
        if total is not None:
            return total

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

    if isinstance(log_kernel, GrowingExponential | CoshCosine) and y is None and _in_c(x):
        scaled = log_kernel.sum_in_c(x)
        if scaled is not None:
            return scaled

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


@dataclass(frozen=True)
class Gaussian:
    """exp(-rate |x_j - x_k|^2)."""

    rate: float

    def __call__(self, rows: Tensor, columns: Tensor) -> Tensor:
        return torch.exp(squared_distances(rows, columns) * -self.rate)

    def sum_in_c(self, x: Tensor) -> Tensor:
        return native.pair_sums("exponential", x, x.square().sum(-1) * -self.rate, c=2 * self.rate)


@dataclass(frozen=True)
class Distance:
    """|x_j - x_k|, exactly 0 at ties."""

    def __call__(self, rows: Tensor, columns: Tensor) -> Tensor:
        return torch.cdist(rows, columns, compute_mode="donot_use_mm_for_euclid_dist")

    def sum_in_c(self, x: Tensor) -> Tensor:
        return native.pair_sums("distance", x)


class ChebyshevSeries(Protocol):
    """A function of q = r^2 that also comes as a polynomial."""

    def __call__(self, q: Tensor) -> Tensor: ...

    def chebyshev(self, radius: float) -> tuple[Tensor, float] | None:
        """Coefficients a_m of sum_m a_m T_m(2 q / R^2 - 1) on [0, R^2], and R >= ``radius``; None if too many."""


@dataclass(frozen=True)
class Radial:
    """function(|x_j - x_k|^2)."""

    function: ChebyshevSeries

    def __call__(self, rows: Tensor, columns: Tensor) -> Tensor:
        return self.function(squared_distances(rows, columns))

    def sum_in_c(self, x: Tensor) -> Tensor | None:
        squares = x.square().sum(-1)
        found = self.function.chebyshev(2 * math.sqrt(float(squares.max())))
        if found is None:
            return None
        coefficients, radius = found
        unit = 4 / radius**2
        return native.pair_sums("chebyshev", x, squares * unit - 1, c=-2 * unit, coefficients=coefficients)


@dataclass(frozen=True)
class GrowingExponential:
    """exp(rate |s|^2) (constant + squared |s|^2 + product x_j'x_k), s = x_j + x_k, as exponent and factor."""

    rate: float
    constant: float = 1.0
    squared: float = 0.0
    product: float = 0.0

    def __call__(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        gram = rows @ columns.mT
        length = rows.square().sum(-1)[..., :, None] + columns.square().sum(-1)[..., None, :] + 2 * gram
        if self.squared == self.product == 0:
            return length * self.rate, length.new_full((), self.constant)
        return length * self.rate, self.product * gram + self.squared * length + self.constant

    def sum_in_c(self, x: Tensor) -> tuple[Tensor, Tensor]:
        squares = x.square().sum(-1)
        largest = squares.amax(-1) * (4 * self.rate)  # of a pair of the longest row with itself
        exponent = squares * self.rate - largest[:, None] / 2
        if self.squared == self.product == 0:
            return self.constant * native.pair_sums("exponential", x, exponent, c=2 * self.rate), largest
        factor = squares * self.squared + self.constant / 2
        slope = 2 * self.squared + self.product
        return native.pair_sums("growing", x, exponent, factor, c=2 * self.rate, a=slope), largest


@dataclass(frozen=True)
class CoshCosine:
    """cosh(rate (|x_j|^2 - |x_k|^2)) cos(2 rate x_j'x_k), as exponent and factor.

    It is the mean over both orders of a pair of exp(rate (|x_j|^2 - |x_k|^2)) cos(2 rate x_j'x_k).
    """

    rate: float

    def __call__(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        difference = rows.square().sum(-1)[..., :, None] - columns.square().sum(-1)[..., None, :]
        size = (difference * self.rate).abs()
        return size, torch.cos(rows @ columns.mT * (2 * self.rate)) * (1 + torch.exp(-2 * size)) / 2

    def sum_in_c(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        squares = x.square().sum(-1) * self.rate
        most, least = squares.amax(-1), squares.amin(-1)
        if not 2 * most.max() <= native.LARGEST_ANGLE:
            return None
        growing, falling = torch.exp(squares - most[:, None]), torch.exp(least[:, None] - squares)
        return native.pair_sums("cosine", x, growing, falling, c=2 * self.rate), most - least


def _in_c(x: Tensor) -> bool:
    """Whether the sums may come from C: plain values in CPU memory, of which nobody wants a derivative."""
    plain = not torch.compiler.is_compiling() and type(x) is Tensor and torch._C._has_storage(x)  # vmap wraps its own
    differentiated = (torch.is_grad_enabled() and x.requires_grad) or forward_ad.unpack_dual(x).tangent is not None
    return plain and not differentiated and x.device.type == "cpu" and x.numel() > 0 and native.has_pair_sums()


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
        result: T = checkpoint(function, rows, columns, use_reentrant=False, preserve_rng_state=False)
        return result
    return function(rows, columns)
