"""Runs and probes from the command line: files, resumption, errors of one line."""

import csv
import dataclasses
import json
import multiprocessing
import re
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from sigreg_lab import cli
from sigreg_lab.pretrain import PretrainConfig, configure, load_data
from sigreg_lab.pretrain import run as run_module
from sigreg_lab.pretrain.checkpoint import load_checkpoint, save_checkpoint
from sigreg_lab.pretrain.config import as_dict
from sigreg_lab.pretrain.data import Images
from sigreg_lab.pretrain.pictures import chosen, contact_sheet
from sigreg_lab.pretrain.run import run, run_probes
from tests.processes import forked

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
    probe = run_module.probe
    monkeypatch.setattr(run_module, "probe", lambda *a, **k: probe(*a, **{**k, "epochs": 2, "draws": 1}))


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
    assert manifest["data"]["labels_sha256"] == load_data(str(image_folder)).identity()["labels"]
    with Image.open(folder / "views.png") as sheet, Image.open(folder / "patches.png") as patches:
        assert (sheet.width, patches.width) == (5 * 66, 2 * 66), "32 px, doubled; each image with its four views"
        for picture, rows in ((sheet, 8), (patches, 6)):
            shown, caption = np.split(np.asarray(picture), [rows * 66])
            assert shown.std() > 10
            assert (caption[:, -3:] == 255).all(), "the caption ends before the edge"
            assert (caption < 128).any()
    assert {"row.csv", "probes.csv", "spectrum.csv", "config.json", "checkpoint.pt"} <= {
        p.name for p in folder.iterdir()
    }

    code, out, _ = _call(monkeypatch, capsys, "probe", folder)
    assert code == 0
    assert re.search(r"backbone_knn_all +[01]\.\d{4} \(0\.\d{4}, [01]\.\d{4}\), chance 0\.3333", out)
    assert re.search(
        r"95% intervals .* \(\d+ test images\)\nChance: the share of the commonest class among the test", out
    )
    assert json.loads((folder / "probes.json").read_text())["steps"] == 3

    other = tmp_path / "elsewhere" / image_folder.name
    shutil.copytree(image_folder, other)
    own = {name: (folder / name).read_bytes() for name in ("probes.csv", "probes.json", "patches.png")}
    code, out, _ = _call(monkeypatch, capsys, "probe", folder, "--data", other)
    assert code == 0
    (table,) = folder.glob(f"probes-{image_folder.name}-*.csv")
    assert table.name in out
    assert table.with_suffix(".json").is_file()
    assert (folder / f"patches{table.stem.removeprefix('probes')}.png").is_file()
    assert {name: (folder / name).read_bytes() for name in own} == own, "other data have files of their own"
    code, out, _ = _call(monkeypatch, capsys, "probe", folder, "--data", image_folder)
    assert "(probes.csv, probes.json)" in out

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
        (("pretrain", "--data", "no/such/folder"), "no such file or folder: no/such/folder;"),
        (("pretrain", "--recipe", "vit"), "unknown recipe 'vit'; known: digits, mnist1d, images"),
        (("pretrain", "--recipe", "imagenette-vit-s8"), "recipe imagenette-vit-s8 needs --data"),
        (("pretrain", "--set", "steps=1", "--wandb", "mine"), "--wandb: wandb is not installed"),
        (("probe", "nowhere.pt"), "no checkpoint nowhere.pt there"),
        (("pretrain", "--data", "/no/such/shape"), "no such file or folder: /no/such/shape;"),
        (("probe", "/no/such/run.pt"), "no checkpoint /no/such/run.pt there"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path, arguments, message):
    out = ("--out", tmp_path) if arguments[0] == "pretrain" else ()
    monkeypatch.setitem(sys.modules, "wandb", None)  # as where it is not installed
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


DIGITS = configure(None, "sigreg-ep", 0, ["steps=2", "batch_size=32", "num_slices=8", "projector=16,8"])


def _images(data, *settings):
    return configure(str(data), "sigreg-ep", 0, [*TINY, *settings])


