"""How many slices: errors against the mean over all directions, and what Theorem 5 leaves open."""

from typing import Any

from sigreg_lab.experiment import Decision, Picture, Study, claim, every, presets, some
from sigreg_lab.experiment.cells import Cell, Config
from sigreg_lab.experiment.estimates import Estimates, ratio
from sigreg_lab.figures.kinds import curves
from sigreg_lab.slicing import DIRECTIONS

from .estimates import BOUND_DIMS, HIDDEN_DIM, TARGETS, estimate
from .measure import measure

KINDS = ["iid", "orthogonal", "sobol", "hd3"]


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
    title="How many slices are enough",
    question="How far is the mean over M slices, and its gradient, from the mean over all directions, and which "
    "kind of directions is closest?",
    expectation="The error falls as M^(-1/2) for independent directions in any dimension. Orthogonal blocks are "
    "better by a constant, low-discrepancy directions by a rate, in low dimension only. For the "
    "gradient M = O(K).",
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
            "Relative root mean square error of value and gradient on N(0, I), by number of slices.",
            lambda e: curves(
                first_law(e, ["value", "gradient"]),
                x="num_slices",
                hue="directions",
                row="quantity",
                column="dim",
                y_label="relative error",
                log_y=True,
                share_y="row",
                size=(1.75, 2.2),
                legend_columns=5,
            ),
        ),
        "slices_needed": Picture(
            "Slices needed for a given error of the gradient, by dimension.",
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
