"""Regularisers on digits: lambda chosen on some seeds, accuracy reported on others."""

import math

import pandas as pd

from sigreg_lab.experiment import Claim, Decision, Picture, Study, every
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.experiment.estimates import Estimates, exactly, mean
from sigreg_lab.figures.kinds import forest
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
    """Means over the reported seeds, at the lambda with the best validation accuracy on the tuning seeds."""
    seeds = sorted(rows["seed"].unique())
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
        found.append(exactly("lambda", lam if name not in CONTROLS else math.nan, regularizer=name, at_edge=at_edge))
        for quantity in (*TESTS, "effective_rank", "projection_rank"):
            row = mean(quantity, chosen[quantity], regularizer=name)
            if quantity in TESTS:  # an accuracy lies in 0 .. 1; few seeds make a wide interval
                row |= {"low": max(row["low"], 0.0), "high": min(row["high"], 1.0)}
            found.append(row)
            if name != rows["regularizer"].iloc[0]:
                found.append(mean(GAP.format(quantity), chosen[quantity] - first[quantity], regularizer=name))
    return found


def beaten(estimates: Estimates) -> Decision:
    """Both controls lie below the first regulariser with few labels."""
    gaps = estimates.of(GAP.format(FEW), regularizer=CONTROLS)
    best = estimates.of(FEW).largest()
    bare, untrained = (estimates.at(FEW, regularizer=name) for name in CONTROLS)
    return every(gaps, below=0.0).also(best=best, bare=bare, untrained=untrained)


def alike(estimates: Estimates) -> Decision:
    """No other statistic is a point of accuracy or more from the first, all labels."""
    gaps = estimates.of(GAP.format("test_all"), regularizer=lambda name: name not in CONTROLS)
    return every(gaps, above=-0.01, below=0.01).also(point=0.01)


def inside(estimates: Estimates) -> Decision:
    """No chosen lambda is the least or the largest that was tried."""
    edge = estimates.of("lambda", at_edge=True)
    count = exactly("lambdas at the edge", len(edge))
    names = list(edge.table["regularizer"])
    return every(Estimates(pd.DataFrame([count])), below=0.5).also(names=names)


def _preset(lam: list[float], seeds: int, tuning_seeds: int, steps: int, draws: int, batch_size: int = 128) -> Config:
    return {
        "regularizer": REGULARIZERS,
        "lam": [0.0, *lam],
        "seed": list(range(seeds)),
        "tuning_seeds": tuning_seeds,
        "steps": steps,
        "batch_size": batch_size,
        "num_views": 4,
        "num_slices": 256,
        "draws": draws,
    }


def keep(cell: Cell, settings: Config) -> bool:
    return (cell["lam"] == 0.0) == (cell["regularizer"] in CONTROLS)


STUDY = Study(
    name="regularizers_digits",
    title="Regularisers and downstream accuracy on digits",
    question="Does the choice of SIGReg's statistic show in the accuracy of frozen probes?",
    expectation="Any regulariser beats none by far with few labels, since nothing else prevents collapse; among "
    "statistics differences are small once each has its own lambda.",
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
    claims=(
        Claim("regulariser_needed", "SIGReg beats both controls with one label per class", beaten),
        Claim("statistics_alike", "with all labels every other statistic is within a point of Epps-Pulley", alike),
        Claim("lambda_inside", "every chosen lambda lies inside the range that was tried", inside, detail=True),
    ),
    pictures={
        "accuracy": Picture(
            "Accuracy of a linear probe on the digits of the test set, by regulariser and number of labels.",
            lambda e: forest(
                e.of(TESTS),
                y="regularizer",
                hue="regularizer",
                column="quantity",
                titles={"quantity": NAMES.__getitem__},
                x_label="test accuracy (95%, over seeds)",
                share_x=False,
            ),
        )
    },
)
