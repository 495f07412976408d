"""How far a run is, for whoever waits: a bar in a terminal; elsewhere an estimate early on, then a line a minute."""

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

_BETWEEN = 60.0  # seconds from one line to the next
_FIRST = 2.0  # seconds of steps that an estimate rests on


class RunProgress:
    """Called after each logged step; see ``pretrain``.

    Args:
        name: of the run.
        console: where to.
        note: said when the first step is made; empty: nothing.
        clock: seconds.
    """

    def __init__(
        self, name: str, console: Console, note: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._console, self._note, self._clock = name, console, note, clock
        self._bar = Progress(console=console) if console.is_terminal else None
        self._task = self._bar.add_task(escape(name), total=None) if self._bar else None
        self._began: tuple[int, float] | None = None
        self._told = -float("inf")

    def __call__(self, step: int, values: dict[str, float]) -> None:
        steps, now = int(values["steps"]), self._clock()
        if self._note:
            self._console.print(self._note, markup=False)
            self._note = ""
        if self._bar is not None and self._task is not None:
            self._bar.start()  # not before the config has proved good; idempotent
            self._bar.update(self._task, completed=step + 1, total=steps)
            return
        if self._began is None:
            self._began = step, now  # the first step compiles and tunes: it says little
            return
        first, since = self._began
        if now - since < _FIRST or now - self._told < _BETWEEN or step + 1 == steps:
            return
        left = (now - since) / (step - first) * (steps - step - 1)
        self._told = now
        self._console.print(
            f"{self._name}: step {step + 1} of {steps}, loss {values['total']:.4g}, about {duration(left)} of steps "
            "left, then probes",
            markup=False,
            soft_wrap=True,
        )

    def __enter__(self) -> "RunProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._bar is not None and self._bar.live.is_started:
            self._bar.stop()


def duration(seconds: float) -> str:
    """A time to wait, in words: 40 s, 12 min, 3.2 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
