"""Errors, times and memory of each contestant, and the table of one line a contestant."""

import math

import pandas as pd

from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import COLUMNS, about, exactly, interval

from .contestants import OURS
from .measure import DTYPES, NEAR

#: Of float32 arithmetic, in a relative error of value or gradient.
ROUNDING = 1e-4
#: MiB by which peak memory depends on what the allocator still holds of earlier calls; two runs differed by half of it.
HEAP = 1.0
BESIDE = "side by side"
AXES = ("question", "contestant", "version", "dtype", "world_size", "shares", "embeddings", "num_samples")


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Means over batches; what this library has is exact, so that a run in which it is not writes nothing."""
    found: list[Row] = []
    here: dict[tuple[str, str], float] = {}
    for row in rows.to_dict("records"):
        name, value = row["quantity"], row["mean"]
        ours = row["contestant"] == OURS
        if name == "installed":
            here[row["contestant"], row["version"]] = value
            continue
        place = {axis: row[axis] for axis in AXES}
        if name in ("count_ratio", "refused"):
            known = {"exact": 1.0} if ours and name == "count_ratio" else {}
            found.append(exactly(name, value, **known, **place))
            continue
        number = about(name, value, row["standard_error"], row["replicates"], **place)
        if name == "log_time_ratio":
            low, middle, high = (math.exp(number[end]) for end in ("low", "estimate", "high"))
            number = interval("time_ratio", middle, low, high, row["replicates"], **place)
        if name == "mebibytes":  # repeats within a run agree; another run starts from another heap
            half = max(value - number["low"], HEAP)
            number = interval(name, value, max(0.0, value - half), value + half, row["replicates"], **place)
        found.append(number)
        if ours and row["dtype"] == "float32" and row["question"] != "cost":
            aim = 0.0 if name.endswith("_error") else 1.0
            found.append(exactly(f"farthest {name}", row["farthest"], aim, ROUNDING, **place))
    found += [exactly("installed", value, contestant=c, version=v) for (c, v), value in here.items()]
    return found + side_by_side(found)


def side_by_side(found: list[Row]) -> list[Row]:
    """The table of one line a contestant: the same numbers, under the headings that they have there."""
    most = int(max((row["world_size"] for row in found if row.get("question") == "ranks"), default=1))
    even = {"shares": "even", "embeddings": NEAR}
    float32, bfloat16 = ({"question": "dtypes", "embeddings": NEAR, "dtype": dtype} for dtype in DTYPES[:2])
    several, cost = {"question": "ranks", "world_size": most, **even}, {"question": "cost"}
    columns: dict[str, tuple[str, Row]] = {
        "value's error": ("value_error", float32),
        "gradient's error": ("gradient_error", float32),
        "gradient's error, bfloat16": ("gradient_error", bfloat16),
        f"value over the whole batch's, {most} processes": ("value_ratio", several),
        f"gradient's error, {most} processes": ("gradient_error", several),
        "ms": ("milliseconds", cost),
        "time over sigreg-lab's": ("time_ratio", cost),
        "MiB": ("mebibytes", cost),
    }
    lines = []
    for heading, (quantity, where) in columns.items():
        place = {"quantity": quantity, **where}
        for row in found:
            if all(row.get(key) == value for key, value in place.items()):
                kept = {key: row[key] for key in (*COLUMNS, "contestant", "version")}
                lines.append({**kept, "quantity": heading, "question": BESIDE})
    return lines
