"""How far a run is, for whoever waits: a bar in a terminal; elsewhere a line early on, then one a minute.

Each line of steps says how long the steps still take, as soon as that is known, and no earlier.
"""

import os
import threading
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

_BETWEEN = 60.0  # seconds from one line to the next
_FIRST = 2.0  # seconds of steps that an estimate rests on


class RunProgress:
    """Called after each logged step; see ``pretrain``. Without a terminal a thread speaks up where steps are slow.

    Args:
        name: of the run.
        console: where to.
        note: said when the first step is made; empty: nothing.
        before: what goes on before the first step.
        clock: seconds.
    """

    def __init__(
        self,
        name: str,
        console: Console,
        note: str = "",
        *,
        before: str = "reading data",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._console, self._note, self._clock = name, console, note, clock
        self._bar = Progress(console=console) if console.is_terminal else None
        self._task = self._bar.add_task(escape(name), total=None) if self._bar else None
        self._began: tuple[int, float] | None = None
        self._left: float | None = None  # seconds of steps to come, at the time of the last one
        self._stepping = False
        self._doing, self._since = before, clock()
        self._told, self._estimated = self._since, False
        self._ended = threading.Event()

    def __call__(self, step: int, values: dict[str, float]) -> None:
        steps, now = int(values["steps"]), self._clock()
        if self._note:
            self._console.print(self._note, markup=False)
            self._note = ""
        if self._bar is not None and self._task is not None:
            self._bar.start()  # not before the config has proved good; idempotent
            self._bar.update(self._task, completed=step + 1, total=steps)
            return
        self._doing, self._since = f"step {step + 1} of {steps}, loss {values['total']:.4g}", now
        self._stepping = step + 1 < steps
        if not self._stepping:
            self._doing = f"all {steps} steps made, fitting probes"
            return
        if self._began is None:
            self._began = step, now  # the first step compiles and tunes: it says little
            return
        first, since = self._began
        if now - since >= _FIRST:
            self._left = (now - since) / (step - first) * (steps - step - 1)
            if not self._estimated or now - self._told >= _BETWEEN:
                self._estimated = True
                self._say(self._line(now))

    def beat(self) -> None:
        """Say what goes on, if nothing has been said for a minute."""
        now = self._clock()
        if now - self._told >= _BETWEEN:
            self._say(self._line(now))

    def _line(self, now: float) -> str:
        """What goes on, since when where it takes long, and how long the steps still take."""
        passed = now - self._since
        if not self._stepping:
            return f"{self._doing}, {duration(passed)} so far"
        line = f"{self._doing}, {duration(passed)} ago" if self._left is None or passed >= _BETWEEN else self._doing
        left = None if self._left is None else self._left - passed
        return f"{line}, about {duration(left)} left, then probes" if left and left > 0 else line

    def _say(self, line: str) -> None:
        self._told = self._clock()
        self._console.print(f"{self._name}: {line}", markup=False, highlight=False, soft_wrap=True)

    def _beats(self) -> None:
        while not self._ended.wait(1.0):
            self.beat()

    def __enter__(self) -> "RunProgress":
        if self._bar is None and os.environ.get("RANK", "0") == "0":  # one of torchrun's processes speaks
            threading.Thread(target=self._beats, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._bar is not None and self._bar.live.is_started:
            self._bar.stop()


def duration(seconds: float) -> str:
    """A time to wait, in words: 40 s, 12 min, 3.2 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
