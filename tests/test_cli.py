"""The command line as a person meets it: results named, errors in one line with the remedy, exit code 2."""

import csv
import json

import pytest

from sigreg_lab import cli


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
    assert "regularizers_digits" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("study", "run", "pwoer"), "unknown study 'pwoer'; use one of "),
        (("study", "run", "power", "--preset", "huge"), "unknown preset 'huge'; use one of smoke, quick"),
        (("study", "run", "power", "--set", "colour=red"), "--set colour=red: not a setting of study power"),
        (("study", "run", "power", "--workers", "0"), "--workers must be at least 1, got 0"),
        (("study", "run", "power", "calibration", "--set", "n=5"), "--set goes with one study, not with 2"),
        (("study", "figures", "power", "--preset", "smoke"), "no rows of study power"),
        (("study", "publish", "power", "--preset", "smoke"), "no finished run of power with preset smoke"),
        (("pretrain", "--regularizer", "sigreg"), "unknown regularizer 'sigreg'; known: sigreg-ep"),
        (("pretrain", "--data", "cats"), "unknown data 'cats'; known: digits"),
        (("pretrain", "--set", "speed=9"), "--set speed=9: not a setting of pretraining"),
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


@pytest.mark.parametrize("arguments", [("study", "run"), ("study", "nonsense"), ("pretrain", "--seed", "one")])
def test_bad_arguments_exit_with_2(monkeypatch, capsys, arguments):
    code, _, err = _call(monkeypatch, capsys, *arguments)
    assert code == 2
    assert "Traceback" not in err


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
