"""Sizes and powers beside exact ones, the samples that half the power takes, efficiencies, ranks."""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special

from sigreg_lab import alternatives, univariate
from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import Estimates, about, exactly, interval, mapped, ranks, rate, tabulate
from sigreg_lab.experiment.reference import exceedances, power_interval
from sigreg_lab.theory.powers import most_powerful, power_of_moments

COMPOSITE = [name for name, test in univariate.REGISTRY.items() if test.null_hypothesis == "composite"]
#: Mean and standard deviation of the alternatives that are normal.
NORMAL = {name: (law.mean, law.variance**0.5) for name, law in alternatives.REGISTRY.items()
          if name.split("_")[0] in ("null", "location", "scale")}  # fmt: skip
BASE, HALF = "epps_pulley", 0.5


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Sizes and powers, the exact ones beside them, and what follows from the curves of power over n."""
    total, reference = settings["replicates"], settings["reference"]
    level = exceedances(reference, settings["alpha"]) / (reference + 1)
    found = []
    for row in rows.to_dict("records"):
        law, name, n = row["alternative"], row["statistic"], int(row["n"])
        place = {"alternative": law, "n": n, "statistic": name}
        known, error = math.nan, math.sqrt(level * (1 - level) / reference)  # of the critical value, in the level
        if law in NORMAL and (law == "null" or name in COMPOSITE):
            known = level
        elif law in NORMAL and name in ("vcreg", "mean_std"):
            known, error = power_of_moments(name, row["critical_value"], n, *NORMAL[law]), 0.0
        power = rate("power", row["rejections"], total, known, error, **place)
        counts = row["rejections"], row["rejections_low"], row["rejections_high"]
        power["low"], power["high"] = power_interval(*counts, total)
        found.append(power)
        if law in NORMAL and law != "null":
            best = most_powerful(level, n, *NORMAL[law])
            slope = (most_powerful(level + error, n, *NORMAL[law]) - best) / error if error else 0.0
            noise = math.hypot(math.sqrt(best * (1 - best) / total), slope * math.sqrt(level * (1 - level) / reference))
            above = max(0.0, power["estimate"] - best)
            found.append(about("power above the highest", above, noise, exact=0.0, **place))
            found.append(mapped(power | {"exact": math.nan}, "share of the highest power", (1 / best).__mul__))
            found.append(exactly("most powerful", best, **place | {"statistic": "most powerful test"}))
    powers = Estimates(tabulate([row for row in found if row["quantity"] == "power" and row["alternative"] != "null"]))
    samples = list(_samples_for_half(powers.table))
    return found + samples + list(_efficiencies(samples)) + list(_ranks(powers))


def _samples_for_half(powers: pd.DataFrame) -> Any:
    """The n at which the power is 1/2; 0 to the least n if it is so there, infinite if never."""
    for (law, name), curve in powers.groupby(["alternative", "statistic"], sort=False) if len(powers) else ():
        curve = curve.sort_values("n")
        n = curve["n"].to_numpy(dtype=float)
        value, low, high = (crossing(n, curve[column].to_numpy()) for column in ("estimate", "high", "low"))
        low = 0.0 if low == n[0] else min(low, n[-1])  # at most the least n; at least the largest tried
        yield interval("samples for half", value, low, high, alternative=law, statistic=name)


def crossing(n: ArrayLike, power: ArrayLike, target: float = HALF) -> float:
    """The n at which a power curve, made monotone, reaches ``target``; the least n if it starts above, inf if never.

    Linear in log n between the sizes tried, power on the normal quantile's scale.
    """
    z, goal = special.ndtri(np.clip(np.maximum.accumulate(power), 1e-9, 1 - 1e-9)), special.ndtri(target)
    return float(np.exp(np.interp(goal, z, np.log(n)))) if z[-1] >= goal else math.inf


def _efficiencies(samples: list[Row]) -> Any:
    """Samples of Epps-Pulley over those of each test: 2 needs half as many. And their medians over alternatives."""
    base = {row["alternative"]: row for row in samples if row["statistic"] == BASE}
    ratios: dict[str, list[tuple[float, float, float]]] = {}
    for row in (row for row in samples if row["statistic"] != BASE and row["alternative"] in base):
        other = base[row["alternative"]]
        if other["low"] == row["low"] == 0 or (math.isinf(other["estimate"]) and math.isinf(row["estimate"])):
            continue  # both beyond the same end of the sizes tried: nothing is known of their ratio
        high = other["high"] / row["low"] if row["low"] > 0 else math.inf
        value = other["estimate"] / row["estimate"], other["low"] / row["high"], high
        ratios.setdefault(row["statistic"], []).append(value)
        yield interval("efficiency", *value, alternative=row["alternative"], statistic=row["statistic"])
    for name, values in ratios.items():
        yield interval("median efficiency", *np.median(values, axis=0), statistic=name)


def _ranks(powers: Estimates) -> Any:
    """Places among the tests, mean over alternatives and n, and how many share the first."""
    places: dict[str, list[tuple[int, int]]] = {}
    for _, tests in powers.table.groupby(["alternative", "n"], sort=False) if len(powers) else ():
        for name, place in zip(tests["statistic"], ranks(Estimates(tests)), strict=True):
            places.setdefault(name, []).append(place)
    means = {name: np.mean(values, axis=0) for name, values in places.items()}
    for name, (low, high) in means.items():
        yield interval("mean rank", (low + high) / 2, low, high, statistic=name)
    if means:
        first = min(high for _, high in means.values())
        yield exactly("tests that share the best mean rank", sum(low <= first for low, _ in means.values()))
