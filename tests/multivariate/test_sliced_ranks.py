"""The step of the official sliced test on several processes: one for all ranks, whatever each has in its buffer.

Two processes start once, with the same sample on both. What is seen is the step that the directions were drawn at,
found by comparing with the values of one process, and the buffer afterwards.
"""

import copy
import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sigreg_lab.multivariate import SlicingUnivariateTest
from sigreg_lab.univariate import EppsPulley
from tests.processes import start_ranks

STEPS = 12


class Loss(nn.Module):
    """A network and its loss in one module, as users wrap them."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Linear(4, 4)
        nn.init.eye_(self.network.weight)
        nn.init.zeros_(self.network.bias)
        self.test = SlicingUnivariateTest(EppsPulley(), 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.test(self.network(x))


def worker(rank: int, directory: str) -> None:
    torch.set_num_threads(1)
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    alone = Loss()
    values = [float(alone(x)) for _ in range(STEPS)]

    def seen(loss: nn.Module, module: Loss) -> tuple[int, int]:
        """The step whose directions a call took, -1 if none of them, and the buffer after it."""
        value = float(loss(x))
        near = [step for step, known in enumerate(values) if abs(value - known) <= 1e-6 * known]
        return (near[0] if near else -1), int(module.test.global_step)

    dist.init_process_group("gloo", init_method=f"file://{directory}/store", rank=rank, world_size=2)
    found: dict[str, list[tuple[int, int]]] = {}

    module = Loss()
    module.test.global_step.fill_(2 if rank == 0 else 5)
    found["other steps"] = [seen(module, module) for _ in range(2)]

    module = Loss()
    module.test.global_step.fill_(2 if rank == 0 else 5)
    parallel = DistributedDataParallel(module, broadcast_buffers=True)  # sends rank 0's buffers
    found["broadcast"] = [seen(parallel, module) for _ in range(2)]
    if rank == 1:
        module.test.global_step.data.fill_(9)
    found["broadcast again"] = [seen(parallel, module)]

    parallel = DistributedDataParallel(module, broadcast_buffers=False)
    if rank == 1:
        module.test.global_step.data.fill_(8)
    found["not broadcast"] = [seen(parallel, module) for _ in range(2)]

    dist.broadcast(module.test.global_step.zero_().add_(3 * rank), src=1)
    found["sent by hand"] = [seen(module, module)]

    average = copy.deepcopy(module)
    for buffer, other in zip(average.buffers(), Loss().buffers(), strict=True):
        buffer.data.copy_(other.data)
    found["average model"] = [seen(average, average)]

    # A p-value is one rank's own business: the other is not waited for.
    if rank == 0:
        module.test.test(x, replicates=100)
    dist.barrier()
    dist.destroy_process_group()
    Path(directory, f"found-{rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[list[int]]]]:
    directory = tmp_path_factory.mktemp("ranks")
    start_ranks(worker, directory, 2)
    return [json.loads((directory / f"found-{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize(
    ("case", "expected"),
    {
        "other steps": [[5, 6], [6, 7]],  # the largest, as the official code takes it
        "broadcast": [[2, 3], [3, 4]],
        "broadcast again": [[4, 5]],
        "not broadcast": [[8, 9], [9, 10]],
        "sent by hand": [[3, 4]],
        "average model": [[0, 1]],
    }.items(),
)
def test_all_ranks_take_one_step_and_show_it(found, case, expected):
    assert [of_rank[case] for of_rank in found] == [expected, expected]
