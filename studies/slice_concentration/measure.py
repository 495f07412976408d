"""How near M random slices come to the mean over all directions, for the value and for the gradient of Epps-Pulley.

A sample of N points in R^K is fixed; the mean over all directions of its Epps-Pulley statistic and that mean's gradient
are known exactly (``infinite_slice_epps_pulley``). Each cell draws sets of M directions of one kind and measures

    error of the value      root mean square over sets of (mean over M slices - exact) / exact
    error of the gradient   root mean square over sets of |gradient - exact gradient| / |exact gradient|
    persistent error        |mean over sets of (gradient - exact gradient)| / |exact gradient|, estimated without bias:
                            what is left of the gradient's error when many steps, each with a set of its own, are
                            averaged. ``fixed`` directions are the same set at every step: all their error persists.
"""

import math

import numpy as np
import torch

from sigreg_lab import alternatives
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.experiment.intervals import squared_norm_of_mean
from sigreg_lab.slicing import make_directions, seeded_generator, sliced_statistic
from sigreg_lab.slicing.infinite import infinite_slice_epps_pulley
from sigreg_lab.theory.directions import errors_in_the_plane
from sigreg_lab.univariate import EppsPulley

GROUPS = 12
LEAST_DRAWS = 24  # Student's interval on the logarithm then covers 92.7% at the least (``test_slice_concentration``)


def exact_mean_squares(x: torch.Tensor, kind: str, num_slices: int) -> tuple[float, float]:
    """Mean squared errors of value and gradient, relative, in the plane; NaN elsewhere."""
    if x.shape[1] != 2 or kind not in ("iid", "orthogonal"):
        return math.nan, math.nan
    return errors_in_the_plane(x, EppsPulley(), num_slices, orthogonal=kind == "orthogonal")


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    kind, dim, num_slices = str(cell["directions"]), int(cell["dim"]), int(cell["num_slices"])
    # The sample is that of the law and the dimension, the same for all kinds and numbers of directions.
    law = alternatives.MULTIVARIATE[str(cell["law"])](dim)
    x = torch.from_numpy(law.sample(np.random.default_rng([settings["sample_seed"], dim]), settings["num_samples"]))
    x.requires_grad_()
    exact = infinite_slice_epps_pulley(x)
    (exact_gradient,) = torch.autograd.grad(exact, x)
    base = int(seed.generate_state(1)[0])
    drawn = dim * (max(num_slices, dim) if kind == "hd3" else num_slices)  # HD3 makes whole blocks
    draws = int(np.clip(settings["coordinates"] // drawn, LEAST_DRAWS, settings["draws"]))
    draws = GROUPS if kind == "fixed" else draws
    values, squares = np.empty(draws), np.empty(draws)
    totals, counts = torch.zeros(GROUPS, *x.shape, dtype=torch.float64), np.zeros(GROUPS)
    for draw in range(draws):
        directions = make_directions(kind, dim, num_slices, generator=seeded_generator(base, draw))
        value = sliced_statistic(x, EppsPulley(), directions)
        (gradient,) = torch.autograd.grad(value, x)
        error = (gradient - exact_gradient) / exact_gradient.norm()
        values[draw] = float((value - exact).detach() / exact.detach())
        squares[draw] = float(error.square().sum())
        totals[draw % GROUPS] += error
        counts[draw % GROUPS] += 1
    means = totals.flatten(1) / torch.from_numpy(counts)[:, None]
    persistent, persistent_error = squared_norm_of_mean((means @ means.T).numpy())
    exact_value, exact_gradient_square = exact_mean_squares(x, kind, num_slices)
    return [
        {
            "draws": draws,
            "exact": float(exact.detach()),
            "value_bias": values.mean(),
            "value_bias_error": _standard_error(values),
            "value_square": (values**2).mean(),
            "value_square_error": _standard_error(values**2),
            "gradient_square": squares.mean(),
            "gradient_square_error": _standard_error(squares),
            "persistent_square": persistent,
            "persistent_square_error": persistent_error,
            "exact_value_square": exact_value,
            "exact_gradient_square": exact_gradient_square,
        }
    ]


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))
