"""A Dask cluster gives the rows of a local run, also when a worker is killed in the middle."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sigreg_lab.experiment.run import run_study
from sigreg_lab.experiment.study import StudyError
from tests.experiment.test_run import _count, _rows

CELLS = ["pause=0.3", "seed=0,1,2,3,4,5,6,7"]


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _start(*arguments):
    environment = {**os.environ, "DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
    command = [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, start_new_session=True
    )


@pytest.fixture
def cluster():
    address = f"127.0.0.1:{_free_port()}"
    host, port = address.split(":")
    processes = [_start("dask_scheduler", "--host", host, "--port", port, "--no-dashboard")]
    processes += [
        _start(
            "dask_worker", address, "--host", host, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", name
        )
        for name in ("a", "b")
    ]
    yield f"tcp://{address}", processes
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.long
def test_a_cluster_that_loses_a_worker_gives_the_rows_of_a_local_run(workplace, cluster):
    address, processes = cluster
    local = run_study("toy", preset="smoke", out=Path("local"), overrides=CELLS)
    store = Path("cluster/store/toy.sqlite")
    killed_at = []

    def kill_one_worker():
        while (count := _count(store)) < 3:
            time.sleep(0.02)
        processes[1].send_signal(signal.SIGKILL)
        killed_at.append(count)

    watcher = threading.Thread(target=kill_one_worker, daemon=True)
    watcher.start()
    remote = run_study("toy", preset="smoke", out=Path("cluster"), overrides=CELLS, scheduler=address)
    watcher.join(timeout=5)
    assert killed_at, "no worker was killed"
    assert killed_at[0] < 16, "the worker was killed after the end"
    assert processes[1].wait(timeout=5) == -signal.SIGKILL
    assert remote.computed == 16
    assert _rows(remote) == _rows(local)


def test_no_scheduler_is_one_line_with_the_remedy(workplace, monkeypatch):
    address = f"tcp://127.0.0.1:{_free_port()}"
    with pytest.raises(StudyError, match=f"no Dask scheduler answers at {address}.*dask scheduler"):
        run_study("toy", preset="smoke", out=Path("x"), scheduler=address)