def _kept(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_a_run_of_other_settings_is_not_replaced(tmp_path):
    folder, row = run(DIGITS, tmp_path)
    before = _kept(folder)
    other = dataclasses.replace(DIGITS, lam=0.02)
    for resume in (False, True):
        with pytest.raises(
            ValueError, match=r"of another run: it has lam=0\.05 \(now 0\.02\); change --out or the set"
        ):
            run(other, tmp_path, resume=resume)
    assert _kept(folder) == before
    (folder / "checkpoint.pt").unlink()
    with pytest.raises(ValueError, match=r"config\.json is of another run: it has lam=0\.05"):
        run(other, tmp_path)
    (folder / "config.json").write_text('{"lam": 0.0')
    with pytest.raises(ValueError, match=r"config\.json is damaged; delete it"):
        run(other, tmp_path)
    (folder / "config.json").unlink()
    place, repeated = run(DIGITS, tmp_path)
    assert place == folder
    assert {k: v for k, v in row.items() if "share" not in k} == {k: v for k, v in repeated.items() if "share" not in k}


def test_a_finished_run_is_not_made_again(tmp_path):
    folder, row = run(DIGITS, tmp_path)
    before, told, steps = _kept(folder), [], []
    for resume in (False, True):
        again = run(DIGITS, tmp_path, lambda step, _: steps.append(step), resume=resume, on_note=told.append)
        assert again == (folder, row)
    assert (steps, _kept(folder)) == ([], before)
    assert told == 2 * [
        f"{folder} holds this run already, finished: nothing was trained; --again trains it anew, --out names another "
        "folder"
    ]
    with pytest.raises(ValueError, match=rf"probe_epochs=100 \(now 7\): sigreg-lab probe {folder} --epochs 7 fits"):
        run(dataclasses.replace(DIGITS, probe_epochs=7), tmp_path)
    assert _kept(folder) == before
    (folder / "row.csv").unlink()
    run(DIGITS, tmp_path, lambda step, _: steps.append(step))
    assert steps == [], "all steps are made: the probes alone are left to do"
    assert (folder / "checkpoint.pt").read_bytes() == before["checkpoint.pt"]
    assert (folder / "history.csv").read_bytes() == before["history.csv"]
    run(DIGITS, tmp_path, lambda step, _: steps.append(step), again=True)
    assert steps == [0, 1]


def test_probe_has_the_runs_settings_and_others_go_into_another_file(monkeypatch, capsys, image_folder, tmp_path):
    command = ["pretrain", "--data", image_folder, *_flags("probe_epochs=3", "probe_draws=2"), "--out", tmp_path]
    code, first, _ = _call(monkeypatch, capsys, *command)
    assert code == 0
    (folder,) = tmp_path.iterdir()
    own = (folder / "probes.csv").read_bytes()
    with (folder / "probes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["probe"], row["epochs"]) for row in rows} == {("linear", "3"), ("knn", "0"), ("few-shot", "0")}

    code, again, _ = _call(monkeypatch, capsys, "probe", folder)
    assert code == 0

    def accuracies(text):
        return [line for line in text.splitlines() if "chance" in line or line.startswith("Names:")]

    assert accuracies(again) == accuracies(first)
    assert "linear: 3 epochs; few-shot_1, few-shot_10: on 1 and 10 labels per class, mean of 2 random draws" in again
    assert re.search(r"backbone_few-shot_1 .*\), 2 draws, chance 0\.3333", again)
    assert (folder / "probes.csv").read_bytes() == own
    settings = {"epochs": 3, "draws": 2, "finetune_epochs": 0}
    assert json.loads((folder / "probes.json").read_text())["settings"] == settings

    kept = _kept(folder)
    options = (("--epochs", 4), ("--draws", 1), ("--draws", 0, "--finetune-epochs", 1))
    for option, mark in zip(options, ("epochs=4", "draws=1", "draws=0-finetune_epochs=1"), strict=True):
        code, out, _ = _call(monkeypatch, capsys, "probe", folder, *option)
        assert code == 0
        assert f"(probes-{mark}.csv, probes-{mark}.json)" in out
        assert (folder / f"probes-{mark}.csv").read_bytes() != own
    assert "few-shot" not in out
    assert "finetuned: the whole backbone, 1 epochs" in out
    assert {name: content for name, content in _kept(folder).items() if name in kept} == kept

    (folder / "row.csv").unlink()  # stopped after its last step, then resumed with other settings of the probes
    changed = ("--resume", "--set", "probe_epochs=5", "--set", "probe_draws=1")
    code, out, _ = _call(monkeypatch, capsys, *command, *changed)
    assert code == 0
    assert "linear: 5 epochs; few-shot_1, few-shot_10: on 1 and 10 labels per class, mean of 1 random draws" in out
    own = (folder / "probes.csv").read_bytes()
    table, _ = run_probes(folder)
    assert (table.name, table.read_bytes()) == ("probes.csv", own)


def test_own_images_and_digits_need_no_extra_and_what_does_names_it(monkeypatch, capsys, image_folder, tmp_path):
    for name in ("timm", "torchvision", "tensorboard", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)  # as where they are not installed
    small = [word for one in ("steps=2", "batch_size=6", "probe_epochs=1", "probe_draws=1") for word in ("--set", one)]
    code, out, _ = _call(monkeypatch, capsys, "pretrain", "--data", image_folder, *small, "--out", tmp_path)
    assert code == 0
    assert "backbone_knn_all" in out
    assert not (next(tmp_path.iterdir()) / "tensorboard").exists()
    run(DIGITS, tmp_path)
    for option, message in (
        (
            ("--set", "backbone=resnet18"),
            "backbone 'resnet18' is none of small-conv, small-resnet, signal-conv, and timm",
        ),
        (("--data", "cifar10"), "data cifar10 comes from torchvision, which is not installed"),
    ):
        code, _, err = _call(monkeypatch, capsys, "pretrain", *option, "--out", tmp_path / "other")
        assert code == 2
        assert message in err
        assert "pip install 'sigreg-lab[vision]'" in err
        assert err.count("\n") == 1


@pytest.mark.parametrize(("interval", "same"), [((0.2, 0.3), False), ((0.2, 0.4), True), ((0.34, 0.5), False)])
def test_an_accuracy_whose_interval_holds_chance_is_marked(capsys, interval, same):
    low, high = interval
    row = {"backbone_knn_all": 0.3, "backbone_knn_all_low": low, "backbone_knn_all_high": high, "effective_rank": 3.0}
    cli._print_row({**row, "test_images": 30.0, "chance": 1 / 3}, 2)
    first, second, last, _ = capsys.readouterr().out.splitlines()
    assert first.split(" ", 1)[0] == "backbone_knn_all"
    assert ", chance 0.3333" in first
    assert first.endswith("not distinguishable from chance") == same
    assert "chance" not in second
    assert "(30 test images)" in last


@pytest.mark.usefixtures("short_probes")
def test_a_run_on_other_data_of_the_same_name_is_not_replaced(image_folder, tmp_path):
    for place in ("one", "two"):
        shutil.copytree(image_folder, tmp_path / place / "set")
    (tmp_path / "two" / "set" / "ant").rename(tmp_path / "two" / "set" / "dog")
    folder, _ = run(_images(tmp_path / "one" / "set"), tmp_path / "out")
    path = folder / "checkpoint.pt"
    save_checkpoint(path, load_checkpoint(path) | load_data(str(tmp_path / "one" / "set")).identity())
    for resume in (False, True):
        with pytest.raises(ValueError, match="of other data of the same name: its classes differ"):
            run(_images(tmp_path / "two" / "set"), tmp_path / "out", resume=resume)
    run(_images(tmp_path / "one" / "set"), tmp_path / "out")


def first_run(folder, told):
    """A run that waits at its first step until it is told to go on."""
    torch.set_num_threads(1)
    run(DIGITS, folder, lambda *_: (told.send("step"), told.poll(None)))


def test_a_second_run_in_a_folder_is_refused_while_the_first_goes_on(tmp_path):
    here, there = multiprocessing.Pipe()
    first = forked().Process(target=first_run, args=(tmp_path, there))
    first.start()
    assert here.recv() == "step"
    with pytest.raises(ValueError, match=r"another process writes to .*digits-sigreg-ep-0 now; wait until it"):
        run(DIGITS, tmp_path)
    here.send("go on")
    first.join()
    assert first.exitcode == 0
    assert (tmp_path / "digits-sigreg-ep-0" / "row.csv").is_file()


def test_results_that_cannot_be_written_are_one_line(tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "runs", tmp_path / ("x" * 300)):
        with pytest.raises(ValueError, match=r"cannot write .*(exists|Not a directory|too long); make room there"):
            run(DIGITS, out)
    folder, _ = run(DIGITS, tmp_path)
    before = _kept(folder)
    for name in ("manifest.json", "row.csv", "views.png", "checkpoint.pt"):
        (folder / f"{name}.partial").mkdir()
        with pytest.raises(ValueError, match=rf"cannot write .*{name}: Is a directory"):
            run(DIGITS, tmp_path, again=True)
        (folder / f"{name}.partial").rmdir()
        assert (folder / name).is_file()
    assert _kept(folder)["manifest.json"] == before["manifest.json"]


@pytest.mark.usefixtures("short_probes")
@pytest.mark.parametrize("memory", [8.0, 1e-9])
def test_images_that_were_skipped_are_said_and_written(image_folder, tmp_path, memory):
    for split in ("train", "val", "test"):
        shutil.copytree(image_folder, tmp_path / "set" / split)
    (tmp_path / "set" / "train" / "ant" / "3.png").write_bytes(b"no image")
    for index in range(5):
        (tmp_path / "set" / "test" / "bee" / f"{index}.png").write_bytes(b"no image")
    told = []
    folder, _ = run(_images(tmp_path / "set", f"memory_gib={memory}"), tmp_path / "out", on_note=told.append)
    what = "left out" if memory > 1 else "replaced by the next"
    some = "test/bee/0.png, test/bee/1.png, test/bee/2.png, ..."
    expected = [
        f"1 of 30 images of train could not be read and were {what}: train/ant/3.png",
        f"5 of 30 images of test could not be read and were {what}: {some}",
    ]
    assert told == expected
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["notes"] == expected
    assert len(manifest["data"]["corrupt_replaced"]) == (0 if memory > 1 else 6)
    assert manifest["data"]["class_names"] == ["ant", "bee", "cat"]
    told.clear()
    run_probes(folder, on_note=told.append)
    assert told == expected


@pytest.mark.usefixtures("short_probes")
def test_probes_keep_the_labels_of_the_checkpoints_classes(image_folder, tmp_path, monkeypatch):
    folder, _ = run(_images(image_folder), tmp_path)
    state = load_checkpoint(folder / "checkpoint.pt")
    data = load_data(str(image_folder)).relabeled(["cat", "ant", "bee"])
    save_checkpoint(folder / "checkpoint.pt", state | data.identity())
    seen = []
    probe = run_module.probe
    monkeypatch.setattr(
        run_module, "probe", lambda result, splits, **k: seen.append(splits) or probe(result, splits, **k)
    )
    for given in (None, str(image_folder)):
        run_probes(folder, given)
        assert seen[-1].classes == ("cat", "ant", "bee")
        assert torch.equal(seen[-1].test.labels, data.test.labels)
    other = tmp_path / "other"
    shutil.copytree(image_folder, other)
    (other / "ant").rename(other / "dog")
    run_probes(folder, str(other))
    assert seen[-1].classes == ("bee", "cat", "dog"), "other classes have labels of their own"
    save_checkpoint(folder / "checkpoint.pt", state | data.identity() | {"labels": "of other rows"})
    with pytest.raises(ValueError, match="other data of the same name: its labels differ"):
        run_probes(folder)
    with pytest.raises(ValueError, match="data is empty"):
        run_probes(folder, "")


def test_pictures_show_images_of_as_many_classes_as_there_are():
    data = load_data("digits")
    sheet, caption = contact_sheet(data, PretrainConfig())
    assert sheet.shape == (3, 8 * 50, 5 * 50)
    shown = caption.removesuffix(".").rpartition(": ")[2].split(", ")
    assert len({*shown}) == 8
    labels = torch.arange(3).repeat_interleave(100)
    three = Images(torch.zeros(300, 1, 8, 8), labels)
    assert labels[chosen(three)].bincount().tolist() == [3, 3, 2]
    assert chosen(three._replace(labels=torch.zeros(300, dtype=torch.long))).tolist() == [
        *(0, 42, 85, 128, 170, 213, 256, 299)
    ]


def test_a_checkpoint_of_a_newer_version_is_one_line(tmp_path, monkeypatch, capsys):
    state = {"step": 1, "config": {**as_dict(DIGITS), "momentum": 0.9}, "image_shape": [1, 8, 8], "encoder": {}}
    save_checkpoint(tmp_path / "checkpoint.pt", state)
    code, _, err = _call(monkeypatch, capsys, "probe", tmp_path)
    assert code == 2
    assert "a newer version of sigreg-lab, with the setting(s) momentum; update" in err
    assert err.count("\n") == 1


@pytest.mark.usefixtures("short_probes")
def test_three_images_a_class_are_enough(tmp_path):
    """Two tokens in all are fewer than the components of patches.png."""
    rng = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (tmp_path / "few" / name).mkdir(parents=True)
        for index in range(3):
            pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "few" / name / f"{index}.png")
    folder, row = run(_images(tmp_path / "few", "batch_size=2", "image_size=16"), tmp_path / "out")
    assert "backbone_linear_all" in row
    assert (folder / "patches.png").is_file()


@pytest.mark.usefixtures("short_probes")
def test_data_whose_classes_have_no_names_are_probed_as_they_are(tmp_path, monkeypatch):
    folder, _ = run(DIGITS, tmp_path)
    nameless = dataclasses.replace(load_data("digits"), classes=())
    monkeypatch.setattr("sigreg_lab.pretrain.data._digits", lambda: nameless)
    _, rows = run_probes(folder, "digits")
    assert {row["probe"] for row in rows} == {"linear", "knn", "few-shot"}
