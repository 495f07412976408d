"""SIGReg as lightly, stable-pretraining and this library have it, and the formula in float64 that all mean.

    SIGReg(x) = N/M sum_m sum_k w_k |1/N sum_n exp(i t_k a_m'x_n) - exp(-t_k^2 / 2)|^2                      [1, Alg. 1]

t_k are 17 nodes of [0, 3], w_k the trapezoidal rule's weights for [-3, 3] times exp(-t_k^2 / 2). Each contestant draws
its own directions, as it always does; ``directions`` tells which it is about to draw, so that the formula can be
evaluated on them. Nothing of a peer is replaced.

Run as a program, it takes tasks, and does each in fresh processes of one thread:

    ranks   a group of W processes (gloo) on which a contestant trains for one step: the gradient of a small network's
            parameters, as ``DistributedDataParallel`` leaves it, against that of one process on the whole batch.
            Counts of samples are read where they are reduced, in ``torch.distributed.all_reduce``.
    time    processor time of value and gradient, each call in turn with one of this library
    memory  how far value and gradient raise the resident memory of a process at most, as Linux counts it

[1] Balestriero & LeCun (2025), arXiv:2511.08544.
"""

import contextlib
import importlib
import io
import json
import math
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

import sigreg_lab
from sigreg_lab.adapters import LightlySIGReg
from sigreg_lab.distributed import leave_group
from sigreg_lab.slicing import make_directions, seeded_generator

NODES, T_MAX = 17, 3.0
OURS, LIGHTLY, LIGHTLY_LOCAL, STABLE = "sigreg-lab", "lightly gathering", "lightly", "stable-pretraining"
CONTESTANTS = (OURS, LIGHTLY, LIGHTLY_LOCAL, STABLE)
PACKAGES = {LIGHTLY: "lightly", LIGHTLY_LOCAL: "lightly", STABLE: "stable-pretraining"}


def build(contestant: str, num_slices: int, seed: int) -> nn.Module:
    """A contestant's loss; inside a process group, if there is one. ``seed`` is that of what it will draw."""
    torch.manual_seed(seed)
    if contestant == OURS:
        return LightlySIGReg(num_vectors=num_slices, gather_distributed=True, seed=seed)
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if contestant == STABLE:
            stable = importlib.import_module("stable_pretraining.methods.lejepa").SlicedEppsPulley(num_slices)
            stable.global_step.fill_(seed)
            return cast(nn.Module, stable)
        theirs = importlib.import_module("lightly.loss.lejepa_loss").SIGReg
        return cast(nn.Module, theirs(num_vectors=num_slices, gather_distributed=contestant == LIGHTLY))


def version(contestant: str) -> str:
    """The version that runs; empty if it is not installed."""
    if contestant not in PACKAGES:
        return sigreg_lab.__version__
    try:
        return metadata.version(PACKAGES[contestant])
    except metadata.PackageNotFoundError:
        return ""


def directions(contestant: str, x: Tensor, num_slices: int, seed: int) -> Tensor:
    """The directions of the first call after ``build``, float64: as drawn and rounded there."""
    dim = x.shape[-1]
    if contestant == OURS:
        return make_directions("iid", dim, num_slices, generator=seeded_generator(seed, 0)).double()
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.float32 if contestant == STABLE else x.dtype
    drawn = torch.randn(dim, num_slices, generator=generator, dtype=dtype)
    return (drawn / drawn.norm(p=2, dim=0)).double()


def exact(x: Tensor, a: Tensor) -> Tensor:
    """The formula, float64."""
    step = T_MAX / (NODES - 1)
    total = x.new_zeros(())
    for k in range(NODES):
        t = k * step
        target = math.exp(-(t**2) / 2)
        weight = (step if k in (0, NODES - 1) else 2 * step) * target
        angle = t * (x @ a)
        total = total + weight * ((angle.cos().mean(0) - target) ** 2 + angle.sin().mean(0) ** 2).mean()
    return len(x) * total


def value_and_gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().clone().requires_grad_()
    value = function(x)
    (gradient,) = torch.autograd.grad(value, x)
    return value.detach().double(), gradient.double()


