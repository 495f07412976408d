"""Squared errors of each estimator, beside exact ones, at equal M and at equal time."""

import functools

import numpy as np
import pandas as pd

from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import Estimate, interval, mean, ratio
from sigreg_lab.theory import slices

from .measure import GRID

AXES = ["n", "dim", "num_slices"]
CONTROLLED, ALL = "control variates", "all directions"
SQUARE, SHARE, EQUAL, TIMED = "squared error", "equal slices", "independent slices of equal time", "equal time"


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Squared errors, known for independent and orthogonal slices; over those of independent ones, known too."""
    found: list[Row] = []
    for (n, dim, count), cell in rows.groupby(AXES, sort=False):
        rho = slices.spread(n, dim, GRID)
        law = functools.partial(slices.squared_error, rho, dim)
        for name, part in cell.groupby("estimator", sort=False):
            values = {quantity: group["value"].to_numpy() for quantity, group in part.groupby("quantity")}
            here = {"n": n, "dim": dim, "num_slices": count, "estimator": name}
            exact = {"iid": law(count, orthogonal=False), "orthogonal": law(count, orthogonal=True)}
            if name == ALL:
                found.append(mean("square of the exact gradient", values["exact"], 1.0, **here))
            else:
                error = mean(SQUARE, values["error"], exact.get(name, np.nan), **here)
                found += [error, mean(SHARE, values["error"] / exact["iid"], **here)]
            if name == "iid":
                continue
            groups = len(values["equal"])
            bought = mean("", values["equal"])
            number, low, high = (max(1.0, bought[end]) for end in ("estimate", "low", "high"))
            found.append(interval(EQUAL, number, low, high, groups, **here))
            of_one = (rho - 1) / number, (rho - 1) / high, (rho - 1) / low
            instead = interval("error of independent slices in that time", *of_one, groups, **here)
            found.append(instead)
            if name != ALL:
                found.append(ratio(Estimate(error), Estimate(instead)).row | {"quantity": TIMED})
    return found
