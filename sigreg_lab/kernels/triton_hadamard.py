# mypy: disable-error-code="no-untyped-def"
"""Triton kernel for rounds of sign flips and Hadamard transforms of rows, and the transposed map.

    forward:    out[row, b n + j] = scale (H D_R ... H D_1 x_row)_j          D_r = diag(signs[b, r])
    transposed: out[row, i] = scale sum_b (D_1 H ... D_R H g_row,b)_i

One program takes one row, and one block of signs (forward) or all of them (transposed); the row stays in its registers.
A transform is log2 n rounds of sums and differences of neighbours, after each of which the index is rotated by one bit:
after log2 n of them all are where they were, and shared memory is needed only where a bit changes threads.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _transform(y, n: tl.constexpr, LOG: tl.constexpr):
    for _ in tl.static_range(0, LOG):
        even, odd = tl.split(tl.reshape(y, [n // 2, 2]))
        y = tl.reshape(tl.trans(tl.join(even + odd, even - odd)), [n])
    return y


@triton.jit
def _forward_kernel(x_ptr, signs_ptr, out_ptr, dim, num_slices, scale,
                    ROUNDS: tl.constexpr, n: tl.constexpr, LOG: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    at = tl.arange(0, n)
    y = tl.load(x_ptr + row * dim + at, mask=at < dim, other=0.0)
    for r in tl.static_range(0, ROUNDS):
        y = _transform(y * tl.load(signs_ptr + (block * ROUNDS + r) * n + at), n, LOG)
    column = block * n + at
    tl.store(out_ptr + row * num_slices + column, y * scale, mask=column < num_slices)


@triton.jit
def _transposed_kernel(g_ptr, signs_ptr, out_ptr, num_slices, scale, blocks: tl.constexpr,
                       ROUNDS: tl.constexpr, n: tl.constexpr, LOG: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, n)
    total = tl.zeros([n], tl.float32)
    for block in range(0, blocks):
        column = block * n + at
        y = tl.load(g_ptr + row * num_slices + column, mask=column < num_slices, other=0.0)
        for r in tl.static_range(0, ROUNDS):
            y = _transform(y, n, LOG) * tl.load(signs_ptr + (block * ROUNDS + ROUNDS - 1 - r) * n + at)
        total += y
    tl.store(out_ptr + row * n + at, total * scale)


def hadamard(x: Tensor, signs: Tensor, num_slices: int, transposed: bool, scale: float) -> Tensor:
    """Scaled rounds of signs and Hadamard transforms: (rows, K) -> (rows, M); transposed (rows, M) -> (rows, n)."""
    x, signs = x.contiguous(), signs.contiguous()
    blocks, rounds, n = signs.shape
    options = {"ROUNDS": rounds, "n": n, "LOG": n.bit_length() - 1, "num_warps": min(16, max(1, n // 512))}
    out = torch.empty(x.shape[0], n if transposed else num_slices, dtype=x.dtype, device=x.device)
    if transposed:
        _transposed_kernel[(x.shape[0],)](x, signs, out, num_slices, scale, blocks=blocks, **options)
    else:
        _forward_kernel[(x.shape[0], blocks)](x, signs, out, x.shape[1], num_slices, scale, **options)
    return out
