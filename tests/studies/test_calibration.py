"""The calibration study accepts right tests, refuses wrong ones, and covers every test there is."""

import numpy as np
import pandas as pd
import pytest

from sigreg_lab import multivariate, univariate
from sigreg_lab.experiment.claims import Verdict
from sigreg_lab.experiment.estimates import Estimates, contradictions, tabulate
from sigreg_lab.experiment.study import load_study
from sigreg_lab.nulls import MonteCarlo
from sigreg_lab.nulls.law import NullLaw

STUDY = load_study("calibration")
SETTINGS = {"replicates": 4000}


def rows(*rejections, replicates=100_000, calibration_error=0.0):
    return pd.DataFrame(
        {
            "statistic": "epps_pulley",
            "dim": 1,
            "n": 64,
            "samples": 64,
            "law": "asymptotic",
            "level": 0.05,
            "replicates": replicates,
            "rejections": rejections,
            "calibration_error": calibration_error,
        }
    )


def _estimates(table):
    return Estimates(tabulate(STUDY.estimate(table, SETTINGS)))


def complaints(table):
    return contradictions(_estimates(table))


def test_right_rates_pass_and_wrong_ones_are_named_on_both_sides():
    assert complaints(rows(5000, 5200, 4850)) == []  # standard error 69
    for wrong in (5400, 4600):
        assert (
            f"statistic=epps_pulley, dim=1, n=64, samples=64, level=0.05, law=asymptotic): {wrong / 1e5:.3f}"
            in (complaints(rows(5000, wrong))[0])
        )
    assert complaints(rows(5000, 5400, calibration_error=0.001)) == []  # the law's own error counts


def test_the_bound_widens_with_the_number_of_rates():
    # 99.9% two-sided, 1 comparison and 1000: norm.isf(5e-4), norm.isf(5e-7)
    rate = round(5000 + 4 * np.sqrt(1e5 * 0.05 * 0.95))
    assert complaints(rows(rate))
    assert not complaints(rows(rate, *[5000] * 999))
    assert complaints(rows(round(5000 + 5 * np.sqrt(1e5 * 0.05 * 0.95)), *[5000] * 999))


@pytest.mark.parametrize(
    ("rejections", "verdict"),
    [((5000, 5300), Verdict.HOLDS), ((5000, 5700), Verdict.FAILS), ((5500,), Verdict.UNCLEAR)],
)
def test_every_claim_is_decided_by_the_rates(rejections, verdict):
    assert {claim.decision(_estimates(rows(*rejections))).verdict for claim in STUDY.claims} == {verdict}


def test_standard_holds_every_test_at_full_size():
    config = STUDY.configure("standard")
    cells = STUDY.cells(config)
    names = {cell["statistic"] for cell in cells}
    expected = set(univariate.REGISTRY) | {f"epps_pulley_{kind}_of_slices" for kind in ("mean", "max")}
    expected |= {name + suffix for name in multivariate.REGISTRY for suffix in ("", "_standardised")}
    assert names == expected
    assert all({cell["n"] for cell in cells if cell["statistic"] == name} == {8, 16, 64, 256, 1024} for name in names)
    assert config["replicates"] == 100_000


@pytest.mark.parametrize(
    ("name", "dim"), [("epps_pulley", 1), ("bhep_standardised", 3), ("epps_pulley_max_of_slices", 3)]
)
def test_a_law_that_is_off_by_a_fifth_is_found_out(name, dim, monkeypatch, tmp_path):
    monkeypatch.setenv("SIGREG_LAB_CACHE", str(tmp_path))
    monkeypatch.setattr(multivariate.sliced, "MOST_REPLICATES", 10_000)  # for speed
    cell = {"statistic": name, "dim": dim, "n": 8}

    def deviations():
        measured = STUDY.measure(cell, SETTINGS, np.random.SeedSequence(1))
        table = _estimates(pd.DataFrame([{**cell, **row} for row in measured])).table
        return ((table["estimate"] - table["exact"]) / table["standard_error"]).abs()

    assert deviations().max() < 3.3
    right = NullLaw.pvalue
    monkeypatch.setattr(NullLaw, "pvalue", lambda law, statistic: right(law, statistic * 1.2))
    assert deviations().max() > 4.5


@pytest.mark.parametrize("test", [multivariate.BHEP(), multivariate.HV(standardise=True), multivariate.Energy()])
def test_laws_have_the_replicates_that_the_study_counts_on(test, monkeypatch):
    # declared, not simulated: a law at n = 1024 takes half a minute
    asked = []
    monkeypatch.setattr(MonteCarlo, "__init__", lambda law, *_, replicates, **__: asked.append(replicates))
    monkeypatch.setattr("sigreg_lab.nulls.simulated._LAWS", {})
    for n in (8, 256, 1024):
        test.null_law(n, 3)
    sliced = multivariate.SlicingUnivariateTest(univariate.EppsPulley(), 64, reduction="max")
    sliced.null_law(1024, 3)
    assert asked == [100_000] * 4
