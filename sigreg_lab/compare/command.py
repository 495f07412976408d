"""``sigreg-lab compare``: everything is checked before the first run, then run, then told."""

import csv
import dataclasses
import hashlib
import io
import json
import math
import os
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sigreg_lab.compare import measure as measuring
from sigreg_lab.compare.protocol import (
    CONTROLS,
    DEFAULT_WEIGHTS,
    FIRST_TUNING_SEED,
    Protocol,
    Wanted,
    weight_of,
)
from sigreg_lab.compare.runs import (
    Candidate,
    Measure,
    Progress,
    Settings,
    all_rows,
    make_job,
    make_runs,
    missing,
    run_job,
)
from sigreg_lab.compare.tables import CRITERIA, Findings, find, summary_rows
from sigreg_lab.experiment.cells import canonical
from sigreg_lab.experiment.executor import cluster_executor, local_executor
from sigreg_lab.experiment.fingerprint import file_fingerprint
from sigreg_lab.experiment.provenance import now, provenance
from sigreg_lab.experiment.store import DamagedRecord, Store
from sigreg_lab.experiment.study import parse_duration

if TYPE_CHECKING:
    from sigreg_lab.pretrain.config import PretrainConfig
    from sigreg_lab.pretrain.data import Splits
    from sigreg_lab.regularizers import ResolvedRegularizer

STORE, PAGE, MANIFEST = "runs.sqlite", "page.html", "manifest.json"
_SEEN = 64  # images of each split that tell data of one name from others
_TRIAL_STEPS = 4
_MARGIN = 1.25  # of a budget that is proposed, over the time that is expected


class Comparison(NamedTuple):
    """A comparison that is checked and may begin."""

    settings: Settings
    candidates: list[Candidate]
    notes: list[str]


def prepare(
    names: Sequence[Any],
    *,
    every: bool = False,
    data: str | None = None,
    recipe: str | None = None,
    overrides: Sequence[str] = (),
    seeds: int = 5,
    first_seed: int = 0,
    tuning_seeds: int = 4,
    lambdas: Sequence[float] = (),
    extra: int = 3,
    rank_by: str = "backbone_linear_all",
    measure: Measure = measuring.measure,
) -> Comparison:
    """Check everything that a comparison is made of.

    Args:
        names: regularisers, as ``resolve_regularizer`` takes them, or controls; all are compared with the first.
            Controls that are not named come last. Classes and objects are sent to the processes that make the runs.
        every: whether those of the registry that are not named come after them.
        data: a data set's name or path.
        recipe: of pretraining; by the data if None.
        overrides: ``key=value`` settings of pretraining.
        seeds: reported runs of each.
        first_seed: their first seed.
        tuning_seeds: of the last candidates for lambda; a power of two.
        lambdas: the grid; ``DEFAULT_WEIGHTS`` if empty.
        extra: tuning runs beyond the grid.
        rank_by: the probe that tunes and ranks.
        measure: makes a run.

    Raises:
        ValueError: an unknown name, setting or data set; a regulariser whose value is no finite scalar or that has no
            gradient; two of one name; a lambda or number out of its range.
    """
    import torch

    from sigreg_lab.pretrain.config import configure, default_recipe
    from sigreg_lab.pretrain.loop import check_views, load, make_fabric, make_loss, resolved, view_counts
    from sigreg_lab.pretrain.run import fitted
    from sigreg_lab.regularizers import REGISTRY, check_regularizer, resolve_regularizer

    listed = [*names, *(name for name in REGISTRY if every and name not in (*names, *CONTROLS))]
    if not [name for name in listed if name not in CONTROLS]:
        raise ValueError(f"name regularisers to compare, or --all; known: {', '.join(REGISTRY)}")
    tuned = [text for text in overrides if text.partition("=")[0] == "lam"]
    if tuned:
        raise ValueError(f"--set {tuned[0]}: a comparison tunes lambda; give its grid by --lambdas")
    if rank_by not in CRITERIA:
        raise ValueError(f"--rank-by must be one of {', '.join(CRITERIA)}, got {rank_by!r}")
    if lambdas and len(set(lambdas)) < max(2, len(lambdas)):
        told = ", ".join(f"{lam:g}" for lam in lambdas)
        raise ValueError(f"--lambdas must be two values or more, each once, got {told}")
    gpu = torch.cuda.is_available()
    config = configure(data, "none", 0, overrides, recipe or default_recipe(data, gpu=gpu))
    grid = tuple(sorted(weight_of(lam, config.form) for lam in lambdas)) or DEFAULT_WEIGHTS
    protocol = Protocol(
        weights=grid, extra=extra, tuning_seeds=tuning_seeds, seeds=seeds, first_seed=first_seed, criterion=rank_by
    )
    listed += [name for name in CONTROLS if name not in listed]
    resolved_ones = [None if name in CONTROLS else resolve_regularizer(name) for name in listed]
    chosen = [one for one in resolved_ones if one is not None]
    given: dict[str, Any] = {"num_slices": config.num_slices, "directions": config.directions}
    candidates: list[Candidate] = []
    for name, one in zip(listed, resolved_ones, strict=True):
        identity = one.identity(**given) if one else {"head": name}
        candidate = Candidate(one.name, one.spec, identity) if one else Candidate(name, "none", identity)
        for other in candidates:
            if candidate.name == other.name:
                raise ValueError(f"two regularisers are called {other.name}; give each a name, or class, of its own")
            if identity == other.identity:
                raise ValueError(f"{other.name} and {candidate.name} are the same regulariser; name one of them")
        candidates.append(candidate)
    splits = load(config)
    config, notes = fitted(config, splits)
    make_fabric(config)
    device = "cuda" if gpu and config.device != "cpu" else "cpu"
    config = dataclasses.replace(resolved(config, len(splits.train.pixels)), device=device)
    check_views(config, splits)
    if config.steps < 1:
        raise ValueError("steps and epochs are 0, so that nothing is trained; set one of them")
    shape = (sum(view_counts(config)), config.batch_size, config.projector[-1])
    for one in chosen:
        _check_sent(one)
        make_loss(dataclasses.replace(config, regularizer=one.spec))
        check_regularizer(one, shape, device, **given)
    settings = Settings(config, _identity(splits), protocol, measure, file_fingerprint(Path(measuring.__file__)))
    return Comparison(settings, candidates, notes)


