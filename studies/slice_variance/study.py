"""Slices beside their alternatives: the gradient's error at equal M, partly known exactly, and at equal time."""

import functools
from typing import Any

from sigreg_lab.experiment import Decision, Picture, Study, claim, every
from sigreg_lab.experiment.cells import Config
from sigreg_lab.experiment.estimates import Estimate, Estimates, interval, ratio
from sigreg_lab.figures.kinds import curves
from sigreg_lab.theory import slices

from .estimates import AXES, CONTROLLED, SHARE, SQUARE, TIMED, estimate
from .measure import GRID, measure

LIMIT = slices.slices_per_dimension("degree 2", GRID) / slices.slices_per_dimension("iid", GRID)


def of_controlled(e: Estimates, quantity: str) -> Estimates:
    return e.of(quantity, estimator=CONTROLLED)


def over_orthogonal(e: Estimates, errors: Estimates) -> list[Estimate]:
    """Squared errors over the exact ones of as many orthogonal slices."""
    found = []
    for one in errors:
        exact = e.at(SQUARE, **{axis: getattr(one, axis) for axis in AXES}, estimator="orthogonal").exact
        numbers = (one.value / exact, one.low / exact, one.high / exact)
        found.append(Estimate(one.row | interval(SHARE, *numbers, one.replicates)))
    return found


@claim("control variates leave the share of the error that theory says")
def near_theory(e: Estimates) -> Decision:
    """From K = 64 on, the share left of the squared error is within a fifth of its limit."""
    share = of_controlled(e, SHARE).of(dim=lambda dim: dim >= 64)
    return every(share, above=0.8 * LIMIT, below=1.2 * LIMIT).also(limit=LIMIT)


@claim("at equal M control variates have a smaller error than orthogonal slices")
def beats_orthogonal(e: Estimates) -> Decision:
    """At equal M, against the exact error of orthogonal slices, where these are a whole block at least."""
    whole = of_controlled(e, SQUARE).of(num_slices=lambda count: count >= e.first("dim"))
    return every(over_orthogonal(e, whole), below=1.0)


@claim("at equal time control variates have a smaller error than independent slices")
def beats_in_time(e: Estimates) -> Decision:
    """In the time of control variates independent slices have the larger error, everywhere."""
    return every(of_controlled(e, TIMED), below=1.0)


@claim("at equal time, from M = K on, hd3 has a smaller error than independent slices in high dimension")
def hd3_beats_independent(e: Estimates) -> Decision:
    """In the highest dimension, with a whole block of slices or more, the error of hd3 is the smaller in equal time."""
    dim = e.last("dim")
    return every(e.of(TIMED, estimator="hd3", dim=dim, num_slices=lambda m: m >= dim), below=1.0).also(dim=dim)


@claim("at equal time hd3 has a smaller error than control variates in high dimension")
def hd3_wins_in_time(e: Estimates) -> Decision:
    """In the highest dimension, the error of hd3 is below that of control variates in the time of each."""
    found, dim = [], e.last("dim")
    for one in e.of(TIMED, estimator="hd3", dim=dim):
        place = {axis: getattr(one, axis) for axis in AXES}
        found.append(ratio(one, e.at(TIMED, **place, estimator=CONTROLLED)))
    return every(found, below=1.0).also(dim=dim)


@claim("hd3 has the error of orthogonal blocks", detail=True)
def hd3_is_orthogonal(e: Estimates) -> Decision:
    """hd3 has the error of orthogonal blocks within a tenth, in K of 64 and more."""
    return every(over_orthogonal(e, e.of(SQUARE, estimator="hd3", dim=lambda dim: dim >= 64)), above=0.9, below=1.1)


def _errors(e: Estimates, quantity: str, label: str) -> Any:
    return curves(
        e.of(quantity),
        x="num_slices",
        hue="estimator",
        row="n",
        column="dim",
        titles={"dim": "K = {}", "n": "N = {}"},
        exact="exact" if quantity == SQUARE else "",
        references={} if quantity == SQUARE else {"independent": 1.0},
        x_label="slices M",
        y_label=label,
        log_y=True,
        share_y="col" if quantity == SQUARE else True,
        size=(2.3, 2.2),
    )


def _preset(n: list[int], dim: list[int], num_slices: list[int], samples: int, groups: int, rounds: int) -> Config:
    axes = {"n": n, "dim": dim, "num_slices": num_slices}
    return axes | {"samples": samples, "groups": groups, "rounds": rounds}


STUDY = Study(
    name="slice_variance",
    title="Fewer slices for the same gradient: orthogonal blocks and control variates",
    question="How far is the gradient of M slices from the exact one, and which estimator is nearest in a given time?",
    expectation="The errors of independent and orthogonal slices follow their exact law. Control variates leave "
    "the share of the error that theory predicts, and save time where projections take most of it.",
    topic="slices",
    seed=20261127,
    axes=("n", "dim", "num_slices"),
    presets={
        "smoke": _preset([32], [16], [16, 32], 12, 2, 2),
        "quick": _preset([256], [16, 64], [64, 256], 40, 4, 5),
        "standard": _preset([256, 1024], [16, 64, 512], [64, 256, 1024], 40, 6, 5),
        "paper": _preset([256, 1024, 4096], [16, 64, 256, 1024], [64, 256, 1024, 4096], 400, 10, 15),
    },
    measure=measure,
    estimate=estimate,
    claims=(hd3_beats_independent, hd3_wins_in_time, beats_in_time, beats_orthogonal, near_theory, hd3_is_orthogonal),
    pictures={
        "slice_variance": Picture(
            "Relative squared error of the gradient, by number of slices; dotted: exact.",
            functools.partial(_errors, quantity=SQUARE, label="squared error"),
        ),
        "slice_variance_in_time": Picture(
            "Squared error over that of independent slices which take as long.",
            functools.partial(_errors, quantity=TIMED, label="ratio at equal time"),
        ),
    },
)
