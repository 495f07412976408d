"""Errors of the mean over M slices against the mean over all directions, where they are known exactly.

With A(a) = T(x a) the statistic of one slice and g(a) its gradient in the sample, a uniform on the sphere, the mean
over M independent directions has the mean squared errors Var A / M and (E |g|^2 - |E g|^2) / M. In the plane these are
integrals over the circle. Orthogonal directions come there in pairs at right angles: their values are averaged, and
their gradients are orthogonal matrices s(a) a', so that |g(a) + g(b)|^2 = |g(a)|^2 + |g(b)|^2.
"""

import math
from collections.abc import Callable

import torch

ANGLES = 1024


def errors_in_the_plane(
    x: torch.Tensor,
    statistic: Callable[[torch.Tensor], torch.Tensor],
    num_slices: int,
    *,
    orthogonal: bool,
) -> tuple[float, float]:
    """Mean squared errors of a statistic's value and gradient, relative, by quadrature over the circle.

    Args:
        x: the sample, shape (N, 2).
        statistic: of one slice, (N, M) -> (M,).
        num_slices: M, even if ``orthogonal``.
        orthogonal: whether directions come in pairs at right angles; else they are independent.
    """
    angle = torch.arange(ANGLES, dtype=torch.float64) * (math.pi / ANGLES)
    circle = torch.stack([angle.cos(), angle.sin()])
    projections = (x.detach() @ circle).requires_grad_()
    values = statistic(projections)
    (slopes,) = torch.autograd.grad(values.sum(), projections)
    squares, values = slopes.square().sum(0), values.detach()
    exact, gradient = values.mean(), (slopes @ circle.T / ANGLES).square().sum()
    if orthogonal:
        values = (values + values.roll(ANGLES // 2)) / 2
        squares = (squares + squares.roll(ANGLES // 2)) / 4
        num_slices //= 2
    value_error = values.var(correction=0) / exact**2 / num_slices
    return float(value_error), float(squares.mean() / gradient - 1) / num_slices