def compare(
    comparison: Comparison,
    out: Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    budget: str | None = None,
    progress: Progress | None = None,
    on_note: Callable[[str], None] = lambda note: None,
) -> tuple[Path, Findings]:
    """Make the runs that are missing, and write what all of them say.

    Args:
        comparison: what ``prepare`` checked.
        out: holds the store of all comparisons' runs, ``runs.sqlite``, and a folder for each comparison.
        workers: runs at a time, one thread each; the number of cores if None, one where there is a GPU.
        scheduler: address of a Dask scheduler, to run there.
        budget: the time there is, such as "30m"; None: all it takes.
        progress: told how it goes.
        on_note: called with each sentence that the user should read.

    Returns:
        The folder and the findings.

    Raises:
        ValueError: a budget too small for one run, workers below 1.
        StudyError: a budget that is no time, no scheduler there, or a store that cannot be used.
    """
    start = time.monotonic()
    settings, candidates, notes = comparison
    seconds = parse_duration(budget, "--budget") if budget is not None else math.inf
    if workers is not None and workers < 1:
        raise ValueError(f"--workers must be at least 1, got {workers}")
    count = workers or (1 if settings.base.device == "cuda" else _cores())
    for note in notes:
        on_note(note)
    folder = out / f"{settings.data['name']}-{_digest(settings, candidates)}"
    store = Store(out / STORE)
    try:
        expected = 0.0
        if budget is not None:
            expected = _expected(settings, candidates, store, local=scheduler is None)
            tuning, reported = missing(settings, candidates, store)
            if expected > seconds and tuning + reported:
                raise ValueError(
                    f"--budget {budget} is too small: one run takes about {math.ceil(expected)} s, and "
                    f"{tuning + reported} are to be made; raise --budget, or lower steps with --set"
                )
            if scheduler is None and tuning * expected / count > seconds - (time.monotonic() - start):
                on_note(_too_short(settings, str(budget), tuning, reported, expected, count))
        outcome = make_runs(
            settings,
            candidates,
            store,
            (lambda: cluster_executor(scheduler)) if scheduler else (lambda: local_executor(count)),
            workers=0 if scheduler else count,
            seconds=seconds - (time.monotonic() - start),
            expected=expected,
            progress=progress,
        )
    finally:
        store.close()
    found = find(settings, outcome)
    write(found, candidates, folder)
    return folder, found


