"""What a run leaves: rows, estimates, pictures, findings and the manifest, in one folder.

    rows.csv        what was measured
    estimates.csv   the estimates, with intervals and exact values
    claims.json     every claim, its verdict and its words
    findings.md     the text
    *.png           the pictures
    manifest.json   how, when and by which code all this was made

Everything after the rows is derived from them, and can be told again without measuring. Estimates that contradict exact
values are not written: the cells stay in the store.

Results are written beside their folder and renamed into it when all are there: what stops a run before leaves the
earlier ones. Files that are in no manifest stay as they are.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sigreg_lab.experiment.cells import Row, canonical
from sigreg_lab.experiment.estimates import Estimates, contradictions, tabulate
from sigreg_lab.experiment.provenance import provenance
from sigreg_lab.experiment.study import Study, StudyError, load_study
from sigreg_lab.experiment.tell import TEMPLATE, findings, tell

if TYPE_CHECKING:
    import pandas as pd

ROWS, ESTIMATES, CLAIMS, FINDINGS, MANIFEST = "rows.csv", "estimates.csv", "claims.json", "findings.md", "manifest.json"
#: What a manifest must hold to be read.
_MANIFEST = {"study": str, "preset": str, "config": dict, "cells": int, "sessions": list, "files": dict}
DPI = 192  # twice the pixels of a page
_LEFT_BEHIND = 24 * 3600.0  # seconds after which a folder of unfinished results is a killed run's


def run_folder(study: Study, out: Path, preset: str, overrides: Sequence[str] = ()) -> Path:
    """The folder of a run's results: one for each set of settings."""
    if not overrides:
        return out / preset / study.name
    settings = hashlib.sha256(canonical(study.configure(preset, overrides)).encode()).hexdigest()[:8]
    return out / f"{preset}-{settings}" / study.name


def write_results(study: Study, rows: Sequence[Row], manifest: dict[str, Any], folder: Path) -> None:
    """Write what a study's rows say, into ``folder``.

    Raises:
        StudyError: the estimates contradict exact values (nothing is written), or the study's own code cannot tell of
            these rows (the rows are written).
    """
    import pandas as pd

    with beside(folder) as fresh:
        pd.DataFrame(rows).to_csv(fresh / ROWS, index=False)
        failure = _tell(study, fresh, manifest)
    if failure:
        raise StudyError(f"{failure} (rows in {folder})")


def retell(study: Study, source: Path, target: Path) -> None:
    """Estimates, pictures and findings from the rows in ``source`` alone, into ``target``; nothing is measured.

    Raises:
        StudyError: no rows there, rows that are not those of the manifest or that contradict exact values, or rows that
            the study cannot tell of, such as those of an earlier ``measure``; ``target`` stays as it is.
    """
    if not (source / ROWS).is_file():
        raise StudyError(
            f"no rows of study {study.name} in {source}; run it first, sigreg-lab study run {study.name}, or give the "
            "run's --preset and --set"
        )
    manifest = read_manifest(source)
    if manifest["study"] != study.name:
        raise StudyError(f"{source / MANIFEST} is that of study {manifest['study']}; run {study.name} again")
    check_digests(source, {ROWS: manifest["files"].get(ROWS)})
    with beside(target) as fresh:
        shutil.copy2(source / ROWS, fresh / ROWS)
        failure = _tell(study, fresh, manifest)
        if failure:
            raise StudyError(failure)


def publish(name: str, *, preset: str, out: Path, results: Path, overrides: Sequence[str] = ()) -> Path:
    """Tell of a finished run in the committed results; its estimates are held against exact values again.

    Args:
        name: the study's name.
        preset: whose run.
        out: where runs lie.
        results: the committed results; the study's folder there is replaced.
        overrides: the run's settings.

    Returns:
        The study's folder in ``results``.

    Raises:
        StudyError: no such run, one whose code was not a clean commit or whose files changed since, or one that
            contradicts exact values.
    """
    study = load_study(name)
    source = run_folder(study, out, preset, overrides)
    if not (source / MANIFEST).is_file():
        raise StudyError(
            f"no finished run of {name} with preset {preset} in {source}; run it first, sigreg-lab study run {name} "
            f"--preset {preset}, or give the run's --set"
        )
    manifest = read_manifest(source)
    for session in manifest["sessions"]:
        if session["git"]["commit"] is None or session["git"]["dirty"]:
            raise StudyError(
                f"the run of {name} was not made from a clean commit; commit, then run it again in a clean clone"
            )
    check_digests(source, manifest["files"])
    retell(study, source, results / study.name)
    return results / study.name


