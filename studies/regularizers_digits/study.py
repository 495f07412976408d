"""Regularisers on digits: lambda chosen on some seeds, accuracy reported on others."""

import math

import numpy as np
import pandas as pd

from sigreg_lab.experiment import Decision, Picture, Study, claim, every
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.experiment.estimates import Estimates, exactly, interval, mean
from sigreg_lab.figures.kinds import forest
from sigreg_lab.pretrain.data import load_data
from sigreg_lab.pretrain.probes import SHOTS
from sigreg_lab.regularizers import resolve_regularizer

from .measure import measure

FIRST = "sigreg-ep"
CONTROLS = ("none", "untrained")  # lambda does nothing there: it is 0
REGULARIZERS = [FIRST, "sigreg-ad", "sigreg-ejb", "sigreg-vcreg", *CONTROLS]
TESTS = [f"test_{shots}" for shots in SHOTS]
FEW = TESTS[0]
NAMES = {"test_1": "1 label per class", "test_5": "5 labels per class", "test_all": "all labels"}
GAP = "{}, less the first regulariser's"


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Means over the reported seeds, at the lambda with the best validation accuracy on the tuning seeds.

    Intervals of accuracies are Student's over seeds, and beside it the binomial error of the test images, which are the
    same for all seeds; of a difference as if the two erred independently, which is at most too wide.
    """
    seeds, images = sorted(rows["seed"].unique()), len(load_data("digits").test.labels)
    tuning, reported = seeds[: settings["tuning_seeds"]], seeds[settings["tuning_seeds"] :]
    rows = rows.assign(validation=rows[[f"validation_{shots}" for shots in SHOTS]].mean(axis=1))
    found: list[Row] = []
    first: pd.DataFrame | None = None
    for name, runs in rows.groupby("regularizer", sort=False):
        scores = runs[runs["seed"].isin(tuning)].groupby("lam")["validation"].mean()
        lam = float(scores.idxmax()) if len(scores) else float(runs["lam"].iloc[0])
        at_edge = len(scores) > 1 and lam in (scores.index.min(), scores.index.max())
        chosen = runs[runs["seed"].isin(reported) & (runs["lam"] == lam)].set_index("seed")
        first = chosen if first is None else first
        found.append(exactly("lambda", lam if name not in CONTROLS else math.nan, regularizer=name))
        found.append(exactly("lambda at the edge", float(at_edge), regularizer=name))
        for test in TESTS:
            own, base = (np.clip(part[test].mean(), 0, 1) for part in (chosen, first))
            found.append(on_other_images(mean(test, chosen[test], regularizer=name), own * (1 - own) / images, 0, 1))
            if chosen is not first:
                gap = mean(GAP.format(test), chosen[test] - first[test], regularizer=name)
                found.append(on_other_images(gap, (own * (1 - own) + base * (1 - base)) / images, -1, 1))
        found += [mean(rank, chosen[rank], regularizer=name) for rank in ("effective_rank", "projection_rank")]
    return found


def on_other_images(row: Row, variance: float, least: float, most: float) -> Row:
    """An estimate over seeds whose interval is for other test images too, of which it has that variance."""
    value, half = row["estimate"], math.hypot(row["high"] - row["estimate"], 1.96 * math.sqrt(variance))
    span = max(value - half, min(least, value)), min(value + half, max(most, value))
    return interval(row["quantity"], value, *span, row["replicates"], regularizer=row["regularizer"])


@claim("Epps-Pulley is better than both controls with one label per class")
def regulariser_needed(e: Estimates) -> Decision:
    gaps = every(e.of(GAP.format(FEW), regularizer=CONTROLS), below=0.0)
    own, bare, untrained = (e.at(FEW, regularizer=name) for name in (e.axis("regularizer")[0], *CONTROLS))
    return gaps.also(own=own, bare=bare, untrained=untrained)


@claim("with all labels every other statistic is within a point of Epps-Pulley")
def statistics_alike(e: Estimates) -> Decision:
    gaps = e.of(GAP.format("test_all"), regularizer=lambda name: name not in CONTROLS)
    return every(gaps, above=-0.01, below=0.01).also(point=0.01)


@claim("every chosen lambda lies inside the range that was tried", detail=True)
def lambda_inside(e: Estimates) -> Decision:
    edges = e.of("lambda at the edge")
    return every(edges, below=0.5).also(names=[one.regularizer for one in edges if one.value])


def _preset(lam: list[float], seeds: int, tuning_seeds: int, steps: int, draws: int, batch_size: int = 128) -> Config:
    axes = {"regularizer": REGULARIZERS, "lam": [0.0, *lam], "seed": list(range(seeds))}
    more = {"tuning_seeds": tuning_seeds, "steps": steps, "batch_size": batch_size, "num_views": 4, "num_slices": 256}
    return axes | more | {"draws": draws}


def keep(cell: Cell, settings: Config) -> bool:
    return (cell["lam"] == 0.0) == (cell["regularizer"] in CONTROLS)


STUDY = Study(
    name="regularizers_digits",
    title="Regularisers and downstream accuracy on digits",
    question="Does the choice of SIGReg's statistic change the accuracy of frozen probes?",
    expectation="With few labels any regulariser beats none by far, since nothing else prevents collapse. Between "
    "statistics differences are small once each has its own lambda.",
    topic="choosing",
    seed=20251113,
    axes=("regularizer", "lam", "seed"),
    paired=("regularizer", "lam"),
    keep=keep,
    presets={
        "smoke": _preset([0.01], seeds=2, tuning_seeds=0, steps=3, draws=2, batch_size=32),
        "quick": _preset([0.01], seeds=5, tuning_seeds=0, steps=300, draws=10),
        "standard": _preset([0.003, 0.01, 0.03, 0.1], seeds=8, tuning_seeds=3, steps=300, draws=20),
        "paper": _preset([0.0003, 0.001, 0.003, 0.01, 0.03, 0.1], seeds=40, tuning_seeds=10, steps=3000, draws=50),
    },
    choices={"regularizer": lambda text: resolve_regularizer(text).digest},
    measure=measure,
    estimate=estimate,
    claims=(regulariser_needed, statistics_alike, lambda_inside),
    pictures={
        "accuracy": Picture(
            "Accuracy of a linear probe on the digits of the test set, by regulariser and number of labels.",
            lambda e: forest(
                e.of(TESTS), y="regularizer", hue="regularizer", column="quantity", share_x=False,
                titles={"quantity": NAMES.__getitem__}, x_label="test accuracy (95%, over seeds and images)",
            ),
        )
    },
)  # fmt: skip
