# mypy: disable-error-code="no-untyped-def"
"""Epps-Pulley over slices on a GPU: products by the vendor's library, all between them by Triton, in few launches.

    p = (x A) r   ->   partial sums   ->   errors: value, coefficients   ->   G   ->   dx = G A'

Embeddings in bfloat16 keep A and G in bfloat16, all else is float32 or better. r is the norm of a direction over that
of its rounded numbers: a norm that is off changes the scale of all projections alike, which the statistic sees before
anything else (study ``precision``); a direction turned by its rounding hardly matters. p and G are made for as many
slices at a time as ``BLOCK_BYTES`` hold. From bfloat16 embeddings of up to ``NARROW`` dimensions p is never stored, but
computed a second time for the gradient: so narrow a product costs less than writing and reading its result.
"""

from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor

from sigreg_lab.kernels.dispatch import interpreting
from sigreg_lab.kernels.matmul import linear
from sigreg_lab.kernels.triton_sums import (
    advanced,
    doubled,
    fixed,
    half_turns,
    load_degree,
    partial_sums,
    polynomial,
    runs,
    store_degree,
    terms_of,
    tuned,
    unit_points,
)

BLOCK_BYTES = 64 << 20
NARROW = 64
NARROW_SAMPLES = 64  # of a tile
UPCAST = tl.constexpr(interpreting())  # the interpreter multiplies the raw bits of bfloat16 in tl.dot


