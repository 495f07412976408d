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
    row = {"dim": 2, "length": 1.0, "quantity": "bias", "law": "Gaussian", "probe": "kernel", "at": 0.1}
    row |= {"estimate": 4.0, "standard_error": 0.1, "count": 1000, "exact": 4.1}
    return pd.DataFrame([row | changes])


def test_the_study_fails_loudly_where_a_known_value_is_missed(monkeypatch):
    assert complaints(STUDY, _rows()) == []
    assert len(complaints(STUDY, _rows(estimate=4.6))) == 1
    monkeypatch.setattr(probes, "least_trace", lambda dim, constraint, rng: 1.01 * dim)
    assert len(complaints(STUDY, _rows())) == len(probes.CONSTRAINTS)


def test_a_ratio_of_means_has_the_interval_of_its_replicates():
    rng = np.random.default_rng(5)
    base = rng.gamma(9, size=(300, 50))
    rows = [MEASURE._row("", "", 2 * one + rng.standard_normal(50), one) for one in base]
    errors = np.array([(row["estimate"] - 2) / row["standard_error"] for row in rows])
    assert abs(errors.mean()) < 4 / math.sqrt(300)
    assert errors.var() == pytest.approx(1, abs=4 * math.sqrt(2 / 300) + 0.05)


def test_the_variance_of_a_kernel_probe_is_that_of_its_noise():
    rng = np.random.default_rng(6)
    x, query = rng.standard_normal((40, 2)), rng.standard_normal((30, 2))
    shape = (MEASURE.TARGETS * len(MEASURE.PRIORS),)
    _, variance = MEASURE.probe_risks(x, query, np.zeros((40, *shape)), np.zeros((30, *shape)))
    weight = np.exp(-((query[:, None] - x) ** 2).sum(-1) / (2 * 0.5**2))
    fits = (weight / weight.sum(1, keepdims=True)) @ rng.standard_normal((40, 20_000))
    assert variance == pytest.approx((fits**2).mean(), rel=0.03)


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("tasks_decide", ({"quantity": "error ratio"}, 1.5), ("holds", "fails")),
        ("isotropic_is_best", ({"quantity": "error ratio"}, 1.5), ("fails", "holds")),
        ("ball_beats_gaussian", ({"quantity": "error ratio"}, 1.5), ("holds", "fails")),
        ("lemma_one", ({"quantity": "ridge bias of weights, worst task"}, 0.5), ("holds", "fails")),
        ("lemma_two", ({"quantity": "ratio: OLS error of predictions"}, 2.0), ("holds", "fails")),
        ("order_holds", ({"quantity": "exponent"}, 2.0), ("holds", "fails")),
        ("bound_holds", ({"quantity": "bias"}, 1e6), ("holds", "fails")),
        ("variance_alike", ({"quantity": "variance ratio"}, 1.0), ("fails", "holds")),
        ("minima_right", ({"quantity": "least J over the printed", "law": "trace"}, 0.9), ("holds", "fails")),
        ("vicreg_differs", ({"quantity": "VICReg's price of a correlation over that of slices"}, 1.0),
         ("holds", "fails")),
    ],
)  # fmt: skip
def test_each_claim_can_be_turned_round(name, change, expected):
    assert verdicts(STUDY, name, change) == expected
