"""The power study: what it accepts and what it complains of, its exact powers, its interpolation and its ranks."""

import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sigreg_lab import alternatives, univariate
from sigreg_lab.experiment.estimates import Estimates, contradictions, tabulate
from sigreg_lab.experiment.study import load_study

SETTINGS = {"replicates": 10_000, "reference": 99_999, "alpha": 0.05}


STUDY = load_study("power")


def _estimates(*rows):
    return Estimates(tabulate(STUDY.estimate(pd.DataFrame(rows), SETTINGS)))


def _row(**changes):
    row = {"alternative": "null", "n": 50, "statistic": "epps_pulley", "critical_value": 2.94, "rejections": 500}
    row |= changes
    return {"rejections_low": row["rejections"], "rejections_high": row["rejections"]} | row


def _complaints(**changes):
    return contradictions(_estimates(_row(**changes)))


def test_a_right_size_is_accepted_and_a_wrong_one_fails_loudly():
    assert _complaints() == []
    for wrong in (400, 600):
        assert "power (alternative=null, n=50, statistic=epps_pulley)" in _complaints(rejections=wrong)[0]


def test_a_test_blind_to_location_must_have_its_size_there():
    shifted = {"alternative": "location_0.3", "statistic": "jarque_bera"}
    assert _complaints(**shifted) == []
    assert "alternative=location_0.3, n=50, statistic=jarque_bera" in _complaints(**shifted, rejections=620)[0]


def test_powers_known_exactly_are_checked_on_both_sides():
    law = univariate.VCReg().null_law(50)
    shifted = {"alternative": "location_0.3", "statistic": "vcreg", "critical_value": law.critical_value(0.05)}
    expected = 4509  # of 10,000; univariate.VCReg on 1,000,000 samples of N(0.3, 1): 0.4509 (0.0005)
    assert _complaints(**shifted, rejections=expected) == []
    for wrong in (expected - 300, expected + 300):
        assert "statistic=vcreg" in _complaints(**shifted, rejections=wrong)[0]


def test_no_test_may_beat_the_most_powerful_one():
    shifted = {"alternative": "location_0.3"}  # 0.683 at n = 50
    assert _complaints(**shifted, rejections=6_900) == []
    assert "power above the highest" in _complaints(**shifted, rejections=7_400)[0]


def test_samples_for_half_of_a_known_curve():
    crossing = sys.modules[STUDY.estimate.__module__].crossing
    n = 2.0 ** np.arange(3, 11)
    curve = stats.norm.cdf(np.sqrt(n) * 0.3 - 1.6449)  # the one-sided test of the mean: 1/2 at (1.6449 / 0.3)^2
    assert crossing(n, curve) == pytest.approx((1.6449 / 0.3) ** 2, rel=0.03)
    assert crossing(n, np.full(8, 0.4)) == np.inf
    assert crossing(n, np.full(8, 0.6)) == pytest.approx(8)


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
    estimates = _estimates(*rows)
    ranks = {name: estimates.at("mean rank", statistic=name) for name in ("vcreg", "watson", "epps_pulley")}
    assert [(rank.low, rank.high) for rank in ranks.values()] == [(1, 1), (2, 3), (2, 3)]
    assert estimates.at("tests that share the best mean rank").value == 1
    ratio = estimates.at("efficiency", statistic="vcreg")
    assert ratio.value == pytest.approx(4)  # 64 samples against the least size tried: at least that
    assert ratio.high == np.inf
    near = estimates.at("efficiency", statistic="watson")
    assert near.low < 1 < near.value < near.high


def _verdict(name, *rows):
    claim = next(claim for claim in STUDY.claims if claim.id == name)
    return str(claim.decision(_estimates(_row(), *rows)).verdict)


def test_each_claim_can_be_turned_round():
    def uniform(name, count, **more):
        return _row(alternative="uniform", statistic=name, rejections=count, **more)

    assert _verdict("below_level", uniform("jarque_bera", 100)) == "holds"
    assert _verdict("below_level", uniform("jarque_bera", 900)) == "fails"
    assert _verdict("watson_never_below", uniform("watson", 100)) == "fails"
    assert _verdict("watson_never_below", uniform("watson", 900)) == "holds"
    assert _verdict("one_test_is_best", uniform("watson", 900), uniform("vcreg", 100)) == "holds"
    assert _verdict("one_test_is_best", uniform("watson", 900), uniform("vcreg", 905)) == "fails"
    for first, second, verdict in (
        ("epps_pulley", "anderson_darling", "fails"),
        ("anderson_darling", "epps_pulley", "holds"),
    ):
        curves = [uniform(first, 9_000 if n > 16 else 1_000, n=n) for n in (16, 64, 256)]
        curves += [uniform(second, 9_000 if n > 64 else 1_000, n=n) for n in (16, 64, 256)]
        assert _verdict("anderson_darling_saves", *curves) == verdict
    for seen, unseen, verdict in ((9_900, 550, "holds"), (9_900, 3_000, "fails"), (4_000, 550, "fails")):
        atoms = [
            _row(alternative="gauss_hermite_10", statistic=name, rejections=count)
            for names, count in ((("watson", "entropy"), seen), (("epps_pulley", "vcreg"), unseen))
            for name in names
        ]
        assert _verdict("matched_moments", *atoms) == verdict
    narrow = {"alternative": "scale_0.8", "statistic": "watson", "n": 32}
    assert _verdict("near_the_highest", _row(**narrow, rejections=2_000)) == "fails"
    assert _verdict("near_the_highest", _row(**narrow, rejections=4_950)) == "holds"


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
