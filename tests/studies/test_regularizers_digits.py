"""Digits: the choice of lambda, what the interval of an accuracy is for, and claims that can fail."""

import sys

import numpy as np
import pandas as pd
import pytest

from sigreg_lab.experiment.claims import Verdict
from sigreg_lab.experiment.estimates import Estimates, mean, tabulate
from sigreg_lab.experiment.study import load_study
from tests.studies.turn import verdicts

STUDY = load_study("regularizers_digits")


def _digit_rows():
    rng = np.random.default_rng(0)
    rows = []
    for name, lams in {"sigreg-ep": (0.01, 0.1), "sigreg-ad": (0.01, 0.1), "none": (0.0,), "untrained": (0.0,)}.items():
        for lam in lams:
            for seed in range(5):
                row = {"regularizer": name, "lam": lam, "seed": seed, "effective_rank": 9.0, "projection_rank": 5.0}
                good = 0.9 if lam == 0.1 else 0.5
                for shots in ("1", "5", "all"):
                    row[f"validation_{shots}"] = good
                    row[f"test_{shots}"] = good + 0.01 * rng.standard_normal() if seed >= 2 else -1.0
                rows.append(row)
    return pd.DataFrame(rows)


def _digits(rows):
    estimates = Estimates(tabulate(STUDY.estimate(rows, {"tuning_seeds": 2})))
    return estimates, {claim.id: claim.decision(estimates) for claim in STUDY.claims}


def test_lambda_is_chosen_on_the_tuning_seeds_and_reported_on_the_others():
    estimates, decisions = _digits(_digit_rows())
    assert estimates.at("lambda", regularizer="sigreg-ep").value == 0.1
    reported = estimates.at("test_1", regularizer="sigreg-ep")
    assert reported.replicates == 3
    assert reported.value == pytest.approx(0.9, abs=0.03)
    assert decisions["lambda_inside"].verdict == Verdict.FAILS, "of two lambdas each is at an edge"


def test_a_regulariser_that_loses_to_a_control_is_said_to_lose():
    rows = _digit_rows()
    rows.loc[(rows["regularizer"] == "none") & (rows["seed"] >= 2), "test_1"] += 0.49
    assert _digits(_digit_rows())[1]["regulariser_needed"].verdict == Verdict.HOLDS
    assert _digits(rows)[1]["regulariser_needed"].verdict == Verdict.FAILS


def test_statistics_that_differ_by_more_than_a_point_are_said_to():
    rows = _digit_rows()
    rows.loc[(rows["regularizer"] == "sigreg-ad") & (rows["seed"] >= 2), "test_all"] -= 0.2
    assert _digits(rows)[1]["statistics_alike"].verdict == Verdict.FAILS


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("regulariser_needed", ({"quantity": "test_1, less the first regulariser's"}, 0.1), "fails"),
        ("statistics_alike", ({"quantity": "test_all, less the first regulariser's"}, 0.0), "holds"),
        ("lambda_inside", ({"quantity": "lambda at the edge"}, 0.0), "holds"),
    ],
)
def test_each_claim_can_be_turned_round(name, change, expected):
    before, after = verdicts(STUDY, name, change)
    assert after == expected
    assert before != expected


@pytest.mark.parametrize(("shared", "least", "most"), [(1.0, 0.93, 0.97), (0.0, 0.95, 1.0)])
def test_intervals_of_accuracies_cover_other_seeds_and_images(shared, least, most):
    """Five seeds on the same 540 images: which ones are missed is the same for all seeds, or another for each.

    Each seed's own accuracy lies around 0.9; in the second case the images' part is counted twice.
    """
    on_other_images = sys.modules[STUDY.estimate.__module__].on_other_images
    rng, held = np.random.default_rng(3), 0
    for _ in range(1000):
        hardness = np.where(rng.random((5, 540)) < shared, rng.random(540), rng.random((5, 540)))
        accuracies = (hardness < 0.9 + 0.01 * rng.standard_normal((5, 1))).mean(1)
        p = accuracies.mean()
        row = on_other_images(mean("test_all", accuracies, regularizer=""), p * (1 - p) / 540, 0, 1)
        held += row["low"] <= 0.9 <= row["high"]
    assert least <= held / 1000 <= most
