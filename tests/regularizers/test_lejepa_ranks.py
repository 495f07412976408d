"""The loss's own generator on several processes: one step for all ranks, and the value of one process.

Two processes start once, with half of a batch each. What is looked at is the step that each call took, found by
comparing with one process on the whole batch, and the step afterwards.
"""

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sigreg_lab.regularizers import LeJEPALoss, SIGReg
from sigreg_lab.univariate import EppsPulley
from tests.processes import start_ranks

STEPS = 12


class Model(nn.Module):
    """A network and its loss in one module, as users wrap them."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Linear(4, 4).double()
        nn.init.eye_(self.network.weight)
        nn.init.zeros_(self.network.bias)
        self.loss = LeJEPALoss(SIGReg(EppsPulley(), 5), 0.3, seed=3)

    def forward(self, x: Tensor) -> Tensor:
        return self.loss(self.network(x)).total


def worker(rank: int, directory: str) -> None:
    torch.set_num_threads(1)
    x = torch.randn(2, 32, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alone = Model()
    values = [float(alone(x)) for _ in range(STEPS)]
    own = x.chunk(2, dim=1)[rank]

    def seen(run: nn.Module, model: Model) -> tuple[int, int]:
        """The step whose directions a call took, -1 if none of them, and the step after it."""
        value = float(run(own))
        near = [step for step, known in enumerate(values) if abs(value - known) <= 1e-9 * known]
        return (near[0] if near else -1), model.loss.global_step

    dist.init_process_group("gloo", init_method=f"file://{directory}/store", rank=rank, world_size=2)
    found: dict[str, list[tuple[int, int]]] = {}

    model = Model()
    found["from the start"] = [seen(model, model) for _ in range(2)]
    parallel = DistributedDataParallel(model)
    found["in DistributedDataParallel"] = [seen(parallel, model) for _ in range(2)]
    model.loss.global_step = 2 if rank == 0 else 6
    found["other steps"] = [seen(parallel, model) for _ in range(2)]
    again = Model()
    again.load_state_dict(model.state_dict())
    found["goes on"] = [seen(again, again)]
    again = Model()
    if rank == 0:  # as where one rank reads the checkpoint
        again.load_state_dict(model.state_dict())
    found["read by one rank"] = [seen(again, again)]
    Path(directory, f"found-{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[list[int]]]]:
    directory = tmp_path_factory.mktemp("ranks")
    start_ranks(worker, directory, 2)
    return [json.loads((directory / f"found-{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize(
    ("case", "expected"),
    {
        "from the start": [[0, 1], [1, 2]],
        "in DistributedDataParallel": [[2, 3], [3, 4]],
        "other steps": [[6, 7], [7, 8]],  # the largest
        "goes on": [[8, 9]],
        "read by one rank": [[8, 9]],
    }.items(),
)
def test_all_ranks_draw_the_same_as_one_process_on_the_whole_batch(found, case, expected):
    assert [of_rank[case] for of_rank in found] == [expected, expected]
