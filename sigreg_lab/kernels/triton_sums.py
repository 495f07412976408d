# mypy: disable-error-code="no-untyped-def, assignment, misc, var-annotated"
"""Triton kernels on projections: sums of powers of exp(i theta), and trigonometric polynomials; x is (B, N, M).

    sums:        C_k = sum_n cos(k theta_n),  S_k = sum_n sin(k theta_n),  theta = step x,  k = 1 .. order
    polynomial:  g_n = sum_k a_k sin(k theta_n) + b_k cos(k theta_n)

As in ``characteristic_function.c`` the degrees are covered by runs h - REACH .. h + REACH around centres h, and four
products of z^h and z^j serve the degrees h + j and h - j together: two operations a degree, sum included. The first
centre is found by squaring, others from the angle; a run is one launch, and up to order 16 there is one.
Layout: one program, a single warp, takes SPAN samples of BLOCK_M slices, one or a few slices a thread, which walks down
its column with all sums of the run, or all coefficients, in registers: nothing is exchanged between threads. Partial
sums in float32, shape (B, N / SPAN, 2, order, M), are added in float64: programs enough for a large device, no atomics,
an error flat in N. Angles are in half turns and carry the rounding error of the step along; where they exceed 2^22 half
turns, and neighbouring float32 numbers lie a quarter turn apart, the result is bounded but means nothing.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from sigreg_lab.kernels.dispatch import interpreting

LARGEST_REACH = 8
ROUNDING = tl.constexpr(12582912.0)  # 1.5 2^23: a sum with it is rounded to an integer
SPANS = 16, 64  # samples of a program, where they are few and where they are many
_FEW = 2048


class Run(NamedTuple):
    """Degrees centre - reach .. centre + reach, reach = 2^doublings; high + low = centre step / pi, both float32."""

    centre: int
    reach: int
    doublings: int
    high: float
    low: float


def runs(step: float, order: int) -> Iterator[Run]:
    """The runs that cover the degrees 1 .. order."""
    doublings = 0
    while 2 << doublings < order and 1 << doublings < LARGEST_REACH:
        doublings += 1
    reach = 1 << doublings
    for centre in range(reach, order + reach + 1, 2 * reach + 1):
        yield Run(centre, reach, doublings, *half_turns(centre * step))


def half_turns(angle: float) -> tuple[float, float]:
    """The angle over pi as a sum of two float32."""
    exact = angle / math.pi
    high = float(torch.tensor(exact, dtype=torch.float32))
    return high, exact - high


def tuned(kernel: Any, configs: list[tuple[dict[str, int], int]], *key: str, added_to: tuple[str, ...] = ()) -> Any:
    """The kernel with blocks and warps measured on the device; the interpreter takes what ``fixed`` says.

    ``added_to``: arguments that a call adds to, which trials must not.
    """
    if interpreting():
        return kernel
    trials = [triton.Config(block, num_warps=warps) for block, warps in configs]
    return triton.autotune(configs=trials, key=list(key), restore_value=list(added_to))(kernel)


def fixed(**blocks: int) -> dict[str, Any]:
    """Options of a launch; blocks only where no tuner chooses them."""
    return {"enable_fp_fusion": True, **(blocks if interpreting() else {})}


@triton.jit
def unit_points(p, high, low):
    """Cosine and sine of pi (high + low) p; polynomials of ``characteristic_function.c``."""
    shifted = tl.fma(p, high, tl.full(p.shape, ROUNDING, tl.float32))
    r = tl.fma(p, low, tl.fma(p, high, ROUNDING - shifted))
    r = tl.clamp(r, -1.0, 1.0, propagate_nan=tl.PropagateNan.ALL)
    sign = shifted.to(tl.int32, bitcast=True) << 31  # of an odd number of half turns
    z = r * r
    s = 0.0777508542 * z - 0.598343909
    s = s * z + 2.55008745
    s = s * z - 5.16771078
    s = s * z - 8.74227766e-8
    s = r * s + r * 3.14159274
    c = -0.0241726190 * z + 0.234794363
    c = c * z - 1.33518004
    c = c * z + 4.05870628
    c = c * z - 4.93480206
    c = c * z + 1.0
    c = (c.to(tl.int32, bitcast=True) ^ sign).to(tl.float32, bitcast=True)
    return c, (s.to(tl.int32, bitcast=True) ^ sign).to(tl.float32, bitcast=True)


@triton.jit
def doubled(c, s, DOUBLINGS: tl.constexpr):
    """z^(2^DOUBLINGS), z = c + i s, by squaring."""
    for _ in tl.static_range(DOUBLINGS):
        twice = s + s
        c, s = 1.0 - twice * s, twice * c
    return c, s


@triton.jit
def advanced(c_before, s_before, c, s, twice):
    """z^j and z^(j+1) = z^(j-1) + 2i sin(theta) z^j from z^(j-1) and z^j; twice = 2 sin(theta)."""
    return c, s, c_before - twice * s, s_before + twice * c


@triton.jit
def _half_turns(ratio_ptr, columns, stored, high, low, SCALED: tl.constexpr):
    """The step of each slice, in half turns, as a sum of two numbers; times the slice's ratio if SCALED."""
    ratio = tl.full(columns.shape, 1.0, tl.float32)
    if SCALED:
        ratio = tl.load(ratio_ptr + columns, mask=stored, other=0.0)
    return high * ratio, low * ratio


