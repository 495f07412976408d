# mypy: disable-error-code="no-untyped-def"
"""Triton kernels on projections: sums of powers of exp(i theta), and trigonometric polynomials; x is (B, N, M).

    sums:        C_k = sum_n cos(k theta_n),  S_k = sum_n sin(k theta_n),  theta = step x,  k = 1 .. order
    polynomial:  g_n = sum_k a_k sin(k theta_n) + b_k cos(k theta_n)

Chebyshev's recurrence forward and Clenshaw's backward, two multiplications a node, as far as ``CHEBYSHEV_ORDER``: their
float32 error grows like order^2. Beyond, rotation and Horner's rule, four multiplications a node.
Layout: one program takes BLOCK_N samples by BLOCK_M slices of one batch entry and stores partial sums in float32,
shape (B, N / BLOCK_N, 2, order, M), which torch adds in float64: programs enough for a large device, no atomics, an
error flat in N. A masked sample is 0 in every power. theta carries its rounding error as a second number.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from sigreg_lab.kernels.dispatch import interpreting

CHEBYSHEV_ORDER = 40
BLOCK_N = 128
_INTERPRETED = {"BLOCK_M": 32}


def tuned(kernel: Any, *key: str) -> Any:
    """The kernel with block width and warps measured on the device; the interpreter takes one width."""
    if interpreting():
        return kernel
    configs = [
        triton.Config({"BLOCK_M": width}, num_warps=warps, num_stages=stages)
        for width, warps, stages in ((16, 4, 2), (32, 4, 2), (32, 8, 2), (64, 4, 3), (64, 8, 3), (128, 8, 3))
    ]
    return triton.autotune(configs=configs, key=list(key))(kernel)


@triton.jit
def sine_cosine(p, step, step_low):
    """Sine and cosine of step p, the product's rounding error included."""
    theta = p * step
    rest = tl.fma(p, step, -theta) + p * step_low
    s = tl.sin(theta)
    c = tl.cos(theta)
    return s + c * rest, c - s * rest


@triton.jit
def store_sums(p, rows, num_samples, columns, partial_ptr, num_slices, step, step_low,
               ORDER: tl.constexpr, CHEBYSHEV: tl.constexpr):  # fmt: skip
    """Stores the sums of one tile of projections, float32, to partial_ptr, shape (2, ORDER, num_slices)."""
    inside = (rows < num_samples)[:, None]
    stored = columns < num_slices
    s1, c1 = sine_cosine(p, step, step_low)
    c = tl.where(inside, c1, 0.0)
    s = tl.where(inside, s1, 0.0)
    c_before = tl.where(inside, 1.0, 0.0) + tl.zeros_like(p)
    s_before = tl.zeros_like(p)
    for k in tl.static_range(0, ORDER):
        tl.store(partial_ptr + k * num_slices + columns, tl.sum(c, 0), mask=stored)
        tl.store(partial_ptr + (ORDER + k) * num_slices + columns, tl.sum(s, 0), mask=stored)
        if CHEBYSHEV:
            c_next = 2.0 * c1 * c - c_before
            s_next = 2.0 * c1 * s - s_before
            c_before = c
            s_before = s
        else:
            c_next = c * c1 - s * s1
            s_next = s * c1 + c * s1
        c = c_next
        s = s_next


@triton.jit
def polynomial(p, columns, ab_ptr, num_slices, step, step_low, ORDER: tl.constexpr, CHEBYSHEV: tl.constexpr):
    """The polynomial on one tile; ab_ptr holds a before b, shape (2, ORDER, num_slices), float32."""
    stored = columns < num_slices
    s1, c1 = sine_cosine(p, step, step_low)
    u = tl.zeros_like(p)
    v = tl.zeros_like(p)
    u_before = tl.zeros_like(p)
    v_before = tl.zeros_like(p)
    for i in tl.static_range(0, ORDER):
        k = ORDER - 1 - i
        a = tl.load(ab_ptr + k * num_slices + columns, mask=stored, other=0.0)[None, :]
        b = tl.load(ab_ptr + (ORDER + k) * num_slices + columns, mask=stored, other=0.0)[None, :]
        if CHEBYSHEV:  # Clenshaw: u sums the sines, v the cosines
            u_next = 2.0 * c1 * u + (a - u_before)
            v_next = 2.0 * c1 * v + (b - v_before)
            u_before = u
            v_before = v
        else:  # Horner: u + i v = sum_k (b_k - i a_k) z^(k-1)
            u_next = u * c1 - v * s1 + b
            v_next = v * c1 + u * s1 - a
        u = u_next
        v = v_next
    return s1 * u + (c1 * v - v_before) if CHEBYSHEV else u * c1 - v * s1


