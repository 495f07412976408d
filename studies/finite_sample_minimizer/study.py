"""The variance that a loss really wants: measured minimisers beside the exact ones."""

import math
from typing import Any

import pandas as pd

from sigreg_lab.experiment import Decision, Picture, Study, claim, every, presets, some
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.experiment.estimates import Estimates, exactly, mean
from sigreg_lab.figures.kinds import forest
from sigreg_lab.regularizers import SIGReg

from .exact import STATISTICS, exact_minimizer, make_loss, source
from .measure import LOSSES, MINIMISER, measure

#: The mean of a U-statistic is a squared distance; Watson's, of parts that balance.
AT_ONE = ["watson", "epps_pulley_u", "ksd", "ksd-gaussian"]
#: VICReg's hinge is touched by one coordinate in a thousand at its minimiser for large N: the minimiser of a block is
#: biased by that, and the exact one stands alone.
LARGEST_VICREG = 64


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Minimisers with Student's intervals over blocks, and exact ones."""
    found = []
    for (name, n), blocks in rows[rows["quantity"] == MINIMISER].groupby(["loss", "n"], sort=False):
        values, place = blocks["value"], {"loss": name, "n": n, "own": same_as(name) == name}
        exact = exact_minimizer(make_loss(str(name)), int(n))
        lost = values.isna().any()  # in a block at least: no minimum in the range
        found.append(exactly("no minimum", float(lost), **place))
        if not lost:
            found.append(mean(MINIMISER, values, exact, **place))
        elif exact > 0:  # there is one: NaN contradicts it
            found.append(exactly(MINIMISER, math.nan, exact, **place))
        if math.isfinite(exact):
            found.append(exactly("exact minimiser", exact, **place))
    measured = {row["n"] for row in found if row["loss"] == "vicreg"}
    for n in sorted({int(n) for n in rows["n"]} - measured) if measured else ():
        found.append(exactly("exact minimiser", exact_minimizer(make_loss("vicreg"), n), loss="vicreg", n=n, own=True))
    return found


def same_as(name: str) -> str:
    """The statistic of which a regulariser is the mean over slices with the same minimiser, or the loss itself."""
    loss = make_loss(name)
    statistic = repr(loss.statistic) if isinstance(loss, SIGReg) else ""
    alike = [key for key, build in STATISTICS.items() if repr(build()) == statistic]
    return alike[0] if alike else name


def small(e: Estimates, **where: Any) -> Estimates:
    """Minimisers in the smallest batch, each loss once."""
    return e.of(MINIMISER, n=e.first("n"), own=True, **where)


@claim(
    "a biased loss does not have its minimum at N(0, I): Epps-Pulley's lies below a standard deviation of 1",
    source="A biased loss",
    holds="it is smallest elsewhere on small batches",
)
def small_batches_shrink(e: Estimates) -> Decision:
    minimisers = e.of(MINIMISER, loss="epps_pulley")
    n, most = minimisers.first("n"), minimisers.last("n")
    one, large = minimisers.at(MINIMISER, n=n), minimisers.at(MINIMISER, n=most)
    return every(one, below=1.0).also(one=one, large=large)


@claim("every loss shrinks small batches")
def most_shrink(e: Estimates) -> Decision:
    found = every(small(e), below=1.0)
    lost = {one.loss for one in e.of("no minimum", n=e.first("n"), own=True) if one.value}
    extremes = {end: found.evidence[end].loss for end in ("least", "largest")}
    return found.also(names=extremes, lost=len(lost))


@claim("every loss that sees scale has a minimum on small batches")
def all_have_minima(e: Estimates) -> Decision:
    lost = e.of("no minimum", own=True)
    return every(lost, below=0.5).also(names=sorted({one.loss for one in lost if one.value}))


@claim("only Watson and unbiased losses have their minimum at unit variance for every batch size")
def few_at_one(e: Estimates) -> Decision:
    exact = e.of("exact minimiser", own=True)
    at_one = every(exact.of(loss=AT_ONE), above=1 - 1e-5, below=1 + 1e-5)
    others = exact.of(n=exact.first("n"), loss=lambda loss: loss not in AT_ONE)
    return at_one & ~some(others, above=1 - 1e-5, below=1 + 1e-5)


def keep(cell: Cell, settings: Config) -> bool:
    return cell["loss"] != "vicreg" or int(cell["n"]) <= LARGEST_VICREG


STUDY = Study(
    name="finite_sample_minimizer",
    title="The scale at which each loss is smallest",
    question="At which standard deviation is the mean of each loss over batches of N smallest?",
    expectation="Below 1 for every biased statistic, nearer to 1 as N grows; at 1 for the U-statistic.",
    topic="batches",
    seed=20251115,
    axes=("loss", "n"),
    paired=("loss",),
    keep=keep,
    presets=presets(
        "loss n blocks values_per_block",
        smoke=(["epps_pulley", "nll", "sigreg-ad", "vicreg", "bhep"], [16, 64], 4, 20_000),
        quick=([*LOSSES], [16, 64, 256], 10, 50_000),
        standard=([*LOSSES], [16, 64, 256, 1024], 20, 400_000),
        paper=([*LOSSES], [8, 16, 32, 64, 128, 256, 512, 1024, 4096], 20, 10_000_000),
    ),
    choices={"loss": source},
    measure=measure,
    estimate=estimate,
    claims=(small_batches_shrink, most_shrink, few_at_one, all_have_minima),
    pictures={
        "minimizer": Picture(
            "Standard deviation at which each loss is smallest, by batch size N.",
            lambda e: forest(
                e.of(MINIMISER, own=True),
                y="loss",
                hue="n",
                x_label="minimising standard deviation (95% interval)",
                references={"1": 1.0},
                width=6.0,
                legend_columns=5,
            ),
        ),
    },
)
