"""Sizes and powers of the tests beside exact ones, and what the maximum and more slices gain."""

import math
from typing import Any

import pandas as pd

from sigreg_lab import alternatives
from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import Estimates, difference, exactly, rate, tabulate
from sigreg_lab.experiment.reference import exceedances, power_interval
from sigreg_lab.names import label
from sigreg_lab.theory.powers import power_of_mean, power_of_radius

from .measure import SLICED, reference_size, replicates_of, tests

EXACT = {"mean": power_of_mean, "radius": power_of_radius}


def name_of(statistic: str, reduction: str, num_slices: int) -> str:
    if num_slices == 0:
        return label(statistic)
    return f"{label(statistic)}, " + ("one slice" if num_slices == 1 else f"{reduction} of {num_slices}")


def known_rate(row: Row, level: float) -> tuple[float, bool]:
    """The exact rate of rejections, and whether the critical value's error counts; NaN where it is not known."""
    law, name, kind = str(row["alternative"]), str(row["statistic"]), str(row["alternative"]).split("_")[0]
    blind = name.endswith("_standardised") and kind in ("location", "scale")
    if law == "null" or blind or (name == "first_coordinate" and kind in ("x", "rank")):
        return level, True
    spherical = kind in ("location", "scale", "rank") or (name == "radius" and law in ("sphere", "vertices"))
    if name in EXACT and spherical:
        return EXACT[name](row["critical_value"], row["n"], alternatives.MULTIVARIATE[law](row["dim"])), False
    return math.nan, False


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Power of each test in each cell; a statistic that is constant in float64 has none, and is named."""
    found: list[Row] = []
    for (n, dim, law), part in rows.groupby(["n", "dim", "alternative"], sort=False):
        total = replicates_of(n, dim, settings)
        reference = reference_size(total, settings["alpha"])
        level = exceedances(reference, settings["alpha"]) / (reference + 1)
        measured = {(r["statistic"], r["reduction"], r["num_slices"]): r for r in part.to_dict("records")}
        for test in tests(settings, n, dim, law):
            place = {"n": n, "dim": dim, "alternative": law, "test": name_of(*test)}
            place |= dict(zip(("statistic", "reduction", "num_slices"), test, strict=True))
            found.append(exactly("constant in float64", float(test not in measured), **place))
            if test in measured:
                row = measured[test]
                known, threshold = known_rate(row, level)
                error = math.sqrt(level * (1 - level) / reference) if threshold else 0.0
                power = rate("power", row["rejections"], total, known, error, **place)
                counts = row["rejections"], row["rejections_low"], row["rejections_high"]
                power["low"], power["high"] = power_interval(*counts, total)
                found.append(power)
    powers = Estimates(tabulate(found)).of("power", statistic=SLICED)
    return found + list(_gains(powers))


def _gains(powers: Estimates) -> Any:
    """Of the maximum over the mean of as many slices; and of the most slices over 16, for the maximum."""
    places = {
        tuple(getattr(e, a) for a in ("n", "dim", "alternative", "statistic", "reduction", "num_slices")): e
        for e in powers
    }
    for (*place, reduction, num_slices), one in places.items():
        if reduction == "max":
            mean, few = places.get((*place, "mean", num_slices)), places.get((*place, "max", 16))
            if mean:
                yield difference(one, mean).row | {"quantity": "gain of the maximum"}
            most = max(m for *other, r, m in places if other == place and r == "max")
            if few and num_slices == most > 16:
                yield difference(one, few).row | {"quantity": "gain of the most slices"}
