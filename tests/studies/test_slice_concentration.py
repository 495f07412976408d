"""The slice-concentration study: its exact values by another way, and rows that contradict them are refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from sigreg_lab.experiment.claims import Verdict
from sigreg_lab.experiment.estimates import Estimates, contradictions, tabulate
from sigreg_lab.experiment.results import read_rows
from sigreg_lab.experiment.study import load_study
from sigreg_lab.slicing import make_directions, seeded_generator

STUDY = load_study("slice_concentration")
RESULTS = Path(__file__).parents[2] / "results" / "slice_concentration"


@pytest.fixture(scope="module")
def rows():
    config = STUDY.configure("smoke", ["directions=iid,orthogonal,fixed", "dim=2", "num_slices=16,64"])
    settings = STUDY.settings(config)
    cells = STUDY.cells(config)
    return pd.DataFrame([{**c, **r} for c in cells for r in STUDY.measure(c, settings, STUDY.cell_seed(c))]), settings


def _complaints(table, settings):
    return contradictions(Estimates(tabulate(STUDY.estimate(table, settings))))


@pytest.mark.parametrize(
    ("kind", "change", "complaint"),
    [
        (None, {}, ""),
        ("iid", {"value_bias": 0.5}, "bias of the value"),
        ("iid", {"value_square": 4.0, "value_square_error": 0.1}, "value, mean square"),
        ("orthogonal", {"gradient_square": 4.0, "gradient_square_error": 0.1}, "gradient, mean square"),
        ("orthogonal", {"persistent_square": 0.5}, "persistent error, square"),
        ("fixed", {"persistent_square": 0.0}, "share of the error that persists"),
    ],
)
def test_what_was_measured_is_accepted_and_a_wrong_row_is_not(rows, kind, change, complaint):
    measured, settings = rows
    wrong = measured.copy()
    if change:
        wrong.loc[wrong["directions"] == kind, list(change)] = list(change.values())
    found = " ".join(_complaints(wrong, settings))
    assert complaint in found
    assert bool(found) == bool(change)


def _claim(name, **changes):
    """The verdict on the committed rows, some of them changed: column, directions, K, factor on the mean square."""
    rows = read_rows(RESULTS)
    rows = rows[rows["law"] == "null"].copy()
    for column, (kind, dim, factor) in changes.items():
        at = (rows["directions"] == kind) & ((rows["dim"] == dim) | (dim is None))
        rows.loc[at, column] *= rows.loc[at, factor[0]] ** factor[1] if isinstance(factor, tuple) else factor
    estimates = Estimates(tabulate(STUDY.estimate(rows, {})))
    return next(claim for claim in STUDY.claims if claim.id == name).decision(estimates).verdict


@pytest.mark.parametrize(
    ("name", "change", "turned"),
    [
        ("many_slices", ("iid", 2048, ("num_slices", -1.5)), Verdict.FAILS),
        ("linear_in_dimension", ("iid", None, ("dim", 1)), Verdict.FAILS),
        ("orthogonal_saves", ("orthogonal", 512, 3.0), Verdict.FAILS),
        ("sobol_no_worse", ("sobol", None, 0.1), Verdict.HOLDS),
        ("fixed_stays", ("fixed", 2048, 1e-4), Verdict.FAILS),
    ],
)
def test_each_claim_can_be_turned_round(name, change, turned):
    assert _claim(name) != turned
    columns = {"gradient_square": change, "gradient_square_error": change, "persistent_square": change}
    assert _claim(name, **columns) == turned


def test_the_interval_of_a_root_mean_square_covers_as_it_says_from_the_fewest_draws_on():
    rng = np.random.default_rng(2)
    count = 24  # LEAST_DRAWS of measure.py
    squares = rng.standard_normal((20_000, count)) ** 2
    mean = squares.mean(1)
    half = stats.t.ppf(0.975, count - 1) * squares.std(1, ddof=1) / np.sqrt(count) / mean
    assert np.mean(np.abs(np.log(mean)) <= half) == pytest.approx(0.927, abs=0.006)


def test_fewer_sobol_directions_than_dimensions_are_not_spread():
    """Why they are worse than independent ones there: their squared inner products are several times 1/K."""
    sizes = {}
    for kind in ("iid", "sobol"):
        directions = make_directions(kind, 128, 16, generator=seeded_generator(3), dtype=torch.float64)
        products = directions.T @ directions - torch.eye(16, dtype=torch.float64)
        sizes[kind] = float(128 * products.square().sum() / (16 * 15))
    assert sizes["iid"] == pytest.approx(1, abs=0.4)
    assert sizes["sobol"] > 3
