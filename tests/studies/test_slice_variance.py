"""The study of estimators of the gradient: a wrong row is refused, its claims can be turned, its times are a line's."""

import math

import numpy as np
import pytest

from sigreg_lab.experiment.estimates import Estimates, contradictions, tabulate
from sigreg_lab.experiment.study import load_study
from tests.studies.turn import measured, verdicts

STUDY = load_study("slice_variance")


@pytest.fixture(scope="module")
def rows():
    config = STUDY.configure("smoke")
    return measured(STUDY, STUDY.cells(config), STUDY.settings(config))


@pytest.mark.parametrize(
    ("quantity", "estimator", "factor", "complaint"),
    [
        (None, None, 1.0, ""),
        ("error", "iid", 0.4, "squared error"),
        ("error", "orthogonal", 1.6, "squared error"),
        ("exact", "all directions", 3.0, "square of the exact gradient"),
    ],
)
def test_what_was_measured_is_accepted_and_a_wrong_row_is_not(rows, quantity, estimator, factor, complaint):
    changed = rows.copy()
    at = (changed["quantity"] == quantity) & (changed["estimator"] == estimator)
    changed.loc[at, "value"] *= factor
    found = " ".join(contradictions(Estimates(tabulate(STUDY.estimate(changed, {})))))
    assert complaint in found
    assert bool(found) == bool(complaint)


def test_equal_time_compares_with_independent_slices_of_that_time(rows):
    """The error of an estimator over the law at the slices that its time buys, whatever the times were."""
    changed = rows.copy()
    changed.loc[changed["quantity"] == "equal", "value"] = 100.0
    found = Estimates(tabulate(STUDY.estimate(changed, {})))
    place = {"dim": 16, "num_slices": 32}
    exact = found.at("squared error", estimator="iid", **place).exact
    for name in ("orthogonal", "control variates"):
        error = found.at("squared error", estimator=name, **place)
        ratio = found.at("equal time", estimator=name, **place)
        assert ratio.value == pytest.approx(error.value / (exact * 32 / 100))
        assert ratio.low < ratio.value < ratio.high


def test_errors_over_independent_ones_are_those_of_theory(rows):
    share = rows[(rows["quantity"] == "error") & (rows["estimator"] == "control variates")]
    found = Estimates(tabulate(STUDY.estimate(rows, {})))
    for count, part in share.groupby("num_slices"):
        place = {"estimator": "iid", "num_slices": count}
        expected = float(np.mean(part["value"])) / found.at("squared error", **place).exact
        controlled = found.at("equal slices", estimator="control variates", num_slices=count)
        assert controlled.value == pytest.approx(expected)
        assert math.isnan(controlled.exact)


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("beats_orthogonal", {"quantity": "squared error", "estimator": "control variates"}, 99.0),
        ("beats_in_time", {"quantity": "equal time", "estimator": "control variates"}, 0.5),
        ("hd3_beats_independent", {"quantity": "equal time", "estimator": "hd3"}, 99.0),
        ("hd3_wins_in_time", {"quantity": "equal time", "estimator": "hd3"}, 99.0),
        ("near_theory", {"quantity": "equal slices", "estimator": "control variates"}, 0.5),
        ("hd3_is_orthogonal", {"quantity": "squared error", "estimator": "hd3"}, 99.0),
    ],
)
def test_each_claim_can_be_turned_round(name, place, value):
    before, after = verdicts(STUDY, name, (place, value))
    assert {before, after} == {"holds", "fails"}
