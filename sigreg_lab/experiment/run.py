"""From a study to its results: compute the missing cells, then write what they say.

The finished cells of all presets lie in ``<out>/store/<study>.sqlite``, results in ``<out>/<preset>/<study>/``.
"""

import time
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from sigreg_lab.experiment.cells import Config, canonical
from sigreg_lab.experiment.executor import cluster_executor, compute_cells, local_executor
from sigreg_lab.experiment.fingerprint import cell_fingerprint, fingerprint
from sigreg_lab.experiment.progress import Progress
from sigreg_lab.experiment.provenance import now, provenance
from sigreg_lab.experiment.report import write_report
from sigreg_lab.experiment.results import (
    ROWS,
    check_digests,
    read_manifest,
    read_rows,
    run_folder,
    write_results,
)
from sigreg_lab.experiment.store import DamagedRecord, Record, Store, cell_key
from sigreg_lab.experiment.study import Study, StudyError, load_study


class Outcome(NamedTuple):
    """What a run did: the folder of its results, how many cells it computed, found finished, and left for later."""

    folder: Path
    computed: int
    reused: int
    missing: int = 0


def run_study(
    name: str,
    *,
    preset: str,
    out: Path,
    overrides: Sequence[str] = (),
    workers: int = 1,
    scheduler: str | None = None,
    limit: float | None = None,
    keep: bool = False,
    earlier: Path | None = None,
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
        limit: seconds after which no more is computed. A study that tells of a part of its cells then does so; another
            writes nothing.
        keep: whether cells of older code count as finished; the manifest counts them.
        earlier: results of the same study and settings, such as the committed ones: their cells count as finished too.
        progress: told how the run goes.

    Raises:
        StudyError: unknown names or values, a store that cannot be used, a failed cell, no time for what must be
            computed, earlier results that cannot be used, or results that contradict exactly known values. Finished
            cells are kept.
    """
    study = load_study(name)
    config = study.configure(preset, overrides)
    if workers < 1:
        raise StudyError(f"--workers must be at least 1, got {workers}")
    folder = run_folder(study, out, preset, overrides)
    store = Store(out / "store" / f"{study.name}.sqlite")
    total = len(study.cells(config))
    try:
        if earlier is not None:
            adopt(study, config, store, earlier)
        computed, left = _compute_missing(study, config, store, workers, scheduler, limit, keep, progress or Progress())
        if left and (left == total or not study.partial):
            raise StudyError(
                f"study {study.name}: the time is up, {total - left} of {total} cells are finished and kept; run the "
                f"same command again to go on"
            )
        _write(study, preset, config, store, folder, keep)
    finally:
        store.close()
    write_report(folder.parent, own=[study])
    return Outcome(folder, computed, total - computed - left, left)


def adopt(study: Study, config: Config, store: Store, earlier: Path) -> int:
    """Put the cells of earlier results into the store, where it does not hold them; returns how many.

    Raises:
        StudyError: results that are damaged, of another study or of other settings.
    """
    manifest = read_manifest(earlier)
    check_digests(earlier, {ROWS: manifest["files"].get(ROWS)})
    settings, of_cells = study.settings(config), manifest.get("of_cells")
    if manifest["study"] != study.name or study.settings(manifest["config"]) != settings or not of_cells:
        raise StudyError(f"{earlier} holds no cells of study {study.name} with these settings; leave --from out")
    table = read_rows(earlier)
    told: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_dict("records"):
        cell = {axis: row.pop(axis) for axis in study.axes}
        told.setdefault(canonical(cell), []).append({str(key): value for key, value in row.items() if value == value})
    sessions: dict[int, int] = {}
    count = 0
    cells = [cell for cell in study.cells(manifest["config"]) if canonical(cell) in told]
    for cell, (number, seconds, fresh) in zip(cells, of_cells, strict=True):
        key = cell_key(study.seed, cell, settings)
        if store.get(key) is not None:
            continue
        if number not in sessions:
            session = next(dict(one) for one in manifest["sessions"] if one["session"] == number)
            started, wall = session.pop("started"), session.pop("wall_seconds")
            del session["session"], session["cells"]
            sessions[number] = store.start_session(started, session)
            store.end_session(sessions[number], wall or 0.0)
        code = cell_fingerprint(manifest["fingerprint"], manifest.get("own", {}), cell) if fresh else {"code": "older"}
        store.put(key, Record(told[canonical(cell)], seconds, sessions[number], code))
        count += 1
    return count


def _compute_missing(
    study: Study,
    config: Config,
    store: Store,
    workers: int,
    scheduler: str | None,
    limit: float | None,
    keep: bool,
    progress: Progress,
) -> tuple[int, int]:
    """Compute what is missing: how many cells, and how many there was no time for."""
    cells, settings = study.cells(config), study.settings(config)
    if not cells:
        raise StudyError(f"study {study.name}: no cells left with these settings")
    code, sources = fingerprint(study), study.sources(config)
    found = {cell_key(study.seed, cell, settings): cell for cell in cells}
    missing, stale, damaged = {}, 0, 0
    for key, cell in found.items():
        try:
            record = store.get(key)
        except DamagedRecord:
            damaged, record = damaged + 1, None
        if record is None or (record.fingerprint != cell_fingerprint(code, sources, cell) and not keep):
            missing[key] = cell
            stale += record is not None
    if damaged:
        warnings.warn(
            f"the store {store.path} is damaged: {damaged} of {len(cells)} cells are not as they were written and are "
            f"computed anew; look after the disk",
            stacklevel=2,
        )
    progress.begin(study, len(cells), list(missing.values()), stale, workers)
    computed = 0
    try:
        if missing:
            start = time.perf_counter()
            where = "dask" if scheduler else workers
            session = store.start_session(now(), {**provenance(), "workers": where})
            pool = cluster_executor(scheduler) if scheduler else local_executor(min(workers, len(missing)))
            with suppress(TimeoutError), pool as executor:
                waiting = list(missing.values())
                for cell, rows, seconds in compute_cells(executor, study.folder, waiting, settings, limit):
                    made_by = cell_fingerprint(code, sources, cell)
                    store.put(cell_key(study.seed, cell, settings), Record(rows, seconds, session, made_by))
                    computed += 1
                    progress.advance(cell)
            store.end_session(session, round(time.perf_counter() - start, 1))
    finally:
        progress.end()
    return computed, len(missing) - computed


def _write(study: Study, preset: str, config: Config, store: Store, folder: Path, keep: bool) -> None:
    settings, code, sources = study.settings(config), fingerprint(study), study.sources(config)
    rows: list[dict[str, Any]] = []
    of_cells: list[tuple[int, float, bool]] = []
    cells_of_session: Counter[int] = Counter()
    for cell in study.cells(config):
        record = store.get(cell_key(study.seed, cell, settings))
        fresh = record is not None and record.fingerprint == cell_fingerprint(code, sources, cell)
        if record is None or not (fresh or keep):
            if study.partial:
                continue
            raise StudyError(f"study {study.name}: cell {cell} is not in the store; run the study again")
        rows += [{**cell, **row} for row in record.rows]
        of_cells.append((record.session, round(record.seconds, 1), fresh))
        cells_of_session[record.session] += 1
    sessions = store.sessions(set(cells_of_session))
    for session in sessions:
        session["cells"] = cells_of_session[session["session"]]
    manifest = {
        "study": study.name,
        "preset": preset,
        "seed": study.seed,
        "config": config,
        "fingerprint": code,
        "own": sources,
        "cells": len(of_cells),
        "planned": len(study.cells(config)),
        "older": sum(not fresh for _, _, fresh in of_cells),
        "of_cells": of_cells,
        "cell_seconds": round(sum(seconds for _, seconds, _ in of_cells), 1),
        "sessions": sessions,
        "written": now(),
    }
    write_results(study, rows, manifest, folder)
