"""The study of collapse: rates, times and periods by other means, and that it fails loudly."""

import math
import sys

import numpy as np
import pandas as pd
import pytest

from sigreg_lab.experiment.estimates import Estimates, contradictions, tabulate
from sigreg_lab.experiment.study import load_study
from tests.studies.turn import verdicts

STUDY = load_study("collapse")
OWN = sys.modules[STUDY.measure.__module__]


def test_adam_does_not_bring_vcreg_out_of_collapse_unless_the_mean_is_zero():
    def spread_after(x, steps):
        first, second, n = np.zeros_like(x), np.zeros_like(x), len(x)
        for t in range(1, steps + 1):
            mean, variance = x.mean(), x.var(ddof=1)
            slope = 2 * (variance - 1) - 2 * n * mean**2 / ((n - 1) * variance**2)
            gradient = 2 * mean / variance + slope * (x - mean)
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            x = x - 0.01 * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        return x.std(ddof=1)

    start = 1e-4 * np.random.default_rng(4).standard_normal(64)
    assert spread_after(start, 1000) < 0.1
    assert spread_after(start - start.mean(), 1000) == pytest.approx(1, abs=0.05)
    steps, widest = OWN._descend("vcreg", start[:, None], "adam", 300)
    assert np.isinf(steps[0])
    assert widest[0] == pytest.approx(spread_after(start, 300), rel=0.01)


def _estimates(rows):
    return Estimates(tabulate(STUDY.estimate(rows, {})))


def _rows(**changes):
    row = {
        "part": "pull",
        "statistic": "epps_pulley",
        "dim": 4,
        "case": "point",
        "quantity": "exponent",
        "at": math.nan,
    }
    row |= {"estimate": 1.001, "standard_error": 0.0, "count": 8, "exact": 1.0}
    return pd.DataFrame([row | changes])


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ({}, {"estimate": 0.9}),
        ({"quantity": "growth rate", "estimate": 0.78, "standard_error": 0.01, "exact": 0.773}, {"estimate": 0.9}),
        (
            {"quantity": "value", "estimate": 1.05, "standard_error": 0.05, "exact": 1.06, "count": 400},
            {"estimate": 1.5},
        ),
        ({"quantity": "exponent", "estimate": 1.0}, {"estimate": math.nan}),
    ],
)
def test_the_study_fails_loudly_where_a_known_value_is_missed(right, wrong):
    assert contradictions(_estimates(_rows(**right))) == []
    assert len(contradictions(_estimates(_rows(**(right | wrong))))) == 1


def test_shares_have_wilsons_interval():
    (row,) = _estimates(_rows(quantity="escaped", estimate=0.5, count=100, exact=math.nan))
    assert (row.low, row.high) == pytest.approx((0.4038, 0.5962), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("moments_stay", ({"part": "escape", "quantity": "escaped"}, 1.0)),
        ("vanishes", ({"statistic": "epps_pulley", "quantity": "steps", "case": "adam", "at": 1e-5}, 400.0)),
        ("periods_hide", ({"part": "basin", "quantity": "value"}, 40.0)),
        ("moments_grow", ({"part": "pull", "quantity": "exponent"}, 0.0)),
        ("off_origin", ({"part": "pull", "quantity": "exponent"}, 1.0)),
        ("twins_stay", ({"part": "pull", "quantity": "exponent"}, 0.0)),
    ],
)
def test_each_claim_can_be_turned_round(name, change):
    assert verdicts(STUDY, name, change) == ("holds", "fails")
