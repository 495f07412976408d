"""Projections on structured random directions (HD3) without ever forming them.

    p = x A,   A = columns of D1 H D2 H D3 H / n^(3/2), cut to K rows and normalised,   D_r = diag(signs[b, r])   [1]

H is Sylvester's Hadamard matrix, n the power of two from K up; block b gives n directions. A row costs three sign flips
and three fast transforms, 3 n log2 n additions, instead of 2 K n operations, and the directions need 3 n random bits
instead of K n normal numbers. The map is linear, its gradient the transposed map.
Where K is no power of two the columns lose their rows beyond K and are rescaled to length 1; their lengths come from
the rows that they lose, which costs as much as n - K more samples.

[1] Yu et al. (2016), Orthogonal random features, NeurIPS; Choromanski et al. (2017), NeurIPS.
"""

from typing import Any

import torch
from torch import Tensor

from sigreg_lab.kernels.dispatch import choose_backend
from sigreg_lab.kernels.operation import operation
from sigreg_lab.validation import at_least_float32

LARGEST = 1 << 16  # one row lies on the stack
TRITON_SIZES = 32, 1 << 14  # a warp's threads have an element each; a row lies in the registers of one program
_ROWS = 256  # of the directions that are made at a time


def hd3_project(x: Tensor, signs: Tensor, num_slices: int | None = None, *, backend: str = "auto") -> Tensor:
    """Projections of a sample on structured directions.

    Args:
        x: sample, shape (..., N, K), floating point; bfloat16 and float16 are lifted to float32.
        signs: +-1, shape (blocks, rounds, n), n the power of two from K up (``sigreg_lab.slicing.hd3_signs``); on the
            device of ``x``.
        num_slices: M, at most blocks n; all of them if not given.
        backend: "auto", "eager", "cpu" or "triton"; there is no compiled form.

    Returns:
        Shape (..., N, M), of the dtype of ``x``: what ``x @ directions`` gives for the dense form of the directions.

    Raises:
        ValueError: a shape that does not fit, inputs on different devices, an unknown backend, "compile".
        BackendUnavailable: a forced backend cannot run here.
    """
    num_slices = _check(x, signs, num_slices)
    if backend == "compile":
        raise ValueError("backend 'compile' has no Hadamard transform; use 'auto', 'eager', 'cpu' or 'triton'")
    x = at_least_float32(x)
    dim, n = x.shape[-1], signs.shape[-1]
    signs = signs.to(x.dtype)
    projections = _Hadamard.apply(x, signs, num_slices, False, backend)
    if dim == n:
        return projections
    with torch.no_grad():
        lengths = hd3_lengths(dim, signs, num_slices, backend)
    return projections / lengths.to(x.dtype)


def check_signs(x: Tensor, signs: Tensor) -> None:
    """Raise ``ValueError`` unless these are signs for ``x``, on its device."""
    if not x.is_floating_point() or x.ndim < 2:
        raise ValueError(f"x must be floating point, of shape (..., N, K); got {x.dtype}, {tuple(x.shape)}")
    n = 1 << (x.shape[-1] - 1).bit_length()
    if signs.ndim != 3 or signs.shape[-1] != n:
        raise ValueError(
            f"signs must have shape (blocks, rounds, n) with n = {n}, the power of two from K = {x.shape[-1]} up; "
            f"got {tuple(signs.shape)}"
        )
    if signs.device != x.device:
        raise ValueError(f"signs lie on {signs.device} and x on {x.device}; move them with signs.to(x.device)")


def _check(x: Tensor, signs: Tensor, num_slices: int | None) -> int:
    check_signs(x, signs)
    most = signs.shape[0] * signs.shape[2]
    num_slices = most if num_slices is None else num_slices
    if not 1 <= num_slices <= most:
        raise ValueError(f"num_slices must be between 1 and {most} = blocks n, got {num_slices}")
    return num_slices


def hd3_lengths(dim: int, signs: Tensor, num_slices: int, backend: str) -> Tensor:
    """Lengths of the columns cut to ``dim`` rows, shape (num_slices,), float64.

    A whole column has length 1, and the rows cut off are the fewer. Their entries are integers over n^(rounds/2), and
    exact once rounded to them, so that nothing is lost in the difference.
    """
    rounds, n = signs.shape[1:]
    cut = torch.zeros(num_slices, dtype=torch.float64, device=signs.device)
    for start in range(dim, n, _ROWS):
        stop = min(start + _ROWS, n)
        unit_vectors = torch.eye(stop - start, dtype=signs.dtype, device=signs.device)
        unit_vectors = torch.nn.functional.pad(unit_vectors, (start, n - stop))
        rows = torch.ops.sigreg_lab.hadamard(unit_vectors, signs, num_slices, False, backend)
        cut += (rows.double() * n ** (rounds / 2)).round().square().sum(0)
    return (1 - cut / n**rounds).sqrt()


