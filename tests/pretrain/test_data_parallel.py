"""Two processes of torchrun: the same weights everywhere, each image seen once, losses of the whole batch."""

import json
import subprocess
import sys

from sigreg_lab.pretrain import PretrainConfig
from sigreg_lab.pretrain.loop import Batches

RUN = PretrainConfig(steps=3, batch_size=32, num_slices=8, projector=(16, 8), device="cpu", online_probe=True)

CHILD = """
import json, sys, torch
from pathlib import Path
torch.set_num_threads(1)
from tests.pretrain.test_data_parallel import RUN
from sigreg_lab.pretrain import pretrain
from sigreg_lab.pretrain.loop import _Run
import sigreg_lab.pretrain.loop as loop
rows = []
batches = _Run.batches
def watched(self, start):
    for item in batches(self, start):
        rows.append(item[0].tolist())
        yield item
_Run.batches = watched
result = pretrain(RUN, folder=Path(sys.argv[1]))
weights = float(sum(p.double().abs().sum() for p in result.encoder.parameters()))
rank = torch.distributed.get_rank()
out = {"weights": weights, "rows": rows, "total": [row["total"] for row in result.history]}
Path(sys.argv[1], f"rank-{rank}.json").write_text(json.dumps(out))
torch.distributed.destroy_process_group()
"""


def test_two_processes_share_a_batch_and_keep_the_same_weights(tmp_path):
    script = tmp_path / "child.py"
    script.write_text("import sys; sys.path.insert(0, '.')\n" + CHILD)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "--standalone",
        str(script),
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1))
    assert one["weights"] == two["weights"]
    assert one["total"] == two["total"], "the loss on every rank is that of the whole batch"
    order = Batches(997, 32, seed=0)
    for first, second in zip(one["rows"], two["rows"], strict=True):
        assert sorted(first + second) == sorted(next(order).tolist())
    assert (tmp_path / "checkpoint.pt").is_file()
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 4