@triton.jit
def _sums_kernel(x_ptr, ratio_ptr, partial_ptr, num_samples, num_slices, high, low, centre_high, centre_low,
                 ORDER: tl.constexpr, CENTRE: tl.constexpr, REACH: tl.constexpr, DOUBLINGS: tl.constexpr,
                 SCALED: tl.constexpr, SPAN: tl.constexpr, BLOCK_M: tl.constexpr):  # fmt: skip
    part = tl.program_id(2)
    batch = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    stored = columns < num_slices
    first = part * SPAN
    high, low = _half_turns(ratio_ptr, columns, stored, high, low, SCALED)
    centre_high, centre_low = _half_turns(ratio_ptr, columns, stored, centre_high, centre_low, SCALED)
    sums = ()  # of cosine and sine at the centre, and of four products for each j
    for _ in tl.static_range(4 * REACH + 2):
        sums += (tl.zeros([BLOCK_M], tl.float32),)
    at = x_ptr + (batch * num_samples + first) * num_slices + columns
    x = tl.load(at, mask=stored, other=0.0)
    for i in range(0, SPAN):
        at += num_slices
        more = columns < tl.where(first + i + 1 < num_samples, num_slices, 0)
        following = tl.load(at, mask=more, other=0.0)
        c1, s1 = unit_points(x, high, low)
        if CENTRE == REACH:
            c_centre, s_centre = doubled(c1, s1, DOUBLINGS)
        else:
            c_centre, s_centre = unit_points(x, centre_high, centre_low)
        inside = first + i < num_samples
        c_centre = tl.where(inside, c_centre, 0.0)
        s_centre = tl.where(inside, s_centre, 0.0)
        added = (sums[0] + c_centre, sums[1] + s_centre)
        twice = s1 + s1
        c_before, s_before, c, s = tl.full(x.shape, 1.0, tl.float32), tl.zeros_like(x), c1, s1
        for j in tl.static_range(REACH):
            added += (
                sums[4 * j + 2] + c_centre * c,
                sums[4 * j + 3] + s_centre * s,
                sums[4 * j + 4] + s_centre * c,
                sums[4 * j + 5] + c_centre * s,
            )
            c_before, s_before, c, s = advanced(c_before, s_before, c, s, twice)
        sums = added
        x = following
    to = partial_ptr + (batch * tl.num_programs(2) + part) * 2 * ORDER * num_slices + columns
    store_degree(to, num_slices, stored, CENTRE, sums[0], sums[1], ORDER)
    for j in tl.static_range(REACH):
        cc, ss, sc, cs = sums[4 * j + 2], sums[4 * j + 3], sums[4 * j + 4], sums[4 * j + 5]
        store_degree(to, num_slices, stored, CENTRE - j - 1, cc + ss, sc - cs, ORDER)
        store_degree(to, num_slices, stored, CENTRE + j + 1, cc - ss, sc + cs, ORDER)


