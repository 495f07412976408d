"""From a study to its results: compute the missing cells, then write rows, summary, figures, report and manifest.

A run writes ``rows.csv``, ``summary.csv``, the figures, ``findings.md`` and ``manifest.json`` to
``<out>/<preset>/<study>/``, and renews ``<out>/<preset>/REPORT.md``, which is put together from the findings. The
finished cells of all presets lie in ``<out>/store/<study>.sqlite``.

Results are written beside their folder and renamed into it when all are there: what stops a run before leaves the
earlier ones. Files that are in no manifest stay as they are.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from sigreg_lab.experiment.executor import cluster_executor, compute_cells, local_executor
from sigreg_lab.experiment.fingerprint import fingerprint
from sigreg_lab.experiment.progress import Progress
from sigreg_lab.experiment.provenance import now, provenance
from sigreg_lab.experiment.store import DamagedRecord, Record, Store, cell_key
from sigreg_lab.experiment.study import Config, Study, StudyError, list_studies, load_study, studies_folder

FINDINGS, MANIFEST = "findings.md", "manifest.json"
#: What a manifest must hold to be read.
_MANIFEST = {"study": str, "preset": str, "config": dict, "cells": int, "sessions": list, "files": dict}
_LEFT_BEHIND = 24 * 3600.0  # seconds after which a folder of unfinished results is a killed run's


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
        overrides: ``key=value`` settings; the results then lie in ``<preset>-custom``.
        workers: processes to compute on.
        scheduler: address of a Dask scheduler; its cluster computes instead of processes here.
        progress: told how the run goes.

    Raises:
        StudyError: unknown names or values, a store that cannot be used, a failed cell, or results that contradict
            exactly known values. Finished cells are kept.
    """
    study = load_study(name)
    config = study.configure(preset, overrides)
    if workers < 1:
        raise StudyError(f"--workers must be at least 1, got {workers}")
    folder = out / (f"{preset}-custom" if overrides else preset) / name
    store = Store(out / "store" / f"{name}.sqlite")
    try:
        computed = _compute_missing(study, config, store, workers, scheduler, progress or Progress())
        _write_results(study, preset, config, store, folder)
    finally:
        store.close()
    write_report(folder.parent)
    return Outcome(folder, computed, len(study.cells(config)) - computed)


def _compute_missing(
    study: Study, config: Config, store: Store, workers: int, scheduler: str | None, progress: Progress
) -> int:
    cells, settings = study.cells(config), study.settings(config)
    if not cells:
        raise StudyError(f"study {study.name}: no cells left with these settings")
    study_file = studies_folder() / f"{study.name}.py"
    code = fingerprint(study_file)
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
                for cell, rows, seconds in compute_cells(executor, study_file, list(missing.values()), settings):
                    store.put(cell_key(study.seed, cell, settings), Record(rows, seconds, session, code))
                    progress.advance(cell)
            store.end_session(session, round(time.perf_counter() - start, 1))
    finally:
        progress.end()
    return len(missing)


def _write_results(study: Study, preset: str, config: Config, store: Store, folder: Path) -> None:
    import pandas as pd

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
        "fingerprint": fingerprint(studies_folder() / f"{study.name}.py"),
        "cells": len(study.cells(config)),
        "cell_seconds": round(seconds, 1),
        "sessions": sessions,
        "written": now(),
    }
    with _beside(folder) as fresh:
        pd.DataFrame(rows).to_csv(fresh / "rows.csv", index=False)
        failure = _tell(study, fresh, manifest)
    if failure:
        raise StudyError(f"{failure} (rows in {folder})")


def draw(name: str, folder: Path) -> None:
    """Summary, figures and findings of a study, from the rows in ``folder`` alone; renews the manifest's digests.

    Raises:
        StudyError: no rows there, rows that are not those of the manifest, rows that the study cannot tell of, or
            results that contradict exactly known values.
    """
    study = load_study(name)
    if not (folder / "rows.csv").is_file():
        raise StudyError(f"no rows of study {name} in {folder}; run it first: sigreg-lab study run {name}")
    manifest = _read_manifest(folder)
    _check_digests(folder, {"rows.csv": manifest["files"].get("rows.csv")})
    with _beside(folder) as fresh:
        shutil.copy2(folder / "rows.csv", fresh / "rows.csv")
        failure = _tell(study, fresh, manifest)
    if failure:
        raise StudyError(f"{failure} (rows in {folder})")


