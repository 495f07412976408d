"""Root mean squares of errors, what of them persists, and what is known exactly."""

import math

import pandas as pd

from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import about, exactly, mapped, rate, root

from .measure import GROUPS, QUANTITIES

TOLERANCE = {"value": 1e-6, "gradient": 5e-6}  # documented, docs/kernel-design.md
LARGEST, MOST_SAMPLES = 50.0, 8192  # projection and batch for which they are; beyond, N^0.5 times that
REFERENCE_TOLERANCE = 1e-12
AXES = ("num_slices", "n", "scale", "method", "input", "part")


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Root mean squares with Student's interval on their logarithm; what persists; what is known exactly."""
    found: list[Row] = []
    for (num_slices, n, scale), part in rows.groupby(["num_slices", "n", "scale"], sort=False):
        largest = part["largest"].max() if "largest" in part else math.nan
        for row in part.to_dict("records"):
            found += _of_one(row, largest)
        place = {"num_slices": num_slices, "n": n, "scale": scale, "part": "check"}
        for check, bound in (("yardstick", REFERENCE_TOLERANCE), ("changed", 0.0)):
            value = part[check].max() if check in part else math.nan
            if not math.isnan(value):
                found.append(exactly(check, value, 0.0, bound, **place))
    return found


def _of_one(row: Row, largest: float) -> list[Row]:
    place = {axis: row[axis] for axis in AXES} | {"way": f"{row['method']}, {row['input']}"}
    found = []
    for name in QUANTITIES:
        square = row.get(name, math.nan)
        if square > 0:
            log = about("log", math.log(square), row[f"{name}_se"] / square, int(row["units"]), **place)
            found.append(mapped(log, name, lambda value: math.exp(value / 2)))
            fused = row["method"].startswith("fused") and row["input"] == "float32"
            if fused and name in TOLERANCE and largest <= LARGEST:
                bound = TOLERANCE[name] * max(1.0, math.sqrt(row["n"] / MOST_SAMPLES))
                found.append(exactly(f"{name}, against its documented bound", math.sqrt(square), 0.0, bound, **place))
    if not math.isnan(row.get("persistent", math.nan)):
        square = about("square", row["persistent"], row["persistent_se"], GROUPS, **place)
        found.append(mapped(square, "persistent", root))
    if row["broken"]:
        found.append(rate("broken", int(row["broken"]), int(row["units"] + row["broken"]), **place))
    return found
