"""The study of probes: what it measures by other means, rows that are refused, claims that can fail."""

import math
import sys

import numpy as np
import pandas as pd
import pytest

from sigreg_lab.experiment.study import load_study
from sigreg_lab.theory import probes
from tests.studies.turn import complaints, verdicts

STUDY = load_study("probe_risk")
MEASURE = sys.modules[STUDY.measure.__module__]


def test_the_bias_of_draws_is_the_exact_one():
    law, rng = probes.gaussian(np.array([1.5, 0.5])), np.random.default_rng(3)
    x, w = law.sample(rng, (20_000,)), rng.standard_normal((20_000, 2))
    values = MEASURE.population_bias(law, x, w, 0.1 * rng.standard_normal((20_000, 32, 2)))
    exact = probes.kernel_bias(np.array([1.5, 0.5]), 0.1, 1.0)
    assert abs(values.mean() - exact) < 4 * values.std() / math.sqrt(20_000) < 0.1 * exact


def test_exponents_are_those_of_a_power_law_and_their_interval_covers():
    steps = np.array(MEASURE.STEPS[:3])
    noise = np.exp(0.3 * np.random.default_rng(4).standard_normal((3, 4000)))
    found = MEASURE.exponents(noise / steps[:, None])  # h^4/h
    assert abs(found.mean() - 3) < 4 * found.std(ddof=1) / math.sqrt(len(found))


def _rows(**changes):
    row = {"part": "bias", "dim": 2, "length": 1.0, "quantity": "bias", "law": "Gaussian", "probe": "kernel", "at": 0.1}
    row |= {"estimate": 4.0, "standard_error": 0.1, "count": 1000, "exact": 4.1}
    return pd.DataFrame([row | changes])


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ({}, {"estimate": 4.6}),
        ({"count": 1, "standard_error": 0.0, "estimate": 4.0999}, {"estimate": 4.05}),
        (
            {"quantity": "isotropic wins, weights", "estimate": 1.0, "standard_error": 0.0, "exact": 0.999},
            {"exact": 0.97},
        ),
    ],
)
def test_the_study_fails_loudly_where_a_known_value_is_missed(right, wrong):
    assert complaints(STUDY, _rows(**right)) == []
    assert len(complaints(STUDY, _rows(**(right | wrong)))) == 1


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("tasks_decide", ({"quantity": "error ratio"}, 1.5), ("holds", "fails")),
        ("isotropic_is_best", ({"quantity": "error ratio"}, 1.5), ("fails", "holds")),
        ("ball_beats_gaussian", ({"quantity": "error ratio"}, 1.5), ("holds", "fails")),
        ("lemma_one", ({"quantity": "worst task, weights"}, 0.5), ("holds", "fails")),
        ("lemma_two", ({"quantity": "ratio: OLS error of predictions"}, 2.0), ("holds", "fails")),
        ("order_holds", ({"quantity": "exponent"}, 2.0), ("holds", "fails")),
        ("bound_holds", ({"quantity": "bias"}, 1e6), ("holds", "fails")),
        ("minima_right", ({"quantity": "least tr Sigma^-1, trace"}, 1.0), ("holds", "fails")),
        ("vicreg_differs", ({"quantity": "one correlation r, in r^2/(K (K + 2))"}, 30.0), ("holds", "fails")),
    ],
)
def test_each_claim_can_be_turned_round(name, change, expected):
    assert verdicts(STUDY, name, change) == expected
