"""Low precision: errors by way to compute, and what persists."""

import math
from typing import Any

from sigreg_lab import univariate
from sigreg_lab.experiment import Decision, Picture, Study, claim, every, some
from sigreg_lab.experiment.cells import Cell, Config
from sigreg_lab.experiment.estimates import Estimate, Estimates, ratio
from sigreg_lab.figures.kinds import curves, forest

from .estimates import estimate
from .measure import measure

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


def sliced(e: Estimates, quantity: str | list[str], **where: Any) -> Estimates:
    """With the fewest slices, of which there are all N, at the null."""
    fewest = e.of("gradient", num_slices=lambda m: m > 0).first("num_slices")
    return e.of(quantity, num_slices=fewest, scale=1.0, **where)


def by(e: Estimates, quantity: str, way: str) -> Estimate:
    """Of a way to compute from bfloat16 embeddings, in the largest batch."""
    found = sliced(e, quantity, way=f"{way}, bfloat16")
    return found.at(quantity, n=found.last("n"))


@claim("autocast costs more than the rounding of bfloat16 embeddings, and the fused operation less")
def autocast_costs(e: Estimates) -> Decision:
    rounding, autocast, fused = (by(e, "gradient", way) for way in ("given", "published_autocast", "fused_cpu"))
    worse, better = ratio(autocast, rounding), ratio(fused, rounding)
    return (every(worse, above=1.0) & every(better, below=1.0)).also(worse=worse, better=better, n=rounding.n)


@claim("rounded directions alone make most of autocast's error, and normalised again they do not")
def norms_cause_it(e: Estimates) -> Decision:
    ways = ("published_autocast", "directions", "directions_normalised")
    autocast, rounded, normalised = (by(e, "gradient", way) for way in ways)
    decision = every(ratio(rounded, autocast), above=0.5) & every(ratio(normalised, rounded), below=0.5)
    return decision.also(autocast=autocast, rounded=rounded, normalised=normalised)


@claim("autocast's error is noise rather than a bias of the gradient: less than a fifth persists")
def noise_not_bias(e: Estimates) -> Decision:
    lasting, one = (by(e, quantity, "published_autocast") for quantity in ("persistent", "layer"))
    return every(lasting, below=0.2 * one.low).also(one=one)


def _middle(e: Estimates) -> Estimates:
    """Of the univariate statistics at the null, in batches of about 4096."""
    found = e.of(["value", "gradient"], num_slices=0, scale=1.0)
    return found.of(n=min(found.axis("n"), key=lambda n: abs(math.log(n / 4096)), default=0))


@claim("bfloat16 input destroys the gradient of some statistics of ranks: it moves by more than half")
def ranks_see_ties(e: Estimates) -> Decision:
    moved = _middle(e).of("gradient", input="bfloat16", part="input")
    lost = every(moved.of(method=["entropy", "kolmogorov_smirnov"]), above=0.5)
    kept = every(moved.of(method="epps_pulley"), below=0.01)
    return (lost & kept).also(lost=moved.of(method="entropy").least(), kept=moved.of(method="epps_pulley").least())


@claim("some statistic overflows in float16", detail=True)
def half_overflows(e: Estimates) -> Decision:
    return some(e.of("broken", input="float16"), above=0.5)


def _ways(e: Estimates) -> Any:
    return curves(
        sliced(e, ["value", "gradient", "layer"], way=[*NAMES]), x="n", hue="way", names=NAMES, column="quantity",
        titles={"quantity": {"value": "value", "gradient": "gradient", "layer": "gradient of a layer"}.__getitem__},
        y_label="relative error (95% interval)", log_y=True, size=(3.2, 3.2), legend_columns=4,
    )  # fmt: skip


def _statistics(e: Estimates) -> Any:
    table = _middle(e).table
    lines = [f"{i}, {p}" for i, p in zip(table["input"], table["part"], strict=True)]
    return forest(
        Estimates(table.assign(line=lines)).of(line=["float32, arithmetic", "float16, input", "bfloat16, input"]),
        y="method", hue="line", column="quantity", x_label="relative error (95% interval)", log_x=True, width=4.0,
    )  # fmt: skip


def keep(cell: Cell, settings: Config) -> bool:
    return int(cell["n"]) * int(cell["num_slices"]) <= settings["largest_batch"]


STATISTICS, THREE = list(univariate.REGISTRY), ["epps_pulley", "anderson_darling", "vcreg"]


def _preset(
    num_slices: list[int], n: list[int], scale: list[float], values: int, statistics: list[str] = STATISTICS
) -> Config:
    """``values``: projections in a cell, or eight times the samples of a statistic."""
    config = {"num_slices": num_slices, "n": n, "scale": scale, "statistics": statistics, "dim": 64, "values": values}
    return config | {"most_units": 48, "largest_batch": min(values // 2, 1 << 23)}


SIZES = [64, 256, 1024, 4096, 16384, 65536]

STUDY = Study(
    name="precision",
    title="Low precision: rounded inputs and rounded arithmetic",
    question="How much do float32, bfloat16 and float16 change each statistic and its gradient? Does rounding of "
    "the embeddings or of the arithmetic dominate, and is the error noise or bias?",
    expectation="float32 is as good as float64. With bfloat16 embeddings their own rounding dominates, and is "
    "noise. Arithmetic in bfloat16 is worse, grows as N^0.5 and biases the gradient's direction.",
    topic="numerics",
    seed=20251118,
    axes=("num_slices", "n", "scale"),
    keep=keep,
    presets={
        "smoke": _preset([0, 16], [64, 256], [1.0], 1 << 15, THREE),
        "quick": _preset([0, 16], [64, 512, 4096], [0.1, 1.0, 10.0], 1 << 18),
        "standard": _preset([0, 16, 128], [64, 512, 4096, 16384], [0.1, 1.0, 10.0, 50.0], 1 << 20),
        "paper": _preset([0, 16, 128, 1024], SIZES, [0.1, 0.5, 1.0, 2.0, 10.0, 50.0], 1 << 26),
    },
    choices={"statistics": STATISTICS},
    measure=measure,
    estimate=estimate,
    claims=(autocast_costs, norms_cause_it, noise_not_bias, ranks_see_ties, half_overflows),
    pictures={
        "precision_ways": Picture(
            "Relative error of SIGReg on N(0, I) by method of computation and batch size.", _ways
        ),
        "precision_statistics": Picture("Relative error of each statistic, by dtype and cause.", _statistics),
    },
)
