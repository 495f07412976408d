"""Descent on the samples themselves: Figures 6, 16 and 7 of the LeJEPA paper, judged by what was not trained on.

N points in R^K, the first two coordinates an 'X' (marginals N(0, 1), covariance I, not Gaussian), the others N(0, 1),
are moved by Adam (lr 0.1, 1520 steps, as printed) so that the mean over M slices of a statistic falls. Directions are
drawn anew at every step (``iid``) or once (``fixed``). Training is ``adam``, as printed; ``adam_cosine``, the same with
step lengths that shrink to 0; ``gradient_descent``, plain; ``none``, samples of N(0, I) left as they are. What the
samples have become is judged by

    infinite         the exact mean of Epps-Pulley over all directions
    plane            the energy statistic of the first two coordinates
    covariance       |x'x/N - I|^2, Frobenius
    effective_rank   the exponential of the entropy of the singular values

Outside of the span of M < K fixed directions lie neither a gradient nor, in plain descent, any motion.
"""

import math

import numpy as np
import torch

from sigreg_lab import alternatives, univariate
from sigreg_lab.diagnostics import effective_rank
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.multivariate.energy import Energy
from sigreg_lab.slicing import iid_directions, seeded_generator, sliced_statistic
from sigreg_lab.slicing.infinite import infinite_slice_epps_pulley

STATISTICS = ["epps_pulley", "anderson_darling", "cramer_von_mises", "extended_jarque_bera", "vcreg", "mean_std"]
LEARNING_RATE = 0.1


def judge(x: torch.Tensor) -> dict[str, float]:
    x = x.detach().double()
    moments = x.T @ x / len(x)
    return {
        "infinite": float(infinite_slice_epps_pulley(x)),
        "plane": float(Energy()(x[:, :2])),
        "covariance": float((moments - torch.eye(x.shape[1], dtype=torch.float64)).square().sum()),
        "effective_rank": float(effective_rank(x)),
    }


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    n, dim, training = int(cell["num_samples"]), int(cell["dim"]), str(cell["training"])
    law = alternatives.MULTIVARIATE["null" if training == "none" else "x"](dim)
    rows: list[Row] = []
    for number, child in enumerate(seed.spawn(settings["null_seeds" if training == "none" else "seeds"])):
        start = torch.from_numpy(law.sample(np.random.default_rng(child), n)).float()
        row: Row = {"seed": number}
        if training == "none":
            row |= judge(start)
        else:
            end, outside = _descend(start, cell, settings, int(child.generate_state(1)[0]))
            row |= {"start_plane": judge(start)["plane"]} | judge(end) | outside
            if number == 0 and cell["num_slices"] in settings["column_slices"]:
                row["points"] = _text(end)
                row["start_points"] = _text(start) if cell["statistic"] == STATISTICS[0] else None
        rows.append(row)
    return rows


def _descend(start: torch.Tensor, cell: Cell, settings: Config, base: int) -> tuple[torch.Tensor, Row]:
    """The sample after training, and what happened outside the span of fixed directions."""
    dim, num_slices, steps = int(cell["dim"]), int(cell["num_slices"]), settings["steps"]
    statistic = univariate.REGISTRY[str(cell["statistic"])]()
    plain = cell["training"] == "gradient_descent"  # in float64: what it leaves alone, it leaves alone exactly
    x = (start.double() if plain else start.clone()).requires_grad_()
    optimizer = (
        torch.optim.SGD([x], lr=num_slices / 4) if plain else torch.optim.Adam([x], lr=LEARNING_RATE, fused=True)
    )
    resampled = cell["directions"] == "iid"
    directions = iid_directions(dim, num_slices, generator=seeded_generator(base, 0))
    for step in range(steps):
        if resampled and step:
            directions = iid_directions(dim, num_slices, generator=seeded_generator(base, step))
        if cell["training"] == "adam_cosine":
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.zero_grad()
        sliced_statistic(x, statistic, directions).backward()
        optimizer.step()
    if resampled or num_slices >= dim or x.grad is None:
        return x.detach(), {}
    moved = {"gradient_outside": x.grad, "motion_outside": x.detach() - start}
    return x.detach(), {name: _share_outside(one, directions) for name, one in moved.items()}


def _share_outside(moved: torch.Tensor, directions: torch.Tensor) -> float:
    """Norm of the part of the rows outside the span of the directions, as a share of the whole norm."""
    moved = moved.double()
    basis, _ = torch.linalg.qr(directions.double())
    return float((moved - moved @ basis @ basis.T).norm() / moved.norm())


def _text(x: torch.Tensor) -> str:
    return " ".join(f"{value:.2f}" for value in x[:, :2].flatten().tolist())
