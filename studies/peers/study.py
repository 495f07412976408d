"""Other libraries' SIGReg beside the formula: estimates, claims and pictures."""

from typing import Any

import pandas as pd

from sigreg_lab.experiment import Claim, Decision, Picture, Study, every, some
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.experiment.estimates import Estimates, about, difference, exactly
from sigreg_lab.figures.kinds import curves

from .contestants import CONTESTANTS, LIGHTLY, LIGHTLY_LOCAL, OURS, STABLE
from .measure import NEAR, QUESTIONS, measure

NAMES = {
    OURS: "this library",
    LIGHTLY: "lightly, gather_distributed",
    LIGHTLY_LOCAL: "lightly, default",
    STABLE: "stable-pretraining",
}
#: Of float32 arithmetic, in a relative error of value or gradient.
ROUNDING = 1e-4
#: A gradient is another one from this relative error on.
ANOTHER = 0.01


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Means over batches; what this library has is exact, so that a run in which it is not writes nothing."""
    found: list[Row] = []
    for row in rows.to_dict("records"):
        axes = ("question", "contestant", "version", "dtype", "world_size", "shares", "embeddings", "num_samples")
        place = {axis: row[axis] for axis in axes}
        name = row["quantity"]
        if name in ("count_ratio", "refused"):
            known = {"exact": 1.0} if row["contestant"] == OURS and name == "count_ratio" else {}
            found.append(exactly(name, row["mean"], **known, **place))
            continue
        found.append(about(name, row["mean"], row["standard_error"], row["replicates"], **place))
        if row["contestant"] == OURS and row["dtype"] == "float32":
            aim = 0.0 if name.endswith("_error") else 1.0
            found.append(exactly(f"farthest {name}", row["farthest"], aim, ROUNDING, **place))
    return found


def several(world_size: int) -> bool:
    return world_size > 1


def on_ranks(e: Estimates, quantity: str, contestant: str | list[str], **where: Any) -> Estimates:
    return e.of(quantity, question="ranks", contestant=contestant, world_size=several, **where)


def most(e: Estimates, quantity: str, contestant: str) -> Any:
    """A quantity on the most processes, even shares."""
    found = on_ranks(e, quantity, contestant, shares="even", embeddings=NEAR)
    return found.at(quantity, world_size=found.last("world_size"))


def reduction_is_lost(e: Estimates) -> Decision:
    """stable-pretraining's gradient on several processes is not the whole batch's."""
    names = ("value_ratio", "gradient_cosine", "gradient_error")
    value, cosine, error = (most(e, name, STABLE) for name in names)
    decision = every(on_ranks(e, "gradient_error", STABLE), above=ANOTHER)
    return decision.also(value=value, cosine=cosine, error=error, w=error.world_size, v=error.version)


def gathering_is_exact(e: Estimates) -> Decision:
    return every(on_ranks(e, "gradient_error", [OURS, LIGHTLY]), below=ROUNDING)


def default_is_local(e: Estimates) -> Decision:
    error = most(e, "gradient_error", LIGHTLY_LOCAL)
    size = most(e, "gradient_size", LIGHTLY_LOCAL)
    decision = every(on_ranks(e, "gradient_error", LIGHTLY_LOCAL), above=ANOTHER)
    return decision.also(size=size, w=error.world_size, error=error)


def one_process_is_exact(e: Estimates) -> Decision:
    return every(e.of(["value_error", "gradient_error"], question="dtypes", dtype="float32"), below=ROUNDING)


def low_precision_differs(e: Estimates) -> Decision:
    """lightly's gradient on bfloat16 embeddings is farther from the exact one than this library's."""
    place = {"question": "dtypes", "dtype": "bfloat16", "embeddings": NEAR}
    theirs, ours = (e.at("gradient_error", contestant=contestant, **place) for contestant in (LIGHTLY, OURS))
    return every(difference(theirs, ours), above=0.0).also(theirs=theirs, ours=ours)


def counts_are_rounded(e: Estimates) -> Decision:
    ratios = e.of("count_ratio", contestant=LIGHTLY)
    far = max(ratios, key=lambda one: abs(one.value - 1), default=None)
    if far is None:
        raise LookupError("no counts of lightly's")
    off = some(ratios, above=1.0005) | some(ratios, below=0.9995)
    return off.also(far=far, percent=abs(far.value - 1))


def _gradients(e: Estimates) -> Any:
    return curves(
        on_ranks(e, "gradient_error", list(CONTESTANTS), shares="even", embeddings=NEAR),
        x="world_size",
        hue="contestant",
        names=NAMES,
        x_label="processes",
        y_label="gradient's relative error",
        log_y=True,
        size=(4.6, 2.9),
    )


def keep(cell: Cell, settings: Config) -> bool:
    """Counts are reduced by two contestants alone; on one process lightly's two ways are one."""
    if cell["question"] == "counts":
        return cell["contestant"] in (OURS, LIGHTLY)
    return cell["question"] == "ranks" or cell["contestant"] != LIGHTLY_LOCAL


def _preset(batches: int, num_samples: int, dim: int, num_slices: int, counts: list[int], world_sizes: Any) -> Config:
    sizes = {"num_samples": num_samples, "dim": dim, "num_slices": num_slices}
    axes = {"question": [*QUESTIONS], "contestant": [*CONTESTANTS]}
    return {**axes, "batches": batches, **sizes, "counts": counts, "world_sizes": world_sizes}


STUDY = Study(
    name="peers",
    title="SIGReg of other libraries, beside the formula",
    question="Do lightly and stable-pretraining compute the value and the gradient that the formula has, on one "
    "process and on several, in float32 and in bfloat16?",
    expectation="All do on one process in float32. On several, lightly does with gather_distributed; "
    "stable-pretraining drops what its reduction returns: each rank's means are its own, and the factor the batch's N.",
    seed=20251127,
    axes=("question", "contestant"),
    paired=("contestant",),
    keep=keep,
    packages=("lightly", "stable-pretraining"),
    presets={
        "smoke": _preset(2, 48, 6, 16, [514], [1, 2]),
        "quick": _preset(8, 128, 16, 64, [256, 514], [1, 2, 4]),
        "standard": _preset(20, 256, 64, 256, [256, 258, 514, 1030, 4106], [1, 2, 4]),
        "paper": _preset(100, 512, 256, 1024, [256, 258, 514, 1030, 4106, 16394], [1, 2, 4, 8]),
    },
    measure=measure,
    estimate=estimate,
    claims=(
        Claim(
            "reduction_is_lost",
            "on several processes the gradient of stable-pretraining's SIGReg is not that of the whole batch",
            reduction_is_lost,
        ),
        Claim(
            "gathering_is_exact",
            "with lightly's gather_distributed=True, and with this library, it is that of the whole batch",
            gathering_is_exact,
        ),
        Claim(
            "default_is_local",
            "with lightly's default each process regularises its own share, whose gradient is not the whole batch's",
            default_is_local,
        ),
        Claim("one_process_is_exact", "on one process in float32 all are exact to rounding", one_process_is_exact),
        Claim(
            "low_precision_differs",
            "on bfloat16 embeddings lightly's gradient is farther from the exact one than this library's",
            low_precision_differs,
        ),
        Claim(
            "counts_are_rounded",
            "lightly counts the samples of several processes in the dtype of the embeddings, and bfloat16 rounds them",
            counts_are_rounded,
        ),
    ),
    pictures={
        "peers_gradients": Picture("Relative error of a network's gradient on several processes.", _gradients),
    },
)
