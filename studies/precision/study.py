"""Low precision: errors by way to compute, what persists, exponents of N."""

import math
from typing import Any

import pandas as pd
from scipy import stats

from sigreg_lab import univariate
from sigreg_lab.experiment import Claim, Decision, Picture, Study, every, some
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.experiment.estimates import Estimates, about, exactly, interval, rate, ratio
from sigreg_lab.experiment.power_laws import power_law
from sigreg_lab.figures.kinds import curves, forest

from .measure import GROUPS, QUANTITIES, measure, null_expectation

TOLERANCE = {"value": 1e-6, "gradient": 5e-6}  # documented, docs/kernel-design.md
LARGEST, MOST_SAMPLES = 50.0, 8192  # projection and batch for which they are; beyond, N^0.5 times that
REFERENCE_TOLERANCE = 1e-12
Z95 = 1.959964
AXES = ("num_slices", "n", "scale", "method", "input", "part")
NAMES = {
    "given, bfloat16": "bf16 input, rounding alone",
    "fused_cpu, bfloat16": "fused (C), bf16 input",
    "fused_cpu, float32": "fused (C), float32",
    "published, float32": "published, float32",
    "published_autocast, bfloat16": "published, bf16 autocast",
    "published_cast, bfloat16": "published, all bf16",
    "published_cast, float16": "published, all fp16",
    "directions, bfloat16": "bf16 directions alone",
}


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
    return found + list(_exponents(pd.DataFrame(found)))


def _of_one(row: Row, largest: float) -> list[Row]:
    place = {axis: row[axis] for axis in AXES} | {"way": f"{row['method']}, {row['input']}"}
    found = []
    for name in QUANTITIES:
        square = row.get(name, math.nan)
        if square > 0:
            rms, factor = math.sqrt(square), stats.t.ppf(0.975, row["units"] - 1) * row[f"{name}_se"] / square / 2
            found.append(
                interval(name, rms, rms / math.exp(factor), rms * math.exp(factor), int(row["units"]), **place)
            )
            fused = row["method"].startswith("fused") and row["input"] == "float32"
            if fused and name in TOLERANCE and largest <= LARGEST:
                bound = TOLERANCE[name] * max(1.0, math.sqrt(row["n"] / MOST_SAMPLES))
                found.append(exactly(f"{name}, against its documented bound", rms, 0.0, bound, **place))
    square = row.get("persistent", math.nan)
    if not math.isnan(square):
        half = stats.t.ppf(0.975, GROUPS - 1) * row["persistent_se"]
        middle, low, high = (math.sqrt(max(square + shift, 0.0)) for shift in (0.0, -half, half))
        found.append(interval("persistent", middle, low, high, GROUPS, **place))
    if row["broken"]:
        found.append(rate("broken", int(row["broken"]), int(row["units"] + row["broken"]), **place))
    mean = row.get("null_mean", math.nan)
    if not math.isnan(mean):
        known = null_expectation(row["method"], row["n"])
        found.append(about("null mean", mean, row["null_mean_se"], int(row["null_samples"]), known, **place))
    return found


def _exponents(table: pd.DataFrame) -> Any:
    """Slopes of log error in log N, weighted; intervals are stretched where points scatter more."""
    part = table[table["quantity"].isin(["value", "gradient"]) & (table["num_slices"] > 0)]
    for key, curve in part.groupby(["num_slices", "scale", "way", "part", "quantity"], sort=False):
        place = dict(zip(("num_slices", "scale", "way", "part"), key, strict=False))
        if len(curve) >= 3:
            line = power_law(curve["n"], curve["estimate"], (curve["high"] / curve["low"]).map(math.log) / (2 * Z95))
            yield about(f"exponent, {key[4]}", line.slope, line.stretch * line.slope_error, **place)


def sliced(e: Estimates, quantity: str, **where: Any) -> Estimates:
    """With the fewest slices, of which there are all N, at the null, in the largest batch if not said otherwise."""
    fewest = min((m for m in e.axis("num_slices") if m > 0), default=0)
    found = e.of(quantity, num_slices=fewest, **({"scale": 1.0} | where))
    return found.of(n=found.last("n")) if "n" not in where else found


def by(e: Estimates, quantity: str, way: str, **where: Any) -> Estimates:
    return sliced(e, quantity, way=way, **where)


def autocast_costs(e: Estimates) -> Decision:
    """Autocast adds more than the rounding of the embeddings; the fused operation adds less."""
    rounding, autocast, fused = (
        next(iter(by(e, "gradient", way)), None)
        for way in ("given, bfloat16", "published_autocast, bfloat16", "fused_cpu, bfloat16")
    )
    if not (rounding and autocast and fused):
        raise LookupError("not all ways were measured")
    worse, better = ratio(autocast, rounding), ratio(fused, rounding)
    return (every(worse, above=1.0) & every(better, below=1.0)).also(worse=worse, better=better, n=rounding.n)


def norms_cause_it(e: Estimates) -> Decision:
    """Rounded directions make most of autocast's error, and normalised again they do not."""
    ways = [by(e, "gradient", way) for way in ("directions, bfloat16", "directions_normalised, bfloat16")]
    rounded, normalised = (next(iter(way), None) for way in ways)
    if not (rounded and normalised):
        raise LookupError("not all ways were measured")
    return every(ratio(normalised, rounded), below=0.5).also(rounded=rounded, normalised=normalised)


