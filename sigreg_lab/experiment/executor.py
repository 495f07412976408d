"""Where cells are computed: processes of this machine, one thread each, behind ``concurrent.futures``."""

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

from sigreg_lab.experiment.study import Cell, Config, Row, StudyError, load_study_file

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@contextmanager
def local_executor(workers: int) -> Iterator[Executor]:
    """A pool of ``workers`` processes.

    Each uses one thread, also when there is one worker, so that a cell's arithmetic does not depend on their number.
    A worker ends when this process is gone, however it went. Leaving the block drops what has not started.
    """
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def compute_cells(
    executor: Executor, study_file: Path, cells: list[Cell], settings: Config
) -> Iterator[tuple[Cell, list[Row], float]]:
    """Compute cells, in any order; yields each as it is finished: the cell, its rows, the seconds it took.

    Raises:
        StudyError: a cell failed, or a worker was killed. Cells yielded before are not affected.
    """
    futures = {executor.submit(compute_cell, study_file, cell, settings): cell for cell in cells}
    try:
        for future in as_completed(futures):
            cell = futures[future]
            try:
                rows, seconds = future.result()
            except BrokenProcessPool:
                raise StudyError(
                    "a worker process was killed, perhaps for want of memory; finished cells are kept: run the same "
                    "command again, with fewer --workers if it was memory"
                ) from None
            except Exception as error:
                where = ", ".join(f"{key}={value}" for key, value in cell.items())
                raise StudyError(
                    f"cell {where} failed: {type(error).__name__}: {error}; finished cells are kept"
                ) from error
            yield cell, rows, seconds
    finally:
        for future in futures:
            future.cancel()


def compute_cell(study_file: Path, cell: Cell, settings: Config) -> tuple[list[Row], float]:
    """Compute one cell: its rows and the seconds it took."""
    study = load_study_file(study_file)
    start = time.perf_counter()
    rows = study.measure(cell, settings, study.cell_seed(cell))
    return rows, time.perf_counter() - start


def _start_worker() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
