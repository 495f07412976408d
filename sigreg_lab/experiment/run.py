"""From a study to its results: compute the missing cells, then write rows, summary, figures, report and manifest.

A run writes ``rows.csv``, ``summary.csv``, the figures, ``findings.md`` and ``manifest.json`` to
``<out>/<preset>/<study>/``, and renews ``<out>/<preset>/REPORT.md``, which is put together from the findings. The
finished cells of all presets lie in ``<out>/store/<study>.sqlite``.
"""

import hashlib
import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sigreg_lab.experiment.executor import cluster_executor, compute_cells, local_executor
from sigreg_lab.experiment.fingerprint import fingerprint
from sigreg_lab.experiment.progress import Progress
from sigreg_lab.experiment.provenance import now, provenance
from sigreg_lab.experiment.store import Record, Store, cell_key
from sigreg_lab.experiment.study import Config, Study, StudyError, list_studies, load_study, studies_folder

FINDINGS = "findings.md"


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
    for key, value in study.settings(config).items():
        if type(value) is int and value < 1 <= study.presets[preset][key]:
            raise StudyError(f"--set {key}={value}: must be at least 1")
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
    records = {key: store.get(key) for key in found}
    missing = {key: found[key] for key, record in records.items() if record is None or record.fingerprint != code}
    stale = sum(records[key] is not None for key in missing)
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
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "rows.csv", index=False)
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
    draw(study.name, folder, manifest)


def draw(name: str, folder: Path, manifest: dict[str, Any] | None = None) -> None:
    """Summary, figures and findings of a study, from the rows in ``folder`` alone; renews the manifest's digests.

    Raises:
        StudyError: no rows there, or results that contradict exactly known values.
    """
    import pandas as pd

    study = load_study(name)
    if not (folder / "rows.csv").is_file():
        raise StudyError(f"no rows of study {name} in {folder}; run it first: sigreg-lab study run {name}")
    if manifest is None:
        manifest = json.loads((folder / "manifest.json").read_text())
    settings = study.settings(manifest["config"])
    # Text stays text: a regulariser called "none" is a name, not a missing value.
    rows = pd.read_csv(folder / "rows.csv", keep_default_na=False, na_values=["nan", ""])
    summary = study.summarize(rows, settings)
    summary.to_csv(folder / "summary.csv", index=False)
    summary = pd.read_csv(folder / "summary.csv", keep_default_na=False, na_values=["nan", ""])
    for stem, figure in study.figures(summary).items():
        # No "Software" entry: the same rows give the same file whatever matplotlib's version says of itself.
        figure.savefig(folder / f"{stem}.png", dpi=150, bbox_inches="tight", metadata={"Software": None})
    (folder / FINDINGS).write_text(study.report(summary).strip() + "\n")
    manifest["files"] = {path.name: _digest(path) for path in sorted(folder.iterdir()) if path.name != "manifest.json"}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    complaints = study.verify(summary)
    if complaints:
        raise StudyError(f"study {name} contradicts exactly known values: {'; '.join(complaints)} (rows in {folder})")


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
    source = out / preset / name
    if not (source / "manifest.json").is_file():
        raise StudyError(
            f"no finished run of {name} with preset {preset}; first: sigreg-lab study run {name} --preset {preset}"
        )
    manifest = json.loads((source / "manifest.json").read_text())
    for session in manifest["sessions"]:
        if session["git"]["commit"] is None or session["git"]["dirty"]:
            raise StudyError(
                f"the run of {name} was not made from a clean commit; commit, then run it again in a clean clone"
            )
    _check_digests(source, manifest)
    target = results / name
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    for file in [*manifest["files"], "manifest.json"]:
        shutil.copy2(source / file, target / file)
    write_report(results, expected=list_studies())
    return target


def _check_digests(folder: Path, manifest: dict[str, Any]) -> None:
    for file, digest in manifest["files"].items():
        if not (folder / file).is_file() or _digest(folder / file) != digest:
            raise StudyError(f"{folder / file} is not the file of its manifest; run the study again")


def write_report(results: Path, expected: Sequence[str] = ()) -> Path:
    """Write ``REPORT.md`` of a folder that holds one folder per study, from their findings alone.

    Args:
        results: the folder.
        expected: studies that should be there; the report says of each that is not that it was not run.
    """
    sections: list[tuple[Study, str, str]] = []  # study, its finding in a line, its section
    for manifest_file in sorted(results.glob("*/manifest.json")):
        manifest = json.loads(manifest_file.read_text())
        if FINDINGS in manifest["files"]:
            study, folder = load_study(manifest["study"]), manifest_file.parent
            findings = (folder / FINDINGS).read_text().strip()
            first = findings.splitlines()[0].removeprefix("- ")
            sections.append((study, first, _section(study, findings, manifest, folder)))
    for study in (load_study(name) for name in expected if not (results / name / "manifest.json").is_file()):
        needs = f" It needs {study.needs}." if study.needs else ""
        text = f"**Not run.**{needs} Command: `sigreg-lab study run {study.name} --preset standard`."
        sections.append((study, "not run.", f"{_heading(study)}\n\n{text}\n"))
    contents = [f"- [{study.title}](#{_anchor(study.title)}): {first}" for study, first, _ in sections]
    head = "# What the studies found\n\nWritten by `sigreg-lab study` from the rows beside it. In a line each:\n"
    parts = [head, "\n".join(contents) + "\n", *(text for _, _, text in sections)]
    (results / "REPORT.md").write_text("\n".join(parts))
    return results / "REPORT.md"


def _heading(study: Study) -> str:
    return f"## {study.title}\n\n**Question.** {study.question}\n\n**Expected.** {study.expectation}"


def _anchor(title: str) -> str:
    """The link that Markdown viewers make of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
