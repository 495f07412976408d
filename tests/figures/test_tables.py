"""What reports write of numbers."""

import pandas as pd

from sigreg_lab.figures.tables import markdown_table, span


def test_an_estimate_stands_before_its_interval():
    row = pd.Series({"estimate": -0.0, "mean": 0.8512, "low": -0.25, "high": float("inf")})
    assert span(row) == "0.00 (-0.25, inf)"
    assert span(row, 3, "mean") == "0.851 (-0.250, inf)"


def test_a_table_is_markdown():
    assert markdown_table(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"
