"""Near collapse: pulls, steps of escape, and what a grid lets through."""

from typing import Any

from sigreg_lab.experiment import Decision, Picture, Study, claim, every, presets
from sigreg_lab.experiment.cells import Cell, Config
from sigreg_lab.experiment.estimates import Estimates
from sigreg_lab.figures.kinds import curves
from sigreg_lab.theory.collapse import BY_RANK

from .estimates import estimate
from .measure import ALL_SLICES, ESCAPING, FULL_LINE, MOMENTS, PULLED, SPREAD, SPREAD_OUT, measure

SHAPES = {"point": "a point", "offset": "a point off the origin", "rank": "half the coordinates", "ties": "pairs"}
METHODS = {"gradient": "gradient descent", "adam": "Adam"}
NEAR = 1e-2


def pull(e: Estimates, quantity: str, **where: Any) -> Estimates:
    """Of the middle dimension."""
    dims = e.of(part="pull").axis("dim")
    return e.of(quantity, part="pull", dim=dims[len(dims) // 2], **where)


@claim("moments do not come out of collapse by Adam, while Epps-Pulley does")
def moments_stay(e: Estimates) -> Decision:
    runs = e.of("escaped", part="escape", case="adam")
    near = runs.first("at")
    caught, free = runs.of(statistic=MOMENTS, at=near), runs.at("escaped", statistic="epps_pulley", at=near)
    return (every(caught, below=0.5) & every(free, above=0.5)).also(near=near, free=free)


@claim("the gradient of moments grows without bound at collapse")
def moments_grow(e: Estimates) -> Decision:
    return every(pull(e, "exponent", statistic=MOMENTS, case="point"), below=-0.9)


@claim(
    "SIGReg's gradient vanishes linearly at collapse, at a constant rate of growth, so that Adam needs as many "
    "steps from any distance",
    source="VISReg (arXiv 2606.02572)",
    holds="holds with a correction",
)
def vanishes(e: Estimates) -> Decision:
    linear = every(pull(e, "exponent", statistic="epps_pulley", case="point"), above=0.9, below=1.1)
    growth = pull(e, "growth rate", statistic="epps_pulley").least()
    steps = e.of("steps", part="escape", statistic="epps_pulley", case="adam")
    near, far = (steps.at("steps", at=eps) for eps in (steps.first("at"), NEAR))
    alike = every([near, far], above=0.7 * near.value, below=1.3 * near.value)
    return (linear & alike).also(near=near, far=far, growth=growth)


@claim("Epps-Pulley's gradient does not vanish at collapse off the origin")
def off_origin(e: Estimates) -> Decision:
    return every(pull(e, "exponent", statistic="epps_pulley", case="offset"), above=-0.1, below=0.1)


@claim("Epps-Pulley never parts equal points, while rank-based statistics do")
def twins_stay(e: Estimates) -> Decision:
    smooth = every(pull(e, "exponent", statistic=["epps_pulley", *MOMENTS], case="ties"), above=0.9)
    return smooth & every(pull(e, "exponent", statistic=list(BY_RANK), case="ties"), below=0.1)


@claim("the paper's grid calls samples perfect that the full line rejects")
def periods_hide(e: Estimates) -> Decision:
    at = {"part": "basin", "statistic": "epps_pulley_paper_grid", "case": "end"}
    widest = e.of("value", **at).last("at")
    grid, line = (e.at(name, at=widest, **at) for name in ("value", "value on the full line"))
    return (every(grid, below=0.5) & every(line, above=3.0)).also(grid=grid, line=line, spread=widest)


def keep(cell: Cell, settings: Config) -> bool:
    name, dim = cell["statistic"], cell["dim"]
    if cell["part"] in ("pull", "null"):
        return dim != 1 and name in PULLED
    if cell["part"] == "escape":
        return dim == 1 and name in ESCAPING
    return dim == 1 and name in SPREAD_OUT


EVERY = [*PULLED, *SPREAD_OUT[1:]]
SPREADS = [1.0, 2.0, 4.0, 8.0]
FEW = ["epps_pulley", ALL_SLICES, "anderson_darling", "vcreg", FULL_LINE]

STUDY = Study(
    name="collapse",
    title="Gradients near collapse, and outliers between grid points",
    question="Does the gradient vanish at collapse, how long does a collapsed sample take to spread, and which "
    "samples does a coarse grid miss?",
    expectation="Epps-Pulley's gradient vanishes linearly at a point, so a collapsed sample spreads at a constant "
    "rate. Rank-based statistics escape in a time that does not depend on the distance eps to "
    "collapse; moments behave as Epps-Pulley. With Adam it makes no difference.",
    topic="numerics",
    seed=20251118,
    axes=("part", "statistic", "dim"),
    keep=keep,
    paired=("statistic",),
    presets=presets(
        "statistic dim draws null_draws escape_draws steps num_samples spreads",
        smoke=(FEW, [1, 4], 2, 50, 2, 100, 24, [8.0]),
        quick=(EVERY, [1, 4, 16], 4, 100, 2, 1000, 64, SPREADS),
        standard=(EVERY, [1, 2, 16, 64], 8, 400, 8, 1500, 64, SPREADS),
        paper=(EVERY, [1, 2, 4, 16, 64, 256], 64, 10_000, 64, 5000, 64, SPREADS),
        part=["pull", "null", "escape", "basin"],
        num_slices=128,
    ),
    measure=measure,
    estimate=estimate,
    claims=(moments_stay, vanishes, periods_hide, moments_grow, off_origin, twins_stay),
    pictures={
        "collapse_pull": Picture(
            "Gradient per sample near each kind of collapse (geometric means).",
            lambda e: curves(
                pull(e, "gradient", statistic=PULLED),
                x="at",
                hue="statistic",
                column="case",
                titles={"case": SHAPES.__getitem__},
                x_label="distance eps to collapse",
                y_label="gradient per sample",
                plain_x=True,
                log_y=True,
                limits=(1e-8, 1e10),
                size=(2.6, 2.9),
                legend_columns=5,
            ),
        ),
        "collapse_escape": Picture(
            "Steps of size 0.01 until a collapsed sample has spread to a standard deviation of 0.5; without "
            "runs that never did.",
            lambda e: curves(
                e.of("steps", part="escape", statistic=ESCAPING),
                x="at",
                hue="statistic",
                column="case",
                titles={"case": METHODS.__getitem__},
                x_label="distance eps to collapse",
                y_label=f"steps until the standard deviation is {SPREAD:g}",
                plain_x=True,
                log_y=True,
                size=(3.0, 2.9),
                legend_columns=5,
            ),
        ),
    },
)
