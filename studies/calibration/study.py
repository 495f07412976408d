"""Type-I error of every test: estimates, claims and pictures."""

import functools
from typing import TYPE_CHECKING

import pandas as pd

from sigreg_lab import multivariate, univariate
from sigreg_lab.experiment import Claim, Decision, Picture, Study, every
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.experiment.estimates import Estimates, rate
from sigreg_lab.figures.kinds import forest

from .measure import SLICED, STANDARDISED, measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATE = "false-positive rate"
LEVEL = 0.05
#: A test is as good as its word if the rate at level 5% is certainly this near.
NEAR = 0.005

UNIVARIATE = sorted(univariate.REGISTRY)
MULTIVARIATE = [name + suffix for name in sorted(multivariate.REGISTRY) for suffix in ("", STANDARDISED)] + list(SLICED)
ALL = UNIVARIATE + MULTIVARIATE


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """The rate at each level, which it should be exactly; the error of a simulated law is that of the level."""
    axes = ["statistic", "dim", "n", "samples", "level", "law"]
    return [
        rate(
            RATE,
            row["rejections"],
            row["replicates"],
            row["level"],
            row["calibration_error"],
            **{a: row[a] for a in axes},
        )
        for row in rows.to_dict("records")
    ]


def near(estimates: Estimates, **where: object) -> Decision:
    """Every rate at level 5% within half a point of it."""
    rates = estimates.of(RATE, level=LEVEL, **where)
    low, high = LEVEL - NEAR, LEVEL + NEAR
    farthest = max(rates, key=lambda one: abs(one.value - LEVEL), default=None)
    return every(rates, above=low, below=high).also(low=low, high=high, level=LEVEL, farthest=farthest)


def _rates(estimates: Estimates, names: list[str]) -> "Figure":
    return forest(
        estimates.of(RATE, level=LEVEL, statistic=names),
        y="statistic",
        hue="n",
        column="dim",
        x_label="false-positive rate (95% interval)",
        references={"level": LEVEL},
        width=4.5,
    )


def _preset(statistics: list[str], n: list[int], dim: list[int], replicates: int) -> Config:
    return {"statistic": statistics, "dim": dim, "n": n, "replicates": replicates}


def keep(cell: Cell, settings: Config) -> bool:
    return cell["statistic"] in (UNIVARIATE if cell["dim"] == 1 else MULTIVARIATE)


STUDY = Study(
    name="calibration",
    title="Type-I error of every test",
    question="Does each test reject a true null hypothesis as often as its level says, from 8 to 1024 samples?",
    expectation="Every rate lies within its 99.9% Monte Carlo interval, which includes the error of simulated laws.",
    topic="tests",
    seed=20251112,
    axes=("statistic", "dim", "n"),
    keep=keep,
    presets={
        "smoke": _preset(["epps_pulley", "vcreg", "henze_zirkler"], [8, 64], [1, 2], 2_000),
        "quick": _preset(UNIVARIATE, [16, 64], [1], 20_000),
        "standard": _preset(ALL, [8, 16, 64, 256, 1024], [1, 3], 100_000),
        "paper": _preset(ALL, [8, 16, 32, 64, 128, 256, 512, 1024], [1, 2, 8, 32], 1_000_000),
    },
    choices={"statistic": ALL},
    measure=measure,
    estimate=estimate,
    claims=(
        Claim("levels_hold", "every test rejects a true null as often as its level says", near),
        Claim(
            "limit_laws_hold",
            "limit laws are as good as simulated ones where the library uses them",
            lambda e: near(e, law="asymptotic"),
        ),
    ),
    pictures={
        f"calibration_{name}": Picture(
            f"False-positive rate of every {name} test at the 5% level, by the number of samples N.",
            functools.partial(_rates, names=names),
        )
        for name, names in (("univariate", UNIVARIATE), ("multivariate", MULTIVARIATE))
    },
)
