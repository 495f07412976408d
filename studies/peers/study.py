"""Other libraries' SIGReg beside the formula: claims and pictures."""

import itertools
from collections.abc import Sequence
from typing import Any

from sigreg_lab.experiment import Decision, Picture, Study, claim, every, some
from sigreg_lab.experiment.cells import Cell, Config
from sigreg_lab.experiment.estimates import Estimates, difference, ratio
from sigreg_lab.figures.kinds import curves

from .contestants import CONTESTANTS, LIGHTLY, LIGHTLY_LOCAL, OURS, STABLE
from .estimates import ROUNDING, estimate
from .measure import NEAR, QUESTIONS, measure

#: A gradient is another one from this relative error on.
ANOTHER = 0.01
Sizes = tuple[int, int, int]


def of_all(e: Estimates, quantity: str, contestants: Sequence[str], **where: Any) -> Estimates:
    """A quantity of every one of some contestants; a ``LookupError`` where one was not run."""
    found = e.of(quantity, contestant=contestants, **where)
    if missing := set(contestants) - set(found.axis("contestant")):
        raise LookupError(f"no {quantity} of {', '.join(sorted(missing))}")
    return found


def on_ranks(e: Estimates, quantity: str, *contestants: str, **where: Any) -> Estimates:
    return of_all(e, quantity, contestants, question="ranks", world_size=lambda w: w > 1, **where)


def most(e: Estimates, quantity: str, contestant: str) -> Any:
    """A quantity on the most processes, even shares."""
    found = on_ranks(e, quantity, contestant, shares="even", embeddings=NEAR)
    return found.at(quantity, world_size=found.last("world_size"))


@claim(
    "on several processes the gradient of stable-pretraining's SIGReg, and of lightly's by default, is not that of the "
    "whole batch"
)
def reduction_is_lost(e: Estimates) -> Decision:
    stable, local = (most(e, "gradient_error", name) for name in (STABLE, LIGHTLY_LOCAL))
    decision = every(on_ranks(e, "gradient_error", STABLE, LIGHTLY_LOCAL), above=ANOTHER)
    return decision.also(stable=stable, local=local, w=stable.world_size)


@claim("with lightly's gather_distributed=True, and with this library, it is that of the whole batch")
def gathering_is_exact(e: Estimates) -> Decision:
    return every(on_ranks(e, "gradient_error", OURS, LIGHTLY), below=ROUNDING)


@claim("with lightly's default each process regularises its own share, whose gradient is not the whole batch's")
def default_is_local(e: Estimates) -> Decision:
    error = most(e, "gradient_error", LIGHTLY_LOCAL)
    size = most(e, "gradient_size", LIGHTLY_LOCAL)
    decision = every(on_ranks(e, "gradient_error", LIGHTLY_LOCAL), above=ANOTHER)
    cosine = most(e, "gradient_cosine", LIGHTLY_LOCAL)
    return decision.also(size=size, cosine=cosine, w=error.world_size, error=error)


@claim("on one process in float32 all are exact to rounding")
def one_process_is_exact(e: Estimates) -> Decision:
    alone = (OURS, LIGHTLY, STABLE)
    numbers = [of_all(e, name, alone, question="dtypes", dtype="float32") for name in ("value_error", "gradient_error")]
    return every(itertools.chain(*numbers), below=ROUNDING)


@claim("on bfloat16 embeddings lightly's gradient is farther from the exact one than this library's")
def low_precision_differs(e: Estimates) -> Decision:
    place = {"question": "dtypes", "dtype": "bfloat16", "embeddings": NEAR}
    theirs, ours = (e.at("gradient_error", contestant=contestant, **place) for contestant in (LIGHTLY, OURS))
    return every(difference(theirs, ours), above=0.0).also(theirs=theirs, ours=ours)


@claim("lightly counts the samples of several processes in the dtype of the embeddings, and bfloat16 rounds them")
def counts_are_rounded(e: Estimates) -> Decision:
    ratios = of_all(e, "count_ratio", [LIGHTLY])
    far = max(ratios, key=lambda one: abs(one.value - 1))
    off = some(ratios, above=1.0005) | some(ratios, below=0.9995)
    return off.also(far=far, percent=abs(far.value - 1))


@claim("value and gradient take more time and more memory in both than in this library")
def ours_is_quicker(e: Estimates) -> Decision:
    theirs = (LIGHTLY, STABLE)
    times = of_all(e, "time_ratio", theirs, question="cost")
    ours = e.at("mebibytes", contestant=OURS, question="cost")
    memory = [ratio(one, ours) for one in of_all(e, "mebibytes", theirs, question="cost")]
    decision = every(times, above=1.0) & every(memory, above=1.0)
    return decision.also(quick=times.least(), slow=times.largest(), lean=min(memory, key=lambda one: one.value))


def _gradients(e: Estimates) -> Any:
    return curves(
        e.of("gradient_error", question="ranks", shares="even", embeddings=NEAR),
        x="world_size",
        hue="contestant",
        x_label="processes",
        y_label="gradient's relative error",
        log_y=True,
        size=(4.6, 2.9),
    )


def keep(cell: Cell, settings: Config) -> bool:
    """Counts are reduced by two contestants alone; on one process lightly's two ways are one, the gathering one."""
    if cell["question"] == "counts":
        return cell["contestant"] in (OURS, LIGHTLY)
    return cell["question"] == "ranks" or cell["contestant"] != LIGHTLY_LOCAL


def _preset(batches: int, size: Sizes, cost: Sizes, counts: list[int], world_sizes: list[int], rounds: int) -> Config:
    names = ("num_samples", "dim", "num_slices")
    axes = {"question": [*QUESTIONS], "contestant": [*CONTESTANTS]}
    sizes = dict(zip(names, size, strict=True)) | dict(zip([f"cost_{name}" for name in names], cost, strict=True))
    repeats = {"rounds": rounds, "fresh_processes": max(2, rounds // 10)}
    return {**axes, "batches": batches, **sizes, "counts": counts, "world_sizes": world_sizes, **repeats}


STUDY = Study(
    name="peers",
    title="SIGReg of other libraries, beside the formula",
    question="Do lightly and stable-pretraining compute the formula's value and gradient, on one and on several "
    "processes, in float32 and bfloat16, and at what cost?",
    expectation="All do on one process in float32. On several, lightly does with gather_distributed. "
    "stable-pretraining discards the result of its reduction: each rank keeps its own means, multiplied by "
    "the batch's N.",
    topic="numerics",
    seed=20251127,
    axes=("question", "contestant"),
    paired=("contestant",),
    keep=keep,
    packages=("lightly", "stable-pretraining"),
    presets={
        "smoke": _preset(2, (48, 6, 16), (32, 8, 16), [514], [1, 2], 2),
        "quick": _preset(8, (128, 16, 64), (256, 64, 256), [256, 514], [1, 2, 4], 20),
        "standard": _preset(20, (256, 64, 256), (512, 128, 1024), [256, 258, 514, 1030, 4106], [1, 2, 4], 60),
        "paper": _preset(100, (512, 256, 1024), (2048, 512, 1024), [258, 514, 1030, 4106, 16394], [1, 2, 4, 8], 60),
    },
    measure=measure,
    estimate=estimate,
    claims=(
        reduction_is_lost,
        gathering_is_exact,
        default_is_local,
        one_process_is_exact,
        low_precision_differs,
        counts_are_rounded,
        ours_is_quicker,
    ),
    pictures={
        "peers_gradients": Picture("Relative error of a network's gradient, by number of processes.", _gradients),
    },
)
