"""A collapsed subspace: how far it moves the mean and the maximum over slices, and how often tests notice."""

import math
from typing import Any

import numpy as np
import pandas as pd

from sigreg_lab.experiment import Claim, Decision, Picture, Study, Verdict, every, rate_interval, some
from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import Estimates, about, difference, exactly, interval, rate
from sigreg_lab.figures.kinds import curves
from sigreg_lab.theory.collapsed_subspace import break_even, expected_loss, largest_loss
from sigreg_lab.univariate import EppsPulley

from .measure import ALPHA, measure

SLICES = [1, 4, 16, 64, 256, 1024, 4096]


def grid() -> tuple[Any, Any, Any]:
    return EppsPulley().nodes()


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Loss and shift with their exact values; power, its interval widened by what the threshold's own adds."""
    found: list[Row] = []
    for row in rows.to_dict("records"):
        n, dim, k, total = (int(row[name]) for name in ("n", "dim", "defect", "replicates"))
        axes = {name: row[name] for name in ("dim", "n", "defect", "num_slices", "reduction")}
        known = row["reduction"] == "mean"
        loss = sum(expected_loss(*grid(), n, dim, k)) if known else math.nan
        null = sum(expected_loss(*grid(), n, dim, 0)) if known else math.nan
        found.append(about("loss", row["mean"], row["mean_error"], total, loss, **axes))
        if k == 0:
            threshold = math.sqrt(ALPHA * (1 - ALPHA) / total)  # the threshold is of as many values
            found.append(rate("false-positive rate", row["rejections"], total, ALPHA, threshold, **axes))
            continue
        found.append(about("shift", row["shift"], row["shift_error"], total, loss - null, **axes))
        if known:
            relative = [x / null for x in (row["shift"], row["shift_error"], loss - null)]
            found.append(about("relative change", relative[0], relative[1], total, relative[2], **axes))
        z, spread = row["shift"] / row["null_spread"], row["null_spread"]
        error = math.hypot(row["shift_error"] / spread, z / math.sqrt(2 * (total - 1)))  # the spread is an estimate too
        found.append(about("shift in null deviations", z, error, total, **axes))
        share = row["rejections"] / total
        low, high = rate_interval(row["rejections"], total)
        strict, lax = row["rejections_strict"] / total, row["rejections_lax"] / total
        ends = share - np.hypot(share - low, share - strict), share + np.hypot(high - share, lax - share)
        found.append(interval("power", share, max(0.0, ends[0]), min(1.0, ends[1]), **axes))
        if known:
            found.append(exactly("largest share lost", largest_loss(row["num_slices"], dim, k), **axes | {"n": 0}))
    pairs = rows.loc[rows["defect"] > 0, ["dim", "defect"]].drop_duplicates().itertuples(index=False)
    return found + [exactly("break-even", break_even(*grid(), dim, k), dim=dim, defect=k) for dim, k in pairs]


def most(estimates: Estimates, quantity: str, **where: Any) -> Estimates:
    """Those over the most slices, with a defect."""
    return estimates.of(quantity, num_slices=estimates.last("num_slices"), **where)


def rewarded(e: Estimates) -> Decision:
    """Somewhere the mean over slices is smaller with lost dimensions than without."""
    shifts = most(e, "shift", reduction="mean")
    worst = most(e, "shift in null deviations", reduction="mean").least()
    return some(shifts, below=0.0).also(worst=worst)


def single(e: Estimates, dim: int) -> Decision:
    """Power of mean and maximum against one lost dimension, in the largest batch."""
    n = e.last("n")
    mean, largest = (most(e, "power", reduction=r, defect=1, dim=dim, n=n) for r in ("mean", "max"))
    gap = difference(next(iter(largest), None) or mean.least(), mean.least())
    return every(gap, above=0.0).also(mean=mean.least(), maximum=largest.least(), slices=e.last("num_slices"))


def blind(e: Estimates) -> Decision:
    """In the highest dimension neither detects one lost dimension in half of the samples."""
    dim, n = e.last("dim"), e.last("n")
    return every(most(e, "power", defect=1, dim=dim, n=n), below=0.5).also(dim=dim, n=n, slices=e.last("num_slices"))