def read_rows(folder: Path) -> "pd.DataFrame":
    """The rows. Text stays text: a regulariser called "none" is a name, not a missing value."""
    return _read(folder / ROWS)


def read_estimates(folder: Path) -> Estimates:
    """The estimates."""
    return Estimates(_read(folder / ESTIMATES))


def _read(path: Path) -> "pd.DataFrame":
    import pandas as pd

    return pd.read_csv(path, keep_default_na=False, na_values=["nan", ""])


def telling(study: Study) -> str:
    """A digest of what a study tells with, besides its rows: of the code in its folder and its template."""
    files = [*sorted(study.folder.glob("*.py")), study.folder / TEMPLATE]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _tell(study: Study, folder: Path, manifest: dict[str, Any]) -> str:
    """Write what the rows in ``folder`` say, and the manifest; returns why that is not to be had, or "".

    Raises:
        StudyError: the estimates contradict exact values.
    """
    settings = study.settings(manifest["config"])
    part = "estimates"
    failure = ""
    try:
        table = tabulate(study.estimate(read_rows(folder), settings))
        wrong = contradictions(Estimates(table))
        if wrong:
            more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise StudyError(
                f"study {study.name} contradicts exactly known values: {'; '.join(wrong[:3])}{more}. Nothing is "
                f"written; finished cells are kept"
            )
        table.to_csv(folder / ESTIMATES, index=False, float_format="%.14g")  # the last bits differ between processors
        estimates = read_estimates(folder)
        part = "findings"
        template = (study.folder / TEMPLATE).read_text(encoding="utf-8")
        told = tell(study.claims, template, estimates, settings)
        (folder / CLAIMS).write_text(json.dumps([one.record() for one in told], indent=1) + "\n", encoding="utf-8")
        (folder / FINDINGS).write_text(findings(told, template, estimates, settings), encoding="utf-8")
        part = "pictures"
        for stem, picture in study.pictures.items():
            try:
                figure = picture.draw(estimates)
            except LookupError as missing:  # as of a claim: the settings have no row that it needs
                if type(missing) is not LookupError:
                    raise
                continue
            # No "Software" entry: the same rows give the same file whatever matplotlib's version says of itself.
            figure.savefig(folder / f"{stem}.png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    except (OSError, MemoryError, StudyError):
        raise
    except Exception as error:  # a study's own code, on a grid that its author may not have thought of
        failure = (
            f"study {study.name}: no {part} for these settings ({type(error).__name__}: {error}); the cells are kept: "
            f"give more values of {', '.join(study.axes)}"
        )
    files, by = {path.name: digest(path) for path in sorted(folder.iterdir())}, telling(study)
    before = manifest.get("told")
    if not before or before["by"] != by or manifest.get("files") != files or before["git"]["dirty"]:
        manifest["told"] = {"by": by, "git": provenance()["git"]}  # else nothing was said anew
    manifest["files"] = files
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return failure


@contextmanager
def beside(folder: Path) -> Iterator[Path]:
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
            sync(path)
        folder.mkdir(exist_ok=True)
        try:
            earlier = {*read_manifest(folder)["files"]}
        except StudyError:
            earlier = set()
        new = sorted((path.name for path in fresh.iterdir()), key=lambda name: name == MANIFEST)
        for name in new:
            (fresh / name).replace(folder / name)
        for name in sorted(earlier - {*new}):
            (folder / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of results.

    Raises:
        StudyError: there is none, or it is damaged.
    """
    path = folder / MANIFEST
    manifest = read_object(path)
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


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        StudyError: it does not.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(found, dict):
        raise _damaged(path, "it is no object")
    return found


def _damaged(path: Path, why: str) -> StudyError:
    return StudyError(f"{path} is damaged ({why}); run its study again, or delete the folder")


def check_digests(folder: Path, files: dict[str, str]) -> None:
    """Hold files against the digests of their manifest.

    Raises:
        StudyError: one is not there or is another.
    """
    for file, expected in files.items():
        if not (folder / file).is_file() or digest(folder / file) != expected:
            raise StudyError(f"{folder / file} is not the file of its manifest; run the study again")


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
