"""How many slices: errors against the mean over all directions, and what Theorem 5 leaves open."""

import functools
import math
from typing import Any

import numpy as np
import pandas as pd

from sigreg_lab.experiment import Decision, Picture, Study, claim, every, presets, some
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.experiment.estimates import Estimates, exactly, mapped, mean, ratio, root
from sigreg_lab.experiment.power_laws import exponent, power_law
from sigreg_lab.figures.kinds import curves
from sigreg_lab.slicing import DIRECTIONS, make_directions, seeded_generator
from sigreg_lab.theory import sphere_bound

from .measure import measure

KINDS = ["iid", "orthogonal", "sobol", "hd3"]
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
            lines = [power_law(sizes, errors, np.full(len(sizes), 0.1)) for sizes, errors in samples]
            slopes = mean("exponent", [line.slope for line in lines], -0.5 if kind == "iid" else math.nan, **place)
            found.append(slopes | {"tolerance": 0.01})  # the logarithm of a mean of few squares is a little low
            for target in TARGETS if slopes["high"] < -0.1 else ():  # those that converge
                needed = [line.reaches(target)[0] for line in lines]
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


def first_law(e: Estimates, quantity: str | list[str], **where: Any) -> Estimates:
    return e.of(quantity, law=e.axis("law")[0], **where)


@claim("an error of 30% takes more than five times the slices of one of 100%")
def many_slices(e: Estimates) -> Decision:
    dim = first_law(e, "slices needed", directions="iid").last("dim")
    needed = first_law(e, ["slices needed", "fewest slices needed", "most slices needed"], directions="iid", dim=dim)
    whole, part = (needed.at("slices needed", target=target) for target in TARGETS[:2])
    ends = {end: needed.at(f"{end} slices needed", target=TARGETS[0]).value for end in ("fewest", "most")}
    return every(ratio(part, whole), above=5.0).also(whole=whole, part=part, target=part.target, dim=dim, **ends)


@claim("the slices needed for the gradient grow in proportion to K, when directions are drawn anew")
def linear_in_dimension(e: Estimates) -> Decision:
    return every(first_law(e, "growth of slices with K", directions="iid", target=1.0), above=0.9, below=1.15)


@claim("from M = K on orthogonal directions err less than independent ones")
def orthogonal_saves(e: Estimates) -> Decision:
    errors = first_law(e, "error over that of iid", directions="orthogonal", dim=lambda dim: dim > 2)
    return every([one for one in errors if one.num_slices >= one.dim], below=1.0)


@claim(
    "low-discrepancy directions are no worse than random ones",
    source="Low-discrepancy directions",
    fails="false for few slices, by little",
)
def sobol_no_worse(e: Estimates) -> Decision:
    errors = [*first_law(e, "error over that of iid", directions="sobol")]
    found = ~some(errors, above=1.0)
    level = 1 - 0.05 / len(errors)
    worse = [one.num_slices / one.dim for one in errors if one.at_level(level).low > 1.0]
    return found.also(until=max(worse, default=0.0))


@claim(
    "a number of fixed directions proportional to K suffices",
    source="Theorem 5, M = O(K)",
    fails="false for a fixed set of directions",
)
def pinned_down(e: Estimates) -> Decision:
    return every(e.of("hidden covariance", num_slices=2 * HIDDEN_DIM), below=0.1)


@claim(
    "on a fixed set of directions, a number of them proportional to K, the test has power towards 1 against every law",
    source="Theorem 2, fixed directions",
    detail=True,
    fails="false: some laws keep the level",
)
def consistent_when_fixed(e: Estimates) -> Decision:
    return pinned_down.decide(e)


@claim(
    "the bound says something of fewer than a million directions",
    source="Theorem 5, constant",
    fails="vacuous in practice",
)
def bound_says_something(e: Estimates) -> Decision:
    return every(e.of("log10 of the directions", dim=lambda dim: dim > 16), below=6.0)


