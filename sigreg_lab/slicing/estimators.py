"""From a multivariate sample to one number: project on directions, apply a univariate statistic, reduce over slices."""

from typing import Literal

import torch
from torch import Tensor

from sigreg_lab.kernels import hd3_project, matmul, sliced_epps_pulley
from sigreg_lab.slicing.directions import StructuredDirections
from sigreg_lab.univariate import Grid, UnivariateTest
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
    _check_directions(x, directions)
    x = at_least_float32(x)
    if isinstance(directions, StructuredDirections):
        last = directions.skipped + directions.shape[1]
        return hd3_project(x, on_device(directions.signs, x.device), last)[..., directions.skipped :]
    return matmul(x, on_device(directions, x.device).to(x.dtype))


def _check_directions(x: Tensor, directions: Tensor | StructuredDirections) -> None:
    if len(directions.shape) != 2 or directions.shape[0] != x.shape[-1]:
        raise ValueError(
            f"directions must have shape (K, M) with K = {x.shape[-1]}, the last dimension of the sample; "
            f"got {tuple(directions.shape)}"
        )


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
    grid = characteristic_grid(statistic)
    if grid is not None and reduction == "mean" and clip is None:
        _check_directions(x, directions)
        if isinstance(directions, Tensor):
            matrix_or_signs, columns = directions, None
        else:
            matrix_or_signs = directions.signs
            columns = directions.skipped, directions.skipped + directions.shape[1]
        matrix_or_signs = on_device(matrix_or_signs, x.device)
        values = grid.values(x.device)
        return sliced_epps_pulley(x, matrix_or_signs, grid.t_max, grid.n_points, *values, columns=columns)
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


def characteristic_grid(statistic: UnivariateTest) -> Grid | None:
    """The grid of a statistic whose mean over slices has an operation of its own, which keeps no projections."""
    form = statistic.sum_form()
    return None if form is None else form.distance