def unbiased(e: Estimates) -> Decision:
    """The test on the maximum rejects at least as often as under the null, whatever is lost."""
    return ~some(most(e, "power", reduction="max"), below=ALPHA).also(level=ALPHA)


def _loss_against_batch_size(e: Estimates) -> Any:
    return curves(
        most(e, "relative change"),
        x="n",
        hue="defect",
        hue_name="{} lost",
        column="dim",
        titles={"dim": "K = {}"},
        x_label="batch size N",
        y_label="relative change of the loss",
        exact="exact",
        references={"no change": 0.0},
        limits=(-0.12, 0.4),
        legend_columns=4,
    )


def _power(e: Estimates, reduction: str) -> Any:
    return curves(
        e.of("power", reduction=reduction),
        x="num_slices",
        hue="defect",
        hue_name="{} lost",
        row="n",
        column="dim",
        titles={"dim": "K = {}", "n": "N = {}"},
        x_label="slices M",
        y_label="power (95% interval)",
        references={"level": ALPHA},
        limits=(-0.03, 1.03),
        size=(2.9, 2.0),
        legend_columns=4,
    )


def _preset(
    dim: list[int], n: list[int], num_slices: list[int], defects: list[int], replicates: int, seconds: float
) -> Config:
    """``seconds``, about, of one core for a cell: a cell whose ``replicates`` would take longer takes fewer."""
    config = {"dim": dim, "n": n, "num_slices": num_slices, "defects": defects}
    return config | {"replicates": replicates, "seconds": seconds}


STUDY = Study(
    name="rank_defect",
    title="A collapsed subspace: diluted by the mean over slices, found by the maximum?",
    question="How far do k lost dimensions of K move the mean and the maximum of Epps-Pulley over M slices, and how "
    "often do tests on them notice?",
    expectation="The mean dilutes the defect by about (k/K)^2 and more slices do not help it; the maximum finds it "
    "with enough slices, which grow exponentially with K.",
    seed=20251121,
    axes=("dim", "n"),
    presets={
        "smoke": _preset([16], [32, 128], [1, 16, 64], [1, 4], 400, 1.0),
        "quick": _preset([16, 128], [32, 128], [1, 16, 256, 1024], [1, 4, 32], 1000, 5.0),
        "standard": _preset([16, 128, 512], [32, 128, 512], SLICES, [1, 4, 8, 32, 128], 2000, 20.0),
        "paper": _preset([16, 128, 512, 2048], [32, 128, 512, 2048], SLICES, [1, 4, 8, 32, 128, 512], 20000, 1e4),
    },
    measure=measure,
    estimate=estimate,
    claims=(
        Claim("collapse_rewarded", "in small batches the mean over slices rewards lost dimensions", rewarded),
        Claim(
            "break_even",
            "the loss resists one lost dimension in batches of 32 whatever the dimension",
            lambda e: every(e.of("break-even", defect=1), below=32.0),
        ),
        Claim(
            "maximum_in_few_dimensions",
            "in few dimensions the maximum over slices detects one lost dimension more often than the mean",
            lambda e: single(e, e.first("dim")),
        ),
        Claim("single_unseen", "in high dimension no test detects one lost dimension in half of the samples", blind),
        Claim(
            "maximum_unbiased",
            "the test on the maximum over directions rejects every defect at least as often as N(0, I)",
            unbiased,
            source="Theorem 2",
            verdicts={Verdict.FAILS: "false: the test is biased in small batches"},
        ),
    ),
    pictures={
        "rank_defect_shift": Picture(
            "How the mean over slices changes when dimensions are lost, against the batch size, with exact values.",
            _loss_against_batch_size,
        ),
        "rank_defect_power_mean": Picture("Power of the mean over slices.", lambda e: _power(e, "mean")),
        "rank_defect_power_max": Picture("Power of the maximum over slices.", lambda e: _power(e, "max")),
    },
)
