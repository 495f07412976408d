"""The power study: what it accepts and what it complains of, its exact powers, its interpolation and its ranks."""

import sys

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from sigreg_lab import alternatives, univariate
from sigreg_lab.experiment.study import load_study

SETTINGS = {"replicates": 10_000, "reference": 99_999, "alpha": 0.05}


@pytest.fixture(scope="module")
def power():
    load_study("power")
    return sys.modules["studies.power"]


def _complaints(**changes):
    row = {"alternative": "null", "n": 50, "statistic": "epps_pulley", "critical_value": 2.94, "rejections": 500}
    row |= changes
    row = {"rejections_low": row["rejections"], "rejections_high": row["rejections"]} | row
    study = load_study("power")
    return study.verify(study.summarize(pd.DataFrame([row]), SETTINGS))


def test_a_right_size_is_accepted_and_a_wrong_one_fails_loudly():
    assert _complaints() == []
    for wrong in (400, 600):
        assert "size of epps_pulley against null at n = 50" in _complaints(rejections=wrong)[0]


def test_a_test_blind_to_location_must_have_its_size_there():
    shifted = {"alternative": "location_0.3", "statistic": "jarque_bera"}
    assert _complaints(**shifted) == []
    assert "blindness of jarque_bera against location_0.3" in _complaints(**shifted, rejections=600)[0]


def test_powers_known_exactly_are_checked_on_both_sides():
    law = univariate.VCReg().null_law(50)
    shifted = {"alternative": "location_0.3", "statistic": "vcreg", "critical_value": law.critical_value(0.05)}
    expected = 4509  # of 10,000; univariate.VCReg on 1,000,000 samples of N(0.3, 1): 0.4509 (0.0005)
    assert _complaints(**shifted, rejections=expected) == []
    for wrong in (expected - 300, expected + 300):
        assert "power of vcreg" in _complaints(**shifted, rejections=wrong)[0]


def test_no_test_may_beat_the_most_powerful_one():
    shifted = {"alternative": "location_0.3"}  # 0.683 at n = 50
    assert _complaints(**shifted, rejections=6_900) == []
    assert "at most 0.6831" in _complaints(**shifted, rejections=7_400)[0]


@pytest.mark.parametrize("statistic", ["vcreg", "mean_std"])
@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (0.3, 1.0), (0.0, 0.8)])
def test_exact_power_equals_quadrature_over_both_moments(power, statistic, mean, sd):
    n, critical = 12, {"vcreg": 7.0, "mean_std": 0.25}[statistic]

    def accepted(s):
        """P(not rejected, s^2) by the noncentral chi-squared law of n m^2 / sd^2."""
        room = (
            s**2 / n * (critical - (n - 1) * (s**2 - 1) ** 2 / 2) if statistic == "vcreg" else critical - (s - 1) ** 2
        )
        density = stats.chi2.pdf((n - 1) * s**2 / sd**2, n - 1) * 2 * (n - 1) * s / sd**2
        return density * stats.ncx2.cdf(n * max(room, 0.0) / sd**2, 1, n * mean**2 / sd**2 + 1e-12)

    expected = 1 - integrate.quad(accepted, 0, 3, limit=500, epsabs=1e-9)[0]
    assert power.exact_power(statistic, critical, n, mean, sd) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("mean", "sd", "expected"), [(0.3, 1.0, 0.7765), (0.0, 1.25, 0.8211), (0.0, 0.8, 0.7912)])
def test_the_most_powerful_test_is_that_of_simulated_likelihood_ratios(power, mean, sd, expected):
    """Expected: the share of 400,000 samples whose log-likelihood ratio exceeds the 95% point of 400,000 null ones."""
    assert power.most_powerful(0.05, 64, mean, sd) == pytest.approx(expected, abs=0.004)


def test_samples_for_half_of_a_known_curve(power):
    n = 2.0 ** np.arange(3, 11)
    curve = stats.norm.cdf(np.sqrt(n) * 0.3 - 1.6449)  # the one-sided test of the mean: 1/2 at (1.6449 / 0.3)^2
    assert power.crossing(n, curve) == pytest.approx((1.6449 / 0.3) ** 2, rel=0.03)
    assert power.crossing(n, np.full(8, 0.4)) == np.inf
    assert power.crossing(n, np.full(8, 0.6)) == pytest.approx(8)


def test_ranks_tie_where_intervals_overlap_and_efficiency_is_the_ratio_of_samples():
    rows = []
    for statistic, rejections in {
        "epps_pulley": (2_000, 5_000),
        "watson": (2_010, 5_020),
        "vcreg": (5_000, 9_000),
    }.items():
        for n, count in zip((16, 64), rejections, strict=True):
            row = {"alternative": "laplace", "n": n, "statistic": statistic, "critical_value": 1.0, "rejections": count}
            rows.append(row | {"rejections_low": count - 50, "rejections_high": count + 50})
    summary = load_study("power").summarize(pd.DataFrame(rows), SETTINGS).set_index(["quantity", "statistic", "n"])
    ranks = summary.loc["rank"]
    assert ranks.loc[("vcreg", 0), ["low", "high"]].tolist() == [1, 1]
    assert ranks.loc[("watson", 0), ["low", "high"]].tolist() == [2, 3]
    assert ranks.loc[("epps_pulley", 16), ["low", "high"]].tolist() == [2, 3]
    ratio = summary.loc[("efficiency", "vcreg", 0)]
    assert ratio["estimate"] == pytest.approx(4)  # 64 samples against the least size tried: at least that
    assert ratio["high"] == np.inf
    near = summary.loc[("efficiency", "watson", 0)]
    assert near["low"] < 1 < near["estimate"] < near["high"]


def test_why_epps_pulley_does_not_see_ten_atoms():
    """Its population distance to N(0, 1), n L, by the characteristic function: 1e-6 at n = 1024, where 2.9 rejects."""
    t = np.arange(1, 17) * 3 / 16
    weight = 2 * 3 / 16 * np.exp(-(t**2) / 2) * np.where(np.arange(16) == 15, 0.5, 1.0)
    distances = []
    for atoms in (3, 5, 10):
        phi = alternatives.REGISTRY[f"gauss_hermite_{atoms}"].characteristic_function(t)
        distances.append(1024 * (weight * np.abs(phi - np.exp(-(t**2) / 2)) ** 2).sum())
    assert distances == pytest.approx([22.886, 0.5744, 1.167e-6], rel=1e-3)
    assert 2.8 < univariate.EppsPulley().critical_value(0.05, 1024) < 3.1
