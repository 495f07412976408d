"""Processes for tests, forked from one that has imported torch and the library: a start takes no seconds of imports."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import torch.multiprocessing

IMPORTED = (
    "torch.distributed", "torch.nn.parallel", "scipy.stats", "statsmodels.api", "sklearn.linear_model",
    "matplotlib.figure", "sigreg_lab.regularizers", "sigreg_lab.experiment.estimates", "sigreg_lab.experiment.executor",
)  # fmt: skip
FORKED = multiprocessing.get_context("forkserver")


def start_ranks(worker: Callable[[int, str], None], directory: Path, count: int) -> None:
    """Run ``worker(rank, directory)`` in ``count`` processes, and wait for all; an exception in one is raised here."""
    FORKED.set_forkserver_preload(list(IMPORTED))
    torch.multiprocessing.start_processes(worker, args=(str(directory),), nprocs=count, start_method="forkserver")
