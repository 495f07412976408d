"""What is estimated of clustered batches, and what is known exactly."""

import math

import pandas as pd

from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import about, exactly, mean, rate
from sigreg_lab.theory import clusters as theory
from sigreg_lab.univariate import EppsPulley

from .measure import LEVEL

GRID = EppsPulley().nodes()
RATIO, LIMIT, BETWEEN = "between over within, descended", "between over within, at the minimum", "scatter between"
RATES = [f"rejection rate, {name}"
         for name in ("all rows", "batches together", "batches combined", "centred rows", "one a cluster")]  # fmt: skip
NEAR_ZERO = 0.1  # a minimum at a smaller ratio is approached more slowly than exponentially: not compared with
FINITE = 0.02  # tolerance for steps of a finite length
ROUNDING = 1e-4  # in float32, of what has no gradient


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Under the null, means and rates of rejection; after descent, ratios of variances beside those at the minimum."""
    found: list[Row] = []
    for (count, rho, loss, dim), cell in rows.groupby(["clusters", "rho", "loss", "dim"], sort=False):
        here, size = {"clusters": count, "rho": rho, "loss": loss, "dim": dim}, settings["num_samples"] // count
        values = {name: part["value"].to_numpy() for name, part in cell.groupby("quantity")}
        if loss != "none":
            b, s = minimum(count, rho, dim, loss, settings)
            exact = (b, (b / s) ** 2) if (b / s) ** 2 > NEAR_ZERO else (math.nan, math.nan)
            if loss == "centred":
                worst = max(values["between"], key=lambda value: abs(value - b))
                found.append(exactly(BETWEEN, worst, b, ROUNDING, **here))
            else:
                found.append(mean(BETWEEN, values["between"], exact[0], **here) | {"tolerance": FINITE})
            found.append(mean(RATIO, values["ratio"], exact[1], **here) | {"tolerance": FINITE})
            continue
        means = {"statistic": theory.mean_value(math.sqrt(rho), math.sqrt(1 - rho), count, size, GRID),
                 "centred": theory.mean_of_centred(math.sqrt(1 - rho), count, size, GRID)}  # fmt: skip
        for row in cell.to_dict("records"):
            name, value, replicates = row["quantity"], row["value"], settings["replicates"]
            if name in means:
                found.append(about(name, value, row["error"], replicates, means[name], **here))
                continue
            total = replicates // settings["batches"] if name.startswith("batches") else replicates
            known = LEVEL if name in ("all rows", "batches together") and rho == 0 else math.nan
            found.append(rate(f"rejection rate, {name}", int(value), total, known, error=0.002, **here))
    for dim, count in ((d, c) for d in settings["table_dims"] for c in sorted({*rows["clusters"]})):
        b, s = minimum(count, 0.5, dim, "batch", settings)
        found.append(exactly(LIMIT, (b / s) ** 2, clusters=count, rho=0.5, loss="batch", dim=dim))
    return found


def minimum(count: int, rho: float, dim: int, loss: str, settings: Config) -> tuple[float, float]:
    """Scatter between and within clusters at the minimum; centred residuals leave the former as it began, at 1."""
    size, dims = settings["num_samples"] // count, (round(rho * dim), dim - round(rho * dim))
    if loss == "centred":
        return 1.0, theory.best_within_of_centred(dims, count, size, GRID)
    together = settings["batches"] if loss in ("queue", "workers_gathered") else 1
    return theory.best_scatters(dims, together * count, size, GRID)
