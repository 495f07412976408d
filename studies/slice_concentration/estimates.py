"""Errors of value and gradient, the slices that a given error takes, and what Theorem 5 says and leaves open."""

import functools
import math
from typing import Any

import numpy as np
import pandas as pd

from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import exactly, mapped, mean, root
from sigreg_lab.experiment.power_laws import exponent, power_law
from sigreg_lab.slicing import make_directions, seeded_generator
from sigreg_lab.theory import sphere_bound

UNIFORM = ("iid", "orthogonal", "sobol")  # every direction is uniform on the sphere
TARGETS = (1.0, 0.3, 0.1)  # of the gradient's norm
AXES = ["law", "directions", "dim", "num_slices"]
BOUND_DIMS, ALPHAS = (2, 8, 32, 128, 512), np.geomspace(1e-3, 1e3, 31)
HIDDEN_DIM, SETS = 16, 8


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Means over samples, each with sets of directions of its own; slices for a given error in each sample."""
    found = [*theorem_5()]
    for key, cells in rows.groupby(AXES, sort=False):
        place = dict(zip(AXES, key, strict=True))
        unbiased = 0.0 if place["directions"] in UNIFORM else math.nan
        for name in ("value", "gradient"):
            squares, known = cells[f"{name}_square"], cells[f"exact_{name}_square"]
            square = mean(f"{name}, mean square", squares, **place)
            found.append(mapped(square, name, root))
            if known.notna().all():
                found.append(mean(f"{name}, mean square over the exact one", squares / known, 1.0, **place))
            found.append(mean(f"bias of the {name}", cells[f"{name}_bias"], unbiased, **place))
    for (law, dim), cells in rows.groupby(["law", "dim"], sort=False):
        errors = cells.set_index(["directions", "num_slices", "sample"])["gradient_square"].map(math.log) / 2
        kinds = list(dict.fromkeys(cells["directions"]))
        for kind in [kind for kind in kinds if kind != "iid"] if "iid" in kinds else ():
            for size, logs in (errors[kind] - errors["iid"]).groupby("num_slices"):
                place = {"law": law, "directions": kind, "dim": dim, "num_slices": size}
                found.append(mapped(mean("log", logs, **place), "error over that of iid", math.exp))
    return found + _slices_needed(rows)


def _slices_needed(rows: pd.DataFrame) -> list[Row]:
    """Power laws over M >= K, where blocks of directions are whole, sample by sample; the M that reaches a target."""
    found: list[Row] = []
    whole = rows[rows["num_slices"] >= rows["dim"]]
    for (law, kind), group in whole.groupby(["law", "directions"], sort=False):
        growth: dict[float, dict[int, list[float]]] = {target: {} for target in TARGETS}
        for dim, cells in group.groupby("dim"):
            place = {"law": law, "directions": kind, "dim": dim}
            samples = [(one["num_slices"], one["gradient_square"] ** 0.5) for _, one in cells.groupby("sample")]
            if len(samples[0][0]) < 2:
                continue
            lines = [power_law(sizes, errors) for sizes, errors in samples]
            slopes = mean("exponent", [line.slope for line in lines], -0.5 if kind == "iid" else math.nan, **place)
            found.append(slopes | {"tolerance": 0.01})  # the logarithm of a mean of few squares is a little low
            for target in TARGETS if slopes["high"] < -0.1 else ():  # those that converge
                needed = [line.reaches(target) for line in lines]
                found.append(mean("slices needed", needed, **place, target=target))
                ends = {"fewest": min(needed), "most": max(needed)}
                found += [exactly(f"{end} slices needed", ends[end], **place, target=target) for end in ends]
                if dim >= 16:
                    growth[target][int(dim)] = needed
        for target, dims in growth.items():
            if len(dims) > 1:
                powers = [exponent([*dims], values)[0] for values in zip(*dims.values(), strict=True)]
                found.append(mean("growth of slices with K", powers, law=law, directions=kind, target=target))
    return found


@functools.cache
def theorem_5() -> list[Row]:
    """Its constant, its smoothness, and what directions without a defect leave open; all but the sets is exact."""
    found = [exactly("log10 C", sphere_bound.log10_constant(k, a), dim=k, alpha=a) for k in BOUND_DIMS for a in ALPHAS]
    found += [exactly("log10 of the directions", sphere_bound.log10_directions(k), dim=k) for k in BOUND_DIMS]
    orders = np.array([32.0, 64.0, 128.0, 256.0, 512.0])
    slope, _ = exponent(orders, sphere_bound.cauchy_coefficients(orders))
    found.append(exactly("smoothness of a product of Cauchy laws", -slope - 0.5, 1.5, 0.01))
    for kind in ("iid", "orthogonal", "equispaced"):
        for size in (4, 16, 64):
            bound = 10 ** sphere_bound.log10_constant(2, 1.0) / size**2
            logs = [math.log(sphere_bound.worst_in_the_plane(a, 1.0) / bound) for a in _angles(kind, size)]
            row = mean("log", logs, directions=kind, dim=2, num_slices=size, alpha=1.0)
            found.append(mapped(row, "largest error over the bound", math.exp))
        for size in (16, 32, 64, 128, 136) if kind != "equispaced" else ():
            sets = [_directions(kind, HIDDEN_DIM, size, number) for number in range(SETS)]
            norms = [np.linalg.norm(sphere_bound.hidden_covariance(a) - np.eye(HIDDEN_DIM)) for a in sets]
            found.append(mean("hidden covariance", norms, directions=kind, dim=HIDDEN_DIM, num_slices=size))
    return found


def _directions(kind: str, dim: int, size: int, number: int) -> Any:
    return make_directions(kind, dim, size, generator=seeded_generator(5, number)).double().numpy()


def _angles(kind: str, size: int) -> list[Any]:
    if kind == "equispaced":
        return [np.pi * np.arange(size) / size] * 2
    return [np.arctan2(*_directions(kind, 2, size, number)) for number in range(SETS)]
