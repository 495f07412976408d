"""Directions and nodes at the least time: kinds at equal error, the rule that chooses among them, the cheapest grid."""

from typing import Any

from sigreg_lab.experiment import Decision, Picture, Study, claim, every, presets
from sigreg_lab.experiment.cells import Cell, Config
from sigreg_lab.experiment.estimates import Estimate, Estimates, interval, ratio
from sigreg_lab.figures.kinds import curves
from sigreg_lab.slicing import cheapest_directions
from sigreg_lab.theory.quadrature import REACH
from sigreg_lab.univariate.epps_pulley import AUTO_GRID

from .estimates import LAWS, NULL, OFF, SHORTER, WORK, estimate
from .measure import AUTO, EXACT, measure, slices_of


def last_error(e: Estimates, **where: Any) -> Estimates:
    return e.of(WORK, error=min(e.of(WORK).axis("error")), **where)


@claim("in high dimension hd3 takes less time than independent slices of the same error")
def hd3_in_time(e: Estimates) -> Decision:
    high = last_error(e, directions="hd3", dim=lambda k: k >= 256)
    return every(high, below=1.0).also(dim=high.first("dim"))


@claim("the kind that the rule chooses takes at most half as long again as the fastest")
def rule_is_fast(e: Estimates) -> Decision:
    found = []
    for chosen in e.of(WORK):
        place = {"n": chosen.n, "dim": chosen.dim, "error": chosen.error}
        if chosen.directions == cheapest_directions(chosen.n, chosen.dim, chosen.error).kind:
            fastest = e.of(WORK, **place, directions=[*LAWS, EXACT]).least()
            same = Estimate(chosen.row | interval("ratio", 1.0, 1.0, 1.0))
            found.append(same if fastest.directions == chosen.directions else ratio(chosen, fastest))
    return every(found, below=1.5)


@claim("the error that the rule promises is reached")
def error_is_reached(e: Estimates) -> Decision:
    return every(e.of("error over the stated one"), below=1.1)


@claim("for a small batch and a small error the exact mean over all directions takes less time than hd3")
def exact_for_small_batches(e: Estimates) -> Decision:
    n, found = e.of(WORK).first("n"), []
    for one in last_error(e, directions=EXACT, n=n, dim=lambda k: k >= 256):
        found.append(ratio(one, last_error(e, directions="hd3", n=n, dim=one.dim).at(WORK)))
    return every(found, below=1.0).also(n=n, error=min(e.of(WORK).axis("error")))


@claim("Sobol directions do not take less time than hd3 at equal error", detail=True)
def sobol_is_no_faster(e: Estimates) -> Decision:
    sobol = [one for one in last_error(e, directions="sobol") if one.dim >= 256]
    hd3 = [last_error(e, directions="hd3", n=one.n, dim=one.dim).at(WORK) for one in sobol]
    return every([ratio(a, b) for a, b in zip(sobol, hd3, strict=True)], above=1.0)


@claim("the automatic grid has the fewest points that hold the gradient within one percent")
def cheapest_grid(e: Estimates) -> Decision:
    here, fewer = e.at(OFF, grid=AUTO), e.at(OFF, points=AUTO_GRID[1] - 1, reach=REACH)
    words = {"here": here, "fewer": fewer, "official": e.at(OFF, grid="official"), "points": AUTO_GRID[1]}
    return (every(here, below=0.01) & every(fewer, above=0.01)).also(
        **words, t_max=AUTO_GRID[0], period=e.at("period", grid=AUTO), null=e.at(NULL, grid=AUTO)
    )


@claim("slices take less time on the automatic grid than on the official one")
def grid_saves_time(e: Estimates) -> Decision:
    return every(e.of(SHORTER), below=1.0)


def keep(cell: Cell, settings: Config) -> bool:
    return bool(slices_of(cell, settings))


STUDY = Study(
    name="direction_frontier",
    title="The fastest directions and grid for a given error",
    question="Which directions, and how many grid points, reach a given error of the gradient in the least time?",
    expectation="hd3 in high dimension, orthogonal blocks in low dimension, and the exact average over all "
    "directions for small batches and small errors. Half of the official grid points are enough, and "
    "take half of the time.",
    topic="slices",
    seed=20261128,
    axes=("n", "dim"),
    keep=keep,
    presets=presets(
        "n dim multiples errors operations pairs samples groups rounds",
        smoke=([32], [16, 32], [1, 2], [1.0], 2**24, 2**12, 8, 2, 2),
        quick=([128, 512], [64, 256], [4, 32], [1.0, 0.3], 2**30, 2**18, 24, 3, 3),
        standard=([128, 512, 2048, 8192], [16, 64, 256, 1024, 4096], [1, 4, 32], [1.0, 0.3], 2**33, 2**22, 24, 5, 3),
        paper=([128, 512, 2048, 8192], [16, 64, 256, 1024, 4096], [1, 4, 32], [1.0, 0.3], 2**37, 2**26, 100, 9, 5),
    ),
    measure=measure,
    estimate=estimate,
    claims=(
        hd3_in_time, rule_is_fast, error_is_reached, exact_for_small_batches, cheapest_grid, grid_saves_time,
        sobol_is_no_faster,
    ),
    pictures={
        "direction_frontier": Picture(
            "Time of value and gradient over that of independent slices of the same error, by dimension K and "
            "batch size N.",
            lambda e: curves(
                e.of(WORK, directions=lambda kind: kind != "iid"), x="dim", hue="directions", row="error", column="n",
                y_label="time over iid", log_y=True,
                titles={"n": "N = {}", "error": lambda error: f"error {error:.0%}"}, size=(2.1, 2.2),
                references={"independent": 1.0}, legend_columns=6,
            ),
        ),
        "grid_frontier": Picture(
            "Smallest error of the gradient by number of grid points, for samples within 3 and within 6 (reach).",
            lambda e: curves(
                e.of(OFF, points=lambda p: p == p), x="points", hue="reach", x_label="points on [0, t_max]",
                y_label="error", plain_x=True, log_y=True, references={"1%": 0.01}, size=(4.2, 2.6),
            ),
        ),
    },
)  # fmt: skip
