"""The study of gradient stability: its sharp bounds and exponents by other means, and that it fails loudly."""

import math
import re

import pandas as pd
import pytest

from sigreg_lab.experiment.study import load_study
from sigreg_lab.theory.gradients import full_line_terms, printed_bounds, sharp_bounds
from tests.studies.turn import complaints, verdicts, words

STUDY = load_study("gradient_stability")


def _rows(**changes):
    row = {"part": "outlier", "statistic": "epps_pulley", "n": 16, "quantity": "gradient exponent", "at": math.nan}
    row |= {"estimate": 3.01, "standard_error": 0.01, "count": 1000, "exact": 3.0}
    return pd.DataFrame([row | changes])


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ({}, {"estimate": 2.85}),
        ({"estimate": -math.inf, "exact": -math.inf, "standard_error": 0.0}, {"estimate": -3.0}),
        (
            {"quantity": "largest gradient", "estimate": 4.37, "exact": 4.3785, "standard_error": 0.0},
            {"estimate": 4.379},
        ),
        ({"quantity": "largest gradient", "estimate": 4.37, "exact": 4.3785, "standard_error": 0.0}, {"estimate": 4.3}),
    ],
)
def test_the_study_fails_loudly_where_a_known_value_is_missed(right, wrong):
    assert complaints(STUDY, _rows(**right)) == []
    assert complaints(STUDY, _rows(**(right | wrong)))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("far_out_nothing", ({"quantity": "gradient", "statistic": "epps_pulley", "at": 8.0}, 1.0)),
        ("bounded", ({"quantity": "largest gradient, bound over the printed"}, 1.5)),
        ("moments_explode", ({"quantity": "gradient exponent", "part": "outlier"}, 0.0)),
        ("jarque_bera_falls", ({"quantity": "gradient exponent", "part": "outlier"}, 3.0)),
        ("constant_serves", ({"quantity": "largest curvature, bound over the printed"}, 3.5)),
    ],
)
def test_each_claim_can_be_turned_round(name, change):
    assert verdicts(STUDY, name, change) == ("holds", "fails")


def test_the_constant_that_is_said_to_suffice_does():
    n, constant = re.search(r"At batch size (\d+), ([\d.]+) suffices", words(STUDY, "constant_serves")).groups()
    largest = max(sharp_bounds(full_line_terms(sigma), int(n))[1] / printed_bounds(sigma)[1] for sigma in (1, 2**0.5))
    assert largest <= float(constant) < largest + 0.01
