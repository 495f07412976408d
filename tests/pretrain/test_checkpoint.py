"""The file of a checkpoint: what is damaged, foreign, newer or cannot be written is refused, in one line."""

import contextlib
import dataclasses
import io
import json
import multiprocessing
import os
import resource
import time
import zipfile

import numpy as np
import pytest
import torch

from sigreg_lab.pretrain import PretrainConfig
from sigreg_lab.pretrain.checkpoint import (
    check_same_data,
    check_same_run,
    load_checkpoint,
    locked,
    read_config,
    replacing,
    save_checkpoint,
)
from sigreg_lab.pretrain.config import as_dict
from tests.processes import forked


def _state():
    weights = {f"layer{i}": torch.randn(50, 40, generator=torch.Generator().manual_seed(i)) for i in range(3)}
    return {"step": 3, "config": as_dict(PretrainConfig()), "image_shape": [1, 8, 8], "encoder": weights}


@pytest.fixture
def path(tmp_path):
    save_checkpoint(tmp_path / "checkpoint.pt", _state())
    return tmp_path / "checkpoint.pt"


def test_a_checkpoint_comes_back_and_remains_a_file_of_torch_save(path):
    state = load_checkpoint(path)
    assert all(torch.equal(value, state["encoder"][name]) for name, value in _state()["encoder"].items())
    assert torch.load(path, weights_only=True)["step"] == 3
    assert [p.name for p in path.parent.iterdir()] == ["checkpoint.pt"]


def test_four_changed_bytes_are_always_refused(path):
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(whole)
        for place in rng.choice(len(whole), 4, replace=False).tolist():
            damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged"):
            load_checkpoint(path)


@pytest.mark.parametrize("place", [*range(0, 60, 7), *range(-80, 0)])
def test_one_changed_byte_at_either_end_is_refused(path, place):
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"checkpoint\.pt is (damaged|no checkpoint)"):
        load_checkpoint(path)


@pytest.mark.parametrize("share", [0.1, 0.9, 0.999])
def test_a_cut_file_is_refused(path, share):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged"):
        load_checkpoint(path)


def test_a_file_without_digest_is_verified_by_its_crcs(path):
    torch.save({"format": 1, **_state()}, path)
    assert load_checkpoint(path)["step"] == 3
    whole, weight = path.read_bytes(), _state()["encoder"]["layer1"].numpy().tobytes()
    damaged = bytearray(whole)
    damaged[whole.index(weight) + 1000] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged"):
        load_checkpoint(path)


def test_what_unfolds_to_more_than_the_file_is_not_read(path):
    folded = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(folded, "w", zipfile.ZIP_DEFLATED) as other:
        for member in archive.infolist():
            other.writestr(member.filename, bytes(10**6) if "data/" in member.filename else archive.read(member))
    path.write_bytes(folded.getvalue())
    with pytest.raises(ValueError, match="is no checkpoint of sigreg-lab pretrain"):
        load_checkpoint(path)


def test_what_is_no_file_or_lacks_parts_is_refused(path):
    os.mkfifo(path.with_name("pipe.pt"))
    with pytest.raises(ValueError, match=r"no checkpoint .*/pipe\.pt there"):
        load_checkpoint(path.with_name("pipe.pt"))
    with pytest.raises(ValueError, match="File name too long"):
        load_checkpoint(path.with_name("x" * 300))
    save_checkpoint(path, {"step": 1})
    with pytest.raises(ValueError, match="it lacks config, image_shape, encoder"):
        load_checkpoint(path)


def test_settings_of_a_newer_version_are_named():
    saved = json.loads(json.dumps(as_dict(PretrainConfig(lr=0.5))))
    assert read_config(saved) == PretrainConfig(lr=0.5)
    saved["momentum"] = 0.9
    saved["crops"]["rotation"] = 3.0
    saved["signals"]["stretch"] = 0.1
    for read in (read_config, lambda config: check_same_run(config, PretrainConfig())):
        with pytest.raises(
            ValueError, match=r"newer version .* setting\(s\) momentum, crops\.rotation, signals\.stretch; update"
        ):
            read(saved)


def test_other_data_of_the_same_name_is_refused():
    identity = {"classes": ["ant", "bee"], "labels": "ab"}
    check_same_data({}, identity)
    check_same_data(dict(identity), identity)
    with pytest.raises(ValueError, match="other data of the same name: its classes differ"):
        check_same_data({**identity, "classes": ["bee", "ant"]}, identity)


def hold(folder, held):
    """Hold a folder until the process is killed."""
    with locked(folder):
        held.send("held")
        time.sleep(60)


def test_a_folder_is_held_by_one_process_until_it_ends(tmp_path):
    here, there = multiprocessing.Pipe()
    child = forked().Process(target=hold, args=(tmp_path, there))
    child.start()
    assert here.recv() == "held"
    with pytest.raises(ValueError, match=rf"another process writes to {tmp_path} now; wait"), locked(tmp_path):
        pass
    child.kill()
    child.join()
    with locked(tmp_path):
        pass


def test_a_place_that_cannot_be_written_is_one_line(path):
    for place in (path / "run", path.parent / ("x" * 300)):
        with pytest.raises(ValueError, match=r"cannot write .*(Not a directory|too long); make room"), locked(place):
            pass
        with pytest.raises(ValueError, match=r"cannot write .*(Not a directory|too long); make room"):
            save_checkpoint(place / "checkpoint.pt", _state())


@pytest.fixture
def full_disk(path):
    """No file may grow beyond 4 KB, once the checkpoint is there."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_leaves_the_earlier_file_and_no_other(path):
    with pytest.raises(ValueError, match=r"cannot write .*checkpoint\.pt: File too large; make room"):
        save_checkpoint(path, {**_state(), "step": 4})
    assert [p.name for p in path.parent.iterdir()] == ["checkpoint.pt"]
    assert load_checkpoint(path)["step"] == 3


def test_an_error_while_writing_leaves_the_earlier_file(path):
    before = path.read_bytes()
    with contextlib.suppress(KeyError), replacing(path) as partial:
        partial.write_text("half")
        raise KeyError
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["checkpoint.pt"]


def test_every_setting_of_another_run_is_named():
    saved = as_dict(PretrainConfig())
    with pytest.raises(ValueError, match=r"of another run: it has lam=0\.05 \(now 0\.02\), steps=300 \(now 9\)"):
        check_same_run(saved, dataclasses.replace(PretrainConfig(), lam=0.02, steps=9))
