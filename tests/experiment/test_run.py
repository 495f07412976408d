"""The engine: same rows whatever the workers, the order or the interruptions."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from sigreg_lab.experiment import executor, results, run
from sigreg_lab.experiment.executor import local_executor
from sigreg_lab.experiment.report import write_report
from sigreg_lab.experiment.results import publish, retell
from sigreg_lab.experiment.run import run_study
from sigreg_lab.experiment.study import Picture, StudyError, forget, load_study
from tests.compare.surrogate import Inline
from tests.processes import fork_workers

FILES = {"rows.csv", "estimates.csv", "claims.json", "toy.png", "findings.md"}


@pytest.fixture(autouse=True)
def one_worker_is_this_process(monkeypatch):
    """What is tested with one worker is not the start of a process; several workers are processes."""
    several = run.local_executor
    monkeypatch.setattr(
        run, "local_executor", lambda workers: nullcontext(Inline()) if workers == 1 else several(workers)
    )


@pytest.fixture
def processes(monkeypatch, one_worker_is_this_process):
    """One worker is a process here, and cells are not all done before the first is looked at."""
    fork_workers(monkeypatch)
    monkeypatch.setattr(run, "local_executor", local_executor)


def _run(out="runs", workers=1, overrides=(), **kwargs):
    return run_study("toy", preset="smoke", out=Path(out), overrides=overrides, workers=workers, **kwargs)


def _retell(folder):
    retell(load_study("toy"), folder, folder)


def _rows(outcome):
    return (outcome.folder / "rows.csv").read_bytes()


def test_results_are_complete_and_a_second_run_recomputes_nothing(workplace):
    first = _run()
    assert {p.name for p in first.folder.iterdir()} == FILES | {"manifest.json"}
    assert "The means are" in (first.folder.parent / "REPORT.md").read_text()
    assert first.computed == 6
    rows = _rows(first)
    second = _run()
    assert (second.computed, second.reused) == (0, 6)
    assert _rows(second) == rows


def test_the_manifest_names_commit_versions_hardware_seed_command_and_time(workplace):
    manifest = json.loads((_run().folder / "manifest.json").read_text())
    session = manifest["sessions"][0]
    assert set(session) >= {"git", "versions", "hardware", "command", "wall_seconds", "workers", "cells"}
    assert manifest["seed"] == 7
    assert manifest["config"]["draws"] == 5
    assert set(manifest["files"]) == FILES
    assert str(workplace) not in json.dumps(manifest)


def test_two_workers_give_the_rows_of_one(workplace):
    assert _rows(_run("one", workers=1)) == _rows(_run("two", workers=2))


def test_a_larger_grid_shifts_no_cell_and_computes_only_what_is_new(workplace):
    small = _run(overrides=["seed=0,1"])
    before = _rows(small).decode().splitlines()
    large = _run(overrides=["seed=0,1,5"])
    assert (large.computed, large.reused) == (2, 4)
    assert set(before) < set(_rows(large).decode().splitlines())


def test_a_change_of_code_makes_cells_stale_and_says_so(workplace, capsys):
    from rich.console import Console

    from sigreg_lab.experiment.progress import TerminalProgress

    rows = _rows(_run())
    path = workplace / "studies" / "toy" / "measure.py"
    path.write_text(path.read_text().replace('settings["scale"], ', '2 * settings["scale"], '))
    forget("toy")
    again = _run(progress=TerminalProgress(Console(stderr=True)))
    assert "6 cells are of older code" in capsys.readouterr().err
    assert again.computed == 6
    assert _rows(again) != rows


@pytest.mark.usefixtures("processes")
def test_a_failing_cell_is_named_and_finished_cells_are_kept(workplace):
    with pytest.raises(StudyError, match=r"cell shift=0.0, seed=2 failed: SystemExit: as asked"):
        _run(overrides=["fail_at=2"])
    with sqlite3.connect("runs/store/toy.sqlite") as db:
        kept = db.execute("SELECT count(*) FROM cells").fetchone()[0]
    db.close()
    assert kept == 2


def test_a_cell_without_rows_is_refused(monkeypatch):
    """Its results could not be taken up again: a manifest tells cells by their rows."""
    empty = SimpleNamespace(measure=lambda cell, settings, seed: [], cell_seed=lambda cell: None)
    monkeypatch.setattr(executor, "load_study_folder", lambda folder: empty)
    with pytest.raises(ValueError, match=r"measure gave no rows; leave the cell out by Study\.keep"):
        executor.compute_cell(Path(), {}, {})


def test_a_failing_cell_does_not_wait_for_the_others(workplace, monkeypatch):
    fork_workers(monkeypatch)
    start = time.monotonic()
    with pytest.raises(StudyError, match="seed=1 failed"):
        _run(overrides=["seed=0,1", "shift=0", "fail_at=1", "pause=1000"], workers=2)
    assert time.monotonic() - start < 1000, "it waited for the pause"


@pytest.mark.parametrize("value", [0, -3])
def test_a_count_below_1_is_refused_before_anything_is_computed(workplace, value):
    with pytest.raises(StudyError, match=f"--set draws={value}: must be at least 1"):
        _run(overrides=[f"draws={value}"])
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("workers", "stop", "to_group"),
    [
        ("2", signal.SIGINT, True),
        ("2", signal.SIGTERM, False),
        ("1", signal.SIGHUP, False),
    ],
)
def test_ctrl_c_and_its_like_end_in_one_line_and_keep_finished_cells(workplace, workers, stop, to_group):
    command = [
        sys.executable,
        "-m",
        "sigreg_lab.cli",
        "study",
        "run",
        "./studies/toy",
        "--preset",
        "smoke",
        "--out",
        "cut",
    ]
    command += ["--set", "pause=0.5", "--set", "seed=0,1,2,3,4,5,6,7,8,9", "--workers", workers]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    store = Path("cut/store/toy.sqlite")
    while _count(store) < 1:
        assert process.poll() is None, "the run ended before it could be stopped"
        time.sleep(0.02)
    if to_group:
        os.killpg(process.pid, stop)
    else:
        process.send_signal(stop)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + stop
    assert err.splitlines()[-1] == "sigreg-lab: stopped; finished cells are kept: run the same command to go on"
    assert "Traceback" not in err
    assert 1 <= _count(store) < 20


def test_a_contradiction_stops_run_and_publish_and_writes_nothing(workplace):
    with pytest.raises(StudyError, match=r"contradicts exactly known values: mean \(shift=1000\): .*, not 0 "):
        _run(overrides=["shift=0,1000"])
    assert _count(Path("runs/store/toy.sqlite")) == 6
    assert not [path for path in Path("runs").rglob("*") if path.is_file() and "store" not in path.parts]
    outcome = _run()
    _set_git(outcome.folder / "manifest.json", commit="a" * 40, dirty=False)
    study = workplace / "studies" / "toy" / "study.py"
    study.write_text(study.read_text().replace("exact=shift ", "exact=shift + 9 "))
    forget("toy")
    with pytest.raises(StudyError, match="contradicts exactly known values"):
        _publish()
    assert not Path("results/toy").exists()


def test_texts_claims_and_pictures_recompute_nothing_and_are_told_anew(workplace):
    _run()
    folder = workplace / "studies" / "toy"
    for name, old, new in (
        ("findings.md.j2", "The means are {{", "Means of {{"),
        ("study.py", "lie below two", "lie beneath two"),
        ("study.py", "Means against shifts", "Other"),
    ):
        assert old in (folder / name).read_text()
        (folder / name).write_text((folder / name).read_text().replace(old, new))
    forget("toy")
    again = _run()
    assert (again.computed, again.reused) == (0, 6)
    assert "Means of" in (again.folder / "findings.md").read_text()


def test_each_set_of_settings_has_a_folder_of_its_own(workplace):
    one, other = _run(overrides=["draws=7"]), _run(overrides=["draws=8"])
    assert len({_run().folder, one.folder, other.folder}) == 3
    assert _run(overrides=["draws=7"]).folder == one.folder


def test_killed_with_sigkill_and_started_again_gives_the_same_rows(workplace):
    whole = _rows(_run("whole", overrides=["pause=0.2", "seed=0,1,2,3,4"]))
    command = [
        sys.executable,
        "-m",
        "sigreg_lab.cli",
        "study",
        "run",
        "./studies/toy",
        "--preset",
        "smoke",
        "--out",
        "cut",
    ]
    command += ["--set", "pause=0.2", "--set", "seed=0,1,2,3,4", "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    store = Path("cut/store/toy.sqlite")
    while _count(store) < 2:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    workers = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = _count(store)
    assert 2 <= kept < 10
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()], "workers outlive the killed run"
    again = _run("cut", overrides=["pause=0.2", "seed=0,1,2,3,4"])
    assert again.reused == kept
    assert _rows(again) == whole


def _count(store):
    if not store.exists():
        return 0
    try:
        with sqlite3.connect(store) as db:
            return db.execute("SELECT count(*) FROM cells").fetchone()[0]
    except sqlite3.OperationalError:
        return 0
    finally:
        if "db" in locals():
            db.close()


def _children(pid):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(entry.name))
    return found


def test_a_changed_digit_in_the_store_is_named_and_its_cell_computed_anew(workplace):
    rows = _rows(_run())
    with closing(sqlite3.connect("runs/store/toy.sqlite")) as db, db:
        changed = "UPDATE cells SET rows = replace(rows, 'mean\": 0', 'mean\": 1') WHERE rows LIKE '%mean\": 0%'"
        count = db.execute(changed).rowcount
    assert count > 0
    with pytest.warns(UserWarning, match=rf"toy.sqlite is damaged: {count} of 6 cells .* computed anew"):
        again = _run()
    assert (again.computed, again.reused) == (count, 6 - count)
    assert _rows(again) == rows


def _contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _with(part, function):
    """The toy with another ``estimate``, pictures, or text."""
    if part == "pictures":
        return dataclasses.replace(load_study("toy"), pictures={"toy": Picture("", function)})
    if part == "claims":
        claims = [dataclasses.replace(claim, decide=function) for claim in load_study("toy").claims]
        return dataclasses.replace(load_study("toy"), claims=tuple(claims))
    return dataclasses.replace(load_study("toy"), estimate=function)


@pytest.mark.parametrize("part", ["estimate", "claims", "pictures"])
def test_a_run_that_is_stopped_while_it_writes_leaves_the_earlier_results(workplace, monkeypatch, part):
    first = _run()
    before = _contents(first.folder)

    def stopped(*_):
        raise KeyboardInterrupt

    study = _with(part, stopped)
    monkeypatch.setattr(run, "load_study", lambda _: study)
    with pytest.raises(KeyboardInterrupt):
        _run()
    with pytest.raises(KeyboardInterrupt):
        retell(study, first.folder, first.folder)
    assert _contents(first.folder) == before
    assert [path.name for path in first.folder.parent.iterdir() if path.name.startswith(".")] == []


def test_a_disk_that_is_full_leaves_the_earlier_results(workplace, monkeypatch):
    first = _run()
    before = _contents(first.folder)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        _run()
    assert _contents(first.folder) == before


def test_only_files_of_the_manifest_are_replaced(workplace):
    first = _run()
    (first.folder / "notes.txt").write_text("my own")
    manifest = json.loads((first.folder / "manifest.json").read_text())
    (first.folder / "old.png").write_text("a figure that the study no longer draws")
    manifest["files"]["old.png"] = "its digest"
    (first.folder / "manifest.json").write_text(json.dumps(manifest))
    again = _run()
    assert {p.name for p in again.folder.iterdir()} == FILES | {"manifest.json", "notes.txt"}
    assert (again.folder / "notes.txt").read_text() == "my own"
    assert set(json.loads((again.folder / "manifest.json").read_text())["files"]) == FILES


def test_what_a_killed_run_left_beside_is_removed_after_a_day(workplace):
    _run()
    old, new = Path("runs/smoke/.toy-a.partial"), Path("runs/smoke/.toy-b.partial")
    for left in (old, new):
        left.mkdir()
    os.utime(old, (0, 0))
    _run()
    assert not old.exists()
    assert new.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "nonsense",
        "[" * 100_000,
        "{}",
        '{"files": {"findings.md": "0"}}',
        '{"study": "gone", "preset": "smoke", "config": {}, "cells": 1, "sessions": [], "files": {"findings.md": "0"}}',
        '{"study": "toy", "preset": "smoke", "config": {}, "cells": 1, "sessions": [], "files": {"findings.md": "0"}}',
        '{"study": "toy", "preset": "smoke", "config": {}, "cells": 1, "sessions": [{}], "files": {"findings.md": ""}}',
    ],
)
def test_a_damaged_manifest_of_another_study_is_named_and_passed_over(workplace, text):
    Path("runs/smoke/other").mkdir(parents=True)
    Path("runs/smoke/other/manifest.json").write_text(text)
    with pytest.warns(UserWarning, match="runs/smoke/other is not in the report: "):
        outcome = _run()
    assert "The means are" in (outcome.folder.parent / "REPORT.md").read_text()


def test_a_manifest_without_findings_is_no_concern_of_the_report(workplace):
    Path("runs/smoke/kernels").mkdir(parents=True)
    Path("runs/smoke/kernels/manifest.json").write_text('{"files": {"rows.csv": "0"}, "sessions": []}')
    _run()


def test_a_manifest_cannot_name_files_outside_of_its_folder(workplace):
    outcome = _run()
    manifest = json.loads((outcome.folder / "manifest.json").read_text())
    manifest["files"]["../mine"] = "0"
    (outcome.folder / "manifest.json").write_text(json.dumps(manifest))
    Path("runs/smoke/mine").write_text("mine")
    with pytest.raises(StudyError, match=r"manifest.json is damaged \('../mine' is no file of its folder\)"):
        _retell(outcome.folder)
    _run()
    assert Path("runs/smoke/mine").read_text() == "mine"


def test_rows_that_changed_since_are_not_drawn(workplace):
    outcome = _run()
    rows = outcome.folder / "rows.csv"
    rows.write_text(rows.read_text().replace("0.", "1.", 1))
    with pytest.raises(StudyError, match=r"rows.csv is not the file of its manifest; run the study again"):
        _retell(outcome.folder)


@pytest.mark.parametrize("part", ["estimate", "claims", "pictures"])
def test_settings_that_a_study_cannot_tell_of_end_in_a_line_and_keep_the_rows(workplace, monkeypatch, part):
    study = _with(part, lambda *_: 1 / 0)
    monkeypatch.setattr(run, "load_study", lambda _: study)
    what = {"estimate": "estimates", "claims": "findings"}.get(part, part)
    with pytest.raises(StudyError, match=rf"no {what} for these settings \(ZeroDivisionError: .*\(rows in runs/smoke"):
        _run()
    assert len(Path("runs/smoke/toy/rows.csv").read_text().splitlines()) == 7


def test_what_was_told_stays_where_a_study_cannot_tell_of_it_anew(workplace):
    outcome = _run()
    before = {path.name: path.read_bytes() for path in outcome.folder.iterdir()}
    with pytest.raises(StudyError, match=r"no estimates for these settings \(KeyError: 'gone'"):
        retell(_with("estimate", lambda rows, _: rows["gone"]), outcome.folder, outcome.folder)
    assert {path.name: path.read_bytes() for path in outcome.folder.iterdir()} == before


def test_telling_the_same_again_leaves_the_manifest_as_it_is(workplace, monkeypatch):
    """A report made again is no change to commit, but one that other code or a clean commit makes is."""

    def code_is(commit, dirty=False):
        monkeypatch.setattr(results, "provenance", lambda: {"git": {"commit": commit, "dirty": dirty}})

    def told(commit):
        code_is(commit)
        retell(load_study("toy"), outcome.folder, outcome.folder)
        return (outcome.folder / "manifest.json").read_bytes()

    code_is("1", dirty=True)
    outcome = _run()
    uncommitted = (outcome.folder / "manifest.json").read_bytes()
    first = told("2")
    assert first != uncommitted
    assert told("3") == first
    assert json.loads(first)["told"]["git"] == {"commit": "2", "dirty": False}
    template = Path("studies/toy/findings.md.j2")
    template.write_text(template.read_text().replace("The means are", "All means are"))
    forget("toy")
    assert json.loads(told("4"))["told"]["git"]["commit"] == "4"
    Path("studies/toy/estimates.py").write_text("ROUNDING = 1e-6\n")
    assert json.loads(told("5"))["told"]["git"]["commit"] == "5"


def test_figures_are_drawn_again_from_rows_alone(workplace):
    outcome = _run()
    (outcome.folder / "estimates.csv").unlink()
    (outcome.folder / "toy.png").unlink()
    os.remove("runs/store/toy.sqlite")
    _retell(outcome.folder)
    assert {p.name for p in outcome.folder.iterdir()} == FILES | {"manifest.json"}


def test_no_rows_to_draw_is_an_error_with_the_remedy(workplace):
    with pytest.raises(StudyError, match="run it first, sigreg-lab study run toy, or give"):
        _retell(Path("nowhere"))


def _publish():
    folder = publish("toy", preset="smoke", out=Path("runs"), results=Path("results"))
    write_report(folder.parent)
    return folder


def _set_git(manifest_file, **state):
    manifest = json.loads(manifest_file.read_text())
    for session in manifest["sessions"]:
        session["git"] = state
    manifest_file.write_text(json.dumps(manifest))


def test_publish_takes_a_clean_run_whole(workplace):
    outcome = _run()
    _set_git(outcome.folder / "manifest.json", commit="a" * 40, dirty=False)
    target = _publish()
    assert {p.name for p in target.iterdir()} == FILES | {"manifest.json"}
    report = Path("results/REPORT.md").read_text()
    assert "toy/rows.csv" in report
    assert "commit aaaaaaaaaa" in report
    assert "- [A toy](#a-toy): The means are" in report
    assert "![Means against shifts.](toy/toy.png)" in report


def test_publish_finds_the_run_of_its_settings(workplace):
    outcome = _run(overrides=["draws=7"])
    _set_git(outcome.folder / "manifest.json", commit="a" * 40, dirty=False)
    with pytest.raises(StudyError, match="or give the run's --set"):
        _publish()
    target = publish("toy", preset="smoke", out=Path("runs"), results=Path("results"), overrides=["draws=7"])
    assert (target / "rows.csv").read_bytes() == (outcome.folder / "rows.csv").read_bytes()


def test_the_report_says_of_a_study_without_results_that_it_was_not_run(workplace):
    outcome = _run()
    _set_git(outcome.folder / "manifest.json", commit="a" * 40, dirty=False)
    shutil.copytree("studies/toy", "studies/other")
    script = Path("studies/other/study.py")
    script.write_text(script.read_text().replace('name="toy"', 'name="other",\n    needs="a GPU"'))
    _publish()
    write_report(Path("results"), expected=["toy", "other"])
    report = Path("results/REPORT.md").read_text()
    assert "**Not run.** It needs a GPU. Command: `sigreg-lab study run other --preset standard`." in report
    assert report.count("**Not run.**") == 1


@pytest.mark.parametrize("state", [{"commit": "a" * 40, "dirty": True}, {"commit": None, "dirty": None}])
def test_publish_refuses_what_is_not_from_a_clean_commit(workplace, state):
    outcome = _run()
    _set_git(outcome.folder / "manifest.json", **state)
    with pytest.raises(StudyError, match="not made from a clean commit"):
        _publish()
    assert not Path("results").exists()


def test_publish_refuses_rows_that_are_not_those_of_the_manifest(workplace):
    outcome = _run()
    _set_git(outcome.folder / "manifest.json", commit="a" * 40, dirty=False)
    with (outcome.folder / "rows.csv").open("a") as rows:
        rows.write("9,9,9,9\n")
    with pytest.raises(StudyError, match="is not the file of its manifest"):
        _publish()


def test_publish_without_a_run_says_what_to_do(workplace):
    with pytest.raises(
        StudyError, match="run it first, sigreg-lab study run toy --preset smoke, or give the run's --set"
    ):
        _publish()


def _partial(monkeypatch):
    """Let the toy tell of a part of its cells."""
    monkeypatch.setattr(run, "load_study", lambda name: dataclasses.replace(load_study(name), partial=True))


@pytest.mark.usefixtures("processes")
def test_a_budget_that_is_over_keeps_the_cells_and_says_how_to_go_on(workplace):
    _run(overrides=["seed=0"])
    with pytest.raises(StudyError, match="time is up, 2 of 6 cells are finished and kept; run the same command again"):
        _run(limit=0.0)
    outcome = _run(limit=600.0)
    assert (outcome.computed, outcome.reused, outcome.missing) == (4, 2, 0)


@pytest.mark.usefixtures("processes")
def test_a_study_may_tell_of_a_part_of_its_cells(workplace, monkeypatch):
    _partial(monkeypatch)
    with pytest.raises(StudyError, match="0 of 6 cells"):
        _run(limit=0.0)
    _run(overrides=["seed=0,1"])
    outcome = _run(limit=0.0)
    assert (outcome.computed, outcome.reused, outcome.missing) == (0, 4, 2)
    manifest = json.loads((outcome.folder / "manifest.json").read_text())
    assert (manifest["cells"], manifest["planned"], manifest["older"]) == (4, 6, 0)
    assert "4 cells of 6" in (outcome.folder.parent / "REPORT.md").read_text()


@pytest.mark.usefixtures("processes")
def test_cells_of_earlier_results_are_not_computed_again(workplace, monkeypatch):
    _partial(monkeypatch)
    _run(overrides=["seed=0,1"])
    first = _run(limit=0.0)
    rows, manifest = _rows(first), json.loads((first.folder / "manifest.json").read_text())
    second = _run("elsewhere", earlier=first.folder, limit=0.0)
    assert (second.computed, second.reused, second.missing) == (0, 4, 2)
    assert _rows(second) == rows
    told = json.loads((second.folder / "manifest.json").read_text())
    assert [s["started"] for s in told["sessions"]] == [s["started"] for s in manifest["sessions"]]
    assert told["of_cells"] == manifest["of_cells"]
    third = _run("elsewhere")
    assert (third.computed, third.reused) == (2, 4)
    assert _rows(third) == _rows(_run("afresh"))


def test_cells_of_older_code_are_kept_where_that_is_asked_for_and_counted(workplace, monkeypatch):
    first = _run()
    script = Path("studies/toy/measure.py")
    script.write_text(script.read_text() + "\nCHANGED = 1\n")
    forget("toy")
    kept = _run(keep=True)
    assert (kept.computed, kept.reused) == (0, 6)
    assert json.loads((kept.folder / "manifest.json").read_text())["older"] == 6
    taken = _run("elsewhere", earlier=kept.folder, keep=True)
    assert (taken.computed, _rows(taken)) == (0, _rows(first))
    assert _run("elsewhere").computed == 6  # older cells stay older wherever they are taken


@pytest.mark.parametrize("damage", ["rows", "settings", "study"])
def test_earlier_results_that_do_not_fit_are_refused(workplace, damage):
    folder = _run().folder
    if damage == "rows":
        with (folder / "rows.csv").open("a") as file:
            file.write("\n")
    manifest = json.loads((folder / "manifest.json").read_text())
    if damage == "study":
        manifest["study"] = "power"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    overrides = ["draws=6"] if damage == "settings" else []
    with pytest.raises(StudyError, match="is not the file of its manifest" if damage == "rows" else "holds no cells"):
        _run("elsewhere", earlier=folder, overrides=overrides)
