"""Parts that the studies' figures share."""

import pandas as pd
import pytest

from sigreg_lab.figures.theme import error_bars, legend_below, new_figure


def test_error_bars_reach_from_low_to_high_and_one_legend_names_them():
    rows = pd.DataFrame({"n": [1, 2], "value": [0.5, 0.7], "low": [0.4, 0.1], "high": [0.9, 0.8]})
    figure = new_figure(3, 2)
    axes = figure.subplots(1, 2)
    for axis in axes:
        error_bars(axis, rows["n"], rows, "value", fmt="o", label="a test")
    legend_below(figure, axes[0], 2)
    segments = axes[0].containers[0].lines[2][0].get_segments()
    for segment, low, high in zip(segments, rows["low"], rows["high"], strict=True):
        assert segment[:, 1].tolist() == pytest.approx([low, high])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a test"]