@triton.jit
def store_degree(to, num_slices, stored, DEGREE: tl.constexpr, cosines, sines, ORDER: tl.constexpr):
    """Stores the sums of one degree, if it is asked for, to (2, ORDER, num_slices)."""
    if DEGREE >= 1 and DEGREE <= ORDER:
        tl.store(to + (DEGREE - 1) * num_slices, cosines, mask=stored)
        tl.store(to + (ORDER + DEGREE - 1) * num_slices, sines, mask=stored)


@triton.jit
def load_degree(at, num_slices, stored, DEGREE: tl.constexpr, ORDER: tl.constexpr):
    """The coefficients of one degree from (2, ORDER, num_slices), a before b; 0 where there is none."""
    a = tl.zeros(stored.shape, tl.float32)
    b = tl.zeros(stored.shape, tl.float32)
    if DEGREE >= 1 and DEGREE <= ORDER:
        a = tl.load(at + (DEGREE - 1) * num_slices, mask=stored, other=0.0)
        b = tl.load(at + (ORDER + DEGREE - 1) * num_slices, mask=stored, other=0.0)
    return a, b


@triton.jit
def terms_of(at, num_slices, stored, CENTRE: tl.constexpr, J: tl.constexpr, ORDER: tl.constexpr):
    """What multiplies cos(j theta) and sin(j theta), for the real part u, and likewise for the imaginary part v, of

    sum_j w_(h+j) z^j + w_(h-j) z^-j,   w = b - i a
    """
    a_above, b_above = load_degree(at, num_slices, stored, CENTRE + J, ORDER)
    a_below, b_below = load_degree(at, num_slices, stored, CENTRE - J, ORDER)
    return b_above + b_below, a_above - a_below, -a_above - a_below, b_above - b_below


@triton.jit
def _polynomial_kernel(x_ptr, ratio_ptr, ab_ptr, g_ptr, num_samples, num_slices, high, low, centre_high, centre_low,
                       ORDER: tl.constexpr, CENTRE: tl.constexpr, REACH: tl.constexpr, DOUBLINGS: tl.constexpr,
                       SCALED: tl.constexpr, SPAN: tl.constexpr, BLOCK_M: tl.constexpr):  # fmt: skip
    batch = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    stored = columns < num_slices
    first = tl.program_id(2) * SPAN
    high, low = _half_turns(ratio_ptr, columns, stored, high, low, SCALED)
    centre_high, centre_low = _half_turns(ratio_ptr, columns, stored, centre_high, centre_low, SCALED)
    coefficients = ab_ptr + batch * 2 * ORDER * num_slices + columns
    a_centre, b_centre = load_degree(coefficients, num_slices, stored, CENTRE, ORDER)
    terms = ()
    for j in tl.static_range(REACH):
        terms += terms_of(coefficients, num_slices, stored, CENTRE, j + 1, ORDER)
    at = (batch * num_samples + first) * num_slices + columns
    x = tl.load(x_ptr + at, mask=stored, other=0.0)
    for i in range(0, SPAN):
        following = at + num_slices
        more = columns < tl.where(first + i + 1 < num_samples, num_slices, 0)
        x_following = tl.load(x_ptr + following, mask=more, other=0.0)
        c1, s1 = unit_points(x, high, low)
        if CENTRE == REACH:
            c_centre, s_centre = doubled(c1, s1, DOUBLINGS)
        else:
            c_centre, s_centre = unit_points(x, centre_high, centre_low)
        u, v = b_centre, -a_centre
        twice = s1 + s1
        c_before, s_before, c, s = tl.full(x.shape, 1.0, tl.float32), tl.zeros_like(x), c1, s1
        for j in tl.static_range(REACH):
            u = terms[4 * j] * c + u
            u = terms[4 * j + 1] * s + u
            v = terms[4 * j + 2] * c + v
            v = terms[4 * j + 3] * s + v
            c_before, s_before, c, s = advanced(c_before, s_before, c, s, twice)
        g = u * c_centre - v * s_centre
        inside = columns < tl.where(first + i < num_samples, num_slices, 0)
        if CENTRE > REACH:
            g += tl.load(g_ptr + at, mask=inside, other=0.0)
        tl.store(g_ptr + at, g.to(g_ptr.dtype.element_ty), mask=inside)
        x = x_following
        at = following


