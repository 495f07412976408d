"""The engine: same rows whatever the workers, the order or the interruptions."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sigreg_lab.experiment.run import draw, publish, run_study
from sigreg_lab.experiment.study import StudyError

FILES = {"rows.csv", "summary.csv", "toy.png", "findings.md"}


def _run(out="runs", workers=1, overrides=(), **kwargs):
    return run_study("toy", preset="smoke", out=Path(out), overrides=overrides, workers=workers, **kwargs)


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
    path = workplace / "studies" / "toy.py"
    path.write_text(path.read_text().replace('settings["scale"], ', '2 * settings["scale"], '))
    sys.modules.pop("studies.toy")
    again = _run(progress=TerminalProgress(Console(stderr=True)))
    assert "6 cells are of older code" in capsys.readouterr().err
    assert again.computed == 6
    assert _rows(again) != rows


def test_a_failing_cell_is_named_and_finished_cells_are_kept(workplace):
    with pytest.raises(StudyError, match=r"cell shift=0.0, seed=2 failed: RuntimeError: as asked"):
        _run(overrides=["fail_at=2"])
    with sqlite3.connect("runs/store/toy.sqlite") as db:
        kept = db.execute("SELECT count(*) FROM cells").fetchone()[0]
    db.close()
    assert kept == 2


@pytest.mark.parametrize("value", [0, -3])
def test_a_count_below_1_is_refused_before_anything_is_computed(workplace, value):
    with pytest.raises(StudyError, match=f"--set draws={value}: must be at least 1"):
        _run(overrides=[f"draws={value}"])
    assert not Path("runs").exists()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_ends_in_one_line_and_keeps_finished_cells(workplace, workers):
    command = [sys.executable, "-m", "sigreg_lab.cli", "study", "run", "toy", "--preset", "smoke", "--out", "cut"]
    command += ["--set", "pause=0.5", "--workers", workers]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    store = Path("cut/store/toy.sqlite")
    while _count(store) < 1:
        assert process.poll() is None, "the run ended before it could be stopped"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "sigreg-lab: stopped; finished cells are kept: run the same command to go on"
    assert "Traceback" not in err
    assert 1 <= _count(store) < 6


def test_a_contradiction_fails_loudly(workplace):
    with pytest.raises(StudyError, match="contradicts exactly known values: the shift is not there"):
        _run(overrides=["shift=1000"])


def test_killed_with_sigkill_and_started_again_gives_the_same_rows(workplace):
    whole = _rows(_run("whole", overrides=["pause=0.2", "seed=0,1,2,3,4"]))
    command = [sys.executable, "-m", "sigreg_lab.cli", "study", "run", "toy", "--preset", "smoke", "--out", "cut"]
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


def test_figures_are_drawn_again_from_rows_alone(workplace):
    outcome = _run()
    (outcome.folder / "summary.csv").unlink()
    (outcome.folder / "toy.png").unlink()
    os.remove("runs/store/toy.sqlite")
    draw("toy", outcome.folder)
    assert {p.name for p in outcome.folder.iterdir()} == FILES | {"manifest.json"}


def test_no_rows_to_draw_is_an_error_with_the_remedy(workplace):
    with pytest.raises(StudyError, match="run it first: sigreg-lab study run toy"):
        draw("toy", Path("nowhere"))


def _publish():
    return publish("toy", preset="smoke", out=Path("runs"), results=Path("results"))


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


def test_the_report_says_of_a_study_without_results_that_it_was_not_run(workplace):
    outcome = _run()
    _set_git(outcome.folder / "manifest.json", commit="a" * 40, dirty=False)
    shutil.copy("studies/toy.py", "studies/other.py")
    text = Path("studies/other.py").read_text()
    Path("studies/other.py").write_text(text.replace('name="toy"', 'name="other",\n    needs="a GPU"'))
    _publish()
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
    with pytest.raises(StudyError, match="first: sigreg-lab study run toy --preset smoke"):
        _publish()
