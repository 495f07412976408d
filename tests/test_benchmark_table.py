"""Ratios of ``benchmarks.table``: of as many calls each, in turn, the least over the least."""

import itertools

from benchmarks import table
from benchmarks.cases import side_by_side


def test_contestants_run_in_turn_and_equally_often():
    ran: list[str] = []
    runs = {name: lambda name=name: ran.append(name) for name in "abc"}
    seconds = side_by_side(runs, clock=itertools.count().__next__, calls=7)
    assert {name: len(taken) for name, taken in seconds.items()} == dict.fromkeys("abc", 7)
    assert "".join(ran) == "abc" * 8  # the first warms up


def test_a_ratio_is_of_the_least_and_of_the_medians():
    """A clock that stands still but for what a call takes."""
    now, took = [0.0], {"slow": itertools.cycle([3.0, 8.0, 6.0]), "fast": itertools.cycle([1.0, 2.0, 4.0])}

    def run(name):
        now[0] += next(took[name])

    runs = {name: lambda name=name: run(name) for name in took}
    (found,) = table.beside((4, 5, 6), runs, [("slow", "fast")], lambda: now[0])
    assert found["what"] == "slow over fast"
    assert found["size"] == "N4 K5 M6"
    assert (found["least"], found["median"]) == (3.0, 3.0)
    assert (found["median_ms"], found["median_ms_of_other"], found["calls"]) == (6000.0, 2000.0, table.CALLS)
    assert table.beside((4, 5, 6), runs, [], lambda: now[0]) == []
