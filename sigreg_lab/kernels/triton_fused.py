# mypy: disable-error-code="no-untyped-def"
"""Triton kernels from embeddings and directions to sums and gradients, which never store the projections.

    p = (x A) r on the tensor cores, float32 accumulation; sums and polynomials as in ``triton_sums``
    sums:      x (B, N, K), A (K, M), r (M,) -> partial sums (B, N / BLOCK_N, 2, order, M)
    gradient:  x, A, r, coefficients -> G (B, N, M), then dx = G A' by the vendor's library

The gradient computes p a second time: a product in bfloat16 is cheaper than writing float32 projections and reading
them twice. Embeddings in bfloat16 keep A and G in bfloat16, all else is float32. r is the norm of a direction over that
of its rounded numbers: a norm that is off changes the scale of all projections alike, which the statistic sees before
anything else (study ``precision``); a direction turned by its rounding hardly matters. G is made for as many slices at
a time as ``GRADIENT_BYTES`` hold. The dimension is a constant of the kernel: it bounds a loop, and a model has but one.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sigreg_lab.kernels.characteristic_function import gradient_coefficients
from sigreg_lab.kernels.dispatch import interpreting
from sigreg_lab.kernels.triton_sums import (
    BLOCK_N,
    CHEBYSHEV_ORDER,
    empty_partial_sums,
    fixed_blocks,
    grid,
    polynomial,
    split,
    store_sums,
    tuned,
)

GRADIENT_BYTES = 64 << 20
BLOCK_K = 32
UPCAST = tl.constexpr(interpreting())  # the interpreter multiplies the raw bits of bfloat16 in tl.dot


@triton.jit
def _project(x_ptr, a_ptr, r_ptr, rows, columns, num_samples, dim: tl.constexpr, num_slices, a_stride,
             BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr):  # fmt: skip
    p = tl.zeros([BLOCK_N, BLOCK_M], tl.float32)
    for start in range(0, dim, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        in_x = (rows < num_samples)[:, None] & (k < dim)[None, :]
        in_a = (k < dim)[:, None] & (columns < num_slices)[None, :]
        x = tl.load(x_ptr + rows[:, None] * dim + k[None, :], mask=in_x, other=0.0)
        a = tl.load(a_ptr + k[:, None] * a_stride + columns[None, :], mask=in_a, other=0.0)
        if UPCAST:
            x = x.to(tl.float32)
            a = a.to(tl.float32)
        p = tl.dot(x, a, p, input_precision="ieee")
    return p * tl.load(r_ptr + columns, mask=columns < num_slices, other=0.0)[None, :]


@triton.jit
def _sums_kernel(x_ptr, a_ptr, r_ptr, partial_ptr, num_samples, dim: tl.constexpr, num_slices, a_stride, step, step_low,
                 ORDER: tl.constexpr, CHEBYSHEV: tl.constexpr,
                 BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr):  # fmt: skip
    part = tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)
    rows = part * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    x_ptr += batch * num_samples * dim
    p = _project(x_ptr, a_ptr, r_ptr, rows, columns, num_samples, dim, num_slices, a_stride, BLOCK_N, BLOCK_M, BLOCK_K)
    partial_ptr += (batch * tl.num_programs(1) + part) * 2 * ORDER * num_slices
    store_sums(p, rows, num_samples, columns, partial_ptr, num_slices, step, step_low, ORDER, CHEBYSHEV)


@triton.jit
def _gradient_kernel(x_ptr, a_ptr, r_ptr, ab_ptr, g_ptr, num_samples, dim: tl.constexpr, num_slices, a_stride,
                     step, step_low, ORDER: tl.constexpr, CHEBYSHEV: tl.constexpr,
                     BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr):  # fmt: skip
    batch = tl.program_id(2).to(tl.int64)
    rows = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    x_ptr += batch * num_samples * dim
    p = _project(x_ptr, a_ptr, r_ptr, rows, columns, num_samples, dim, num_slices, a_stride, BLOCK_N, BLOCK_M, BLOCK_K)
    ab_ptr += batch * 2 * ORDER * num_slices
    g = polynomial(p, columns, ab_ptr, num_slices, step, step_low, ORDER, CHEBYSHEV)
    g = g * tl.load(r_ptr + columns, mask=columns < num_slices, other=0.0)[None, :]
    inside = (rows < num_samples)[:, None] & (columns < num_slices)[None, :]
    at = (batch * num_samples + rows[:, None]) * num_slices + columns[None, :]
    tl.store(g_ptr + at, g.to(g_ptr.dtype.element_ty), mask=inside)


_sums = tuned(_sums_kernel, "num_samples", "dim", "num_slices", "ORDER")
_gradient = tuned(_gradient_kernel, "num_samples", "dim", "num_slices", "ORDER")


def sliced_epps_pulley(
    x: Tensor, directions: Tensor, step: float, target: Tensor, weight: Tensor, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Value (B,) in float64 and gradient (B, N, K) (empty without one), for ``x`` of shape (B, N, K)."""
    x = x.contiguous() if x.dtype == torch.bfloat16 else x.float().contiguous()
    exact, directions = directions.float(), directions.to(x.dtype).contiguous()
    norm_ratio = exact.norm(dim=0) / directions.float().norm(dim=0).clamp_min(torch.finfo(torch.float32).tiny)
    batch, num_samples, dim = x.shape
    num_slices, order = directions.shape[1], len(target)
    partial = empty_partial_sums(x, order, num_slices)
    _sums[grid(x, num_slices)](
        x, directions, norm_ratio, partial, num_samples, dim, num_slices, num_slices, *split(step), ORDER=order,
        CHEBYSHEV=order <= CHEBYSHEV_ORDER, BLOCK_N=BLOCK_N, BLOCK_K=BLOCK_K, **fixed_blocks(),
    )  # fmt: skip
    mean = partial.sum(1, dtype=torch.float64) / num_samples
    mean[:, 0] -= target[:, None]
    value = num_samples * (weight[:, None] * (mean**2).sum(1)).sum((-2, -1)) / num_slices
    if not with_gradient:
        return value, x.new_empty(0)
    coefficients = torch.stack(gradient_coefficients(mean * (2 / num_slices * weight[:, None]), step, torch.float32), 1)
    width = max(64, GRADIENT_BYTES // (batch * num_samples * x.element_size()) // 64 * 64)
    gradient = None
    for start in range(0, num_slices, width):
        block, ratio = directions[:, start : start + width], norm_ratio[start : start + width]
        own = coefficients[..., start : start + width].contiguous()
        part = _projection_gradients(x, block, ratio, step, own) @ block.T
        gradient = part if num_slices <= width else part.float() if gradient is None else gradient.add_(part)
    assert gradient is not None
    return value, gradient


def _projection_gradients(
    x: Tensor, directions: Tensor, norm_ratio: Tensor, step: float, coefficients: Tensor
) -> Tensor:
    """G r, shape (B, N, M), of the dtype of ``x``; ``directions`` may be a block of columns."""
    batch, num_samples, dim = x.shape
    num_slices, order = directions.shape[1], coefficients.shape[2]
    g = x.new_empty(batch, num_samples, num_slices)
    _gradient[grid(x, num_slices)](
        x, directions, norm_ratio, coefficients, g, num_samples, dim, num_slices, directions.stride(0), *split(step),
        ORDER=order, CHEBYSHEV=order <= CHEBYSHEV_ORDER, BLOCK_N=BLOCK_N, BLOCK_K=BLOCK_K, **fixed_blocks(),
    )  # fmt: skip
    return g
