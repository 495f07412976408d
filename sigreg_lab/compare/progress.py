"""How far a comparison is, for whoever waits: a bar in a terminal, elsewhere a line from time to time."""

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sigreg_lab.compare.protocol import Wanted
from sigreg_lab.compare.runs import Progress
from sigreg_lab.experiment.cells import Row
from sigreg_lab.pretrain.progress import duration

if TYPE_CHECKING:
    from rich.console import Console

_BETWEEN = 30.0  # seconds from one line to the next


class TerminalProgress(Progress):
    """Runs made, runs to come, the time that is left, and every run that breaks.

    Args:
        console: where to.
        clock: seconds.
    """

    def __init__(self, console: "Console", clock: Callable[[], float] = time.monotonic) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        self._console, self._clock = console, clock
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._bar = Bar(*columns, console=console, disable=not console.is_terminal)
        self._total = self._done = self._found = self._workers = 0
        self._began = self._told = 0.0
        self._seconds: list[float] = []

    def begin(self, total: int, workers: int) -> None:
        self._total, self._workers = total, workers
        self._began = self._told = self._clock()
        self._bar.start()
        self._task = self._bar.add_task("runs", total=total, left="")

    def advance(self, name: str, wanted: Wanted, row: Row, found: bool) -> None:
        self._done += 1
        self._found += found
        if not found and row["seconds"] > 0:
            self._seconds.append(row["seconds"])
        if row["broke"] and not found:
            what = "" if wanted.weight is None else f", weight {wanted.weight:.3g}"
            self._say(f"{name}{what}, seed {wanted.seed} broke: {row['broke']}")
        self._bar.update(self._task, completed=self._done, left=self._left())
        if not self._console.is_terminal and not found and self._clock() - self._told >= _BETWEEN:
            self._told = self._clock()
            self._say(f"{self._done} of {self._total} runs, {self._left()}")

    def end(self) -> None:
        self._bar.stop()
        if self._found:
            self._say(f"{self._found} runs were there from before")

    def _left(self) -> str:
        """By the runs' own seconds, without each worker's first, which starts up and reads the data."""
        made = self._done - self._found
        if not made:
            return ""
        settled = self._seconds[self._workers :]
        if self._workers and self._seconds:
            each = statistics.mean(settled or self._seconds) / self._workers
        else:
            each = (self._clock() - self._began) / made
        most = "" if self._workers and settled else "at most "
        return f"{most}about {duration(each * (self._total - self._done))} left"

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
