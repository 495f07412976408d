"""Structured directions on two processes: value and gradient are those of their matrix in one process.

The gradient is that of a small network's parameters behind ``DistributedDataParallel``; the shares of the batch are
equal or not. 75 slices are blocks of 32, 32 and 11: the second rank begins within a block. Of one slice it has none.
"""

import itertools
import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sigreg_lab.regularizers import SIGReg
from sigreg_lab.slicing import make_directions, seeded_generator
from sigreg_lab.univariate import AndersonDarling, EppsPulley, VCReg
from tests.distributed.cases import network
from tests.processes import start_ranks

VIEWS, SAMPLES, FEATURES, DIM = 3, 24, 6, 20
SHARES = {"even": [12, 12], "uneven": [9, 15]}
STATISTICS = {"epps-pulley": EppsPulley(), "vcreg": VCReg(), "anderson-darling": AndersonDarling()}
CASES = {
    f"{name}, {'per view' if per_view else 'flattened'}, {num_slices}": (statistic, per_view, num_slices)
    for (name, statistic), per_view, num_slices in itertools.product(STATISTICS.items(), (True, False), (75, 1))
}


def gradient(model: nn.Module, value: Tensor) -> Tensor:
    model.zero_grad()
    value.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def in_one_process(x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    model, found = network(FEATURES, DIM), {}
    for label, (statistic, per_view, num_slices) in CASES.items():
        matrix = make_directions("hd3", DIM, num_slices, generator=seeded_generator(2), dtype=torch.float64)
        value = SIGReg(statistic, num_slices, per_view=per_view)(model(x), seeded_generator(3), directions=matrix)
        found[label] = value.detach(), gradient(model, value)
    return found


def worker(rank: int, directory: str) -> None:
    torch.set_num_threads(1)
    x = torch.randn(VIEWS, SAMPLES, FEATURES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    reference = in_one_process(x)
    errors: dict[str, dict[str, list[float]]] = {}
    dist.init_process_group("gloo", init_method=f"file://{directory}/group", rank=rank, world_size=2)
    model = DistributedDataParallel(network(FEATURES, DIM))
    for shares, sizes in SHARES.items():
        own = x.split(sizes, dim=1)[rank]
        for label, (statistic, per_view, num_slices) in CASES.items():
            regularizer = SIGReg(statistic, num_slices, per_view=per_view, directions="hd3")
            value = regularizer(model(own), seeded_generator(2))
            pairs = zip((value.detach(), gradient(model, value)), reference[label], strict=True)
            errors.setdefault(label, {})[shares] = [float((a - b).norm() / b.norm()) for a, b in pairs]
    dist.barrier()
    dist.destroy_process_group()
    Path(directory, f"errors-{rank}.json").write_text(json.dumps(errors))


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, list[float]]]]:
    directory = tmp_path_factory.mktemp("structured_ranks")
    start_ranks(worker, directory, 2)
    return [json.loads((directory / f"errors-{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("label", CASES)
def test_value_and_gradient_are_those_of_the_matrix_in_one_process(errors, label):
    for found in errors:
        for shares in SHARES:
            assert max(found[label][shares]) <= 1e-10, shares
