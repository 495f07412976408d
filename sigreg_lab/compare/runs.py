"""Makes the runs of a comparison that the store does not hold yet: here or on a cluster, within a time, one row each.

A run's key is its whole config, the regulariser's identity and the data's; with it lies a fingerprint of the code that
made it. So a run that was made for one comparison is found by every other. A run that breaks is a row with the reason.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from sigreg_lab.compare.protocol import Plan, Protocol, Wanted, lam_of
from sigreg_lab.experiment.cells import Row, canonical
from sigreg_lab.experiment.provenance import now, provenance
from sigreg_lab.experiment.store import DamagedRecord, Record, Store
from sigreg_lab.pretrain.config import PretrainConfig, as_dict

Measure = Callable[[PretrainConfig], Row]
#: What breaks a run today and may not tomorrow: such a row is not kept in the store.
_PASSING = (MemoryError, OSError)
KILLED = "the process was killed, perhaps for want of memory"


class Candidate(NamedTuple):
    """What is compared.

    Attributes:
        name: in results.
        spec: what ``pretrain`` finds it by, wherever the run is made.
        identity: what makes it another regulariser.
    """

    name: str
    spec: Any
    identity: dict[str, Any]


class Settings(NamedTuple):
    """What all runs of a comparison share.

    Attributes:
        base: the config, without regulariser, lambda and seed.
        data: the identity of the data, its name among it.
        protocol: the rules.
        measure: one run: config to row. It must be importable where the runs are made.
        fingerprint: of the code that a run depends on.
    """

    base: PretrainConfig
    data: dict[str, Any]
    protocol: Protocol
    measure: Measure
    fingerprint: dict[str, str]


class Job(NamedTuple):
    """A run to make: its key in the store, its config, the config as results show it."""

    key: str
    config: PretrainConfig
    shown: dict[str, Any]


class Progress:
    """Told how a comparison goes; this one keeps silent."""

    def begin(self, total: int, workers: int) -> None:
        """``total`` runs are to come, at most; those in the store count. ``workers`` go on at a time; 0: unknown."""

    def advance(self, name: str, wanted: Wanted, row: Row, found: bool) -> None:
        """A run is there, ``found`` in the store or made."""

    def end(self) -> None:
        """No more runs."""


class Outcome(NamedTuple):
    """What came of a comparison: its plans, how many runs were made and found, sessions, whether time ran out."""

    plans: list[Plan]
    made: int
    found: int
    sessions: list[dict[str, Any]]
    out_of_time: bool


class _OutOfTimeError(Exception):
    """The time is up: leaving the executor by this stops the runs that go on."""


def make_job(settings: Settings, candidate: Candidate, wanted: Wanted) -> Job:
    """The run of a regulariser with a weight and a seed."""
    base = settings.base
    changes: dict[str, Any] = {"seed": wanted.seed, "regularizer": candidate.spec, "lam": 0.0}
    if wanted.weight is not None:
        changes["lam"] = lam_of(wanted.weight, base.form)
    else:
        changes["directions"] = "iid"  # a control draws none
    if candidate.name == "untrained":
        changes |= {"regularizer": "none", "steps": 0, "epochs": 0.0}
    config = dataclasses.replace(base, **changes)
    shown = as_dict(config)
    shown |= {"regularizer": candidate.identity, "data": settings.data["name"]}
    return Job(canonical({"run": shown, "data": settings.data}), config, shown)


def make_runs(
    settings: Settings,
    candidates: Sequence[Candidate],
    store: Store,
    executor: Callable[[], AbstractContextManager[Executor]],
    *,
    workers: int,
    seconds: float = float("inf"),
    expected: float = 0.0,
    progress: Progress | None = None,
) -> Outcome:
    """Make the runs that are missing.

    Args:
        settings: what all runs share.
        candidates: regularisers and controls.
        store: of finished runs.
        executor: opens a pool to run on; called again if the pool breaks.
        workers: runs at a time; 0: all that can be made, for a cluster to share out.
        seconds: the time there is; no run begins that is not expected to end in it, and those that have not ended
            then are stopped.
        expected: seconds of a run, before any has been made.
        progress: told how it goes.

    Raises:
        StudyError: the store cannot be used.
    """
    tell = progress or Progress()
    plans = [Plan(candidate.name, settings.protocol) for candidate in candidates]
    queue = _Queue(settings, candidates, plans, store, tell)
    tell.begin(sum(sum(plan.missing()) for plan in plans), workers)
    deadline = time.monotonic() + seconds
    out_of_time = False
    start = time.perf_counter()
    session = 0
    try:
        queue.fill()
        while (queue.waiting or queue.alone) and not out_of_time:
            if not session:
                session = store.start_session(now(), {**provenance(), "workers": workers or "dask"})
            try:
                with executor() as pool:
                    out_of_time = _work(queue, pool, workers, deadline, expected, session)
            except _OutOfTimeError:
                out_of_time = True
            except BrokenExecutor:
                queue.suspect()  # whichever of them it was
    finally:
        tell.end()
        if session:
            store.end_session(session, round(time.perf_counter() - start, 1))
    return Outcome(plans, queue.made, queue.found, store.sessions(queue.sessions), out_of_time)


def missing(settings: Settings, candidates: Sequence[Candidate], store: Store) -> tuple[int, int]:
    """Tuning runs and reported runs that the store does not hold yet.

    Raises:
        StudyError: the store cannot be used.
    """
    plans = [Plan(candidate.name, settings.protocol) for candidate in candidates]
    _Queue(settings, candidates, plans, store, Progress()).fill()
    counts = [plan.missing() for plan in plans]
    return sum(tuning for tuning, _ in counts), sum(reported for _, reported in counts)


def _work(queue: "_Queue", pool: Executor, workers: int, deadline: float, expected: float, session: int) -> bool:
    """Run what waits; whether time was too short for some."""
    running = queue.running
    while True:
        short = False
        while (job := queue.next(len(running), workers)) is not None:
            if time.monotonic() + queue.expected(expected) > deadline:
                queue.put_back(job)
                short = True
                break
            try:
                running[pool.submit(run_job, queue.settings.measure, job.config)] = job
            except BrokenExecutor:
                queue.put_back(job)
                raise
        if not running:
            return short
        left = deadline - time.monotonic()
        done, _ = wait(running, timeout=None if left == float("inf") else max(0.0, left), return_when=FIRST_COMPLETED)
        if not done:
            for future in running:
                future.cancel()
            raise _OutOfTimeError
        for future in done:
            try:
                row, seconds, lasting = future.result()
            except BrokenExecutor:
                raise
            except Exception as error:  # of the cluster: a run's own are in its row
                row, seconds, lasting = {"broke": f"{type(error).__name__}: {error}"[:500]}, 0.0, False
            queue.finish(running.pop(future), row, seconds, session if lasting else 0)


def run_job(measure: Measure, config: PretrainConfig) -> tuple[Row, float, bool]:
    """Make one run, on one thread: its row, its seconds, and whether the row would be the same again."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    start = time.perf_counter()
    lasting = True
    with threadpool_limits(1):
        try:
            row = measure(config)
        except (Exception, SystemExit) as error:  # which would end the comparison without a word
            lasting = not isinstance(error, _PASSING)
            row = {"broke": " ".join(f"{type(error).__name__}: {error}".split())[:500]}
    return row, time.perf_counter() - start, lasting


