"""How near M random slices come to the mean over all directions, for the value and for the gradient of Epps-Pulley.

For a sample of N points in R^K the mean over all directions of its Epps-Pulley statistic, and that mean's gradient, are
known exactly (``infinite_slice_epps_pulley``). Each cell has one sample, the same for all kinds and numbers of
directions, draws sets of M directions of one kind and measures, over sets,

    value       mean square of (mean over M slices - exact) / exact
    gradient    mean square of |gradient - exact gradient| / |exact gradient|
    bias        of both; of the gradient the product of the mean errors of two halves of the sets
"""

import math

import numpy as np
import torch

from sigreg_lab import alternatives
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.slicing import make_directions, seeded_generator, sliced_statistic
from sigreg_lab.slicing.infinite import infinite_slice_epps_pulley
from sigreg_lab.theory.directions import errors_in_the_plane
from sigreg_lab.univariate import EppsPulley

LEAST_DRAWS = 8


def exact_mean_squares(x: torch.Tensor, kind: str, num_slices: int) -> tuple[float, float]:
    """Mean squared errors of value and gradient, relative, in the plane; NaN elsewhere."""
    if x.shape[1] != 2 or kind not in ("iid", "orthogonal"):
        return math.nan, math.nan
    return errors_in_the_plane(x, EppsPulley(), num_slices, orthogonal=kind == "orthogonal")


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    kind, dim, num_slices = str(cell["directions"]), int(cell["dim"]), int(cell["num_slices"])
    law = alternatives.MULTIVARIATE[str(cell["law"])](dim)
    x = torch.from_numpy(law.sample(np.random.default_rng([int(cell["sample"]), dim]), settings["num_samples"]))
    x.requires_grad_()
    exact = infinite_slice_epps_pulley(x)
    (exact_gradient,) = torch.autograd.grad(exact, x)
    drawn = dim * (max(num_slices, dim) if kind == "hd3" else num_slices)  # HD3 makes whole blocks
    draws = int(np.clip(settings["coordinates"] // drawn, LEAST_DRAWS, settings["draws"])) // 2 * 2
    base = int(seed.generate_state(1)[0])
    values, squares, halves = np.empty(draws), np.empty(draws), torch.zeros(2, *x.shape, dtype=x.dtype)
    for draw in range(draws):
        directions = make_directions(kind, dim, num_slices, generator=seeded_generator(base, draw))
        value = sliced_statistic(x, EppsPulley(), directions)
        (gradient,) = torch.autograd.grad(value, x)
        error = (gradient - exact_gradient) / exact_gradient.norm()
        values[draw], squares[draw] = float((value / exact).detach()) - 1, float(error.square().sum())
        halves[draw % 2] += error / (draws // 2)
    exact_value, exact_square = exact_mean_squares(x, kind, num_slices)
    return [
        {
            "draws": draws,
            "value_bias": values.mean(),
            "gradient_bias": float((halves[0] * halves[1]).sum()),
            "value_square": (values**2).mean(),
            "gradient_square": squares.mean(),
            "exact_value_square": exact_value,
            "exact_gradient_square": exact_square,
        }
    ]