@triton.jit
def _round_kernel(a_ptr, rounded_ptr, ratio_ptr, num_slices, dim: tl.constexpr,
                  BLOCK_K: tl.constexpr, BLOCK_M: tl.constexpr):  # fmt: skip
    columns = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    exact = tl.zeros([BLOCK_K, BLOCK_M], tl.float32)
    rounded = tl.zeros([BLOCK_K, BLOCK_M], tl.float32)
    for start in range(0, dim, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        inside = (k < dim)[:, None] & (columns < num_slices)[None, :]
        at = k[:, None] * num_slices + columns[None, :]
        a = tl.load(a_ptr + at, mask=inside, other=0.0)
        low = a.to(rounded_ptr.dtype.element_ty)
        tl.store(rounded_ptr + at, low, mask=inside)
        low = low.to(tl.float32)
        exact += a * a
        rounded += low * low
    ratio = tl.sqrt(tl.sum(exact, 0) / tl.maximum(tl.sum(rounded, 0), 1e-37))
    tl.store(ratio_ptr + columns, ratio, mask=columns < num_slices)


@triton.jit
def _errors_kernel(partial_ptr, ratio_ptr, target_ptr, weight_ptr, value_ptr, ab_ptr, num_samples, num_slices, parts,
                   all_slices, slope, ORDER: tl.constexpr, SCALED: tl.constexpr, WITH_GRADIENT: tl.constexpr,
                   PARTS: tl.constexpr, MOST: tl.constexpr, BLOCK_M: tl.constexpr):  # fmt: skip
    """One of the 2 ORDER sums: its error, what that adds to the value, and the polynomial's coefficient.

    a_k = -2/M t_k w_k (c_k - target_k), b_k = 2/M t_k w_k s_k, times r; M counts all slices, ``slope`` is 2/M step.
    """
    row = tl.program_id(2)
    batch = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    stored = columns < num_slices
    k = row % ORDER
    total = tl.zeros([PARTS, BLOCK_M], tl.float64)
    for start in range(0, MOST, PARTS):
        part = start + tl.arange(0, PARTS)
        at = ((batch * parts + part[:, None]) * 2 * ORDER + row) * num_slices + columns[None, :]
        total += tl.load(partial_ptr + at, mask=(part < parts)[:, None] & stored[None, :], other=0.0).to(tl.float64)
    error = tl.sum(total, 0) / num_samples
    weight = tl.load(weight_ptr + k)
    error -= tl.where(row < ORDER, tl.load(target_ptr + k), 0.0)
    error = tl.where(stored, error, 0.0)
    to = (batch * tl.num_programs(2) + row) * tl.num_programs(1) + tl.program_id(1)
    tl.store(value_ptr + to, weight * tl.sum(error * error) * num_samples / all_slices)
    if WITH_GRADIENT:
        ratio = tl.full(columns.shape, 1.0, tl.float32)
        if SCALED:
            ratio = tl.load(ratio_ptr + columns, mask=stored, other=0.0)
        signed = tl.where(row < ORDER, -slope, slope) * (k + 1) * weight
        to = (batch * 2 * ORDER + row) * num_slices + columns
        tl.store(ab_ptr + to, (signed * error).to(tl.float32) * ratio, mask=stored)


@triton.jit
def _project(x_ptr, a_ptr, ratio_ptr, rows, columns, num_samples, dim: tl.constexpr, num_slices, BLOCK_K: tl.constexpr):
    """Projections of one tile, slices by samples: each thread then adds up samples of its own."""
    k = tl.arange(0, BLOCK_K)
    stored = columns < num_slices
    in_x = (rows < num_samples)[None, :] & (k < dim)[:, None]
    x = tl.load(x_ptr + rows[None, :] * dim + k[:, None], mask=in_x, other=0.0)
    a = tl.load(
        a_ptr + k[None, :] * num_slices + columns[:, None], mask=(k < dim)[None, :] & stored[:, None], other=0.0
    )
    if UPCAST:
        x = x.to(tl.float32)
        a = a.to(tl.float32)
    return tl.dot(a, x, input_precision="ieee") * tl.load(ratio_ptr + columns, mask=stored, other=0.0)[:, None]


@triton.jit
def _narrow_sums_kernel(x_ptr, a_ptr, ratio_ptr, partial_ptr, num_samples, dim: tl.constexpr, num_slices, high, low,
                        ORDER: tl.constexpr, REACH: tl.constexpr, DOUBLINGS: tl.constexpr,
                        BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr):  # fmt: skip
    part = tl.program_id(2)
    batch = tl.program_id(0).to(tl.int64)
    rows = part * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    stored = columns < num_slices
    p = _project(
        x_ptr + batch * num_samples * dim, a_ptr, ratio_ptr, rows, columns, num_samples, dim, num_slices, BLOCK_K
    )
    c1, s1 = unit_points(p, tl.full(p.shape, high, tl.float32), tl.full(p.shape, low, tl.float32))
    c_centre, s_centre = doubled(c1, s1, DOUBLINGS)
    c_centre = tl.where((rows < num_samples)[None, :], c_centre, 0.0)
    s_centre = tl.where((rows < num_samples)[None, :], s_centre, 0.0)
    to = partial_ptr + (batch * tl.num_programs(2) + part) * 2 * ORDER * num_slices + columns
    store_degree(to, num_slices, stored, REACH, tl.sum(c_centre, 1), tl.sum(s_centre, 1), ORDER)
    twice = s1 + s1
    c_before, s_before, c, s = tl.full(p.shape, 1.0, tl.float32), tl.zeros_like(p), c1, s1
    for j in tl.static_range(REACH):
        cc = tl.sum(c_centre * c, 1)
        ss = tl.sum(s_centre * s, 1)
        sc = tl.sum(s_centre * c, 1)
        cs = tl.sum(c_centre * s, 1)
        store_degree(to, num_slices, stored, REACH - j - 1, cc + ss, sc - cs, ORDER)
        store_degree(to, num_slices, stored, REACH + j + 1, cc - ss, sc + cs, ORDER)
        c_before, s_before, c, s = advanced(c_before, s_before, c, s, twice)


@triton.jit
def _narrow_gradient_kernel(x_ptr, a_ptr, ratio_ptr, ab_ptr, g_ptr, num_samples, dim: tl.constexpr, num_slices, high,
                            low, ORDER: tl.constexpr, REACH: tl.constexpr, DOUBLINGS: tl.constexpr,
                            BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr):  # fmt: skip
    batch = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(2) * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    stored = columns < num_slices
    p = _project(
        x_ptr + batch * num_samples * dim, a_ptr, ratio_ptr, rows, columns, num_samples, dim, num_slices, BLOCK_K
    )
    c1, s1 = unit_points(p, tl.full(p.shape, high, tl.float32), tl.full(p.shape, low, tl.float32))
    coefficients = ab_ptr + batch * 2 * ORDER * num_slices + columns
    a_centre, b_centre = load_degree(coefficients, num_slices, stored, REACH, ORDER)
    u = b_centre[:, None] + tl.zeros_like(p)
    v = -a_centre[:, None] + tl.zeros_like(p)
    twice = s1 + s1
    c_before, s_before, c, s = tl.full(p.shape, 1.0, tl.float32), tl.zeros_like(p), c1, s1
    for j in tl.static_range(REACH):
        uc, us, vc, vs = terms_of(coefficients, num_slices, stored, REACH, j + 1, ORDER)
        u = uc[:, None] * c + u
        u = us[:, None] * s + u
        v = vc[:, None] * c + v
        v = vs[:, None] * s + v
        c_before, s_before, c, s = advanced(c_before, s_before, c, s, twice)
    c_centre, s_centre = doubled(c1, s1, DOUBLINGS)
    g = u * c_centre - v * s_centre
    at = (batch * num_samples + rows[None, :]) * num_slices + columns[:, None]
    inside = (rows < num_samples)[None, :] & stored[:, None]
    tl.store(g_ptr + at, g.to(g_ptr.dtype.element_ty), mask=inside)


_TILES = [({"BLOCK_M": 64}, 4), ({"BLOCK_M": 128}, 8)]
_KEY = "num_samples", "dim", "num_slices", "ORDER"
_narrow_sums = tuned(_narrow_sums_kernel, _TILES, *_KEY)
_narrow_gradient = tuned(_narrow_gradient_kernel, _TILES, *_KEY)


def sliced_epps_pulley(
    x: Tensor, directions: Tensor, step: float, target: Tensor, weight: Tensor, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Value (B,) in float64 and gradient (B, N, K) (empty without one), for ``x`` of shape (B, N, K)."""
    x = x.contiguous() if x.dtype == torch.bfloat16 else x.float().contiguous()
    batch, num_samples, dim = x.shape
    num_slices, order = directions.shape[1], len(target)
    directions, ratio = directions.float(), None
    if x.dtype == torch.bfloat16:
        directions, ratio = _rounded(directions.contiguous(), x.dtype)
    rows = x.view(-1, dim)
    narrow = ratio is not None and dim <= NARROW and len(list(runs(step, order))) == 1
    total, gradient = None, None
    width = max(64, BLOCK_BYTES // (4 * len(rows)) // 64 * 64)
    for start in range(0, num_slices, width):
        block = directions[:, start : start + width].contiguous()
        own_ratio = None if ratio is None else ratio[start : start + width]
        if narrow:
            assert own_ratio is not None
            partial = _narrow_partial_sums(x, block, own_ratio, step, order)
        else:
            p = _product(rows, block).view(batch, num_samples, -1)
            partial = partial_sums(p, own_ratio, step, order)
        value, ab = _errors(partial, own_ratio, step, target, weight, num_samples, num_slices, with_gradient)
        total = value if total is None else total.add_(value)
        if with_gradient:
            if narrow:
                assert own_ratio is not None
                g = _narrow_projection_gradients(x, block, own_ratio, step, ab)
            else:
                g = polynomial(p, own_ratio, step, ab, x.dtype)
            part = linear(g.view(len(rows), -1), block)
            gradient = part if width >= num_slices else part.float() if gradient is None else gradient.add_(part)
    assert total is not None
    return total, x.new_empty(0) if gradient is None else gradient.view(x.shape)


def _rounded(directions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Directions (K, M) in ``dtype``, and the ratio of each one's norm to that of its rounded numbers."""
    dim, num_slices = directions.shape
    rounded = torch.empty_like(directions, dtype=dtype)
    ratio = directions.new_empty(num_slices)
    _round_kernel[triton.cdiv(num_slices, 32),](directions, rounded, ratio, num_slices, dim, BLOCK_K=32, BLOCK_M=32)
    return rounded, ratio


def _product(rows: Tensor, block: Tensor) -> Tensor:
    """rows block in float32, added in float32."""
    if rows.dtype == torch.float32:
        return linear(rows, block.T)
    if rows.is_cuda:
        return torch.mm(rows, block, out_dtype=torch.float32)
    return rows.float() @ block.float()


def _errors(
    partial: Tensor,
    ratio: Tensor | None,
    step: float,
    target: Tensor,
    weight: Tensor,
    num_samples: int,
    all_slices: int,
    with_gradient: bool,
) -> tuple[Tensor, Tensor]:
    """What these slices add to the mean over all, (B,), and the coefficients of its gradient, (B, 2, order, M)."""
    batch, parts, _, order, num_slices = partial.shape
    width = 128
    value = partial.new_empty(batch, 2 * order, triton.cdiv(num_slices, width), dtype=torch.float64)
    ab = partial.new_empty((batch, 2, order, num_slices) if with_gradient else (0,))
    _errors_kernel[batch, triton.cdiv(num_slices, width), 2 * order](
        partial, partial if ratio is None else ratio, target, weight, value, ab, num_samples, num_slices, parts,
        all_slices, 2 / all_slices * step, ORDER=order, SCALED=ratio is not None, WITH_GRADIENT=with_gradient,
        PARTS=8, MOST=max(8, triton.next_power_of_2(parts)), BLOCK_M=width,
    )  # fmt: skip
    return value.sum((1, 2)), ab


def _narrow_partial_sums(x: Tensor, directions: Tensor, ratio: Tensor, step: float, order: int) -> Tensor:
    """The sums of NARROW_SAMPLES samples at a time, (B, N / NARROW_SAMPLES, 2, order, M), float32."""
    batch, num_samples, dim = x.shape
    num_slices = directions.shape[1]
    partial = ratio.new_empty(batch, triton.cdiv(num_samples, NARROW_SAMPLES), 2, order, num_slices)
    _narrow_sums[_tiles(x, num_slices)](
        x, directions, ratio, partial, num_samples, dim, num_slices, *half_turns(step), **_options(dim, step, order)
    )
    return partial


def _narrow_projection_gradients(x: Tensor, directions: Tensor, ratio: Tensor, step: float, ab: Tensor) -> Tensor:
    """G, shape (B, N, M), of the dtype of ``x``."""
    batch, num_samples, dim = x.shape
    num_slices = directions.shape[1]
    g = x.new_empty(batch, num_samples, num_slices)
    _narrow_gradient[_tiles(x, num_slices)](
        x, directions, ratio, ab, g, num_samples, dim, num_slices, *half_turns(step), **_options(dim, step, ab.shape[2])
    )
    return g


def _options(dim: int, step: float, order: int) -> dict[str, int]:
    (run,) = runs(step, order)
    return {
        "ORDER": order,
        "REACH": run.reach,
        "DOUBLINGS": run.doublings,
        "BLOCK_K": max(16, triton.next_power_of_2(dim)),
        "BLOCK_N": NARROW_SAMPLES,
        **fixed(BLOCK_M=32),
    }


def _tiles(x: Tensor, num_slices: int) -> Callable[[dict[str, int]], tuple[int, int, int]]:
    """Programs over batch, which may be long, slices and samples; the block of slices is the tuner's."""
    batch, num_samples = x.shape[:2]
    return lambda meta: (batch, triton.cdiv(num_slices, meta["BLOCK_M"]), triton.cdiv(num_samples, NARROW_SAMPLES))
