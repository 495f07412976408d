"""Batches of clips, crops or graphs: what rows that belong together do to SIGReg's test and to its minimum."""

import math
from typing import Any

import pandas as pd

from sigreg_lab.experiment import Claim, Decision, Picture, Study, every
from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import Estimates, about, exactly, mean, rate
from sigreg_lab.figures.kinds import curves
from sigreg_lab.theory import clusters as theory
from sigreg_lab.univariate import EppsPulley

from .measure import LEVEL, measure

GRID = EppsPulley().nodes()
KEPT, SMALL = "scatter kept", 0.4  # below it, a sampled minimiser piles up at 0
RATES = {"all rows": "rejection rate, all rows", "one a cluster": "rejection rate, one row a cluster"}


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Means beside their exact values, rates of rejection, and the scatter at the minimum over that of N(0, 1)."""
    found: list[Row] = []
    for (count, rho), cell in rows.groupby(["clusters", "rho"], sort=False):
        here = {"clusters": count, "rho": rho}
        size, b, s = settings["num_samples"] // count, math.sqrt(rho), math.sqrt(1 - rho)
        exact = {
            "statistic": theory.mean_value(b, s, count, size, GRID),
            "slope": theory.slope_between(b, s, count, size, GRID),
            "centred": theory.mean_of_centred(s, count, size, GRID),
        }
        values = {quantity: part for quantity, part in cell.groupby("quantity")}
        for name, number in exact.items():
            (row,) = values[name].to_dict("records")
            found.append(about(name, row["value"], row["error"], settings["replicates"], number, **here))
        for name, quantity in RATES.items():
            known = LEVEL if name == "all rows" and rho == 0 else math.nan
            rejected = int(values[name]["value"].iloc[0])
            found.append(rate(quantity, rejected, settings["replicates"], known, error=0.002, **here))
        if rho > 0:
            best = theory.best_between(s, count, size, GRID)
            found.append(exactly(KEPT, best / b, **here))
            if best > SMALL:
                found.append(mean("minimiser", values["minimiser"]["value"], best, **here) | {"tolerance": 0.01})
    return found


def level_lost(e: Estimates) -> Decision:
    """Every rate at a correlation of a half or more lies above the level."""
    return every(e.of(RATES["all rows"], rho=lambda rho: rho >= 0.5), above=LEVEL).also(level=LEVEL)


def one_a_cluster_holds(e: Estimates) -> Decision:
    """No rate lies above the level by more than a fifth."""
    return every(e.of(RATES["one a cluster"]), below=1.2 * LEVEL).also(level=LEVEL)


def scatter_shrinks(e: Estimates) -> Decision:
    """In the fewest clusters, the minimum keeps less than nine tenths of the scatter between clusters."""
    return every(e.of(KEPT, clusters=e.first("clusters")), below=0.9)


def clusters_mend(e: Estimates) -> Decision:
    """In the most clusters, it keeps more than nine tenths."""
    return every(e.of(KEPT, clusters=e.last("clusters")), above=0.9)


def _curves(e: Estimates, quantity: str | list[str], label: str, **options: Any) -> Any:
    return curves(e.of(quantity), x="clusters", hue="rho", hue_name="correlation {}", x_label="clusters a batch",
                  y_label=label, **options)  # fmt: skip


def _preset(clusters: list[int], rho: list[float], replicates: int) -> Config:
    return {"clusters": clusters, "rho": rho, "replicates": replicates, "num_samples": 256}


STUDY = Study(
    name="clustered_batches",
    title="Batches that are not independent: clusters in the batch",
    question="What do rows that belong together do to the null of the statistic and to the minimum of the loss?",
    expectation="The statistic grows with correlation and cluster size; the loss pushes rows of a cluster apart, so "
    "that scatter between clusters shrinks; more clusters a batch mend both.",
    topic="batches",
    seed=20261128,
    axes=("clusters", "rho"),
    presets={
        "smoke": _preset([8, 64], [0.0, 0.5], 240),
        "quick": _preset([8, 64], [0.0, 0.5], 1200),
        "standard": _preset([8, 16, 32, 64, 128], [0.0, 0.25, 0.5, 0.9], 2400),
        "paper": _preset([4, 8, 16, 32, 64, 128], [0.0, 0.1, 0.25, 0.5, 0.75, 0.9], 60_000),
    },
    measure=measure,
    estimate=estimate,
    claims=(
        Claim("scatter_shrinks", "few clusters in a batch shrink the scatter between clusters", scatter_shrinks),
        Claim("clusters_mend", "many clusters in a batch leave the scatter between clusters as it is", clusters_mend),
        Claim("level_lost", "a test of all rows rejects too often where rows come in clusters", level_lost),
        Claim("one_a_cluster_holds", "a test of one row of each cluster holds its level", one_a_cluster_holds),
    ),
    pictures={
        "scatter_kept": Picture(
            "Standard deviation between clusters at the minimum, over that of N(0, 1); scatter within as it is.",
            lambda e: _curves(e, KEPT, "scatter kept", references={"all": 1.0}),
        ),
        "rejections": Picture(
            "Rate of rejection at the level of 5% under the null.",
            lambda e: _curves(e, [*RATES.values()], "rate", column="quantity", references={"level": LEVEL}),
        ),
    },
)
