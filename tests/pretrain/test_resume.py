"""Checkpoints: a run killed and resumed is the run that was never stopped; a wrong one is refused."""

import csv
import dataclasses
import json
import signal
import time

import pytest
import torch

from sigreg_lab.pretrain import PretrainConfig, configure, pretrain
from sigreg_lab.pretrain.checkpoint import load_checkpoint, save_checkpoint
from sigreg_lab.pretrain.loop import CHECKPOINT
from tests.processes import forked

#: Everything that has a state: dropout, an averaged encoder, a predictor, an online probe.
RUN = PretrainConfig(
    steps=40, batch_size=64, num_slices=8, projector=(16, 8), swa=0.9, predictor=8, online_probe=True,
    checkpoint_minutes=0.0, diagnose_every=7,
)  # fmt: skip
TIMING = ("images_per_second", "outside_share", "memory_gib")


def slow_run(folder):
    """The run in another process, which takes its time from the sixth step on."""
    torch.set_num_threads(1)
    pretrain(RUN, folder=folder, on_step=lambda step, values: time.sleep(0.3 if step > 5 else 0))


def _losses(folder):
    with (folder / "history.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMING} for row in csv.DictReader(file)]


def _same(one, two):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(_same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(_same, one, two))
    return one == two


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    pretrain(dataclasses.replace(RUN, checkpoint_minutes=10.0), folder=folder)
    return folder


def test_a_run_killed_with_9_and_resumed_equals_an_uninterrupted_one(whole, tmp_path):
    child = forked().Process(target=slow_run, args=(tmp_path,))
    child.start()
    history = tmp_path / "history.csv"
    while child.is_alive() and not (history.is_file() and history.read_text().count("\n") > 8):
        time.sleep(0.02)
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    reached = load_checkpoint(tmp_path / CHECKPOINT)["step"]
    assert 6 <= reached < 40
    pretrain(RUN, folder=tmp_path, resume=True)
    one, two = (load_checkpoint(folder / CHECKPOINT) for folder in (whole, tmp_path))
    for name in ("step", "encoder", "average", "optimizer", "probe", "probe_optimizer"):
        assert _same(one[name], two[name]), name
    assert _losses(whole) == _losses(tmp_path)
    assert [row["step"] for row in _losses(tmp_path)] == [str(step) for step in range(40)]


def _in_pieces(run, folder):
    """The checkpoint of a run, which is that of the same run made step by step; so are the losses."""
    whole, pieces = folder / "whole", folder / "pieces"
    pretrain(run, folder=whole)
    while not pretrain(run, folder=pieces, resume=True, max_minutes=1e-9).finished:
        pass
    one, two = (load_checkpoint(path / CHECKPOINT) for path in (whole, pieces))
    for name in ("encoder", "optimizer", "regularizer"):
        assert _same(one[name], two[name]), name
    assert _losses(whole) == _losses(pieces)
    return one


@pytest.mark.parametrize("placement", ["projector", "both"])
def test_a_regulariser_that_keeps_embeddings_goes_on_with_them(tmp_path, placement):
    run = dataclasses.replace(RUN, steps=6, regularizer="sigreg-ep-queue", placement=placement)
    one = _in_pieces(run, tmp_path)
    kept = [tuple(queue.shape) for queue in one["regularizer"].values()]
    assert kept == [(4, 192, 8), (4, 192, 64)][: 1 + (placement == "both")]


class Remembering:
    """No module: the distance from what it remembers, and how often it was called."""

    def __init__(self):
        self.mean, self.calls, self.seen = None, 0, []

    def __call__(self, z, generator):
        own = z.detach().mean((0, 1))
        self.mean = own if self.mean is None else 0.9 * self.mean + 0.1 * own
        self.calls += 1
        self.seen = [*self.seen[-1:], own]
        return (z - self.mean).square().mean() / self.calls + (z.mean((0, 1)) - self.seen[0]).square().sum()


@pytest.mark.parametrize("placement", ["projector", "both"])
def test_a_regulariser_that_is_no_module_goes_on_with_its_attributes(tmp_path, placement):
    run = dataclasses.replace(RUN, steps=5, regularizer=Remembering, placement=placement)
    _in_pieces(run, tmp_path)


def test_a_run_goes_on_in_pieces_of_limited_time(whole, tmp_path):
    first = pretrain(RUN, folder=tmp_path, max_minutes=1e-9)
    assert not first.finished
    assert load_checkpoint(tmp_path / CHECKPOINT)["step"] == 1
    assert pretrain(RUN, folder=tmp_path, resume=True).finished
    assert _same(load_checkpoint(whole / CHECKPOINT)["encoder"], load_checkpoint(tmp_path / CHECKPOINT)["encoder"])


def test_the_checkpoint_of_another_run_is_refused(whole):
    with pytest.raises(ValueError, match=r"of another run: it has lr=0\.002 \(now 0\.001\)"):
        pretrain(dataclasses.replace(RUN, lr=0.001), folder=whole, resume=True)


def test_a_broken_foreign_or_dangerous_file_is_refused(tmp_path):
    path = tmp_path / CHECKPOINT
    with pytest.raises(ValueError, match=r"no checkpoint .*/checkpoint\.pt there"):
        load_checkpoint(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"is no checkpoint of sigreg-lab pretrain"):
        load_checkpoint(path)
    torch.save({"step": 1}, path)
    with pytest.raises(ValueError, match=r"is no checkpoint of sigreg-lab pretrain \(format 1\)"):
        load_checkpoint(path)
    torch.save({"format": 1, "call": json.JSONDecoder}, path)
    with pytest.raises(ValueError, match="UnpicklingError"):
        load_checkpoint(path)


def test_a_checkpoint_goes_on_on_another_kind_of_device(whole, tmp_path):
    """On a GPU the optimiser is fused and can be captured, and its rate is a tensor; on a CPU it is neither."""
    pretrain(RUN, folder=tmp_path, max_minutes=1e-9)
    state = load_checkpoint(tmp_path / CHECKPOINT)
    for name in ("optimizer", "probe_optimizer"):
        for group in state[name]["param_groups"]:
            group |= {"fused": True, "capturable": True, "lr": torch.tensor(group["lr"])}
    save_checkpoint(tmp_path / CHECKPOINT, {key: value for key, value in state.items() if key != "format"})
    result = pretrain(RUN, folder=tmp_path, resume=True)
    assert result.finished
    assert _same(load_checkpoint(whole / CHECKPOINT)["encoder"], load_checkpoint(tmp_path / CHECKPOINT)["encoder"])


@pytest.mark.parametrize("recipe", ["mnist1d", "images-small", "cifar10-fast"])
def test_runs_of_every_kind_of_data_go_on_where_they_were_stopped(tmp_path, image_folder, recipe):
    small = ["steps=6", "epochs=0", "batch_size=8", "num_slices=8", "embedding_dim=16", "projector=16,8", "log_every=1"]
    data = "mnist1d" if recipe == "mnist1d" else str(image_folder)
    config = configure(data, "sigreg-ep", 0, [*small, "checkpoint_minutes=0"], recipe)

    def stop(step, values):
        if step == 3:
            raise KeyboardInterrupt

    whole = pretrain(config)
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, folder=tmp_path, on_step=stop)
    resumed = pretrain(config, folder=tmp_path, resume=True)
    assert len(resumed.history) == 6
    assert _same(resumed.encoder.state_dict(), whole.encoder.state_dict())
