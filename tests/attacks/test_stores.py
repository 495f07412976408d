"""Kills and crowds: what was finished stays, whole, whoever else is there."""

import multiprocessing
import random
import shutil
import time
from pathlib import Path

import pytest

from sigreg_lab.experiment.results import check_digests, digest, read_manifest, retell
from sigreg_lab.experiment.run import run_study
from sigreg_lab.experiment.store import Record, Store
from sigreg_lab.experiment.study import StudyError, forget, load_study

pytestmark = pytest.mark.long

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["sigreg_lab.experiment.run", "pandas", "matplotlib.figure", __name__])
CROWD, ROUNDS = 12, 30
KILLS = 40


def _record(number: int, session: int) -> Record:
    return Record([{"value": number / 7, "text": "x" * 2000}], 0.5, session, {"code": "a"})


def _write_rows(path: str, first: int, last: int, barrier=None) -> None:
    if barrier is not None:
        barrier.wait()
    store = Store(Path(path))
    session = store.start_session("then", {"command": "x"})
    for number in range(first, last):
        store.put(f"key {number}", _record(number, session))
    store.end_session(session, 1.0)
    store.close()


def test_many_processes_that_open_a_new_store_together_lose_no_row(tmp_path):
    for turn in range(ROUNDS):
        path, barrier = tmp_path / f"{turn}.sqlite", CONTEXT.Barrier(CROWD)
        crowd = [CONTEXT.Process(target=_write_rows, args=(str(path), i, i + 1, barrier)) for i in range(CROWD)]
        for process in crowd:
            process.start()
        for process in crowd:
            process.join()
        assert [process.exitcode for process in crowd] == [0] * CROWD
        store = Store(path)
        for number in range(CROWD):
            record = store.get(f"key {number}")
            assert record == _record(number, record.session)
        assert len(store.sessions({*range(CROWD + 1)})) == CROWD
        store.close()


def _killed(target, arguments: tuple, longest: float, rng: random.Random) -> None:
    """Start a process and kill it somewhere between its start and ``longest`` seconds later."""
    process = CONTEXT.Process(target=target, args=arguments)
    process.start()
    process.join(rng.uniform(0, longest))
    process.kill()
    process.join()


def test_a_store_survives_kills_from_its_first_byte_on(tmp_path):
    rng, rows = random.Random(0), 50
    start = time.monotonic()
    _run_whole(_write_rows, (str(tmp_path / "whole"), 0, rows))
    longest = 1.5 * (time.monotonic() - start)
    found = []
    for turn in range(KILLS):
        path = tmp_path / f"{turn}.sqlite"
        _killed(_write_rows, (str(path), 0, rows), longest, rng)
        store = Store(path)
        records = [store.get(f"key {number}") for number in range(rows)]
        kept = [number for number, record in enumerate(records) if record is not None]
        assert kept == [*range(len(kept))], "rows are kept in the order in which they were written"
        assert all(records[number] == _record(number, 1) for number in kept)
        _write_rows(str(path), len(kept), rows)
        assert store.get(f"key {rows - 1}").rows == _record(rows - 1, 0).rows
        store.close()
        found.append(len(kept))
    assert any(0 < count < rows for count in found), "no kill came while rows were written"


def _run_whole(target, arguments: tuple) -> None:
    process = CONTEXT.Process(target=target, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    toy = Path(__file__).parents[1] / "experiment" / "toy"
    shutil.copytree(toy, tmp_path / "studies" / "toy", ignore=shutil.ignore_patterns("__*"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    forget("toy")


def _retell(source: str, target: str) -> None:
    retell(load_study("./studies/toy"), Path(source), Path(target))


def _is_complete(folder: Path) -> bool:
    files = read_manifest(folder)["files"]
    return all(digest(folder / name) == known for name, known in files.items())


def test_results_survive_kills_while_others_take_their_place(workplace):
    """Results of two runs are written to one folder by turns: it is whole, or its manifest does not fit."""
    rng, folder = random.Random(1), Path("results/toy")
    runs = [
        str(run_study("./studies/toy", preset="smoke", out=Path("runs"), overrides=[f"draws={draws}"]).folder)
        for draws in (5, 6)
    ]
    assert runs[0] != runs[1]
    start = time.monotonic()
    _run_whole(_retell, (runs[0], str(folder)))
    longest = 1.2 * (time.monotonic() - start)
    (folder / "notes.txt").write_text("my own")
    expected = {path.name for path in folder.iterdir()}
    assert expected == {*read_manifest(folder)["files"], "manifest.json", "notes.txt"}
    complete = []
    for turn in range(KILLS):
        _killed(_retell, (runs[turn % 2], str(folder)), longest, rng)
        assert {path.name for path in folder.iterdir()} == expected
        complete.append(_is_complete(folder))
        if not complete[-1]:  # a kill between two renames: it is noticed, and telling again mends it
            with pytest.raises(StudyError, match="is not the file of its manifest; run the study again"):
                check_digests(folder, read_manifest(folder)["files"])
            _retell(runs[0], str(folder))
            assert _is_complete(folder)
    assert sum(complete) > KILLS / 2
    assert (folder / "notes.txt").read_text() == "my own"
