"""The squared error of SIGReg's gradient by M slices of each estimator, and how many independent slices its time buys.

Samples of N rows of N(0, I) in R^K are drawn anew. A row is one number of one sample or group of rounds:

    error   |gradient - exact gradient|^2 of M slices drawn anew, over E |exact gradient|^2, which is known exactly
    exact   |exact gradient|^2 over the same
    equal   independent slices that take as long as the estimator does with M, value and gradient, directions drawn

In a round every estimator runs once, and 16 to 4096 independent slices, in turn: a busy machine slows all alike. A
line in M, fitted to medians of the latter's processor time over a group of rounds, gives "equal", 1 at the least. "All
directions" is the exact mean itself. One thread, float32.
"""

import functools
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy import optimize

from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.regularizers import Regularizer, make_regularizer
from sigreg_lab.slicing import infinite_slice_epps_pulley, seeded_generator
from sigreg_lab.theory.slices import exact_square
from sigreg_lab.univariate import EppsPulley

#: Name and kind of directions, by estimator.
ESTIMATORS = {
    "iid": ("sigreg-ep", "iid"),
    "orthogonal": ("sigreg-ep", "orthogonal"),
    "hd3": ("sigreg-ep", "hd3"),
    "control variates": ("sigreg-ep-cv", "iid"),
    "control variates, hd3": ("sigreg-ep-cv", "hd3"),
}
LADDER = np.array([16, 64, 256, 1024, 4096])
GRID = EppsPulley().nodes()


def regularizer(estimator: str, num_slices: int) -> Regularizer:
    name, directions = ESTIMATORS[estimator]
    found = make_regularizer(name, num_slices=num_slices, directions=directions)
    assert found is not None  # None is "none"
    return found


def gradient(loss: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor) -> torch.Tensor:
    (found,) = torch.autograd.grad(loss(z), z)
    return found


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    n, dim, num_slices = (int(cell[axis]) for axis in ("n", "dim", "num_slices"))
    base = int(seed.generate_state(1)[0])
    norm, rows = exact_square(n, dim, GRID), []
    losses = {name: regularizer(name, num_slices) for name in ESTIMATORS}
    for index in range(settings["samples"]):
        z = torch.randn(1, n, dim, generator=seeded_generator(base, index)).requires_grad_()
        exact = gradient(lambda x: infinite_slice_epps_pulley(x).sum(), z)
        rows.append(_row("exact", "all directions", index, float(exact.square().sum()) / norm))
        for number, (name, loss) in enumerate(losses.items()):
            generator = seeded_generator(base, index, number)
            error = gradient(lambda x, one=loss, random=generator: one(x, random), z) - exact  # type: ignore[misc]
            rows.append(_row("error", name, index, float(error.square().sum()) / norm))
    return rows + _times(losses, z, settings["groups"], settings["rounds"])


def _times(losses: dict[str, Regularizer], z: torch.Tensor, groups: int, rounds: int) -> list[Row]:
    """Independent slices at equal time, group by group."""
    generator = seeded_generator(0)
    names = [name for name in losses if name != "iid"]
    runs: list[Callable[[torch.Tensor], torch.Tensor]] = [
        *(functools.partial(losses[name], generator=generator) for name in names),
        lambda x: infinite_slice_epps_pulley(x).sum(),
        *(functools.partial(regularizer("iid", int(count)), generator=generator) for count in LADDER),
    ]
    rows = []
    for group in range(-1, groups):  # the first warms up
        taken = np.array([[_seconds(run, z) for run in runs] for _ in range(rounds)])
        times, steps = np.split(np.median(taken, 0), [len(names) + 1])
        (fixed, each), _ = optimize.nnls(np.stack([1 / steps, LADDER / steps], 1), np.ones(len(steps)))
        if group >= 0:
            equal = np.maximum((times - fixed) / max(each, 1e-12), 1.0)
            rows += [
                _row("equal", name, group, float(value))
                for name, value in zip([*names, "all directions"], equal, strict=True)
            ]
    return rows


def _seconds(run: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor) -> float:
    start = time.process_time()
    gradient(run, z)
    return time.process_time() - start


def _row(quantity: str, estimator: str, index: int, value: float) -> Row:
    return {"quantity": quantity, "estimator": estimator, "index": index, "value": value}
