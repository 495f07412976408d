"""The rank-defect study: its exact expectations by other ways, and rows that contradict them are refused."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import integrate, stats

from sigreg_lab.experiment.study import load_study
from sigreg_lab.slicing.infinite import infinite_slice_epps_pulley
from studies import rank_defect as script

STUDY = load_study("rank_defect")


@pytest.mark.parametrize(("dim", "defect"), [(16, 1), (16, 8), (512, 4)])
def test_the_expectation_is_the_mean_of_univariate_ones_over_the_beta_law_of_the_lost_share(dim, defect):
    t = np.linspace(0, 3, 17)[1:]
    weight = 3 / 8 * np.exp(-(t**2) / 2) * np.where(t == 3, 0.5, 1)
    law = stats.beta(defect / 2, (dim - defect) / 2)

    def univariate(u):  # E T of 100 samples of N(0, 1 - B), B the quantile at u^2: smooth at u = 0
        phi = np.exp(-(t[:, None] ** 2) * (1 - law.ppf(u**2)) / 2)
        values = 100 * (phi - np.exp(-(t[:, None] ** 2) / 2)) ** 2 + 1 - phi**2
        return weight @ values * 2 * u

    found = integrate.quad_vec(lambda u: univariate(np.array([u])), 0, 1, epsabs=1e-9)[0][0]
    assert sum(script.expected_mean(100, dim, defect)) == pytest.approx(found, rel=1e-6)


def test_the_expectation_is_that_of_the_exact_mean_over_all_directions():
    x = torch.randn(3000, 20, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[..., 5:] = 0
    values = infinite_slice_epps_pulley(x)
    assert abs(values.mean() - sum(script.expected_mean(20, 8, 3))) < 4 * values.std() / 3000**0.5


def test_the_break_even_is_near_four_k_plus_two_over_defect_plus_two():
    for dim, defect in [(64, 1), (512, 1), (512, 8), (4096, 4)]:
        assert script.break_even(dim, defect) == pytest.approx(4 * (dim + 2) / (defect + 2), rel=0.1)


def test_the_largest_loss_is_that_of_simulated_slices():
    rng = np.random.default_rng(3)
    directions = rng.standard_normal((2000, 64, 16))
    lost = (directions[..., :2] ** 2).sum(-1) / (directions**2).sum(-1)
    largest = lost.max(1)
    assert abs(largest.mean() - script.largest_loss(64, 16, 2)) < 4 * largest.std() / 2000**0.5


@pytest.fixture(scope="module")
def rows():
    config = STUDY.configure("smoke", ["dim=8", "n=16", "num_slices=1,32", "defects=1,4"])
    cell = {"dim": 8, "n": 16}
    measured = STUDY.measure(cell, STUDY.settings(config), np.random.SeedSequence(1))
    return pd.DataFrame([{**cell, **row} for row in measured])


def test_verify_accepts_what_was_measured_and_fails_loudly_at_a_wrong_mean_or_level(rows):
    assert STUDY.verify(STUDY.summarize(rows, {})) == []
    wrong = rows.copy()
    wrong.loc[wrong["defect"] == 4, "mean"] += 0.2
    assert "off its exact expectation" in STUDY.verify(STUDY.summarize(wrong, {}))[0]
    wrong = rows.copy()
    wrong.loc[(wrong["defect"] == 0) & (wrong["reduction"] == "max"), "rejections"] += 40
    assert "max over 1 slices (dim 8, n = 16) rejects N(0, I)" in STUDY.verify(STUDY.summarize(wrong, {}))[0]


def test_mean_and_maximum_of_one_slice_agree(rows):
    one = rows[(rows["num_slices"] == 1) & (rows["reduction"] == "mean")].set_index("defect")
    other = rows[(rows["num_slices"] == 1) & (rows["reduction"] == "max")].set_index("defect")
    assert one["mean"].to_numpy() == pytest.approx(other["mean"].to_numpy())
    assert one.loc[0, "shift"] == 0
