"""The study of descent on samples: exact means, the span of fixed directions, paired seeds, and rows it refuses."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch

from sigreg_lab.experiment.estimates import Estimates, tabulate
from sigreg_lab.experiment.study import load_study
from tests.studies.turn import complaints, measured, verdicts

STUDY = load_study("sample_descent")
MEASURE = sys.modules[STUDY.measure.__module__]
PLAIN = {"training": "gradient_descent", "directions": "fixed", "num_slices": 4}


@pytest.fixture(scope="module")
def rows():
    config = STUDY.configure("smoke", ["null_seeds=60", "steps=20"])
    cells = [cell for cell in STUDY.cells(config) if cell["statistic"] == "epps_pulley"]
    return measured(STUDY, cells, STUDY.settings(config))


def _where(rows, **values):
    return np.logical_and.reduce([rows[key] == value for key, value in values.items()])


@pytest.mark.parametrize(
    ("where", "quantity", "value"),
    [
        (None, "", 0.0),
        ({"training": "none"}, "infinite", 0.4),
        ({"training": "none"}, "plane", -0.9),
        ({"training": "none"}, "covariance", 0.9),
        (PLAIN, "motion_outside", 0.01),
        ({**PLAIN, "training": "adam"}, "gradient_outside", 0.01),
    ],
)
def test_what_was_measured_is_accepted_and_a_wrong_row_is_not(rows, where, quantity, value):
    wrong = rows.copy()
    if where:
        wrong.loc[_where(wrong, **where), quantity] += value
    found = complaints(STUDY, wrong)
    assert bool(found) == bool(where)
    assert all(text.startswith(quantity) for text in found)


def test_adam_leaves_the_span_of_its_directions(rows):
    assert rows.loc[_where(rows, **{**PLAIN, "training": "adam"}), "motion_outside"].min() > 0.1


def test_runs_of_one_seed_start_from_the_same_sample(rows):
    starts = rows[rows["training"] != "none"].groupby("seed")["start_plane"]
    assert (starts.nunique() == 1).all()


def test_the_share_outside_a_span_is_that_of_the_least_squares_residual():
    generator = torch.Generator().manual_seed(0)
    moved = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    directions = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    fit = np.linalg.lstsq(directions.numpy(), moved.numpy().T, rcond=None)[0]
    residual = moved.numpy().T - directions.numpy() @ fit
    expected = np.linalg.norm(residual) / np.linalg.norm(moved.numpy())
    assert MEASURE._share_outside(moved, directions) == pytest.approx(expected, rel=1e-12)


def test_the_advantage_of_resampled_directions_is_taken_seed_by_seed():
    runs = [
        {"statistic": "epps_pulley", "num_samples": 100, "dim": 8, "training": "adam", "seed": seed, **end}
        for seed in range(3)
        for end in (
            {"directions": "iid", "num_slices": 16, "infinite": 1.0 + seed},
            {"directions": "fixed", "num_slices": 64, "infinite": 1.5 + seed + 0.1 * seed},
        )
    ]
    estimates = Estimates(tabulate(STUDY.estimate(pd.DataFrame(runs), {})))
    found = estimates.at("fixed, less 16 drawn anew")
    assert found.value == pytest.approx(0.6)
    assert 0 < found.low < found.high
    assert len(estimates.of("fixed, less as many drawn anew")) == 0


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("few_win_with_shrinking_steps", ({"quantity": "fixed, less 16 drawn anew"}, -1.0), ("holds", "fails")),
        ("few_win_as_printed", ({"quantity": "fixed, less 16 drawn anew"}, 1.0), ("fails", "holds")),
        ("anew_wins_at_equal_slices", ({"quantity": "fixed, less as many drawn anew"}, -1.0), ("holds", "fails")),
        ("x_undone", ({"quantity": "plane"}, 9.0), ("holds", "fails")),
        ("adam_moves_outside", ({"quantity": "motion_outside"}, 0.0), ("holds", "fails")),
    ],
)
def test_each_claim_can_be_turned_round(name, change, expected):
    assert verdicts(STUDY, name, change) == expected