def batch(seed: int, num_samples: int, dim: int, near: bool) -> Tensor:
    """Embeddings, float64 of float32 numbers: of N(0, I), or correlated, shifted and with one heavy tail.

    The tail ends at some hundreds. Errors of angles grow with it, and so far float32 keeps a gradient to 1e-4.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_samples, dim, generator=generator, dtype=torch.float64)
    if not near:
        x = x + x @ torch.randn(dim, dim, generator=generator, dtype=torch.float64) / dim**0.5 + 0.1
        x[:, 0] = x[:, 0].sinh()
    return x.float().double()


# On several processes


def network(seed: int, dim: int) -> nn.Linear:
    """A layer near the identity, so that what it makes of N(0, I) is near N(0, I)."""
    layer = nn.Linear(dim, dim)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(dim) + 0.1 * torch.randn(dim, dim, generator=generator) / dim**0.5)
        layer.bias.copy_(0.05 * torch.randn(dim, generator=generator))
    return layer


def shares(num_samples: int, world_size: int, uneven: bool) -> list[int]:
    """How many samples each rank has; uneven ones grow with the rank."""
    weights = [rank + 1 if uneven else 1 for rank in range(world_size)]
    ends = [round(num_samples * sum(weights[: rank + 1]) / sum(weights)) for rank in range(world_size)]
    return [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def rank_main(rank: int, task: dict[str, Any], folder: str) -> None:
    torch.set_num_threads(1)
    if task["what"] == "ranks":
        group = f"file://{folder}/{task['name']}"
        dist.init_process_group("gloo", init_method=group, rank=rank, world_size=task["world_size"])
        found = [_step(rank, task, seed) for seed in task["seeds"]]
        dist.barrier()
        leave_group()
    else:
        found = _time(task) if task["what"] == "time" else _memory(task)
    if rank == 0:
        Path(folder, f"{task['name']}.json").write_text(json.dumps(found))


def _step(rank: int, task: dict[str, Any], seed: int) -> dict[str, float]:
    contestant, dim, num_slices = task["contestant"], task["dim"], task["num_slices"]
    x = batch(seed, task["num_samples"], dim, task["near"])
    own = x.split(shares(len(x), task["world_size"], task["uneven"]))[rank]
    dtype = getattr(torch, task["dtype"])
    model = network(seed, dim)
    parallel = nn.parallel.DistributedDataParallel(model)
    loss = build(contestant, num_slices, seed)
    with _counts() as counts:
        value = loss(parallel(own.float()).to(dtype))
    value.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).double()
    values = value.detach().double()
    dist.all_reduce(values)

    wide = network(seed, dim).double()
    z = wide(x)
    whole = exact(z, directions(contestant, z.to(dtype), num_slices, seed))
    whole.backward()
    aim = torch.cat([p.grad.flatten() for p in wide.parameters() if p.grad is not None])
    return {
        "value_ratio": float(values) / task["world_size"] / float(whole.detach()),
        "gradient_error": float((gradient - aim).norm() / aim.norm()),
        "gradient_cosine": float(gradient @ aim / gradient.norm() / aim.norm()),
        "gradient_size": float(gradient.norm() / aim.norm()),
        "count_ratio": max(counts, default=math.nan) / len(x),
    }


@contextlib.contextmanager
def _counts() -> Any:
    """Scalars that are reduced, as they come out: the number of samples is the largest of them."""
    found: list[float] = []
    reduce = dist.all_reduce

    def watched(tensor: Tensor, *arguments: Any, **options: Any) -> Any:
        done = reduce(tensor, *arguments, **options)
        if tensor.ndim == 0:
            found.append(float(tensor))
        return done

    dist.all_reduce = watched
    try:
        yield found
    finally:
        dist.all_reduce = reduce


# What it costs


def _call(contestant: str, task: dict[str, Any], num_samples: int) -> Callable[[], object]:
    """Value and gradient of embeddings near N(0, I)."""
    loss = build(contestant, task["num_slices"], 0)
    x = batch(0, num_samples, task["dim"], near=True).float().requires_grad_()
    return lambda: torch.autograd.grad(loss(x), x)


def _time(task: dict[str, Any]) -> list[dict[str, float]]:
    calls = [_call(contestant, task, task["num_samples"]) for contestant in (task["contestant"], OURS)]
    found = []
    for turn in range(task["rounds"] + 2):
        seconds = [0.0, 0.0]
        for place in (0, 1) if turn % 2 else (1, 0):
            start = time.process_time()
            calls[place]()
            seconds[place] = time.process_time() - start
        if turn >= 2:  # the first ones build and read what later ones find
            found.append({"milliseconds": 1e3 * seconds[0], "log_time_ratio": math.log(seconds[0] / seconds[1])})
    return found


def _memory(task: dict[str, Any]) -> list[dict[str, float]]:
    """One number, after calls on a few samples; none where Linux does not count."""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        return []
    for _ in range(2):
        _call(task["contestant"], task, 32)()
    call = _call(task["contestant"], task, task["num_samples"])
    Path("/proc/self/clear_refs").write_text("5")
    before = _mebibytes("VmRSS")
    call()
    return [{"mebibytes": _mebibytes("VmHWM") - before}]


def _mebibytes(name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def main() -> None:
    tasks = json.loads(sys.stdin.read())
    build(tasks[0]["contestant"], 1, 0)  # imported once; the processes are forked from here
    importlib.import_module("torch._dynamo")  # by DistributedDataParallel
    with tempfile.TemporaryDirectory() as folder:
        for task in tasks:
            mp.start_processes(rank_main, (task, folder), nprocs=task["world_size"], start_method="fork")
        print(json.dumps([json.loads(Path(folder, f"{task['name']}.json").read_text()) for task in tasks]))


if __name__ == "__main__":
    main()
