"""The command line as a person meets it: results named, errors in one line with the remedy, exit code 2."""

import csv
import errno
import json
import os
import signal
import sqlite3
import struct
import warnings

import pytest

import sigreg_lab
from sigreg_lab import cli
from sigreg_lab.experiment.study import list_studies
from sigreg_lab.pretrain.config import RECIPES
from sigreg_lab.regularizers import REGISTRY


def _call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["sigreg-lab", *arguments])
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_study_list_names_each_study(monkeypatch, capsys):
    code, out, _ = _call(monkeypatch, capsys, "study", "list")
    assert code == 0
    assert "power" in out
    assert "loss_and_accuracy" in out


@pytest.mark.parametrize("command", ["compare", "pretrain"])
def test_help_names_what_the_options_take(monkeypatch, capsys, command):
    code, out, _ = _call(monkeypatch, capsys, command, "--help")
    assert code == 0
    words = {word.strip(",") for word in out.split()}
    settings = ("batch_size", "crops.local_views", "projector")
    assert {*REGISTRY, "digits", "cifar10", *RECIPES, *settings} <= words
    assert ("untrained" in words) == ("backbone_knn_all" in words) == (command == "compare")


@pytest.mark.parametrize("command", ["run", "tell", "publish", "report"])
def test_help_names_the_studies(monkeypatch, capsys, command):
    _, out, _ = _call(monkeypatch, capsys, "study", command, "--help")
    assert {*list_studies()} <= {word.strip(",") for word in out.split()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("study", "run", "pwoer"), "unknown study 'pwoer'; use one of "),
        (("study", "run", "power", "--preset", "huge"), "unknown preset 'huge'; use one of smoke, quick"),
        (("study", "run", "power", "--set", "colour=red"), "--set colour=red: not a setting of study power"),
        (("study", "run", "power", "--workers", "0"), "--workers must be at least 1, got 0"),
        (("study", "run", "power", "calibration", "--set", "n=5"), "--set goes with one study, not with 2"),
        (("study", "tell", "power", "--preset", "smoke"), "no rows of study power"),
        (("study", "publish", "power", "--preset", "smoke"), "no finished run of power with preset smoke"),
        (("study", "run", "power", "--set", "n=16,16"), "--set n=16,16: a value is given twice"),
        (("study", "run", "power", "--set", "n=16,-8"), "--set n=16,-8: must be at least 1"),
        (("study", "run", "power", "--set", "alpha=nan"), "--set alpha=nan: expected a finite number"),
        (("study", "run", "loss_and_accuracy", "--set", "seed=-1"), "--set seed=-1: must be at least 0"),
        (("study", "publish", "../power", "--preset", "smoke"), "power has no study.py"),
        (("pretrain", "--max-minutes", "nan"), "--max-minutes must be a finite number, got nan"),
        (("pretrain", "--set", "epochs=inf"), "--set epochs=inf: expected a finite number, got 'inf'"),
        (
            ("pretrain", "--regularizer", "sigreg"),
            "unknown regularizer 'sigreg'; did you mean sigreg-ep? known: sigreg-ep",
        ),
        (("pretrain", "--data", "cats"), "unknown data 'cats'; known: digits"),
        (("pretrain", "--set", "speed=9"), "--set speed=9: not a setting of pretraining"),
        (("pretrain", "--set", "step=9"), "not a setting of pretraining; did you mean steps?"),
        (("pretrain", "--set", "lr=fast"), "--set lr=fast: expected a value of type float, got 'fast'"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path, arguments, message):
    code, out, err = _call(monkeypatch, capsys, *arguments, "--out", str(tmp_path))
    assert code == 2
    assert message in err
    assert err.startswith("sigreg-lab: ")
    assert err.count("\n") == 1
    assert not out


def test_results_that_are_not_there_are_named(monkeypatch, capsys, tmp_path):
    code, _, err = _call(monkeypatch, capsys, "study", "report", "--results", str(tmp_path / "none"))
    assert code == 2
    assert f"no folder {tmp_path / 'none'} there" in err


@pytest.mark.parametrize("arguments", [("study", "run"), ("study", "nonsense"), ("pretrain", "--seed", "one")])
def test_bad_arguments_exit_with_2(monkeypatch, capsys, arguments):
    code, _, err = _call(monkeypatch, capsys, *arguments)
    assert code == 2
    assert "Traceback" not in err