@claim(
    "the squared distance of characteristic functions is smooth enough in the direction, whatever the law",
    source="Theorem 5, smoothness",
    detail=True,
    fails="false for a product of Cauchy laws",
)
def smooth_enough(e: Estimates) -> Decision:
    dim = BOUND_DIMS[1]
    return every(e.of("smoothness of a product of Cauchy laws"), above=(dim - 1) / 2).also(dim=dim)


@claim(
    "in the plane the bound holds for random, orthogonal and equispaced directions (alpha = 1)",
    source="Theorem 5, sets",
    fails="holds for equispaced directions, false for random ones",
)
def bound_in_the_plane(e: Estimates) -> Decision:
    found = every(e.of("largest error over the bound"), below=1.0)
    even = e.of("largest error over the bound", directions="equispaced").largest()
    return found.also(even=even)


def keep(cell: Cell, settings: Config) -> bool:
    """HD3 columns cut to fewer than 16 rows, where K is no power of two, may be 0: there are none."""
    dim = int(cell["dim"])
    return cell["directions"] != "hd3" or dim >= 16 or dim & (dim - 1) == 0


LAWS = ["null", "x", "rank_defect_1", "rank_defect_4"]
DIMS, SIZES = [2, 16, 128, 512, 2048], [16, 64, 256, 1024, 2048, 4096]

STUDY = Study(
    name="slice_concentration",
    title="How many slices: concentration on the infinite-slice value",
    question="How far is the mean over M slices, and its gradient, from the mean over all directions, and which kind "
    "of directions gives the least error?",
    expectation="M^(-1/2) for independent directions in any dimension; orthogonal blocks better by a constant, "
    "low-discrepancy directions by a rate in low dimension only. For the gradient M = O(K).",
    topic="slices",
    seed=20251116,
    axes=("law", "sample", "directions", "dim", "num_slices"),
    keep=keep,
    presets=presets(
        "law sample directions dim num_slices draws coordinates",
        smoke=(["null"], [1, 2, 3], ["iid", "orthogonal"], [2, 16], [16, 64], 24, 100_000),
        quick=(["null"], [1, 2, 3, 4], KINDS, [2, 16, 128], [16, 64, 256, 1024], 40, 10_000_000),
        standard=(["null"], [*range(1, 17)], KINDS, DIMS, SIZES, 20, 8_000_000),
        paper=(LAWS, [*range(1, 101)], KINDS, DIMS, [*SIZES, 16384], 200, 1_000_000_000),
        num_samples=128,
    ),
    choices={"directions": DIRECTIONS},
    measure=measure,
    estimate=estimate,
    claims=(
        many_slices,
        linear_in_dimension,
        orthogonal_saves,
        sobol_no_worse,
        pinned_down,
        consistent_when_fixed,
        bound_says_something,
        bound_in_the_plane,
        smooth_enough,
    ),
    pictures={
        "slice_concentration": Picture(
            "Root mean square error of value and gradient against the number of slices, over samples of N(0, I).",
            lambda e: curves(
                first_law(e, ["value", "gradient"]),
                x="num_slices",
                hue="directions",
                row="quantity",
                column="dim",
                y_label="relative error",
                log_y=True,
                share_y="row",
                size=(2.3, 2.4),
                legend_columns=5,
            ),
        ),
        "slices_needed": Picture(
            "Slices needed for a given error of the gradient, against the dimension.",
            lambda e: curves(
                first_law(e, "slices needed"),
                x="dim",
                hue="directions",
                column="target",
                titles={"target": lambda target: f"error of the gradient {target:.0%}"},
                x_label="dimension K",
                y_label="slices needed",
                log_y=True,
            ),
        ),
        "theorem_5": Picture(
            "Theorem 5's constant. Below alpha = (K - 1)/2 values at points are not defined; as alpha falls to 0 it "
            "falls to 0, where the inequality cannot hold.",
            lambda e: curves(
                e.of("log10 C"),
                x="alpha",
                hue="dim",
                x_label="alpha",
                y_label="log10 C(K, alpha)",
                plain_x=True,
                limits=(-5, 400),
                references={"C = 1": 0.0},
                size=(4.2, 2.9),
            ),
        ),
    },
)
