"""Processes for tests, forked from one that has imported torch and the library: a start takes no seconds of imports."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.context import BaseContext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch.multiprocessing

from sigreg_lab.experiment import executor

IMPORTED = (
    "torch.distributed", "torch.nn.parallel", "lightning_fabric", "timm", "scipy.stats", "statsmodels.api",
    "sklearn.linear_model", "sklearn.datasets", "matplotlib.figure", "sigreg_lab.regularizers",
    "sigreg_lab.experiment.estimates", "sigreg_lab.experiment.executor", "sigreg_lab.compare.measure",
    "sigreg_lab.pretrain.loop",
)  # fmt: skip


def forked() -> BaseContext:
    """Starts processes by a fork of the one with the imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    return context


def fork_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the engine's worker processes fork too; elsewhere they start by themselves, each with imports of its own."""
    monkeypatch.setattr(executor, "multiprocessing", SimpleNamespace(get_context=lambda method: forked()))


def start_ranks(worker: Callable[[int, str], None], directory: Path, count: int) -> None:
    """Run ``worker(rank, directory)`` in ``count`` processes, and wait for all; an exception in one is raised here."""
    forked()
    torch.multiprocessing.start_processes(worker, args=(str(directory),), nprocs=count, start_method="forkserver")
