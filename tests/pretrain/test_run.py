"""Runs and probes from the command line: files, resumption, errors of one line."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from sigreg_lab import cli
from sigreg_lab.pretrain import configure

TINY = ["backbone=test_vit", "epochs=0", "steps=3", "batch_size=6", "num_slices=8", "projector=16,8", "log_every=1"]


def _call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["sigreg-lab", *map(str, arguments)])
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def _flags(*settings):
    return [word for setting in (*TINY, *settings) for word in ("--set", setting)]


@pytest.fixture
def short_probes(monkeypatch):
    """Probes of a few epochs."""
    from sigreg_lab.pretrain import run

    probe = run.probe
    monkeypatch.setattr(run, "probe", lambda *a, **k: probe(*a, **{**k, "epochs": 2, "draws": 1}))


@pytest.mark.usefixtures("short_probes")
def test_an_unseen_folder_pieces_of_time_probes_and_pictures(monkeypatch, capsys, tmp_path, image_folder):
    command = ["pretrain", "--data", image_folder, *_flags(), "--out", tmp_path]
    code, out, _ = _call(monkeypatch, capsys, *command, "--max-minutes", "1e-9")
    assert code == 0
    assert "with --resume to go on" in out
    folder = next(tmp_path.iterdir())
    assert not json.loads((folder / "manifest.json").read_text())["finished"]
    code, out, _ = _call(monkeypatch, capsys, *command, "--resume")
    assert code == 0
    assert "of the step time went to data, views, loss" in out
    with (folder / "history.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["0", "1", "2"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["finished"]
    assert manifest["data"]["train"] == {
        "images": 21,
        "corrupt_skipped": 0,
        "corrupt_names": [],
        "converted_to_rgb": {},
    }
    assert str(tmp_path) not in json.dumps(manifest)
    assert str(image_folder) not in json.dumps(manifest)
    with Image.open(folder / "views.png") as sheet, Image.open(folder / "patches.png") as patches:
        assert sheet.size == (5 * 66, 8 * 66), "eight images of 32 px, doubled, each with its four views"
        assert np.asarray(sheet).std() > 10
        assert patches.size == (2 * 66, 6 * 66)
    assert {"row.csv", "probes.csv", "spectrum.csv", "config.json", "checkpoint.pt"} <= {
        p.name for p in folder.iterdir()
    }

    code, out, _ = _call(monkeypatch, capsys, "probe", folder)
    assert code == 0
    assert "backbone_knn_all" in out
    assert json.loads((folder / "probes.json").read_text())["steps"] == 3

    code, _, err = _call(monkeypatch, capsys, "probe", folder, "--data", "digits")
    assert code == 2
    assert "the checkpoint was trained on images of shape (3, 32, 32), digits has (1, 8, 8)" in err
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    state["config"]["backbone"] = "resnet10t"
    torch.save(state, folder / "checkpoint.pt")
    code, _, err = _call(monkeypatch, capsys, "probe", folder)
    assert code == 2
    assert "the checkpoint is of another architecture than resnet10t" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pretrain", "--data", "no/such/folder"), "no such file or folder: folder"),
        (("pretrain", "--recipe", "vit"), "unknown recipe 'vit'; known: digits, images"),
        (("pretrain", "--recipe", "imagenette-vit-s8"), "recipe imagenette-vit-s8 needs --data"),
        (("pretrain", "--set", "steps=1", "--wandb", "mine"), "--wandb: wandb is not installed"),
        (("probe", "nowhere.pt"), "no checkpoint nowhere.pt there"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path, arguments, message):
    out = ("--out", tmp_path) if arguments[0] == "pretrain" else ()
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    code, _, err = _call(monkeypatch, capsys, *arguments, *out)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_recipes_follow_the_data_and_overrides_reach_crops():
    assert configure(None, "sigreg-ep", 0).augment == "affine"
    config = configure("somewhere", "sigreg-ep", 0, ["crops.local_scale=0.1,0.2", "crops.blur=0"])
    assert config.augment == "crops"
    assert config.crops.local_scale == (0.1, 0.2)
    assert config.crops.blur == 0.0
    assert configure("here", "sigreg-ep", 0, recipe="imagenette-vit-s8").crops.global_scale == (0.08, 1.0)
