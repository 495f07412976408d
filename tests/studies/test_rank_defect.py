"""The rank-defect study: rows that contradict what is known are refused, and each claim can fail."""

import re

import numpy as np
import pandas as pd
import pytest

from sigreg_lab.experiment.claims import Verdict
from sigreg_lab.experiment.estimates import Estimates, contradictions, tabulate
from sigreg_lab.experiment.study import load_study
from sigreg_lab.theory.collapsed_subspace import expected_loss
from sigreg_lab.univariate import EppsPulley
from tests.studies.turn import words

STUDY = load_study("rank_defect")


@pytest.fixture(scope="module")
def rows():
    config = STUDY.configure("smoke", ["dim=8", "n=16", "num_slices=1,32", "defects=1,4"])
    cell = {"dim": 8, "n": 16}
    measured = STUDY.measure(cell, STUDY.settings(config), np.random.SeedSequence(1))
    return pd.DataFrame([{**cell, **row} for row in measured])


def _estimates(rows):
    return Estimates(tabulate(STUDY.estimate(rows, {})))


def test_what_was_measured_is_accepted_and_a_wrong_mean_or_level_is_not(rows):
    assert contradictions(_estimates(rows)) == []
    wrong = rows.copy()
    wrong.loc[wrong["defect"] == 4, "mean"] += 0.2
    assert all(one.startswith("loss (dim=8, n=16, defect=4") for one in contradictions(_estimates(wrong)))
    assert contradictions(_estimates(wrong))
    wrong = rows.copy()
    wrong.loc[(wrong["defect"] == 0) & (wrong["reduction"] == "max"), "rejections"] += 40
    assert contradictions(_estimates(wrong))[0].startswith("false-positive rate (dim=8, n=16")


def test_mean_and_maximum_of_one_slice_agree(rows):
    one = rows[(rows["num_slices"] == 1) & (rows["reduction"] == "mean")].set_index("defect")
    other = rows[(rows["num_slices"] == 1) & (rows["reduction"] == "max")].set_index("defect")
    assert one["mean"].to_numpy() == pytest.approx(other["mean"].to_numpy())
    assert one.loc[0, "shift"] == 0


def test_the_maximum_over_directions_misses_the_level_of_one_by_about_as_many_chances(rows):
    of_one = rows[(rows["defect"] == 0) & (rows["reduction"] == "max")].set_index("num_slices")
    share = of_one["rejections_of_one"] / of_one["replicates_of_one"]
    error = (0.05 * 0.95 / of_one.loc[1, "replicates_of_one"]) ** 0.5
    assert share[1] == pytest.approx(0.05, abs=4 * error)
    assert 4 * share[1] < share[32] < 1 - 0.95**32  # slices of one sample are not independent


def test_each_claim_can_be_turned_round(rows):
    def verdicts(**changes):
        lost = rows["defect"] > 0
        changed = rows.copy()
        for column, value in changes.items():
            changed.loc[lost, column] = value
        return {claim.id: claim.decision(_estimates(changed)).verdict for claim in STUDY.claims}

    errors = {"shift_error": 0.001}
    assert verdicts(shift=-0.1, **errors)["collapse_rewarded"] == Verdict.HOLDS
    assert verdicts(shift=0.1, **errors)["collapse_rewarded"] == Verdict.FAILS
    few, many = (dict.fromkeys(("rejections", "rejections_strict", "rejections_lax"), count) for count in (1, 390))
    assert verdicts(**few)["maximum_unbiased"] == Verdict.FAILS
    assert verdicts(**many)["maximum_unbiased"] == Verdict.HOLDS
    assert verdicts(**few)["single_unseen"] == Verdict.HOLDS
    assert verdicts(**many)["single_unseen"] == Verdict.FAILS
    assert verdicts(**many)["few_dimensions"] == Verdict.UNCLEAR
    ahead = rows.copy()
    for column, count in few.items():
        ahead.loc[ahead["defect"] > 0, column] = np.where(
            ahead.loc[ahead["defect"] > 0, "reduction"] == "max", 390, count
        )
    decided = {claim.id: claim.decision(_estimates(ahead)).verdict for claim in STUDY.claims}
    assert decided["few_dimensions"] == Verdict.HOLDS
    assert decided["maximum_keeps_level"] == Verdict.FAILS
    kept = rows.copy()
    kept.loc[kept["defect"] == 0, "rejections_of_one"] = 0.05 * kept["replicates_of_one"] // 1
    assert {one.id: one.decision(_estimates(kept)).verdict for one in STUDY.claims}[
        "maximum_keeps_level"
    ] != Verdict.FAILS
    assert decided["resists"] == Verdict.HOLDS, "8 dimensions resist from 12 samples on"


def test_the_batch_size_that_is_named_does_not_raise_the_loss_and_one_more_does():
    pattern = r"more than ([\d.]+) K. Up to (\d+) samples, losing (\d+) of (\d+)"
    numbers = re.search(pattern, words(STUDY, "resists"))
    share, (n, k, dim) = float(numbers[1]), map(int, numbers.groups()[1:])
    grid = EppsPulley().nodes()
    changes = [sum(expected_loss(*grid, m, dim, k)) - sum(expected_loss(*grid, m, dim, 0)) for m in (n, n + 1)]
    assert changes[0] <= 0 < changes[1]
    assert n < share * dim < 1.02 * n
