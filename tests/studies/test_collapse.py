"""The study of collapse: rates, times and periods by other means, and that it fails loudly."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import integrate

from sigreg_lab.experiment.study import load_study
from sigreg_lab.univariate import EppsPulley

STUDY = load_study("collapse")
OWN = STUDY.measure.__globals__


@pytest.mark.parametrize("name", list(OWN["GRIDS"]))
def test_the_rates_of_growth_are_the_eigenvalues_of_the_hessian_at_collapse(name):
    test, n = OWN["GRIDS"][name](), 6
    hessian = torch.autograd.functional.hessian(test.unchecked, torch.zeros(n, dtype=torch.float64))
    values = torch.linalg.eigvalsh(hessian).numpy()
    np.testing.assert_allclose(values[: n - 1], -OWN["growth_rate"](test), rtol=1e-12)
    assert values[-1] == pytest.approx(2 * OWN["linear_terms"](test)[1], rel=1e-12)


@pytest.mark.parametrize("name", ["vcreg", "mean_std", "wasserstein"])
def test_exact_times_are_those_of_small_gradient_steps(name):
    start = 0.1 * np.random.default_rng(3).standard_normal(16)
    x, step = torch.from_numpy(start.copy())[:, None], 2e-4
    taken = 0
    while x.std() < 0.5:
        x = x - step * OWN["_slope"](name, x)
        taken += 1
    # VCReg's mean dies out in a time of order 0.1^2 first, which the formula leaves out.
    assert taken * step == pytest.approx(OWN["exact_time"](name, start), abs=2e-3 if name != "vcreg" else 2e-2)


def test_adam_does_not_bring_vcreg_out_of_collapse_unless_the_mean_is_zero():
    def spread_after(x, steps):
        first, second, n = np.zeros_like(x), np.zeros_like(x), len(x)
        for t in range(1, steps + 1):
            mean, variance = x.mean(), x.var(ddof=1)
            slope = 2 * (variance - 1) - 2 * n * mean**2 / ((n - 1) * variance**2)
            gradient = 2 * mean / variance + slope * (x - mean)
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            x = x - 0.01 * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        return x.std(ddof=1)

    start = 1e-4 * np.random.default_rng(4).standard_normal(64)
    assert spread_after(start, 1000) < 0.1
    assert spread_after(start - start.mean(), 1000) == pytest.approx(1, abs=0.05)
    steps, widest = OWN["_descend"]("vcreg", start[:, None], "adam", 300)
    assert np.isinf(steps[0])
    assert widest[0] == pytest.approx(spread_after(start, 300), rel=0.01)


@pytest.mark.parametrize("name", list(OWN["GRIDS"]))
def test_a_grid_does_not_see_whole_periods_and_the_full_line_does(name):
    test, rng = OWN["GRIDS"][name](), np.random.default_rng(5)
    x = torch.from_numpy(rng.standard_normal(200))
    moved = x + OWN["period"](test) * torch.from_numpy(rng.integers(-3, 4, 200).astype(float))
    assert float(test(moved)) == pytest.approx(float(test(x)), abs=1e-10)
    assert float(EppsPulley(integration="exact")(moved)) > 50 * float(test(x))


def test_the_mean_on_the_full_line_is_its_integral():
    grid, n, part = OWN["GRIDS"]["epps_pulley_paper_grid"](), 64, 0.25
    step = OWN["period"](grid)

    def density(t):
        law = np.exp(-(t**2) / 2)
        mixed = law * (1 - part + part * np.exp(1j * step * t))
        return (n * abs(mixed - law) ** 2 + 1 - law**2) * np.exp(-(t**2) / 2)

    value = integrate.quad(density, -9, 9, limit=400)[0]
    assert OWN["_moved_mean"](grid, part, n, 1) == pytest.approx(value, rel=1e-9)


def _rows(**changes):
    row = {
        "part": "pull",
        "statistic": "epps_pulley",
        "dim": 4,
        "case": "point",
        "quantity": "exponent",
        "at": math.nan,
    }
    row |= {"estimate": 1.001, "standard_error": 0.0, "count": 8, "exact": 1.0}
    return pd.DataFrame([row | changes])


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ({}, {"estimate": 0.9}),
        ({"quantity": "growth rate", "estimate": 0.78, "standard_error": 0.01, "exact": 0.773}, {"estimate": 0.9}),
        ({"quantity": "time per e-fold", "estimate": 0.5, "exact": 0.5}, {"estimate": 0.51}),
        (
            {"quantity": "value", "estimate": 1.05, "standard_error": 0.05, "exact": 1.06, "count": 400},
            {"estimate": 1.5},
        ),
        ({"quantity": "change of gradient", "estimate": 1e-14, "exact": 0.0}, {"estimate": 1e-3}),
        ({"quantity": "gradient at eps = 0", "estimate": 1e-16, "exact": 0.0}, {"estimate": math.nan}),
    ],
)
def test_the_study_fails_loudly_where_a_known_value_is_missed(right, wrong):
    assert STUDY.verify(STUDY.summarize(_rows(**right), {"steps": 100})) == []
    assert len(STUDY.verify(STUDY.summarize(_rows(**(right | wrong)), {"steps": 100}))) == 1


def test_shares_have_wilsons_interval():
    row = STUDY.summarize(_rows(quantity="far", estimate=0.5, count=100, exact=math.nan), {"steps": 100}).iloc[0]
    assert (row["low"], row["high"]) == pytest.approx((0.4038, 0.5962), abs=1e-4)
