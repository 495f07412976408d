"""A collapsed subspace: how far it moves the mean and the maximum over slices, and how often tests notice."""

from typing import Any

from sigreg_lab.experiment import Decision, Picture, Study, claim, every, presets, some
from sigreg_lab.experiment.estimates import Estimates, difference
from sigreg_lab.figures.kinds import curves

from .estimates import OF_ONE, estimate
from .measure import ALPHA, measure

SLICES = [1, 4, 16, 64, 256, 1024, 4096]


def most(estimates: Estimates, quantity: str, **where: Any) -> Estimates:
    """Those over the most slices, with a defect."""
    return estimates.of(quantity, num_slices=estimates.last("num_slices"), **where)


@claim("in small batches the mean over slices rewards lost dimensions")
def collapse_rewarded(e: Estimates) -> Decision:
    return some(most(e, "relative change", reduction="mean", defect=lambda k: k > 0), below=0.0)


@claim("the loss resists one lost dimension in batches of 32 whatever the dimension")
def resists(e: Estimates) -> Decision:
    return every(e.of("break-even", defect=1), below=32.0)


@claim("in few dimensions the maximum over slices detects one lost dimension more often than the mean")
def few_dimensions(e: Estimates) -> Decision:
    dim, n = e.first("dim"), e.last("n")
    mean, largest = (most(e, "power", reduction=r, defect=1, dim=dim, n=n) for r in ("mean", "max"))
    gap = difference(next(iter(largest), None) or mean.least(), mean.least())
    return every(gap, above=0.0).also(mean=mean.least(), maximum=largest.least(), slices=e.last("num_slices"))


@claim("in high dimension no test detects one lost dimension in half of the samples")
def single_unseen(e: Estimates) -> Decision:
    dim, n = e.last("dim"), e.last("n")
    return every(most(e, "power", defect=1, dim=dim, n=n), below=0.5).also(dim=dim, n=n, slices=e.last("num_slices"))


@claim(
    "the test on the maximum over directions rejects every defect at least as often as N(0, I)",
    source="Theorem 2",
    fails="false: the test is biased in small batches",
)
def maximum_unbiased(e: Estimates) -> Decision:
    return ~some(most(e, "power", reduction="max"), below=ALPHA).also(level=ALPHA)


@claim(
    "the test on the maximum over directions keeps its level, whatever their number",
    source="Theorem 2, level",
    fails="false with the threshold of one direction",
)
def maximum_keeps_level(e: Estimates) -> Decision:
    levels = e.of(OF_ONE, reduction="max", n=e.last("n"), dim=e.last("dim"))
    few = levels.of(num_slices=levels.axis("num_slices")[:3][-1]).least()
    return ~some(levels, above=ALPHA).also(few=few, level=ALPHA)


STUDY = Study(
    name="rank_defect",
    title="Lost dimensions: detected by the mean or the maximum over slices?",
    question="How much does losing k of K dimensions change the mean and the maximum of Epps-Pulley over M "
    "slices, and how often do tests on them detect it?",
    expectation="The mean dilutes the defect by about (k/K)^2, and more slices do not help. The maximum detects "
    "it with enough slices, whose number grows exponentially with K.",
    topic="batches",
    seed=20251121,
    axes=("dim", "n"),
    presets=presets(
        "dim n num_slices defects replicates seconds",  # of one core for a cell, about: beyond, fewer replicates
        smoke=([16], [32, 128], [1, 16, 64], [1, 4], 400, 1.0),
        quick=([16, 128], [32, 128], [1, 16, 256, 1024], [1, 4, 32], 1000, 5.0),
        standard=([16, 128, 512], [32, 128, 512], SLICES, [1, 4, 8, 32, 128], 2000, 20.0),
        paper=([16, 128, 512, 2048], [32, 128, 512, 2048], SLICES, [1, 4, 8, 32, 128, 512], 20_000, 1e4),
    ),
    measure=measure,
    estimate=estimate,
    claims=(collapse_rewarded, resists, few_dimensions, single_unseen, maximum_unbiased, maximum_keeps_level),
    pictures={
        "rank_defect_shift": Picture(
            "Change of SIGReg's loss when dimensions are lost, by batch size; below 0 the loss rewards it. "
            "Dotted: exact.",
            lambda e: curves(
                most(e, "relative change", defect=lambda k: 0 < k <= 32),
                x="n",
                hue="defect",
                hue_name="{} lost",
                column="dim",
                y_label="relative change of the loss",
                exact="exact",
                references={"no change": 0.0},
                limits=(-0.02, 0.06),
                legend_columns=4,
            ),
        ),
        "rank_defect_power": Picture(
            "Power of the mean and the maximum over slices against lost dimensions, N = 128.",
            lambda e: curves(
                e.of("power", n=128),
                x="num_slices",
                hue="defect",
                hue_name="{} lost",
                row="reduction",
                column="dim",
                y_label="power (95% interval)",
                references={"level": ALPHA},
                limits=(-0.03, 1.03),
                size=(2.9, 2.0),
                legend_columns=4,
            ),
        ),
    },
)
