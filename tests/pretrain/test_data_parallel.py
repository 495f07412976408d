"""Two processes of torchrun: the same weights everywhere, each image seen once, the steps of one process."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time

import pytest
import torch

from sigreg_lab.pretrain import PretrainConfig, load_data, pretrain
from sigreg_lab.pretrain import loop as loop_module
from sigreg_lab.pretrain.loop import Batches
from sigreg_lab.pretrain.models import Encoder
from sigreg_lab.pretrain.views import ViewConfig
from tests.processes import forked

RUN = PretrainConfig(steps=3, batch_size=32, num_slices=8, projector=(16, 8), device="cpu", online_probe=True)
#: Views that are the images, no batch normalisation: nothing in it depends on which process sees which image.
PLAIN = dataclasses.replace(
    RUN, views=ViewConfig(0.0, 0.0, 0.0, 0.0, 0.0), num_views=2, precision="64-true", online_probe=False, accumulate=2
)

CHILD = """
import json, sys, torch
from pathlib import Path
sys.path.insert(0, ".")
torch.set_num_threads(1)
from tests.pretrain.test_data_parallel import RUN, plain_weights
from sigreg_lab.pretrain import pretrain
from sigreg_lab.pretrain.loop import Run
from sigreg_lab.pretrain.run import run
rows, batches = [], Run.batches
def watched(self, start):
    for item in batches(self, start):
        rows.append(item[0].tolist())
        yield item
Run.batches = watched
result = pretrain(RUN, folder=Path(sys.argv[1]))
weights = float(sum(p.double().abs().sum() for p in result.encoder.parameters()))
rank = torch.distributed.get_rank()
out = {"weights": weights, "rows": list(rows), "total": [row["total"] for row in result.history]}
out["plain"] = plain_weights().tolist()
late = pretrain(RUN, max_minutes=1e-9 if rank == 1 else 0.0)
out["late"] = [late.finished, len(late.history)]
try:
    pretrain(RUN, folder=Path(sys.argv[1]) if rank == 0 else Path(sys.argv[1], "elsewhere"), resume=True)
except ValueError as error:
    out["elsewhere"] = str(error)
folder, row = run(RUN, Path(sys.argv[1], "runs"), end_group=True)
out["row"], out["left"] = sorted(row), not torch.distributed.is_initialized()
Path(sys.argv[1], f"rank-{rank}.json").write_text(json.dumps(out))
"""


def _linear_encoder(config, pixels):
    encoder = Encoder(torch.nn.Flatten(), 64, (8,))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)) / 8)
    return encoder


def plain_weights():
    """Weights after the run ``PLAIN`` of a linear encoder, in float64."""
    digits = load_data("digits")
    data = dataclasses.replace(digits, train=digits.train._replace(pixels=digits.train.pixels.double()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop_module, "build_encoder", _linear_encoder)
        result = pretrain(PLAIN, data)
    return torch.cat([p.detach().flatten() for p in result.encoder.parameters()])


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "child.py").write_text(CHILD)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    done = subprocess.run(
        [*command, str(folder / "child.py"), str(folder)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder, [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1)]


def test_two_processes_share_a_batch_and_keep_the_same_weights(ranks):
    folder, (one, two) = ranks
    assert one["weights"] == two["weights"]
    assert one["total"] == two["total"], "the loss on every rank is that of the whole batch"
    order = Batches(997, 32, seed=0)
    for first, second in zip(one["rows"], two["rows"], strict=True):
        assert sorted(first + second) == sorted(next(order).tolist())
    assert (folder / "checkpoint.pt").is_file()
    assert len((folder / "history.csv").read_text().splitlines()) == 4


def test_two_processes_make_the_steps_of_one(ranks):
    expected, start = (
        plain_weights(),
        torch.cat([p.flatten() for p in _linear_encoder(None, None).double().parameters()]),
    )
    assert (expected - start).norm() > 1e-3
    for rank in ranks[1]:
        actual = torch.tensor(rank["plain"], dtype=torch.float64)
        assert (actual - expected).norm() <= 1e-6 * (expected - start).norm()


def test_processes_stop_together_at_the_time_of_any(ranks):
    assert [rank["late"] for rank in ranks[1]] == [[False, 1]] * 2


def test_a_checkpoint_that_only_some_processes_see_is_refused_by_all(ranks):
    message = "checkpoint.pt is there for some processes only; keep the run's folder where all can read it"
    assert [rank["elsewhere"] for rank in ranks[1]] == [message] * 2


def test_a_command_ends_the_group_before_the_first_process_probes(ranks):
    folder, (one, two) = ranks
    assert one["left"]
    assert two["left"]
    assert two["row"] == []
    assert "test_1" in one["row"]
    assert (folder / "runs" / "digits-sigreg-ep-0" / "row.csv").is_file()


def failing(rank, folder, kind, port):
    """A process as torchrun starts it, of which one has bad numbers, raises or hangs; what it says goes into a file."""
    torch.set_num_threads(1)
    places = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    places |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "none"}
    os.environ.update({name: str(value) for name, value in places.items()})
    augment = loop_module.Run.augment

    def views(self, pixels):
        found = augment(self, pixels)
        if self._steps == 2 and rank == 1:
            if kind == "nan":
                found[0][0, 0] = float("nan")
            elif kind == "raises":
                raise ValueError("this process cannot go on")
            else:
                time.sleep(60)
        return found

    loop_module.Run.augment = views
    try:
        pretrain(dataclasses.replace(RUN, wait_seconds=60.0 if kind == "nan" else 4.0, online_probe=False))
        said = "ended"
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    partial = folder / f"rank-{rank}.part"
    partial.write_text(said)
    partial.replace(partial.with_suffix(".txt"))
    time.sleep(60)  # a process that failed and stays


@pytest.mark.parametrize("kind", ["nan", "raises", "hangs"])
def test_what_happens_to_one_process_is_said_by_the_others_soon(tmp_path, kind):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ranks = [forked().Process(target=failing, args=(rank, tmp_path, kind, port)) for rank in (0, 1)]
    said = tmp_path / "rank-0.txt"
    for process in ranks:
        process.start()
    while not said.exists() and ranks[0].is_alive():
        time.sleep(0.05)
    for process in ranks:
        process.kill()
        process.join()
    expected = {"nan": "FloatingPointError: the loss is nan at step 1"}
    alone = "RuntimeError: process 0: another process of the run has ended, or has not"
    assert said.read_text().startswith(expected.get(kind, alone))
