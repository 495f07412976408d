"""Estimates: intervals that cover, exact values that are held against, what is derived."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sigreg_lab.experiment.estimates import (
    Estimate,
    Estimates,
    about,
    contradictions,
    difference,
    exactly,
    interval,
    mapped,
    mean,
    ranks,
    rate,
    ratio,
    root,
    tabulate,
)


def _table(*rows):
    return Estimates(tabulate(rows))


def test_lookup_is_of_one_row_and_says_what_is_missing():
    table = _table(exactly("a", 1.0, n=8), exactly("a", 2.0, n=16), exactly("b", 3.0, n=8))
    assert table.at("a", n=16).value == 2.0
    assert table.at("a", n=16).n == 16
    assert table.axis("n") == [8, 16]
    assert [e.value for e in table.of(["a", "b"], n=lambda n: n < 10)] == [1.0, 3.0]
    assert (table.of("a").least().n, table.of("a").largest().n) == (8, 16)
    for wrong in (
        lambda: table.at("a"),
        lambda: table.at("a", n=3),
        lambda: table.of("a", colour=1),
        table.of("c").least,
    ):
        with pytest.raises(LookupError):
            wrong()


def test_rows_without_the_columns_are_refused():
    with pytest.raises(ValueError, match="lack the column 'exact'"):
        tabulate([{"quantity": "a", "estimate": 1.0, "low": 0, "high": 2, "standard_error": 1, "replicates": 0}])


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (rate("p", 845, 1000), "0.84 (0.82, 0.87)"),
        (exactly("p", 0.32341), "0.3234"),
        (about("p", 123.4, 20.0), "123 (84, 163)"),
        (about("p", 1e-4, 1e-5), "1.0e-04 (8.0e-05, 1.2e-04)"),
        (about("p", -0.0001, 0.001), "0.000 (-0.002, 0.002)"),
    ],
)
def test_a_number_is_written_to_the_digits_that_are_known(row, text):
    assert str(Estimate(row)) == text


def test_percent_and_fixed_digits():
    assert Estimate(rate("p", 845, 1000)).span(1, percent=True) == "84.5% (82.1%, 86.6%)"
    assert Estimate(about("p", 7581.2, 74.0)).span(0) == "7,581 (7,436, 7,726)"


def test_a_known_contradiction_is_found_and_a_right_study_is_left_alone():
    right = [exactly("e", 1 / 3, exact=0.333333333333), rate("r", 40, 1000, exact=0.05), exactly("b", 3e-7, 0.0, 1e-6)]
    assert contradictions(_table(*right)) == []
    wrong = [exactly("e", 0.3334, exact=1 / 3), rate("r", 10, 1000, exact=0.05), exactly("b", 2e-6, 0.0, 1e-6)]
    wrong += [about("a", math.nan, 0.1, exact=1.0), exactly("i", -3.0, exact=-math.inf)]
    right += [exactly("i", -math.inf, exact=-math.inf)]
    for row in wrong:
        assert len(contradictions(_table(*right, row))) == 1, row


def test_a_right_study_complains_once_in_a_thousand_times():
    """Family-wise, with few replicates each: 40,000 studies of five means of six values, 40 complaints expected."""
    rng, studies = np.random.default_rng(0), 4000
    values = rng.standard_normal((studies, 5, 6))
    size = abs(values.mean(2)) / (values.std(2, ddof=1) / math.sqrt(6))
    rows = [[mean("m", v, exact=0.0) for v in study] for study in values[:200]]
    limit = stats.t.ppf(1 - 0.001 / 5 / 2, 5)
    for study, sizes in zip(rows, size, strict=False):
        assert bool(contradictions(_table(*study))) == bool((sizes > limit).any())
    complaints = int((size > limit).any(1).sum())
    assert abs(complaints - 4) < 4.5 * 2


def test_levels_stretch_as_students_law_does():
    values = np.random.default_rng(1).standard_normal(5)
    row = Estimate(mean("m", values))
    expected = stats.t.interval(0.999, 4, values.mean(), stats.sem(values))
    assert (row.at_level(0.999).low, row.at_level(0.999).high) == pytest.approx(expected)
    cut = Estimate(interval("correlation", 0.8, 0.3, 1.0)).at_level(0.999)
    assert cut.low < 0.3
    assert cut.high == 1.0, "cut at its limit"
    assert row.pvalue(0.3) == pytest.approx(stats.ttest_1samp(values, 0.3).pvalue)
    assert Estimate(exactly("e", 1.0)).pvalue(1.0) == 1.0
    assert Estimate(exactly("e", 1.0)).pvalue(1.1) == 0.0


def test_difference_and_ratio_cover():
    """Two rates and two positive means, the truth known: two-sided, 2,000 simulations, 4.5 standard errors."""
    rng, total = np.random.default_rng(2), 2000
    counts = rng.binomial(200, [0.1, 0.3], (total, 2))
    normal = rng.normal([2.0, 5.0], [0.1, 0.4], (total, 2))
    covered = np.zeros(2)
    for (a, b), (c, d) in zip(counts, normal, strict=True):
        gap = difference(Estimate(rate("p", a, 200)), Estimate(rate("p", b, 200)))
        share = ratio(Estimate(about("x", c, 0.1)), Estimate(about("x", d, 0.4)))
        covered += [gap.low <= -0.2 <= gap.high, share.low <= 0.4 <= share.high]
    assert np.all(abs(covered / total - 0.95) < 4.5 * math.sqrt(0.95 * 0.05 / total))
    assert ratio(Estimate(about("x", 1.0, 1.0)), Estimate(exactly("y", 2.0))).low == 0.0


def test_ranks_are_shared_where_intervals_do_not_part():
    table = _table(about("a", 1.0, 0.01), about("a", 1.01, 0.01), about("a", 3.0, 0.01))
    assert ranks(table) == [(2, 3), (2, 3), (1, 1)]
    assert ranks(table, largest_first=False) == [(1, 2), (1, 2), (3, 3)]


@pytest.mark.parametrize("total", [1, 3, 30, 400, 10_000])
def test_no_rate_and_a_full_one_lie_in_their_intervals(total):
    none, full = Estimate(rate("p", 0, total)), Estimate(rate("p", total, total))
    assert (none.low, none.value) == (0.0, 0.0)
    assert (full.value, full.high) == (1.0, 1.0)
    assert 0 < none.high < 1
    assert full.low == pytest.approx(1 - none.high)


def test_an_interval_from_elsewhere_keeps_its_ends():
    row = Estimate(interval("b", 1.0, 0.5, 2.5))
    assert (row.low, row.high) == (0.5, 2.5)
    assert row.standard_error == pytest.approx(1.0 / 1.959964, rel=1e-6)


def test_a_table_read_back_is_the_same(tmp_path):
    rows = [rate("r", 1, 3, exact=0.5, kind="none"), about("a", 0.1 + 0.2, 1e-17, kind="x")]
    tabulate(rows).to_csv(tmp_path / "e.csv", index=False)
    back = pd.read_csv(tmp_path / "e.csv", keep_default_na=False, na_values=["nan", ""])
    pd.testing.assert_frame_equal(back, tabulate(rows), check_exact=True)


def test_a_function_of_an_estimate_has_the_function_of_its_interval():
    square = about("square", 4.0, 0.5, 20, 4.41, n=8)
    found = mapped(square, "size", root)
    assert (found["quantity"], found["n"], found["estimate"], found["exact"]) == ("size", 8, 2.0, pytest.approx(2.1))
    assert (found["low"], found["high"]) == pytest.approx((square["low"] ** 0.5, square["high"] ** 0.5))
    assert found["standard_error"] == pytest.approx(0.5 / 4, rel=0.05), "to first order"
    assert mapped(about("square", 0.1, 1.0), "size", root)["low"] == 0
