"""What whoever waits for a run is told."""

import io
import threading
import time

import pytest
from rich.console import Console

from sigreg_lab.pretrain.config import default_recipe
from sigreg_lab.pretrain.progress import RunProgress, duration


def told(seconds_a_step, steps, note=""):
    text, now = io.StringIO(), [0.0]
    with RunProgress("photos sigreg-ep", Console(file=text, width=40), note, clock=lambda: now[0]) as progress:
        for step in range(steps):
            progress(step, {"steps": steps, "total": 1.5})
            now[0] += seconds_a_step
    return text.getvalue().splitlines()


def test_without_a_terminal_the_first_steps_tell_how_long_it_takes_then_a_line_a_minute():
    lines = told(1.0, 200, "no GPU: small")
    assert lines[0] == "no GPU: small"
    assert lines[1] == "photos sigreg-ep: step 3 of 200, loss 1.5, about 3 min left, then probes"
    assert lines[3] == "photos sigreg-ep: step 123 of 200, loss 1.5, about 77 s left, then probes"
    assert [line.split(" of ")[0] for line in lines[2:]] == [f"photos sigreg-ep: step {n}" for n in (63, 123, 183)]


def test_slow_steps_data_and_probes_have_a_line_a_minute_too():
    text, now = io.StringIO(), [0.0]
    progress = RunProgress("photos sigreg-ep", Console(file=text, width=40), clock=lambda: now[0])

    def wait(seconds):
        for _ in range(seconds):
            now[0] += 1
            progress.beat()

    wait(150)
    for step in (0, 5, 9):
        progress(step, {"steps": 10, "total": 1.5})
        wait(150)
    lines = [line.removeprefix("photos sigreg-ep: ") for line in text.getvalue().splitlines()]
    assert lines == [
        *("reading data, 60 s so far", "reading data, 2 min so far"),
        *("step 1 of 10, loss 1.5, 30 s ago", "step 1 of 10, loss 1.5, 2 min ago", "step 1 of 10, loss 1.5, 2 min ago"),
        "step 6 of 10, loss 1.5, about 2 min left, then probes",
        *("step 6 of 10, loss 1.5, 60 s ago, about 60 s left, then probes", "step 6 of 10, loss 1.5, 2 min ago"),
        *(f"all 10 steps made, fitting probes, {time} so far" for time in ("30 s", "2 min", "2 min")),
    ]


def test_a_line_between_two_logged_steps_says_the_time_left_too():
    """Steps are logged every 40 s, a line is due every minute: the time since the last step is taken off."""
    text, now = io.StringIO(), [0.0]
    progress = RunProgress("photos", Console(file=text, width=40), clock=lambda: now[0])
    for step in (0, 10, 20):
        progress(step, {"steps": 101, "total": 0.348})
        now[0] += 40
    progress.beat()
    assert text.getvalue().splitlines() == [
        "photos: step 11 of 101, loss 0.348, about 6 min left, then probes",
        "photos: step 21 of 101, loss 0.348, about 5 min left, then probes",
    ]


def test_the_thread_that_speaks_ends_with_the_run(monkeypatch):
    monkeypatch.setattr("sigreg_lab.pretrain.progress._BETWEEN", 0.0)
    text, before = io.StringIO(), {*threading.enumerate()}
    with RunProgress("photos", Console(file=text)):
        (thread,) = {*threading.enumerate()} - before
        deadline = time.monotonic() + 30
        while not text.getvalue() and time.monotonic() < deadline:
            time.sleep(0.05)
    assert text.getvalue().startswith("photos: reading data")
    thread.join(30)
    assert not thread.is_alive()


def test_a_run_of_a_moment_says_nothing():
    assert told(0.01, 100) == []


@pytest.mark.parametrize(("seconds", "words"), [(40, "40 s"), (100, "2 min"), (11520, "3.2 h")])
def test_times_in_words(seconds, words):
    assert duration(seconds) == words


def test_images_without_a_gpu_get_the_small_recipe():
    assert default_recipe("photos", gpu=False) == "images-small"
    assert default_recipe("photos", gpu=True) == "images"
    assert [default_recipe(name, gpu=False) for name in (None, "digits", "mnist1d")] == ["digits", "digits", "mnist1d"]
