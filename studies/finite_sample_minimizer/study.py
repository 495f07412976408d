"""The variance that a loss really wants: measured minimisers beside the exact ones."""

import math
from typing import Any

import pandas as pd

from sigreg_lab import regularizers
from sigreg_lab.experiment import Claim, Decision, Picture, Study, Verdict, every, some
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.experiment.estimates import Estimates, exactly, mean
from sigreg_lab.figures.kinds import forest
from sigreg_lab.regularizers import SIGReg

from .exact import STATISTICS, exact_minimizer, make_loss
from .measure import CHANGE, MINIMISER, SCALE_FREE, measure

#: Left out: the control, one that is another's equal in 8 dimensions, and two whose mean is that of "sigreg-ep", for
#: more time; ``--set loss=sigreg-ep-infinite`` runs one.
LEFT_OUT = ("none", "weak-sigreg", "sigreg-ep-infinite", "sigreg-ep-cv")
REGULARIZERS = [n for n in regularizers.REGISTRY if n not in LEFT_OUT]
#: VICReg's hinge is touched by one coordinate in a thousand at its minimiser for large N: the minimiser of a block is
#: biased by that, and the exact one stands alone.
LARGEST_VICREG = 64
#: Relative change that losses without scale may show: those that divide by a variance add up to 1e-4 to it.
LEAST_CHANGE = 2e-3


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Minimisers with Student's intervals over blocks; of losses without scale the largest change."""
    found = []
    for (name, n, quantity), blocks in rows.groupby(["loss", "n", "quantity"], sort=False):
        values, place = blocks["value"], {"loss": name, "n": n, "own": same_as(name) == name}
        if quantity == CHANGE:
            found.append(exactly(CHANGE, values.max(), 0.0, LEAST_CHANGE, **place))
            continue
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
    for n in {int(n) for n in rows["n"]} - measured if measured else ():
        found.append(exactly("exact minimiser", exact_minimizer(make_loss("vicreg"), n), loss="vicreg", n=n, own=True))
    return found


def same_as(name: str) -> str:
    """The statistic of which a regulariser is the mean over slices with the same minimiser, or the loss itself."""
    if name in STATISTICS or name in SCALE_FREE:
        return name
    loss = make_loss(name)
    if isinstance(loss, SIGReg):
        for key, build in STATISTICS.items():
            if repr(build()) == repr(loss.statistic):
                return key
    return name


def small(e: Estimates, **where: Any) -> Estimates:
    """Minimisers in the smallest batch, each loss once."""
    return e.of(MINIMISER, n=e.first("n"), own=True, **where)


def shrunken(e: Estimates) -> Decision:
    """Epps-Pulley is smallest below 1 on small batches."""
    minimisers = e.of(MINIMISER, loss="epps_pulley")
    n, most = minimisers.first("n"), minimisers.last("n")
    one, large = minimisers.at(MINIMISER, n=n), minimisers.at(MINIMISER, n=most)
    return every(one, below=1.0).also(one=one, large=large)


def most_shrink(e: Estimates) -> Decision:
    found = every(small(e), below=1.0)
    lost = {one.loss for one in e.of("no minimum", n=e.first("n"), own=True) if one.value}
    extremes = {end: found.evidence[end].loss for end in ("least", "largest")}
    return found.also(names=extremes, lost=len(lost))


def all_have_minima(e: Estimates) -> Decision:
    lost = e.of("no minimum", own=True)
    return every(lost, below=0.5).also(names=sorted({one.loss for one in lost if one.value}))


def only_two_at_one(e: Estimates) -> Decision:
    """Of the losses known exactly, Watson and the U-statistic alone have their minimum at 1 for every batch size."""
    exact = e.of("exact minimiser", own=True)
    two = every(exact.of(loss=["watson", "epps_pulley_u"]), above=1 - 1e-5, below=1 + 1e-5)
    small = exact.of(n=exact.first("n"), loss=lambda loss: loss not in ("watson", "epps_pulley_u"))
    others = some(small, above=1 - 1e-5, below=1 + 1e-5)
    return two & ~others


def blind_to_scale(e: Estimates) -> Decision:
    changes = e.of(CHANGE)
    return every(changes, below=2 * LEAST_CHANGE).also(names=sorted({one.loss for one in changes}))


def _minimisers(e: Estimates) -> Any:
    return forest(
        e.of(MINIMISER, own=True),
        y="loss",
        hue="n",
        hue_name="N = {}",
        x_label="minimising standard deviation (95% interval)",
        references={"1": 1.0},
        width=6.0,
        legend_columns=5,
    )


def keep(cell: Cell, settings: Config) -> bool:
    return cell["loss"] != "vicreg" or int(cell["n"]) <= LARGEST_VICREG


def _preset(loss: list[str], n: list[int], blocks: int, values_per_block: int) -> Config:
    return {"loss": loss, "n": n, "blocks": blocks, "values_per_block": values_per_block}


ALL, SIX = [*STATISTICS, *REGULARIZERS], ["epps_pulley", "nll", "jarque_bera", "sigreg-ad", "vicreg", "koleo"]

STUDY = Study(
    name="finite_sample_minimizer",
    title="The variance that a loss really wants",
    question="At which standard deviation is each loss least, in the mean over batches of N?",
    expectation="Below 1 for every biased statistic, nearer to 1 as N grows; at 1 for the U-statistic; nowhere for "
    "those that standardise.",
    seed=20251115,
    axes=("loss", "n"),
    paired=("loss",),
    keep=keep,
    presets={
        "smoke": _preset(SIX, [16, 64], 4, 20_000),
        "quick": _preset(ALL, [16, 64, 256], 10, 50_000),
        "standard": _preset(ALL, [16, 64, 256, 1024], 20, 400_000),
        "paper": _preset([*ALL, "sigreg-ep-infinite"], [8, 16, 32, 64, 128, 256, 512, 1024, 4096], 20, 10_000_000),
    },
    choices={"loss": [*STATISTICS, *(name for name in regularizers.REGISTRY if name != "none")]},
    measure=measure,
    estimate=estimate,
    claims=(
        Claim(
            "small_batches_shrink",
            "a biased loss does not have its minimum at N(0, I): Epps-Pulley's lies below a standard deviation of 1",
            shrunken,
            source="A biased loss",
            verdicts={Verdict.HOLDS: "it is smallest elsewhere on small batches"},
        ),
        Claim("most_shrink", "every loss shrinks small batches", most_shrink),
        Claim(
            "only_two_at_one",
            "only Watson and the unbiased Epps-Pulley have their minimum at unit variance for every batch size",
            only_two_at_one,
        ),
        Claim("all_have_minima", "every loss that sees scale has a minimum on small batches", all_have_minima),
        Claim("blind_to_scale", "losses that standardise do not hold the variance", blind_to_scale),
    ),
    pictures={
        "minimizer": Picture("Minimising standard deviation of each loss, by batch size N.", _minimisers),
    },
)
