"""The kernels' arithmetic through ``torch.compile``, with sizes left open so that a new shape compiles nothing.

The powers of exp(i step x) are followed in real arithmetic, one rotation per node, and reduced as they arise.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sigreg_lab.kernels.eager import distance_and_slopes

__all__ = ["cosine_sine_sums", "distance_and_slopes", "trigonometric_polynomial"]


def cosine_sine_sums(x: Tensor, step: float, order: int) -> Tensor:
    """Sums over samples of cos(k step x) and sin(k step x): (B, N, M) -> (2, B, order, M), float64."""
    return torch.stack([torch.stack(sums, 1) for sums in _compiled(_sums)(x, step, order)]).double()


def trigonometric_polynomial(x: Tensor, step: float, a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """sum_k a_k sin(k step x) + b_k cos(k step x); ``a``, ``b``: (B, order, M), of x's dtype; ``out`` may be ``x``."""
    value = _compiled(_polynomial)(x, step, a, b)
    return value if out is None else out.copy_(value)


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True)


def _sums(x: Tensor, step: float, order: int) -> tuple[list[Tensor], list[Tensor]]:
    c1, s1 = (x * step).cos(), (x * step).sin()
    c, s = c1, s1
    cosines, sines = [], []
    for k in range(order):
        cosines.append(c.sum(1))
        sines.append(s.sum(1))
        if k + 1 < order:
            c, s = c * c1 - s * s1, s * c1 + c * s1
    return cosines, sines


def _polynomial(x: Tensor, step: float, a: Tensor, b: Tensor) -> Tensor:
    c, s = (x * step).cos(), (x * step).sin()
    real = imaginary = torch.zeros_like(x)
    for k in range(a.shape[1] - 1, -1, -1):
        real, imaginary = (
            real * c - imaginary * s + b[:, k, None],
            imaginary * c + real * s - a[:, k, None],
        )
    return real * c - imaginary * s