_CONFIGS = [({"BLOCK_M": 32}, 1), ({"BLOCK_M": 64}, 1), ({"BLOCK_M": 128}, 1)]
_KEY = "num_samples", "num_slices", "ORDER", "SPAN"
_sums = tuned(_sums_kernel, _CONFIGS, *_KEY)
_polynomial = tuned(_polynomial_kernel, _CONFIGS, *_KEY, added_to=("g_ptr",))


def cosine_sine_sums(x: Tensor, step: float, order: int) -> Tensor:
    """Sums over samples of cos(k step x) and sin(k step x): (B, N, M) -> (2, B, order, M), float64."""
    return partial_sums(x.contiguous(), None, step, order).sum(1, dtype=torch.float64).transpose(0, 1)


def partial_sums(x: Tensor, ratio: Tensor | None, step: float, order: int) -> Tensor:
    """The same of SPAN samples at a time, (B, N / SPAN, 2, order, M), float32; slice m of ``x`` times ``ratio[m]``."""
    batch, num_samples, num_slices = x.shape
    grid, options = _launch(x, ratio)
    partial = x.new_empty(batch, triton.cdiv(num_samples, options["SPAN"]), 2, order, num_slices)
    high, low = half_turns(step)
    for run in runs(step, order):
        _sums[grid](
            x, x if ratio is None else ratio, partial, num_samples, num_slices, high, low, run.high, run.low,
            ORDER=order, CENTRE=run.centre, REACH=run.reach, DOUBLINGS=run.doublings, **options,
        )  # fmt: skip
    return partial


def trigonometric_polynomial(x: Tensor, step: float, a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """sum_k a_k sin(k step x) + b_k cos(k step x); ``a``, ``b``: (B, order, M), float32; ``out`` may be ``x``."""
    x = x.contiguous()
    value = polynomial(x, None, step, torch.stack([a, b], 1), torch.float32)
    return value if out is None else out.copy_(value)


def polynomial(x: Tensor, ratio: Tensor | None, step: float, ab: Tensor, dtype: torch.dtype) -> Tensor:
    """The same with ``a`` and ``b`` as one, (B, 2, order, M), in ``dtype``; slice m of ``x`` times ``ratio[m]``."""
    _, num_samples, num_slices = x.shape
    order = ab.shape[2]
    grid, options = _launch(x, ratio)
    all_runs = list(runs(step, order))
    value = torch.empty_like(x, dtype=dtype if len(all_runs) == 1 else torch.float32)
    high, low = half_turns(step)
    for run in all_runs:
        _polynomial[grid](
            x, x if ratio is None else ratio, ab, value, num_samples, num_slices, high, low, run.high, run.low,
            ORDER=order, CENTRE=run.centre, REACH=run.reach, DOUBLINGS=run.doublings, **options,
        )  # fmt: skip
    return value.to(dtype)


def _launch(x: Tensor, ratio: Tensor | None) -> tuple[Any, dict[str, Any]]:
    """Programs over batch, which may be long, slices and samples; their options. Blocks of slices are the tuner's."""
    batch, num_samples, num_slices = x.shape
    span = SPANS[batch * num_samples > _FEW]
    return (
        lambda meta: (batch, triton.cdiv(num_slices, meta["BLOCK_M"]), triton.cdiv(num_samples, span)),
        {"SCALED": ratio is not None, "SPAN": span, **fixed(BLOCK_M=64)},
    )
