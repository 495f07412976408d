"""From a study to its results: compute the missing cells, then write what they say.

The finished cells of all presets lie in ``<out>/store/<study>.sqlite``, results in ``<out>/<preset>/<study>/``.
"""

import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sigreg_lab.experiment.cells import Config
from sigreg_lab.experiment.executor import cluster_executor, compute_cells, local_executor
from sigreg_lab.experiment.fingerprint import fingerprint
from sigreg_lab.experiment.progress import Progress
from sigreg_lab.experiment.provenance import now, provenance
from sigreg_lab.experiment.report import write_report
from sigreg_lab.experiment.results import run_folder, write_results
from sigreg_lab.experiment.store import DamagedRecord, Record, Store, cell_key
from sigreg_lab.experiment.study import Study, StudyError, load_study


class Outcome(NamedTuple):
    """What a run did: the folder of its results, how many cells it computed, how many it found finished."""

    folder: Path
    computed: int
    reused: int


def run_study(
    name: str,
    *,
    preset: str,
    out: Path,
    overrides: Sequence[str] = (),
    workers: int = 1,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Run a study: compute its missing cells, then write its results.

    Args:
        name: the study's name.
        preset: "smoke", "quick", "standard" or "paper".
        out: the folder of all studies' results.
        overrides: ``key=value`` settings; each set of them has a folder of its own.
        workers: processes to compute on.
        scheduler: address of a Dask scheduler; its cluster computes instead of processes here.
        progress: told how the run goes.

    Raises:
        StudyError: unknown names or values, a package that the study measures and that is not installed, a store that
            cannot be used, a failed cell, or results that contradict exactly known values. Finished cells are kept.
    """
    study = load_study(name)
    if reason := study.missing():
        raise StudyError(reason)
    config = study.configure(preset, overrides)
    if workers < 1:
        raise StudyError(f"--workers must be at least 1, got {workers}")
    folder = run_folder(study, out, preset, overrides)
    store = Store(out / "store" / f"{study.name}.sqlite")
    try:
        computed = _compute_missing(study, config, store, workers, scheduler, progress or Progress())
        _write(study, preset, config, store, folder)
    finally:
        store.close()
    write_report(folder.parent, own=[study])
    return Outcome(folder, computed, len(study.cells(config)) - computed)


def _compute_missing(
    study: Study, config: Config, store: Store, workers: int, scheduler: str | None, progress: Progress
) -> int:
    cells, settings = study.cells(config), study.settings(config)
    if not cells:
        raise StudyError(f"study {study.name}: no cells left with these settings")
    code = fingerprint(study)
    found = {cell_key(study.seed, cell, settings): cell for cell in cells}
    missing, stale, damaged = {}, 0, 0
    for key, cell in found.items():
        try:
            record = store.get(key)
        except DamagedRecord:
            damaged, record = damaged + 1, None
        if record is None or record.fingerprint != code:
            missing[key] = cell
            stale += record is not None
    if damaged:
        warnings.warn(
            f"the store {store.path} is damaged: {damaged} of {len(cells)} cells are not as they were written and are "
            f"computed anew; look after the disk",
            stacklevel=2,
        )
    progress.begin(study, len(cells), list(missing.values()), stale, workers)
    try:
        if missing:
            start = time.perf_counter()
            where = "dask" if scheduler else workers
            session = store.start_session(now(), {**provenance(), "workers": where})
            pool = cluster_executor(scheduler) if scheduler else local_executor(min(workers, len(missing)))
            with pool as executor:
                for cell, rows, seconds in compute_cells(executor, study.folder, list(missing.values()), settings):
                    store.put(cell_key(study.seed, cell, settings), Record(rows, seconds, session, code))
                    progress.advance(cell)
            store.end_session(session, round(time.perf_counter() - start, 1))
    finally:
        progress.end()
    return len(missing)


def _write(study: Study, preset: str, config: Config, store: Store, folder: Path) -> None:
    settings = study.settings(config)
    rows: list[dict[str, Any]] = []
    seconds = 0.0
    cells_of_session: Counter[int] = Counter()
    for cell in study.cells(config):
        record = store.get(cell_key(study.seed, cell, settings))
        if record is None:
            raise StudyError(f"study {study.name}: cell {cell} is not in the store; run the study again")
        rows += [{**cell, **row} for row in record.rows]
        seconds += record.seconds
        cells_of_session[record.session] += 1
    sessions = store.sessions(set(cells_of_session))
    for session in sessions:
        session["cells"] = cells_of_session[session["session"]]
    manifest = {
        "study": study.name,
        "preset": preset,
        "seed": study.seed,
        "config": config,
        "fingerprint": fingerprint(study),
        "cells": len(study.cells(config)),
        "cell_seconds": round(seconds, 1),
        "sessions": sessions,
        "written": now(),
    }
    write_results(study, rows, manifest, folder)
