"""The study of descent on samples: exact means, the span of fixed directions, paired seeds, and rows it refuses."""

import numpy as np
import pandas as pd
import pytest
import torch

from sigreg_lab.experiment.study import load_study
from studies import sample_descent as script

STUDY = load_study("sample_descent")
PLAIN = {"training": "gradient_descent", "directions": "fixed", "num_slices": 4}


@pytest.fixture(scope="module")
def rows():
    config = STUDY.configure("smoke", ["null_seeds=60", "steps=20"])
    settings = STUDY.settings(config)
    cells = [c for c in STUDY.cells(config) if c["statistic"] == "epps_pulley"]
    return pd.DataFrame([{**c, **r} for c in cells for r in STUDY.measure(c, settings, STUDY.cell_seed(c))])


def _where(rows, **values):
    return np.logical_and.reduce([rows[key] == value for key, value in values.items()])


def test_verify_accepts_what_was_measured(rows):
    assert STUDY.verify(STUDY.summarize(rows, {})) == []


@pytest.mark.parametrize(
    ("where", "measure", "value", "complaint"),
    [
        ({"training": "none"}, "infinite", 0.3, "infinite of N(0, I) in dim 8"),
        ({"training": "none"}, "plane", -0.6, "plane of N(0, I) in dim 8"),
        ({"training": "none"}, "covariance", 0.6, "covariance of N(0, I) in dim 8"),
        (PLAIN, "motion_outside", 0.01, "motion_outside (dim 8, M = 4, gradient_descent)"),
        ({**PLAIN, "training": "adam"}, "gradient_outside", 0.01, "gradient_outside (dim 8, M = 4, adam)"),
    ],
)
def test_verify_fails_loudly_at_a_wrong_row(rows, where, measure, value, complaint):
    wrong = rows.copy()
    wrong.loc[_where(wrong, **where), measure] += value
    assert complaint in STUDY.verify(STUDY.summarize(wrong, {}))[0]


def test_adam_leaves_the_span_of_its_directions(rows):
    assert rows.loc[_where(rows, **{**PLAIN, "training": "adam"}), "motion_outside"].min() > 0.1


def test_runs_of_one_seed_start_from_the_same_sample(rows):
    starts = rows[rows["training"] != "none"].groupby("seed")["start_infinite"]
    assert (starts.nunique() == 1).all()


def test_the_share_outside_a_span_is_that_of_the_least_squares_residual():
    generator = torch.Generator().manual_seed(0)
    moved = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    directions = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    fit = np.linalg.lstsq(directions.numpy(), moved.numpy().T, rcond=None)[0]
    residual = moved.numpy().T - directions.numpy() @ fit
    expected = np.linalg.norm(residual) / np.linalg.norm(moved.numpy())
    assert script._share_outside(moved, directions) == pytest.approx(expected, rel=1e-12)


def test_the_advantage_of_resampled_directions_is_taken_seed_by_seed():
    runs = [
        {"statistic": "epps_pulley", "num_samples": 100, "dim": 8, "training": "adam", "seed": seed, **end}
        for seed in range(3)
        for end in (
            {"directions": "iid", "num_slices": 16, "infinite": 1.0 + seed},
            {"directions": "fixed", "num_slices": 64, "infinite": 1.5 + seed + 0.1 * seed},
        )
    ]
    (found,) = script._advantages(pd.DataFrame(runs), "ahead_few", 16)
    assert found["mean"] == pytest.approx(0.6)
    assert 0 < found["low"] < found["high"]
    assert script._advantages(pd.DataFrame(runs), "ahead_equal", None) == []
