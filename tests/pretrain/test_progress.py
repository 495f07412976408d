"""What whoever waits for a run is told."""

import io

import pytest
from rich.console import Console

from sigreg_lab.pretrain.config import default_recipe
from sigreg_lab.pretrain.progress import RunProgress, duration


def told(seconds_a_step, steps, note=""):
    text, now = io.StringIO(), [0.0]
    with RunProgress("photos sigreg-ep", Console(file=text, width=40), note, lambda: now[0]) as progress:
        for step in range(steps):
            progress(step, {"steps": steps, "total": 1.5})
            now[0] += seconds_a_step
    return text.getvalue().splitlines()


def test_without_a_terminal_the_first_steps_tell_how_long_it_takes_then_a_line_a_minute():
    lines = told(1.0, 200, "no GPU: small")
    assert lines[0] == "no GPU: small"
    assert lines[1] == "photos sigreg-ep: step 3 of 200, loss 1.5, about 3 min of steps left, then probes"
    assert [line.split(" of ")[0] for line in lines[2:]] == [f"photos sigreg-ep: step {n}" for n in (63, 123, 183)]


def test_a_run_of_a_moment_says_nothing():
    assert told(0.01, 100) == []


@pytest.mark.parametrize(("seconds", "words"), [(40, "40 s"), (100, "2 min"), (11520, "3.2 h")])
def test_times_in_words(seconds, words):
    assert duration(seconds) == words


def test_images_without_a_gpu_get_the_small_recipe():
    assert default_recipe("photos", gpu=False) == "images-small"
    assert default_recipe("photos", gpu=True) == "images"
    assert [default_recipe(name, gpu=False) for name in (None, "digits", "mnist1d")] == ["digits", "digits", "mnist1d"]
