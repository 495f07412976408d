"""Pictures show the numbers they are given."""

import itertools

import numpy as np
import pandas as pd
import pytest

from sigreg_lab.experiment.estimates import Estimates, about, exactly, tabulate
from sigreg_lab.figures.kinds import curves, forest, heat_map, scatter
from sigreg_lab.figures.theme import log_ticks, new_figure, plain_number, themed

ROWS = [
    about("x", 10 * i + j + k / 10, 0.5, exact=0.0 if k else np.nan, law=law, n=n, dim=dim)
    for i, law in enumerate(("null", "laplace"))
    for j, n in enumerate((8, 16, 64))
    for k, dim in enumerate((2, 16))
]
TABLE = Estimates(tabulate(ROWS))


def _segments(axis):
    return [segment for bar in axis.containers for segment in bar.lines[2][0].get_segments()]


def test_curves_draw_each_estimate_with_its_interval_in_its_panel():
    figure = curves(
        TABLE, x="n", hue="law", column="dim", x_label="n", y_label="x", exact="exact", references={"a line": 3.0}
    )
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["K = 2", "K = 16"]
    drawn = {tuple(np.round(s[:, 1], 6)) for axis in figure.axes for s in _segments(axis)}
    assert drawn == {(round(r["low"], 6), round(r["high"], 6)) for r in ROWS}
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert set(texts) == {"null: N(0, 1)", "Laplace", "a line", "exact"}
    assert [axis.get_ylabel() for axis in figure.axes] == ["x", ""]


def test_a_forest_has_a_line_for_each_item_from_top_to_bottom():
    figure = forest(TABLE, y="law", hue="n", hue_name="n = {}", column="dim", x_label="x", references={"zero": 0.0})
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["null: N(0, 1)", "Laplace"]
    assert figure.axes[0].yaxis_inverted()
    assert len(_segments(figure.axes[1])) == 6
    assert "n = 8" in {text.get_text() for text in figure.legends[0].get_texts()}


def test_one_colour_a_line_needs_no_legend():
    figure = forest(TABLE.of(n=8, dim=2), y="law", hue="law", x_label="x")
    assert not figure.legends


def test_a_heat_map_writes_each_number_and_leaves_gaps():
    some = Estimates(tabulate([*ROWS[:5], exactly("x", 7.0, law="laplace", n=64, dim=2)]))
    figure = heat_map(some, x="n", y="law", column="dim", value_label="x", form="{:.1f}")
    assert sorted(t.get_text() for t in figure.axes[0].texts if t.get_text()) == ["0.0", "1.0", "2.0", "7.0"]
    assert [text.get_text() for legend in figure.legends for text in legend.get_texts()] == ["not measured"]
    assert not heat_map(TABLE, x="n", y="law", column="dim", value_label="x").legends


@pytest.mark.parametrize("lines", [1, 3, 15])
def test_a_heat_map_fills_its_canvas_however_long_the_name_of_its_numbers(lines):
    rows = [exactly("x", float(i), law="laplace", n=8, statistic=f"s{i}") for i in range(lines)]
    name = "samples of one test over those of the other, for a power of one half"
    figure = heat_map(Estimates(tabulate(rows)), x="n", y="statistic", value_label=name)
    figure.draw_without_rendering()
    panel, name = figure.axes[0], figure.axes[1].yaxis.label
    assert panel.get_window_extent().height > 0.4 * figure.bbox.height
    assert name.get_window_extent().height < 1.3 * panel.get_window_extent().height


def test_a_scatter_shows_every_point():
    table = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [3.0, 2.0, 1.0], "kind": ["p", "q", "p"]})
    figure = scatter(table, x="a", y="b", hue="kind", x_label="a", y_label="b")
    assert sorted(len(c.get_offsets()) for c in figure.axes[0].collections) == [1, 2]


@pytest.mark.parametrize(
    "draw",
    [
        lambda e: curves(e, x="n", x_label="", y_label=""),
        lambda e: forest(e, y="kind", x_label=""),
        lambda e: heat_map(e, x="n", y="kind", value_label=""),
        lambda e: scatter(e.table, x="a", y="b", hue="kind", x_label="a", y_label="b"),
    ],
)
def test_an_empty_table_is_nothing_to_draw(draw):
    """A study whose settings leave a picture without rows goes without it; any other error is the study's own."""
    with pytest.raises(LookupError, match="nothing to draw") as found:
        draw(TABLE.of("y"))
    assert type(found.value) is LookupError


@pytest.mark.parametrize(("width", "written"), [(2.7, ["16", "64", "256", "1024", "", "4096"]), (8.0, None)])
def test_ticks_are_written_where_there_is_room(width, written):
    values = [16, 64, 256, 1024, 2048, 4096]
    with themed():
        axis = new_figure(width, 2.0).subplots()
        log_ticks(axis, values)
        axis.figure.draw_without_rendering()
        boxes = [label.get_window_extent() for label in axis.get_xticklabels() if label.get_text()]
    assert [label.get_text() for label in axis.get_xticklabels()] == (written or [str(value) for value in values])
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    assert len(axis.get_xticks()) == len(values)


@pytest.mark.parametrize(
    ("value", "written"), [(0.001, "0.001"), (1e-5, "10⁻⁵"), (2e-5, "2·10⁻⁵"), (1e5, "100000"), (1e6, "10⁶"), (0, "0")]
)
def test_numbers_on_axes_are_written_as_people_write_them(value, written):
    assert plain_number(value) == written


def _do_not_overlap(texts):
    boxes = [text.get_window_extent() for text in texts if text.get_text() and text.get_visible()]
    return not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_long_names_and_wide_ranges_overlap_nothing():
    """Labels longer than their panel, and a vertical axis whose range the last panel does not show."""
    rows = [
        exactly("x", 10.0 ** (k * (2 - i) * j), law=law, n=n, dim=dim)
        for i, law in enumerate(("a law with quite a long name", "and another one"))
        for j, n in enumerate((8, 16, 64))
        for k, dim in enumerate((16, 2))
    ]
    long = "what all the numbers are, said at some length, with the unit of them"
    figure = curves(
        Estimates(tabulate(rows)), x="n", row="law", column="dim", x_label=long, y_label=long, log_y=True,
        titles={"dim": long + " {}"}, size=(2.0, 1.8),
    )  # fmt: skip
    figure.draw_without_rendering()
    for one in (lambda axis: axis.yaxis.label, lambda axis: axis.xaxis.label, lambda axis: axis._left_title):
        assert _do_not_overlap([one(axis) for axis in figure.axes])
    assert all(_do_not_overlap(axis.get_yticklabels()) for axis in figure.axes)


def test_panels_stand_three_in_a_line_with_a_scale_below_each_column():
    rows = [exactly("x", 1.0, n=n, dim=dim) for n in (8, 16) for dim in (2, 3, 4, 5, 6)]
    figure = curves(Estimates(tabulate(rows)), x="n", column="dim", y_label="x")
    labels = [axis.get_xlabel() for axis in figure.axes if axis.get_visible()]
    assert labels == ["", "", "batch size N", "batch size N", "batch size N"]


def test_a_legend_stays_within_its_figure():
    rows = [exactly("x", 1.0, n=n, law=f"a law with quite a long name, {i}") for n in (8, 16) for i in range(5)]
    figure = curves(Estimates(tabulate(rows)), x="n", hue="law", y_label="x", legend_columns=5)
    figure.draw_without_rendering()
    assert figure.legends[0].get_window_extent().width < figure.bbox.width