def _tell(study: Study, folder: Path, manifest: dict[str, Any]) -> str:
    """Write what the rows in ``folder`` say, and the manifest; returns why that is not to be had or believed, or ""."""
    import pandas as pd

    # Text stays text: a regulariser called "none" is a name, not a missing value.
    rows = pd.read_csv(folder / "rows.csv", keep_default_na=False, na_values=["nan", ""])
    part = "summary"
    try:
        summary = study.summarize(rows, study.settings(manifest["config"]))
        summary.to_csv(folder / "summary.csv", index=False)
        summary = pd.read_csv(folder / "summary.csv", keep_default_na=False, na_values=["nan", ""])
        part = "figures"
        for stem, figure in study.figures(summary).items():
            # No "Software" entry: the same rows give the same file whatever matplotlib's version says of itself.
            figure.savefig(folder / f"{stem}.png", dpi=150, bbox_inches="tight", metadata={"Software": None})
        part = "findings"
        (folder / FINDINGS).write_text(study.report(summary).strip() + "\n", encoding="utf-8")
        part = "verification"
        complaints = study.verify(summary)
        failure = f"study {study.name} contradicts exactly known values: {'; '.join(complaints)}" if complaints else ""
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a study's own code, on a grid that its author may not have thought of
        failure = (
            f"study {study.name}: no {part} for these settings ({type(error).__name__}: {error}); the cells are kept: "
            f"give more values of {', '.join(study.axes)}"
        )
    manifest["files"] = {path.name: _digest(path) for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return failure


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A folder to write results in; on leaving the block without an exception they replace those in ``folder``.

    They are on the disk before the first is renamed. The manifest comes last, so that a kill between two renames
    leaves a folder whose manifest does not fit, which nothing takes for a result. Of what lies in ``folder`` only the
    files of its manifest are replaced or removed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f".{folder.name}-*.partial"):
        with suppress(OSError):  # another run was first
            if time.time() - left.stat().st_mtime > _LEFT_BEHIND:
                shutil.rmtree(left)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=".partial", dir=folder.parent))
    try:
        yield fresh
        for path in fresh.iterdir():
            _sync(path)
        folder.mkdir(exist_ok=True)
        try:
            earlier = {*_read_manifest(folder)["files"]}
        except StudyError:
            earlier = set()
        new = sorted((path.name for path in fresh.iterdir()), key=lambda name: name == MANIFEST)
        for name in new:
            (fresh / name).replace(folder / name)
        for name in earlier - {*new}:
            (folder / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of results.

    Raises:
        StudyError: there is none, or it is damaged.
    """
    path = folder / MANIFEST
    manifest = _read_object(path)
    for key, kind in _MANIFEST.items():
        if not isinstance(manifest.get(key), kind):
            raise _damaged(path, f"no {key}")
    for session in manifest["sessions"]:
        git = session.get("git") if isinstance(session, dict) else None
        if not isinstance(git, dict) or not {"commit", "dirty"} <= git.keys():
            raise _damaged(path, "a session without its commit")
    for name in manifest["files"]:
        if Path(name).name != name or name == MANIFEST:
            raise _damaged(path, f"{name!r} is no file of its folder")
    return manifest


def _read_object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(found, dict):
        raise _damaged(path, "it is no object")
    return found


def _damaged(path: Path, why: str) -> StudyError:
    return StudyError(f"{path} is damaged ({why}); run its study again, or delete the folder")


def _section(study: Study, findings: str, manifest: dict[str, Any], folder: Path) -> str:
    """A study's part of the report, in Markdown, with links that hold in the folder above ``folder``."""
    link = f"{folder.name}/"
    figures = "\n\n".join(
        f"![{path.stem.replace('_', ' ')}]({link}{path.name})" for path in sorted(folder.glob("*.png"))
    )
    states = [session["git"] for session in manifest["sessions"]]
    commits = {(git["commit"] or "unknown")[:10] + (" with changes" if git["dirty"] else "") for git in states}
    source = (
        f"Rows: [rows.csv]({link}rows.csv), estimates: [summary.csv]({link}summary.csv), "
        f"how they were made: [manifest.json]({link}manifest.json) "
        f"(preset {manifest['preset']}, commit {', '.join(sorted(commits))}, {manifest['cells']} cells)."
    )
    return f"{_heading(study)}\n\n{findings}\n\n{figures}\n\n{source}\n"


def publish(name: str, *, preset: str, out: Path, results: Path) -> Path:
    """Copy a finished run into the committed results, and write their report anew.

    Args:
        name: the study's name.
        preset: whose run.
        out: where runs lie.
        results: the committed results; the study's folder there is replaced.

    Returns:
        The study's folder in ``results``.

    Raises:
        StudyError: no such run, or one whose code was not a clean commit or whose files changed since.
    """
    load_study(name)
    source = out / preset / name
    if not (source / MANIFEST).is_file():
        raise StudyError(
            f"no finished run of {name} with preset {preset}; first: sigreg-lab study run {name} --preset {preset}"
        )
    manifest = _read_manifest(source)
    if manifest["study"] != name:
        raise StudyError(f"{source / MANIFEST} is that of study {manifest['study']}; run {name} again")
    for session in manifest["sessions"]:
        if session["git"]["commit"] is None or session["git"]["dirty"]:
            raise StudyError(
                f"the run of {name} was not made from a clean commit; commit, then run it again in a clean clone"
            )
    _check_digests(source, manifest["files"])
    target = results / name
    with _beside(target) as fresh:
        for file in [*manifest["files"], MANIFEST]:
            shutil.copy2(source / file, fresh / file)
    write_report(results, expected=list_studies())
    return target


def _check_digests(folder: Path, files: dict[str, str]) -> None:
    for file, digest in files.items():
        if not (folder / file).is_file() or _digest(folder / file) != digest:
            raise StudyError(f"{folder / file} is not the file of its manifest; run the study again")


def write_report(results: Path, expected: Sequence[str] = ()) -> Path:
    """Write ``REPORT.md`` of a folder that holds one folder per study, from their findings alone.

    Results that cannot be read, or of a study that is not there, are named in a warning and passed over.

    Args:
        results: the folder.
        expected: studies that should be there; the report says of each that is not that it was not run.
    """
    sections: list[tuple[Study, str, str]] = []  # study, its finding in a line, its section
    for manifest_file in sorted(results.glob(f"*/{MANIFEST}")):
        folder = manifest_file.parent
        try:
            files = _read_object(manifest_file).get("files")
            if isinstance(files, dict) and FINDINGS not in files:
                continue  # of a benchmark, or of a study that could not tell of its rows
            manifest = _read_manifest(folder)
            study = load_study(manifest["study"])
            _check_digests(folder, {FINDINGS: manifest["files"].get(FINDINGS)})
        except StudyError as error:
            warnings.warn(f"{folder} is not in the report: {error}", stacklevel=2)
            continue
        findings = (folder / FINDINGS).read_text(encoding="utf-8").strip()
        first = next(iter(findings.splitlines()), "").removeprefix("- ")
        sections.append((study, first, _section(study, findings, manifest, folder)))
    for study in (load_study(name) for name in expected if not (results / name / MANIFEST).is_file()):
        needs = f" It needs {study.needs}." if study.needs else ""
        text = f"**Not run.**{needs} Command: `sigreg-lab study run {study.name} --preset standard`."
        sections.append((study, "not run.", f"{_heading(study)}\n\n{text}\n"))
    contents = [f"- [{study.title}](#{_anchor(study.title)}): {first}" for study, first, _ in sections]
    head = "# What the studies found\n\nWritten by `sigreg-lab study` from the rows beside it. In a line each:\n"
    parts = [head, "\n".join(contents) + "\n", *(text for _, _, text in sections)]
    report = results / "REPORT.md"
    with tempfile.TemporaryDirectory(prefix=".REPORT-", dir=results) as scratch:
        fresh = Path(scratch, report.name)
        fresh.write_text("\n".join(parts), encoding="utf-8")
        _sync(fresh)
        fresh.replace(report)
    return report


def _heading(study: Study) -> str:
    return f"## {study.title}\n\n**Question.** {study.question}\n\n**Expected.** {study.expectation}"


def _anchor(title: str) -> str:
    """The link that Markdown viewers make of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