class _Queue:
    """Runs that wait, who waits for them, and what is known of them."""

    def __init__(
        self, settings: Settings, candidates: Sequence[Candidate], plans: list[Plan], store: Store, tell: Progress
    ) -> None:
        self.settings, self.store, self.tell = settings, store, tell
        self.candidates = {candidate.name: candidate for candidate in candidates}
        self.plans = [(plan, plan.batches()) for plan in plans]
        self.open: dict[str, list[tuple[Plan, Wanted]]] = {}  # by key
        self.waiting: list[Job] = []
        self.running: dict[Future[tuple[Row, float, bool]], Job] = {}
        self.alone: list[Job] = []  # runs under which a pool broke; each gets a second chance, without others
        self.tried_alone: set[str] = set()
        self.rows: dict[str, Row] = {}
        self.seconds: list[float] = []
        self.made = self.found = 0
        self.sessions: set[int] = set()

    def fill(self) -> None:
        """Take up what plans ask for, as far as they can be led now."""
        busy = {id(plan) for wants in self.open.values() for plan, _ in wants}
        for plan, batches in self.plans:
            while id(plan) not in busy:
                batch = next(batches, None)
                if batch is None:
                    break
                for wanted in batch:
                    job = make_job(self.settings, self.candidates[plan.name], wanted)
                    if (row := self._known(job)) is not None:
                        plan.record(wanted, row)
                        self.tell.advance(plan.name, wanted, row, True)
                        continue
                    if job.key not in self.open:
                        self.waiting.append(job)
                    self.open.setdefault(job.key, []).append((plan, wanted))
                    busy.add(id(plan))
        # Tuning first, then seed by seed, so that a comparison that is cut short holds the same seeds of all.
        self.waiting.sort(key=lambda job: min((w.stage == "report", w.seed) for _, w in self.open[job.key]))

    def _known(self, job: Job) -> Row | None:
        """The row of a run that has been made, by the code as it is."""
        if job.key in self.rows:
            return self.rows[job.key]
        try:
            record = self.store.get(job.key)
        except DamagedRecord:
            return None
        if record is None or record.fingerprint != self.settings.fingerprint:
            return None
        self.found += 1
        self.seconds.append(record.seconds)
        self.sessions.add(record.session)
        self.rows[job.key] = record.rows[0]
        return self.rows[job.key]

    def next(self, running: int, workers: int) -> Job | None:
        """A run that may begin now."""
        if self.alone:
            return self.alone.pop(0) if not running else None
        return self.waiting.pop(0) if self.waiting and (running < workers or not workers) else None

    def put_back(self, job: Job) -> None:
        (self.alone if job.key in self.tried_alone else self.waiting).insert(0, job)

    def suspect(self) -> None:
        """A pool broke: one of the runs that went on did it. Each goes again alone; who breaks it again is recorded."""
        suspects, self.running = [*self.running.values()], {}
        for job in suspects:
            if job.key in self.tried_alone:
                self.finish(job, {"broke": KILLED}, 0.0, 0)
            else:
                self.tried_alone.add(job.key)
                self.alone.append(job)

    def finish(self, job: Job, row: Row, seconds: float, session: int) -> None:
        """A run is made; ``session`` 0: its row is not to be kept."""
        row = {"config": json.dumps(job.shown), "broke": "", **row, "seconds": round(seconds, 3)}
        self.made += 1
        self.seconds.append(seconds)
        self.rows[job.key] = row
        if session:
            self.store.put(job.key, Record([row], seconds, session, self.settings.fingerprint))
            self.sessions.add(session)
        for plan, wanted in self.open.pop(job.key):
            plan.record(wanted, row)
            self.tell.advance(plan.name, wanted, row, False)
        self.fill()

    def expected(self, guess: float) -> float:
        """Seconds that a run will take, by those made before."""
        recent = sorted(s for s in self.seconds[-20:] if s > 0)
        return recent[len(recent) // 2] if recent else guess


def all_rows(outcome: Outcome) -> Iterator[dict[str, Any]]:
    """Every run, tuning first: who, w, seed, what for, and the row."""
    for plan in outcome.plans:
        for weight, rows in sorted(plan.tried.items()):
            for seed, row in sorted(rows.items()):
                yield {"regularizer": plan.name, "stage": "tuning", "weight": weight, "seed": seed, **row}
        for seed, row in sorted(plan.reported.items()):
            yield {"regularizer": plan.name, "stage": "report", "weight": plan.chosen, "seed": seed, **row}
