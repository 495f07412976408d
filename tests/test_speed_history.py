"""The history of speed: what asv stored becomes rows, a step is told where all turns lie apart, the page holds it."""

import json
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import history

RESULTS = Path("results/speed_history")
NAME = "history.History.track_time_over_two_products"


def store(folder, commit, date, values):
    params = [["'sigreg-ep'", "'sigreg-ep, hd3'"], ["'N512 K128 M1024'"], ["0", "1", "2"]]
    results = {NAME: [values, params, "version"]}
    (folder / "machine").mkdir(exist_ok=True)
    record = {"commit_hash": commit, "date": date, "params": {"cpu": "one"}, "results": results,
              "result_columns": ["result", "params", "version"]}  # fmt: skip
    (folder / "machine" / f"{commit}-env.json").write_text(json.dumps(record))
    (folder / "machine" / "machine.json").write_text("{}")


def test_steps_are_those_where_all_turns_lie_apart(tmp_path):
    store(tmp_path, "bbb", 2, [2.0, 2.1, 2.2, None, None, None])
    store(tmp_path, "aaa", 1, [9.0, 10.0, 11.0, None, None, None])
    store(tmp_path, "ccc", 3, [1.0, 2.0, 3.0, 0.5, 0.5, 0.6])
    store(tmp_path, "ddd", 4, [1.0, 1.0, 1.0, 0.4, 0.4, 0.4])
    table = history.read(tmp_path)
    assert list(table["commit"]) == ["aaa", "bbb", "ccc", "ccc", "ddd", "ddd"]
    assert table.loc[0, ["median", "least", "most", "turns"]].tolist() == [10.0, 9.0, 11.0, 3]
    told = history.steps(table.assign(subject="what it did"))
    assert "| `bbb` | what it did | sigreg-ep, N512 K128 M1024: 4.8 times less, 2.10 |" in told
    assert told.count("\n") == 3, "no step at the first commit, of overlapping turns, of what is new, of a quarter"
    page = history.renewed("before <!-- steps -->\nold\n<!-- end --> after", table.assign(subject="it"))
    assert "old" not in page
    assert page.startswith("before <!-- steps -->\n| commit |")
    assert page.endswith("<!-- end --> after")


def test_nothing_stored_is_said(tmp_path):
    with pytest.raises(SystemExit, match="run make speed-history"):
        history.read(tmp_path)


def test_the_page_holds_the_committed_rows():
    table = pd.read_csv(RESULTS / "rows.csv")
    assert table["commit"].nunique() >= 12
    assert history.steps(table) in history.PAGE.read_text(encoding="utf-8")


def test_the_benchmark_runs(monkeypatch):
    monkeypatch.setattr(history, "SECONDS", 0.0)
    for operation in history.OPERATIONS:
        benchmark = history.History()
        benchmark.setup(operation, "N512 K128 M1024", 0)
        assert benchmark.track_time_over_two_products() > 0