def write(found: Findings, candidates: Sequence[Candidate], folder: Path) -> None:
    """Write the page, ``rows.csv``, ``summary.csv`` and, with digests of these, ``manifest.json``."""
    from sigreg_lab.compare.page import render
    from sigreg_lab.pretrain.checkpoint import replacing

    settings, outcome = found.settings, found.outcome
    about = {**provenance(), "written": now()}
    texts = {
        "rows.csv": _csv([_plain(row) for row in all_rows(outcome)]),
        "summary.csv": _csv(summary_rows(found)),
        PAGE: render(found, about),
    }
    manifest = {
        **about,
        "data": settings.data,
        "regularizers": [candidate.identity | {"name": candidate.name} for candidate in candidates],
        "config": _shared(settings, candidates),
        "protocol": dataclasses.asdict(settings.protocol),
        "fingerprint": settings.fingerprint,
        "runs": {"made": outcome.made, "found": outcome.found, "out_of_time": outcome.out_of_time},
        "sessions": outcome.sessions,
        "files": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()},
    }
    for name, text in {**texts, MANIFEST: json.dumps(manifest, indent=2) + "\n"}.items():
        with replacing(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")


def parse_lambdas(text: str | None) -> list[float]:
    """The grid of lambda that was given, if it was.

    Raises:
        ValueError: it holds what is no number.
    """
    try:
        return [float(part) for part in text.split(",")] if text is not None else []
    except ValueError:
        raise ValueError(
            f"--lambdas must be numbers with commas between them, such as 0.01,0.1,0.5, got {text!r}"
        ) from None


def _check_sent(one: "ResolvedRegularizer") -> None:
    """Raise ``ValueError`` where another process could not have what was handed in."""
    try:
        pickle.dumps(one.spec)
    except Exception as error:
        raise ValueError(
            f"{one.name} cannot be sent to the processes that make the runs ({type(error).__name__}: {error}); put its "
            "code into a file and import it from there, and keep locks, open files and local functions out of it"
        ) from error
    kind = one.spec if hasattr(one.spec, "__qualname__") else type(one.spec)
    if kind.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__"):
        raise ValueError(
            f"{one.name} is made in a session without a file, where the processes that make the runs cannot find it; "
            "put its code into a file and import it from there"
        )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _identity(splits: "Splits") -> dict[str, Any]:
    """What tells the data from others of the same name: classes, labels, and some images of each split."""
    import torch

    digest = hashlib.sha256()
    for images in (splits.train, splits.validation, splits.test):
        rows = torch.linspace(0, len(images.labels) - 1, min(_SEEN, len(images.labels))).round().long()
        pixels, _ = images.take(rows)
        digest.update(f"{tuple(images.pixels.shape)}".encode() + pixels.cpu().numpy().tobytes())
    return {"name": splits.name, **splits.identity(), "images": digest.hexdigest()}


def _digest(settings: Settings, candidates: Sequence[Candidate]) -> str:
    """A short name of a comparison, from all that it declares."""
    declared = {
        "who": [candidate.identity for candidate in candidates],
        "protocol": dataclasses.asdict(settings.protocol),
        "config": _shared(settings, candidates),
        "data": settings.data,
    }
    return hashlib.sha256(canonical(declared).encode()).hexdigest()[:8]


def _shared(settings: Settings, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """The config that all runs share, as that of the control without a regulariser."""
    control = next(candidate for candidate in candidates if candidate.name == CONTROLS[0])
    return make_job(settings, control, Wanted(None, 0, "report")).shown


def _too_short(settings: Settings, budget: str, tuning: int, reported: int, expected: float, workers: int) -> str:
    """What a budget that ends before tuning gives, and what to do about it."""
    from sigreg_lab.pretrain.progress import duration

    protocol, steps = settings.protocol, settings.base.steps
    enough = math.ceil(_MARGIN * (tuning + reported) * expected / workers / 60)
    remedies = [f"--budget {enough}m"]
    if protocol.tuning_seeds > 1:
        fewer = dataclasses.replace(protocol, tuning_seeds=1).tuning_runs
        remedies.append(f"--tuning-seeds 1 (tuning by {fewer} runs each, not {protocol.tuning_runs})")
    if steps >= 3:
        remedies.append(f"--set steps={steps // 3}")
    return (
        f"--budget {budget} ends before tuning does: {tuning} tuning runs of about {duration(expected)}, {workers} at "
        f"a time, take about {duration(tuning * expected / workers)}. Nothing will be ranked; finished runs are kept, "
        f"and the same command goes on from there. For a ranking at once take one or more of: {', '.join(remedies)}"
    )


def _expected(settings: Settings, candidates: Sequence[Candidate], store: Store, local: bool) -> float:
    """Seconds that a run of the first regulariser takes: that of one in the store, else measured on a few steps."""
    first = next(candidate for candidate in candidates if candidate.name not in CONTROLS)
    job = make_job(settings, first, Wanted(settings.protocol.weights[0], FIRST_TUNING_SEED, "tuning"))
    try:
        record = store.get(job.key)
    except DamagedRecord:
        record = None
    if record is not None:
        return record.seconds
    return _timed(settings.measure, job.config) if local else 0.0


def _timed(measure: Measure, config: "PretrainConfig") -> float:
    """Seconds of a run, from two with a few steps; 0 if it breaks: that is for the comparison to tell."""
    import torch

    threads = torch.get_num_threads()
    few = [min(count, config.steps) for count in (_TRIAL_STEPS, 3 * _TRIAL_STEPS)]
    try:
        run_job(measure, dataclasses.replace(config, steps=few[0]))  # the data are read, kernels are built
        short, longer = (run_job(measure, dataclasses.replace(config, steps=count))[1] for count in few)
    finally:
        torch.set_num_threads(threads)
    step = max(0.0, longer - short) / max(1, few[1] - few[0])
    return short + step * (config.steps - few[0])


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a line of CSV: lists and dicts as JSON."""
    return {key: json.dumps(value) if isinstance(value, list | dict) else value for key, value in row.items()}


def _csv(rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(key for row in rows for key in row)) or ["regularizer"]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
