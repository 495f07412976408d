# mypy: disable-error-code="no-untyped-def"
"""Triton kernel for rounds of sign flips and Hadamard transforms of rows, and the transposed map.

    forward:    out[row, b n + j] = scale (H D_R ... H D_1 x_row)_j          D_r = diag(signs[b, r])
    transposed: out[row, i] = scale sum_b (D_1 H ... D_R H g_row,b)_i

A row of n numbers is a matrix of LEFT by RIGHT, and its transform H_LEFT y H_RIGHT: two small products with +-1, in
float32. One program takes one row, and one block of signs (forward) or all of them (transposed).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

SMALLEST, LARGEST = 256, 16384  # both factors at least 16 for tl.dot; a row in the registers of one program


@triton.jit
def _forward_kernel(x_ptr, signs_ptr, left_ptr, right_ptr, out_ptr, dim, num_slices, scale,
                    ROUNDS: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    i = tl.arange(0, LEFT)
    j = tl.arange(0, RIGHT)
    at = i[:, None] * RIGHT + j[None, :]
    left = tl.load(left_ptr + i[:, None] * LEFT + i[None, :])
    right = tl.load(right_ptr + j[:, None] * RIGHT + j[None, :])
    y = tl.load(x_ptr + row * dim + at, mask=at < dim, other=0.0)
    for r in tl.static_range(0, ROUNDS):
        y = y * tl.load(signs_ptr + (block * ROUNDS + r) * LEFT * RIGHT + at)
        y = tl.dot(tl.dot(left, y, input_precision="ieee"), right, input_precision="ieee")
    column = block * LEFT * RIGHT + at
    tl.store(out_ptr + row * num_slices + column, y * scale, mask=column < num_slices)


@triton.jit
def _transposed_kernel(g_ptr, signs_ptr, left_ptr, right_ptr, out_ptr, blocks: tl.constexpr, num_slices, scale,
                       ROUNDS: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, LEFT)
    j = tl.arange(0, RIGHT)
    at = i[:, None] * RIGHT + j[None, :]
    left = tl.load(left_ptr + i[:, None] * LEFT + i[None, :])
    right = tl.load(right_ptr + j[:, None] * RIGHT + j[None, :])
    total = tl.zeros([LEFT, RIGHT], tl.float32)
    for block in range(0, blocks):
        column = block * LEFT * RIGHT + at
        y = tl.load(g_ptr + row * num_slices + column, mask=column < num_slices, other=0.0)
        for r in tl.static_range(0, ROUNDS):
            y = tl.dot(tl.dot(left, y, input_precision="ieee"), right, input_precision="ieee")
            y = y * tl.load(signs_ptr + (block * ROUNDS + ROUNDS - 1 - r) * LEFT * RIGHT + at)
        total += y
    tl.store(out_ptr + row * LEFT * RIGHT + at, total * scale)


def hadamard(
    x: Tensor, signs: Tensor, left: Tensor, right: Tensor, num_slices: int, transposed: bool, scale: float
) -> Tensor:
    """Scaled rounds of signs and Hadamard transforms: (rows, K) -> (rows, M); transposed (rows, M) -> (rows, n).

    ``left`` and ``right`` are the two factors of H.
    """
    x, signs = x.contiguous(), signs.contiguous()
    blocks, rounds, n = signs.shape
    factors = {"ROUNDS": rounds, "LEFT": left.shape[0], "RIGHT": right.shape[0]}
    out = torch.empty(x.shape[0], n if transposed else num_slices, dtype=x.dtype, device=x.device)
    if transposed:
        _transposed_kernel[(x.shape[0],)](x, signs, left, right, out, blocks, num_slices, scale, **factors)
    else:
        _forward_kernel[(x.shape[0], blocks)](x, signs, left, right, out, x.shape[1], num_slices, scale, **factors)
    return out
