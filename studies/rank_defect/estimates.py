"""Loss, its change and its break-even beside exact values; powers and rates of false positives."""

import math

import pandas as pd

from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import about, exactly, interval, rate
from sigreg_lab.experiment.reference import power_interval
from sigreg_lab.theory.collapsed_subspace import break_even, expected_loss
from sigreg_lab.univariate import EppsPulley

from .measure import ALPHA

GRID = EppsPulley().nodes()
OF_ONE = "false-positive rate at the threshold of one direction"


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Loss and its relative change with their exact values; power, the error of the threshold counted in."""
    found: list[Row] = []
    for row in rows.to_dict("records"):
        n, dim, k, total = (int(row[name]) for name in ("n", "dim", "defect", "replicates"))
        axes = {name: row[name] for name in ("dim", "n", "defect", "num_slices", "reduction")}
        if row["reduction"] == "mean":
            loss, null = (sum(expected_loss(*GRID, n, dim, lost)) for lost in (k, 0))
            found.append(about("loss", row["mean"], row["mean_error"], total, loss, **axes))
            change = [number / null for number in (row["shift"], row["shift_error"], loss - null)]
            found.append(about("relative change", change[0], change[1], total, change[2], **axes))
        if k == 0:
            threshold = math.sqrt(ALPHA * (1 - ALPHA) / total)  # the threshold is of as many values
            found.append(rate("false-positive rate", row["rejections"], total, ALPHA, threshold, **axes))
            if row["reduction"] == "max":
                exact = ALPHA if row["num_slices"] == 1 else math.nan
                found.append(rate(OF_ONE, int(row["rejections_of_one"]), int(row["replicates_of_one"]), exact, **axes))
            continue
        counts = [int(row[f"rejections{name}"]) for name in ("", "_strict", "_lax")]
        low, high = power_interval(counts[0], counts[1], counts[2], total)
        found.append(interval("power", counts[0] / total, low, high, **axes))
    pairs = rows.loc[rows["defect"] > 0, ["dim", "defect"]].drop_duplicates().itertuples(index=False)
    return found + [exactly("break-even", break_even(*GRID, dim, k), dim=dim, defect=k) for dim, k in pairs]
