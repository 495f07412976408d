"""Whoever waits is told how long it takes, and of runs that break."""

import io

from rich.console import Console

from sigreg_lab.compare.progress import TerminalProgress
from sigreg_lab.compare.protocol import Wanted


def test_without_a_terminal_lines_tell_the_time_that_is_left():
    text, now = io.StringIO(), [0.0]
    progress = TerminalProgress(Console(file=text, width=200), clock=lambda: now[0])
    progress.begin(10, workers=0)
    progress.advance("a", Wanted(0.1, 1, "tuning"), {"broke": "", "seconds": 1.0}, True)
    for number in range(4):
        now[0] += 20
        row = {"broke": "[bold]no" if number == 1 else "", "seconds": 20.0}
        progress.advance("[red]a", Wanted(0.1, 7, "tuning"), row, False)
    progress.end()
    assert text.getvalue().splitlines() == [
        "[red]a, weight 0.1, seed 7 broke: [bold]no",
        "3 of 10 runs, at most about 2 min left",
        "5 of 10 runs, at most about 2 min left",
        "1 runs were there from before",
    ]


def test_the_time_that_is_left_is_that_of_runs_after_each_workers_first():
    """Two workers: 40 s to start up and 20 s for a first run, then 20 s a run."""
    text, now = io.StringIO(), [0.0]
    progress = TerminalProgress(Console(file=text, width=200), clock=lambda: now[0])
    progress.begin(34, workers=2)
    for at, seconds in ((60, 25.0), (60, 25.0), (80, 20.0), (80, 20.0), (100, 20.0), (100, 20.0)):
        now[0] = at
        progress.advance("a", Wanted(0.1, 7, "tuning"), {"broke": "", "seconds": seconds}, False)
    assert text.getvalue().splitlines() == [
        "1 of 34 runs, at most about 7 min left",  # 33 * 25 / 2 = 412 s
        "5 of 34 runs, about 5 min left",  # 29 * 20 / 2 = 290 s
    ]
