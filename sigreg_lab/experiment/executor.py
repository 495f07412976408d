"""Where cells are computed: processes of this machine, or a Dask cluster, behind ``concurrent.futures``.

A cell is computed on one thread wherever it runs, so that its rows do not depend on where that is.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.experiment.study import StudyError, load_study_folder

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@contextmanager
def local_executor(workers: int) -> Iterator[Executor]:
    """A pool of ``workers`` processes.

    Each uses one thread, also when there is one worker, so that a cell's arithmetic does not depend on their number.
    A worker ends when this process is gone, however it went, or leaves the block by an exception. Leaving the block
    drops what has not started.
    """
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    context = multiprocessing.get_context("spawn")
    leash, held = context.Pipe(duplex=False)  # nothing is sent: it ends when this process ends or lets go
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(leash,))
    try:
        yield pool
    except BaseException:
        held.close()  # the cells that run are lost anyway; a signal to this process alone does not reach their workers
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        held.close()
        leash.close()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def cluster_executor(address: str) -> Iterator[Executor]:
    """The Dask cluster whose scheduler listens at ``address``, such as tcp://127.0.0.1:8786.

    Its workers need the same environment and see the study scripts under the same path. Dask computes the cells of a
    worker that is lost on the others.

    Raises:
        StudyError: Dask is not installed, or no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError:
        raise StudyError("--scheduler needs Dask; install it with: pip install 'sigreg-lab[cluster]'") from None
    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise StudyError(f"no Dask scheduler answers at {address}: {error}; start one with: dask scheduler") from error
    try:
        yield client.get_executor(pure=False, retries=2)
    finally:
        client.close()


def compute_cells(
    executor: Executor, folder: Path, cells: list[Cell], settings: Config, limit: float | None = None
) -> Iterator[tuple[Cell, list[Row], float]]:
    """Compute cells, in any order; yields each as it is finished: the cell, its rows, the seconds it took.

    Raises:
        StudyError: a cell failed, or a worker was killed. Cells yielded before are not affected.
        TimeoutError: after ``limit`` seconds some are not finished.
    """
    futures = {executor.submit(compute_cell, folder, cell, settings): cell for cell in cells}
    try:
        for future in as_completed(futures, limit):
            cell = futures[future]
            try:
                rows, seconds = future.result()
            except BrokenProcessPool:
                raise StudyError(
                    "a worker process was killed, perhaps for want of memory; finished cells are kept: run the same "
                    "command again, with fewer --workers if it was memory"
                ) from None
            except (Exception, SystemExit) as error:
                where = ", ".join(f"{key}={value}" for key, value in cell.items())
                raise StudyError(
                    f"cell {where} failed: {type(error).__name__}: {error}; finished cells are kept"
                ) from error
            yield cell, rows, seconds
    finally:
        for future in futures:
            future.cancel()


def compute_cell(folder: Path, cell: Cell, settings: Config) -> tuple[list[Row], float]:
    """Compute one cell on one thread: its rows and the seconds it took."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    study = load_study_folder(folder)
    start = time.perf_counter()
    with threadpool_limits(1):
        rows = study.measure(cell, settings, study.cell_seed(cell))
    if not rows:
        raise ValueError("measure gave no rows; leave the cell out by Study.keep, or give a row that says why")
    return rows, time.perf_counter() - start


def _start_worker(leash: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches workers too: they end at once, without a traceback
    threading.Thread(target=_end_with, args=(leash,), daemon=True).start()


def _end_with(leash: Connection) -> None:
    leash.poll(None)
    os._exit(1)