@triton.jit
def _sums_kernel(x_ptr, partial_ptr, num_samples, num_slices, step, step_low,
                 ORDER: tl.constexpr, CHEBYSHEV: tl.constexpr,
                 BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr):  # fmt: skip
    part = tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)
    rows = part * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    inside = (rows < num_samples)[:, None] & (columns < num_slices)[None, :]
    at = (batch * num_samples + rows[:, None]) * num_slices + columns[None, :]
    p = tl.load(x_ptr + at, mask=inside, other=0.0)
    partial_ptr += (batch * tl.num_programs(1) + part) * 2 * ORDER * num_slices
    store_sums(p, rows, num_samples, columns, partial_ptr, num_slices, step, step_low, ORDER, CHEBYSHEV)


@triton.jit
def _polynomial_kernel(x_ptr, ab_ptr, g_ptr, num_samples, num_slices, step, step_low,
                       ORDER: tl.constexpr, CHEBYSHEV: tl.constexpr,
                 BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr):  # fmt: skip
    batch = tl.program_id(2).to(tl.int64)
    rows = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    inside = (rows < num_samples)[:, None] & (columns < num_slices)[None, :]
    at = (batch * num_samples + rows[:, None]) * num_slices + columns[None, :]
    p = tl.load(x_ptr + at, mask=inside, other=0.0)
    ab_ptr += batch * 2 * ORDER * num_slices
    g = polynomial(p, columns, ab_ptr, num_slices, step, step_low, ORDER, CHEBYSHEV)
    tl.store(g_ptr + at, g, mask=inside)


_sums = tuned(_sums_kernel, "num_samples", "num_slices", "ORDER")
_polynomial = tuned(_polynomial_kernel, "num_samples", "num_slices", "ORDER")


def cosine_sine_sums(x: Tensor, step: float, order: int) -> Tensor:
    """Sums over samples of cos(k step x) and sin(k step x): (B, N, M) -> (2, B, order, M), float64."""
    x = x.contiguous()
    _, num_samples, num_slices = x.shape
    partial = empty_partial_sums(x, order, num_slices)
    _sums[grid(x, num_slices)](
        x, partial, num_samples, num_slices, *split(step), ORDER=order, CHEBYSHEV=order <= CHEBYSHEV_ORDER,
        BLOCK_N=BLOCK_N, **fixed_blocks(),
    )  # fmt: skip
    return partial.sum(1, dtype=torch.float64).transpose(0, 1)


def trigonometric_polynomial(x: Tensor, step: float, a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """sum_k a_k sin(k step x) + b_k cos(k step x); ``a``, ``b``: (B, order, M), float32."""
    x = x.contiguous()
    _, num_samples, num_slices = x.shape
    order = a.shape[1]
    value = torch.empty_like(x)
    _polynomial[grid(x, num_slices)](
        x, torch.stack([a, b], 1), value, num_samples, num_slices, *split(step), ORDER=order,
        CHEBYSHEV=order <= CHEBYSHEV_ORDER, BLOCK_N=BLOCK_N, **fixed_blocks(),
    )  # fmt: skip
    return value if out is None else out.copy_(value)


def empty_partial_sums(x: Tensor, order: int, num_slices: int) -> Tensor:
    """Room for the sums of each block of samples: (B, N / BLOCK_N, 2, order, M)."""
    parts = triton.cdiv(x.shape[1], BLOCK_N)
    return torch.empty(x.shape[0], parts, 2, order, num_slices, dtype=torch.float32, device=x.device)


def grid(x: Tensor, num_slices: int) -> Any:
    """Programs over slices, samples and batch; the block of slices is the tuner's."""
    batch, num_samples = x.shape[:2]
    return lambda meta: (triton.cdiv(num_slices, meta["BLOCK_M"]), triton.cdiv(num_samples, BLOCK_N), batch)


def split(step: float) -> tuple[float, float]:
    """The step as a sum of two float32."""
    high = float(torch.tensor(step, dtype=torch.float32))
    return high, step - high


def fixed_blocks() -> dict[str, int]:
    """Blocks where no tuner chooses them."""
    return _INTERPRETED if interpreting() else {}
