"""The slice-concentration study: its exact values by another way, and rows that contradict them are refused."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from sigreg_lab import alternatives
from sigreg_lab.experiment.study import load_study
from sigreg_lab.slicing import make_directions, seeded_generator, sliced_statistic
from sigreg_lab.slicing.infinite import infinite_slice_epps_pulley
from sigreg_lab.univariate import EppsPulley
from studies import slice_concentration as script

STUDY = load_study("slice_concentration")


@pytest.fixture(scope="module")
def rows():
    config = STUDY.configure("smoke", ["directions=iid,orthogonal,fixed", "dim=2", "num_slices=16,64"])
    settings = STUDY.settings(config)
    cells = STUDY.cells(config)
    return pd.DataFrame([{**c, **r} for c in cells for r in STUDY.measure(c, settings, STUDY.cell_seed(c))]), settings


def test_verify_accepts_what_was_measured(rows):
    measured, settings = rows
    assert STUDY.verify(STUDY.summarize(measured, settings)) == []


@pytest.mark.parametrize(
    ("kind", "change", "complaint"),
    [
        ("iid", {"value_bias": 0.5}, "bias 0.5"),
        ("iid", {"value_square": 4.0, "value_square_error": 0.1}, "error of the value"),
        ("orthogonal", {"gradient_square": 4.0, "gradient_square_error": 0.1}, "error of the gradient"),
        ("orthogonal", {"persistent_square": 0.5}, "persistent error"),
        ("fixed", {"persistent_square": 0.0}, "a fixed set's error"),
    ],
)
def test_verify_fails_loudly_at_a_wrong_row(rows, kind, change, complaint):
    measured, settings = rows
    wrong = measured.copy()
    wrong.loc[wrong["directions"] == kind, list(change)] = list(change.values())
    assert complaint in " ".join(STUDY.verify(STUDY.summarize(wrong, settings)))


@pytest.mark.parametrize("kind", ["iid", "orthogonal"])
def test_the_circle_s_integrals_are_the_mean_squares_of_many_sets(kind):
    x = torch.from_numpy(alternatives.MULTIVARIATE["null"](2).sample(np.random.default_rng(0), 32)).requires_grad_()
    exact = infinite_slice_epps_pulley(x)
    (exact_gradient,) = torch.autograd.grad(exact, x)
    squares = []
    for draw in range(600):
        directions = make_directions(kind, 2, 4, generator=seeded_generator(5, draw), dtype=torch.float64)
        value = sliced_statistic(x, EppsPulley(), directions)
        (gradient,) = torch.autograd.grad(value, x)
        relative = float((value - exact).detach() / exact.detach())
        squares.append([relative**2, float((gradient - exact_gradient).square().sum() / exact_gradient.square().sum())])
    found = np.array(squares)
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.mean(0) - script.exact_mean_squares(x, kind, 4)) < 4.5 * error).all()


def test_the_interval_of_a_root_mean_square_covers_as_it_says_from_the_fewest_draws_on():
    rng = np.random.default_rng(2)
    count = script.LEAST_DRAWS
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
