"""Runs are made once, in whatever order, and what breaks one leaves the others alone."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from sigreg_lab.compare.protocol import Wanted
from sigreg_lab.compare.runs import KILLED, Progress, all_rows, make_job, make_runs
from sigreg_lab.experiment.executor import local_executor
from sigreg_lab.experiment.store import Store
from tests.compare.surrogate import Surrogate, candidates, run, settings
from tests.processes import fork_workers

pytestmark = pytest.mark.usefixtures("light")
SMALL = {"weights": (0.01, 0.1), "extra": 1, "tuning_seeds": 2, "seeds": 2}


@pytest.fixture
def store():
    return Store(Path(":memory:"))


def _told(outcome):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in all_rows(outcome)]


class Counting(Progress):
    def __init__(self):
        self.total, self.seen, self.ended = 0, [], False

    def begin(self, total, workers):
        self.total = total

    def advance(self, name, wanted, row, found):
        self.seen.append((name, wanted, found))

    def end(self):
        self.ended = True


def test_a_run_is_made_once_over_all_comparisons(store):
    first = Surrogate()
    outcome = run(settings(first, **SMALL), candidates("a", "b"), store)
    assert outcome.made == len(first.calls) == 2 * (5 + 2) + 4
    again = Surrogate()
    progress = Counting()
    other = run(settings(again, **{**SMALL, "seeds": 3}), candidates("c", "b"), store, progress=progress)
    assert {name for name, *_ in again.calls} == {"c", "b", "none"}
    assert [seed for name, _, seed, _ in again.calls if name == "b"] == [2], "of b the third seed alone is new"
    assert other.found == 5 + 2 + 4
    assert progress.total == len(progress.seen) == 2 * (5 + 3) + 6
    assert progress.ended
    third = Surrogate()
    assert _told(run(settings(third, **SMALL), candidates("a", "b"), store)) == _told(outcome)
    assert not third.calls


def test_what_makes_another_run_has_another_key():
    shared, (one, two, *_) = settings(Surrogate(), **SMALL), candidates("a", "b")
    wanted = Wanted(0.1, 3, "tuning")
    keys = {make_job(shared, one, wanted).key}
    keys.add(make_job(shared, two, wanted).key)
    keys.add(make_job(shared, one._replace(identity={"head": "a", "source": "changed"}), wanted).key)
    keys.add(make_job(shared, one, wanted._replace(seed=4)).key)
    keys.add(make_job(shared, one, wanted._replace(weight=0.2)).key)
    keys.add(make_job(shared._replace(data={"name": "made up", "labels": "others"}), one, wanted).key)
    assert len(keys) == 6
    assert make_job(shared, one._replace(name="c", spec="/elsewhere/c"), wanted).key in keys, "a name makes no run"
    assert make_job(shared, one, wanted._replace(stage="report")).key in keys


def test_runs_of_other_code_are_made_again(store):
    run(settings(Surrogate(), **SMALL), candidates("a"), store)
    again = Surrogate()
    outcome = run(settings(again, **SMALL)._replace(fingerprint={"code": "2"}), candidates("a"), store)
    assert outcome.found == 0
    assert len(again.calls) == 5 + 2 + 4


def test_the_order_of_the_runs_does_not_matter(store):
    shared = settings(Surrogate(), **SMALL)
    many = make_runs(shared, candidates("a", "b"), store, lambda: ThreadPoolExecutor(4), workers=4)
    assert _told(many) == _told(run(shared, candidates("a", "b")))


class Odd(Surrogate):
    def __call__(self, config):
        if config.regularizer == "b" and config.seed == 1:
            raise {7: MemoryError, 8: SystemExit}.get(config.steps, RuntimeError)("no good")
        return super().__call__(config)


def test_a_run_that_breaks_is_a_row_with_its_reason_and_the_others_go_on(store):
    outcome = run(settings(Odd(), **SMALL), candidates("a", "b"), store)
    rows = [row for row in _told(outcome) if row["broke"]]
    assert [(row["regularizer"], row["seed"], row["broke"]) for row in rows] == [("b", 1, "RuntimeError: no good")]
    assert all("config" in row for row in rows)
    assert len(_told(outcome)) == 18
    assert run(settings(Odd(), **SMALL), candidates("a", "b"), store).made == 0, "it would break again"


def test_a_run_that_leaves_the_program_is_a_row_too(store):
    shared = settings(Odd(), **SMALL)
    outcome = run(shared._replace(base=shared.base.__class__(steps=8)), candidates("a", "b"), store)
    assert [row["broke"] for row in _told(outcome) if row["broke"]] == ["SystemExit: no good"]
    assert len(_told(outcome)) == 18


def test_a_want_of_memory_is_not_kept(store):
    shared = settings(Odd(), **SMALL)
    shared = shared._replace(base=shared.base.__class__(steps=7))
    assert run(shared, candidates("a", "b"), store).made == 18
    again = run(shared, candidates("a", "b"), store)
    assert again.made == 1
    assert [row["broke"] for row in _told(again) if row["broke"]] == ["MemoryError: no good"]


def test_time_that_is_up_leaves_what_is_there_and_says_what_is_missing(store):
    shared = settings(Surrogate(), **SMALL)
    nothing = run(shared, candidates("a"), store, seconds=1.0, expected=2.0)
    assert nothing.out_of_time
    assert nothing.made == 0
    assert [plan.missing() for plan in nothing.plans] == [(5, 2), (0, 2), (0, 2)]
    assert not run(shared, candidates("a"), store, seconds=60.0).out_of_time


def test_runs_that_have_not_ended_in_time_are_stopped_and_those_before_kept(store):
    """The second run goes on until the pool is left, which happens by an exception: that ends its process."""
    ended, left_by = threading.Event(), []

    @contextmanager
    def executor():
        with ThreadPoolExecutor(1) as pool:
            try:
                yield pool
            except BaseException as error:
                left_by.append(error)
                raise
            finally:
                ended.set()

    class Endless(Surrogate):
        def __call__(self, config):
            row = super().__call__(config)
            if len(self.calls) == 2:
                ended.wait()
            return row

    shared = settings(Endless(), **SMALL)
    outcome = make_runs(shared, candidates("a"), store, executor, workers=1, seconds=1.0)
    assert outcome.out_of_time
    assert len(left_by) == 1
    assert outcome.made == len(_told(outcome)) == 1


def _killer(config):
    """Kills its process at one lambda of one name, and at the first run of another name, once."""
    if config.regularizer == "b" and config.lam > 0.05 and config.seed > 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return Surrogate()(config)


def test_a_run_that_kills_its_process_is_found_out_and_recorded(tmp_path, monkeypatch):
    """Which of two runs broke the pool is not known: both go again, alone."""
    fork_workers(monkeypatch)
    store = Store(tmp_path / "runs.sqlite")
    shared = settings(_killer, **{**SMALL, "extra": 0, "tuning_seeds": 1})
    outcome = make_runs(shared, candidates("a", "b"), store, lambda: local_executor(2), workers=2)
    broken = [row for row in _told(outcome) if row["broke"]]
    assert [(row["regularizer"], round(row["weight"], 3), row["broke"]) for row in broken] == [("b", 0.1, KILLED)]
    assert len(_told(outcome)) == 2 * (2 + 2) + 4
    assert outcome.plans[1].chosen == 0.01
    assert outcome.plans[0].reported[0][f"test_{shared.protocol.criterion}"] > 0
