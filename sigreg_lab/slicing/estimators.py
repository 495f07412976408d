"""From a multivariate sample to one number: project on directions, apply a univariate statistic, reduce over slices."""

from typing import Literal, TypeGuard

import torch
from torch import Tensor

from sigreg_lab.kernels import gaussian_grid, hd3_project, matmul, sliced_epps_pulley
from sigreg_lab.slicing.directions import StructuredDirections
from sigreg_lab.univariate import EppsPulley, UnivariateTest
from sigreg_lab.validation import at_least_float32, check_sample, on_device

REDUCTIONS = ("mean", "sum", "max", "none")
Reduction = Literal["mean", "sum", "max", "none"]


def project(x: Tensor, directions: Tensor | StructuredDirections) -> Tensor:
    """Projections of a sample on directions.

    Args:
        x: sample, shape (..., N, K).
        directions: shape (K, M), a matrix or structured.

    Returns:
        Shape (..., N, M), float32 or better under any autocast.

    Raises:
        ValueError: ``directions`` is not of shape (K, M).
    """
    if len(directions.shape) != 2 or directions.shape[0] != x.shape[-1]:
        raise ValueError(
            f"directions must have shape (K, M) with K = {x.shape[-1]}, the last dimension of the sample; "
            f"got {tuple(directions.shape)}"
        )
    x = at_least_float32(x)
    if isinstance(directions, StructuredDirections):
        last = directions.skipped + directions.shape[1]
        return hd3_project(x, on_device(directions.signs, x.device), last)[..., directions.skipped :]
    return matmul(x, on_device(directions, x.device).to(x.dtype))


def sliced_statistic(
    x: Tensor,
    statistic: UnivariateTest,
    directions: Tensor | StructuredDirections,
    reduction: Reduction = "mean",
    *,
    clip: float | None = None,
) -> Tensor:
    """A univariate statistic over slices of a multivariate sample.

    Args:
        x: sample, shape (..., N, K).
        statistic: the univariate statistic.
        directions: shape (K, M), unit columns, a matrix or structured; see ``sigreg_lab.slicing.directions``.
        reduction: over the slices: "mean" (SIGReg's loss), "sum", "max" (the union-intersection test) or "none".
        clip: values of a slice below it count as 0, and carry no gradient.

    Returns:
        Shape (...), or (..., M) for "none".

    Raises:
        ValueError: a sample that the statistic refuses, directions of the wrong shape, an unknown reduction.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")
    check_sample(x, "x", ndim=2, min_samples=statistic.min_samples)
    if (
        reduction == "mean"
        and clip is None
        and isinstance(directions, Tensor)
        and _in_one_operation(statistic, x, directions)
    ):
        target, weight = gaussian_grid(statistic.t_max, statistic.n_points, statistic.sigma, x.device)
        directions = on_device(directions, x.device)
        return sliced_epps_pulley(x, directions, statistic.t_max, statistic.n_points, target, weight)
    per_slice = statistic.unchecked(project(x, directions))
    if clip is not None:
        per_slice = torch.where(per_slice < clip, 0.0, per_slice)
    if reduction == "mean":
        return per_slice.mean(-1)
    if reduction == "sum":
        return per_slice.sum(-1)
    if reduction == "max":
        return per_slice.amax(-1)
    return per_slice


def _in_one_operation(statistic: UnivariateTest, x: Tensor, directions: Tensor) -> TypeGuard[EppsPulley]:
    """Whether the mean over slices has an operation of its own, which keeps no projections."""
    return (
        type(statistic) is EppsPulley
        and statistic.integration == "trapezoid"
        and statistic.estimator == "v"
        and directions.ndim == 2
        and directions.shape[0] == x.shape[-1]
    )