def noise_not_bias(e: Estimates) -> Decision:
    """What persists of autocast's error is less than a fifth of that of one batch, in a layer."""
    lasting = by(e, "persistent", "published_autocast, bfloat16")
    one = by(e, "layer", "published_autocast, bfloat16").least()
    return every(lasting, below=0.2 * one.low).also(one=one)


def ranks_see_ties(e: Estimates) -> Decision:
    """Rank statistics lose their gradient to bfloat16 input: entropy and Kolmogorov-Smirnov by more than half."""
    moved = e.of("gradient", num_slices=0, scale=1.0, input="bfloat16", part="input")
    moved = moved.of(n=min(moved.axis("n"), key=lambda n: abs(math.log(n / 4096)), default=0))
    lost = every(moved.of(method=["entropy", "kolmogorov_smirnov"]), above=0.5)
    kept = every(moved.of(method="epps_pulley"), below=0.01)
    return (lost & kept).also(lost=moved.of(method="entropy").least(), kept=moved.of(method="epps_pulley").least())


def half_overflows(e: Estimates) -> Decision:
    return some(e.of("broken", input="float16"), above=0.5)


def _ways(e: Estimates) -> Any:
    parts = [sliced(e, name, n=lambda n: n > 0, way=[*NAMES]).table for name in ("value", "gradient", "layer")]
    found = Estimates(pd.concat(parts))
    return curves(
        found,
        x="n",
        hue="way",
        names=NAMES,
        column="quantity",
        titles={"quantity": {"value": "value", "gradient": "gradient", "layer": "gradient of a layer"}.__getitem__},
        x_label="batch size N",
        y_label="relative error (95% interval)",
        log_y=True,
        size=(3.2, 3.2),
        legend_columns=4,
    )


def _statistics(e: Estimates) -> Any:
    part = e.of(["value", "gradient"], num_slices=0, scale=1.0)
    part = part.of(n=min(part.axis("n"), key=lambda n: abs(math.log(n / 4096)), default=0))
    lines = [f"{i}, {p}" for i, p in zip(part.table["input"], part.table["part"], strict=True)]
    return forest(
        Estimates(part.table.assign(line=lines)).of(line=["float32, arithmetic", "float16, input", "bfloat16, input"]),
        y="method",
        hue="line",
        column="quantity",
        x_label="relative error (95% interval)",
        log_x=True,
        width=4.0,
    )


def keep(cell: Cell, settings: Config) -> bool:
    return int(cell["n"]) * int(cell["num_slices"]) <= settings["largest_batch"]


STATISTICS, THREE = list(univariate.REGISTRY), ["epps_pulley", "anderson_darling", "vcreg"]


def _preset(
    num_slices: list[int],
    n: list[int],
    scale: list[float],
    values: int,
    null_values: int,
    statistics: list[str] = STATISTICS,
) -> Config:
    """``values``: projections in a cell, or eight times the samples of a statistic."""
    config = {"num_slices": num_slices, "n": n, "scale": scale, "statistics": statistics, "dim": 64, "values": values}
    return config | {"most_units": 48, "largest_batch": min(values // 2, 1 << 23), "null_values": null_values}


SIZES = [64, 256, 1024, 4096, 16384, 65536]

STUDY = Study(
    name="precision",
    title="Low precision: the input's rounding and the arithmetic's",
    question="How far do float32, bfloat16 and float16 move each statistic and its gradient, how does that grow with "
    "N, and is it the rounding of the embeddings or that of the arithmetic; noise, or a bias of the direction?",
    expectation="float32 is as good as float64. With bfloat16 embeddings their own rounding dominates, and is noise; "
    "arithmetic in bfloat16 is worse, grows as N^0.5 and biases the gradient's direction.",
    seed=20251118,
    axes=("num_slices", "n", "scale"),
    keep=keep,
    presets={
        "smoke": _preset([0, 16], [64, 256], [1.0], 1 << 15, 1 << 18, THREE),
        "quick": _preset([0, 16], [64, 512, 4096], [0.1, 1.0, 10.0], 1 << 18, 1 << 20),
        "standard": _preset([0, 16, 128], [64, 512, 4096, 16384], [0.1, 1.0, 10.0, 50.0], 1 << 20, 1 << 22),
        "paper": _preset([0, 16, 128, 1024], SIZES, [0.1, 0.5, 1.0, 2.0, 10.0, 50.0], 1 << 26, 1 << 26),
    },
    choices={"statistics": STATISTICS},
    measure=measure,
    estimate=estimate,
    claims=(
        Claim("autocast_costs", "autocast costs more than the rounding of bfloat16 embeddings", autocast_costs),
        Claim("norms_cause_it", "rounded norms of the directions cause most of autocast's error", norms_cause_it),
        Claim("noise_not_bias", "autocast's error is noise rather than a bias of the gradient", noise_not_bias),
        Claim("ranks_see_ties", "bfloat16 input destroys the gradient of some statistics of ranks", ranks_see_ties),
        Claim("half_overflows", "some statistic overflows in float16", half_overflows, detail=True),
    ),
    pictures={
        "precision_ways": Picture("Relative error by way to compute, against the batch size, at the null.", _ways),
        "precision_statistics": Picture("Relative error of each statistic, by dtype and cause.", _statistics),
    },
)