def _failing(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("sigreg_lab.experiment.study.list_studies", fail)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left", "a/b"), "a/b: No space left; make room, then run the same command"),
        (PermissionError(errno.EACCES, "Permission denied", "a"), "a: Permission denied; mend its permissions"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a"), "a: Not a directory; a file is in the way"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a"), "a: File name too long; choose a shorter path"),
        (OSError("broken"), "study list: OSError: broken; SIGREG_LAB_DEBUG=1 shows where"),
        (RuntimeError("two\nlines"), "study list: RuntimeError: two lines; SIGREG_LAB_DEBUG=1 shows where"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "; use fewer rows, workers or a smaller batch"),
        (MemoryError(), "study list: MemoryError; use fewer rows, workers or a smaller batch"),
        (KeyError("x"), "study list: KeyError: 'x'; SIGREG"),
        (TypeError("x"), "study list: TypeError: x; SIGREG"),
        (IndexError("x"), "study list: IndexError: x; SIGREG"),
        (ValueError("of another library"), "study list: ValueError: of another library; SIGREG"),
        (sqlite3.OperationalError("disk I/O error"), "study list: OperationalError: disk I/O error; SIGREG"),
        (struct.error("unpack"), "study list: error: unpack; SIGREG"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), "study list: UnicodeDecodeError: "),
        (RecursionError("too deep"), "study list: RecursionError: too deep; SIGREG"),
        (ZeroDivisionError(), "study list: ZeroDivisionError; SIGREG"),
        (RuntimeError("\x1b[31mred\x1b[0m \x07 \u202e \udcff"), r"\x1b[31mred\x1b[0m \x07 \u202e \udcff"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_whatever_fails_is_one_line_and_exit_code_2(monkeypatch, capsys, error, line):
    _failing(monkeypatch, error)
    code, out, err = _call(monkeypatch, capsys, "study", "list")
    assert code == 2
    assert err.startswith("sigreg-lab: ")
    assert line in err
    assert err.count("\n") == 1
    assert not out


def test_the_traceback_is_shown_when_asked_for(monkeypatch, capsys):
    monkeypatch.setenv("SIGREG_LAB_DEBUG", "1")
    _failing(monkeypatch, KeyError("x"))
    code, _, err = _call(monkeypatch, capsys, "study", "list")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("sigreg-lab: study list: KeyError: 'x'")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(("command", "kept"), [("study", "finished cells are kept"), ("pretrain", "--resume")])
def test_a_stop_says_what_is_kept(monkeypatch, capsys, number, command, kept):
    arguments = {"study": ("study", "list"), "pretrain": ("pretrain", "--data", "digits")}[command]
    place = {"study": "sigreg_lab.experiment.study.list_studies", "pretrain": "sigreg_lab.pretrain.run.configure"}
    monkeypatch.setattr(place[command], lambda *_: signal.raise_signal(number))
    code, _, err = _call(monkeypatch, capsys, *arguments)
    assert code == 128 + number
    assert err.startswith("sigreg-lab: stopped; ")
    assert kept in err
    assert err.count("\n") == 1


def test_a_signal_that_is_ignored_stays_so_and_one_of_torchrun_keeps_its_way(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with cli._signals_as_ctrl_c():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with cli._signals_as_ctrl_c():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


class Ended(BaseException):
    """The process ended at once, without what is to be done at its exit."""


@pytest.mark.parametrize("under_torchrun", [True, False])
def test_a_rank_that_fails_does_not_wait_at_its_exit(monkeypatch, capsys, under_torchrun):
    """There NCCL waits for the other ranks; one process alone ends as every program does."""

    def end(code):
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    if under_torchrun:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setattr("sys.argv", ["sigreg-lab", "pretrain", "--data", "nowhere"])
    with pytest.raises(Ended if under_torchrun else SystemExit) as stop:
        cli.main()
    assert stop.value.args == (2,)
    assert "nowhere" in capsys.readouterr().err


def test_a_warning_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr("sigreg_lab.experiment.study.list_studies", lambda: [])
    _call(monkeypatch, capsys, "study", "list")
    assert warnings.formatwarning("look\nhere", UserWarning, "file", 1) == "sigreg-lab: warning: look here\n"


def _read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_pretrain_writes_a_row_with_its_manifest(monkeypatch, capsys, tmp_path):
    settings = ["steps=2", "batch_size=16", "num_slices=8", "projector=16,8", "views.noise=0.2"]
    flags = [word for setting in settings for word in ("--set", setting)]
    code, out, _ = _call(monkeypatch, capsys, "pretrain", "--seed", "3", *flags, "--out", str(tmp_path))
    assert code == 0
    assert "test_1" in out
    folder = tmp_path / "digits-sigreg-ep-3"
    assert 0 <= float(_read(folder / "row.csv")[0]["test_all"]) <= 1
    assert len(_read(folder / "history.csv")) == 2
    config = json.loads((folder / "config.json").read_text())
    assert config["projector"] == [16, 8]
    assert config["views"]["noise"] == 0.2
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest) >= {"git", "versions", "hardware", "command", "wall_seconds", "config"}
    assert str(tmp_path) not in json.dumps(manifest)


def test_the_version(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["sigreg-lab", "--version"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    assert capsys.readouterr().out == f"sigreg-lab {sigreg_lab.__version__}\n"