def hadamard_transform(x: Tensor) -> Tensor:
    """x H over the last dimension, whose length is a power of two; entries of H are +-1, not scaled.

    H is the Kronecker product of two smaller ones, so that the transform is two small matrix products.
    """
    log = x.shape[-1].bit_length() - 1
    left, right = (_sylvester(1 << part, x) for part in (log - log // 2, log // 2))
    grid = x.reshape(*x.shape[:-1], left.shape[0], right.shape[0])
    return (left @ grid @ right).reshape(x.shape)


def _sylvester(n: int, like: Tensor) -> Tensor:
    """Hadamard matrix of size ``n``, in the dtype and on the device of ``like``."""
    h = torch.ones(1, 1, dtype=like.dtype, device=like.device)
    while h.shape[0] < n:
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)])
    return h


def _eager(x: Tensor, signs: Tensor, num_slices: int, transposed: bool) -> Tensor:
    blocks, rounds, n = signs.shape
    if transposed:
        g = torch.nn.functional.pad(x, (0, blocks * n - num_slices)).view(-1, blocks, n)
        for r in reversed(range(rounds)):
            g = hadamard_transform(g) * signs[:, r]
        return g.sum(1)
    y = torch.nn.functional.pad(x, (0, n - x.shape[-1])).unsqueeze(1)
    for r in range(rounds):
        y = hadamard_transform(y * signs[:, r])
    return y.flatten(1)[:, :num_slices]


def _describe_hadamard(x: Tensor, signs: Tensor, num_slices: int, transposed: bool, backend: str) -> Tensor:
    return x.new_empty(*x.shape[:-1], signs.shape[-1] if transposed else num_slices)


@operation("hadamard", _describe_hadamard)
def _hadamard(x: Tensor, signs: Tensor, num_slices: int, transposed: bool, backend: str) -> Tensor:
    """The map, (..., K) -> (..., num_slices); transposed, (..., num_slices) -> (..., n), of which K are wanted."""
    rounds, n = signs.shape[1:]
    scale = n ** (-rounds / 2)
    width = n if transposed else num_slices
    if x.numel() == 0:
        return x.new_zeros(*x.shape[:-1], width)
    rows = x.reshape(-1, x.shape[-1])
    chosen = choose_backend(backend, x.device, x.dtype)
    if chosen == "cpu" and 16 <= n <= LARGEST:
        from sigreg_lab.kernels import native

        out = native.hadamard(rows, signs, num_slices, transposed, scale)
    elif chosen == "triton" and TRITON_SIZES[0] <= n <= TRITON_SIZES[1]:
        from sigreg_lab.kernels import triton_hadamard

        out = triton_hadamard.hadamard(rows, signs, num_slices, transposed, scale)
    else:
        out = _eager(rows, signs, num_slices, transposed).mul_(scale)
    return out.reshape(*x.shape[:-1], width).contiguous()


class _Hadamard(torch.autograd.Function):
    """``apply(x, signs, num_slices, transposed, backend)``; each direction is the other's gradient."""

    @staticmethod
    def forward(x: Tensor, signs: Tensor, num_slices: int, transposed: bool, backend: str) -> Tensor:
        return torch.ops.sigreg_lab.hadamard(x, signs, num_slices, transposed, backend)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, signs, ctx.num_slices, ctx.transposed, ctx.backend = inputs
        ctx.dim = x.shape[-1]
        ctx.save_for_backward(signs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (signs,) = ctx.saved_tensors
        grad_x = _Hadamard.apply(grad, signs, ctx.num_slices, not ctx.transposed, ctx.backend)
        return grad_x[..., : ctx.dim], None, None, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, x: Tensor, signs: Tensor, num_slices: int, transposed: bool, backend: str
    ) -> tuple[Tensor, int]:
        if in_dims[1] is not None:
            raise ValueError("vmap maps over views of x only; the signs are shared")
        return _Hadamard.apply(x.movedim(in_dims[0], 0), signs, num_slices, transposed, backend), 0
