"""Loss and accuracy: rank correlations and their intervals, runs of a known order, and a study that can fail."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sigreg_lab.experiment.study import load_study

STUDY = load_study("loss_and_accuracy")
OWN = STUDY.measure.__globals__
SETTINGS = {"replicates": 200, "batch_size": 128}


def test_weights_count_runs_as_if_they_stood_there_that_often():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, (3, 20)).astype(float), rng.integers(0, 4, 20).astype(float)
    weights = rng.integers(0, 4, (5, 20))
    expected = [[stats.spearmanr(np.repeat(v, w), np.repeat(y, w)).statistic for v in x] for w in weights]
    np.testing.assert_allclose(OWN["rank_correlation"](x, y, weights.astype(float)), expected, rtol=1e-12)


def test_runs_that_do_not_vary_have_no_correlation():
    x = np.array([[1.0, 2.0, 3.0]])
    assert OWN["rank_correlation"](x, np.ones(3), np.ones((1, 3))) == 0
    assert OWN["rank_correlation"](x, x[0], np.array([[3.0, 0.0, 0.0]])) == 0


def _normal_pairs(num_strata, per_stratum, correlation, rng):
    """C of a normal copula in strata of units, each of two runs that are nearly the same; and strata and units."""
    units = np.repeat(np.arange(num_strata * per_stratum), 2)
    shared, own = rng.standard_normal((2, len(units) // 2)), rng.standard_normal((2, len(units)))
    a, b = np.sqrt(0.9) * np.repeat(shared, 2, axis=1) + np.sqrt(0.1) * own
    accuracy = correlation * a + np.sqrt(1 - correlation**2) * b
    strata = units // per_stratum
    return OWN["agreement"](-a[None, None], accuracy[None], strata), strata, units


@pytest.mark.parametrize(("num_strata", "per_stratum", "least", "most"), [(1, 36, 0.91, 0.99), (6, 6, 0.95, 1.0)])
@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_intervals_of_the_jackknife_cover(num_strata, per_stratum, correlation, least, most):
    """95% as claimed, give or take three standard errors of 300 trials; in small strata more."""
    rng = np.random.default_rng([num_strata, int(100 * correlation)])
    exact = 6 / np.pi * np.arcsin(correlation / 2)
    held = 0
    for _ in range(300):
        ((_, low, high),) = OWN["jackknife"](*_normal_pairs(num_strata, per_stratum, correlation, rng), 1.0)
        held += low <= exact <= high
    assert least <= held / 300 <= most


def test_jackknife_of_a_mean_is_its_standard_error():
    x, units = np.random.default_rng(0).standard_normal(12), np.arange(12)
    strata = units // 6

    def mean_of_strata(weights):
        each = [(weights[:, own] @ x[own]) / weights[:, own].sum(1) for own in (strata == 0, strata == 1)]
        return np.mean(each, axis=0)[:, None]

    ((estimate, low, high),) = OWN["jackknife"](mean_of_strata, strata, units, 9.0)
    error = np.sqrt((x[:6].var(ddof=1) + x[6:].var(ddof=1)) / 6) / 2
    assert estimate == pytest.approx(x.mean())
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 10) * error)
    assert OWN["jackknife"](mean_of_strata, strata, units, 0.1)[0][1:] == (-0.1, 0.1)


def test_bootstrap_draws_units_whole():
    x, units = np.random.default_rng(0).standard_normal(80), np.repeat(np.arange(40), 2)
    halves = x.reshape(-1, 2).mean(1)
    ((estimate, low, high),) = OWN["bootstrap"](lambda w: (w @ x / 80)[:, None], units, 4000, np.random.default_rng(1))
    assert estimate == pytest.approx(x.mean())
    assert (high - low) / (2 * 1.96) == pytest.approx(halves.std() / np.sqrt(40), rel=0.05)


def test_regret_is_that_of_the_least_score_and_a_tie_is_drawn_from():
    scores = np.array([[[2.0, 1.0, 1.0, 3.0]], [[0.0, 0.0, 0.0, 0.0]]])
    accuracy = np.array([[0.9, 0.5, 0.7, 0.8]])
    weights = np.array([[1.0, 1, 1, 1], [0, 2, 1, 1], [1, 0, 0, 1]])
    expected = [[0.9 - 0.6, 0.9 - 0.725], [0.8 - 1.7 / 3, 0.8 - 0.625], [0.0, 0.9 - 0.85]]
    np.testing.assert_allclose(OWN["regret"](scores, accuracy)(weights), expected, rtol=1e-12)


def _rows(accuracy, seeds=2):
    """Runs whose loss is g lambda^0.4 with a g of each run's own; ``accuracy`` is a function of g and lambda."""
    rng = np.random.default_rng(1)
    rows = []
    axes = ([0.001, 0.003, 0.01, 0.03], [5e-4, 2e-3, 8e-3], [1e-3, 1.0], [60, 240], range(seeds))
    for lam, lr, decay, steps, seed in itertools.product(*axes):
        g = rng.uniform(0.5, 2) * 60 / steps
        row = {"regularizer": "sigreg-ep", "lam": lam, "lr": lr, "weight_decay": decay, "steps": steps, "seed": seed}
        row |= {"loss": g * lam**0.4, "prediction": g, "penalty": rng.uniform()}
        row |= {f"{split}_{budget}": accuracy(g, lam) for split in ("validation", "test") for budget in OWN["LABELS"]}
        rows.append(row)
    return pd.DataFrame(rows)


def _cells(rows):
    summary = STUDY.summarize(rows, SETTINGS)
    return summary, summary[summary["labels"] == "all"].set_index(["quantity", "order", "scope"]).sort_index()


def test_a_loss_that_tells_all_once_it_is_scaled_is_found_out():
    summary, at = _cells(_rows(lambda g, lam: 1 / (1 + g)))
    for scope in OWN["SCOPES"]:
        assert at.loc[("C", "scaled loss", scope), "value"].item() == pytest.approx(1)
        assert at.loc[("C", "prediction", scope), "value"].item() == pytest.approx(1)
    assert at.loc[("C", "loss", "fixed lambda"), "value"].item() == pytest.approx(1)
    assert at.loc[("C", "loss", "all"), "value"].item() < 0.9
    best = at.loc[("best alpha", "scaled loss", "all")]
    assert best["low"] <= 0.4 <= best["high"]
    assert at.loc[("held-out C", "scaled loss", "all"), "value"].item() > 0.97
    assert at.loc[("regret", "scaled loss", "all"), "value"].item() == 0
    report = STUDY.report(summary)
    assert "above the 0.99 reported" in report
    assert "better than lambda alone" in report
    assert "still orders runs within" in report


def test_a_loss_that_tells_nothing_but_lambda_is_found_out():
    summary, at = _cells(_rows(lambda g, lam: 0.5 + lam))
    assert at.loc[("C", "largest lambda", "all"), "value"].item() == pytest.approx(1)
    assert at.loc[("C", "loss", "fixed lambda"), "value"].item() == 0
    assert at.loc[("regret", "largest lambda", "all"), "value"].item() == pytest.approx(0)
    limits = at.loc[("C(alpha)", "scaled loss", "all")].set_index("alpha")["value"]
    # Runs of one lambda tie in accuracy, not in the limit's order: 4 groups of 12 among 48.
    assert limits[np.inf] == pytest.approx(np.sqrt((48**2 - 12**2) / (48**2 - 1)))
    assert limits[-np.inf] == pytest.approx(-limits[np.inf])
    report = STUDY.report(summary)
    assert "worse than lambda alone" in report
    assert "shows no order within" in report


def test_collapsed_runs_are_counted():
    rows = _rows(lambda g, lam: 1 / (1 + g))
    summary, at = _cells(rows)
    assert "no run has collapsed" in STUDY.report(summary)
    nodes = np.linspace(0, 3, 17)
    integrand = (1 - np.exp(-(nodes**2) / 2)) ** 2 * np.exp(-(nodes**2) / 2)
    point = 128 * 2 * np.trapezoid(integrand, nodes)  # SIGReg where all embeddings lie at the origin
    least = rows["lam"] == rows["lam"].min()
    rows.loc[least & (rows["steps"] == 240), "penalty"] = 0.91 * point
    rows.loc[least & (rows["steps"] == 60), "penalty"] = 0.89 * point
    summary, at = _cells(rows)
    shares = at.loc["collapsed"].set_index("lam")["value"]
    assert shares.to_dict() == {0.001: 0.5, 0.003: 0.0, 0.01: 0.0, 0.03: 0.0}
    assert "0.50 (0.31, 0.69) of those at lambda = 0.001, none at larger lambda" in STUDY.report(summary)


def test_right_numbers_are_accepted_and_wrong_ones_are_not(monkeypatch):
    rows = _rows(lambda g, lam: round(1 / (1 + g), 2))
    assert STUDY.verify(STUDY.summarize(rows, SETTINGS)) == []
    right, limits = OWN["rank_correlation"], OWN["_limits"]
    monkeypatch.setitem(OWN, "rank_correlation", lambda x, y, weights: 1.1 * right(x, y, weights) + 0.02)
    monkeypatch.setitem(OWN, "_limits", lambda runs: limits(runs)[::-1])
    complaints = " ".join(STUDY.verify(STUDY.summarize(rows, SETTINGS)))
    for wrong in ("null mean", "null variance", "less its limit", "less SciPy's"):
        assert wrong in complaints


def test_runs_of_a_seed_share_their_random_numbers():
    cells = STUDY.cells(STUDY.configure("standard"))
    states = {tuple(STUDY.cell_seed(cell).generate_state(2)) for cell in cells if cell["seed"] == 0}
    assert len(states) == 1


def test_the_loss_is_the_mean_over_the_last_tenth_of_the_steps(monkeypatch):
    cell = STUDY.cells(STUDY.configure("standard"))[0] | {"steps": 40}
    history = [{"total": k, "prediction": 2 * k, "regularizer": 3 * k} for k in range(40)]
    monkeypatch.setitem(OWN, "pretrain", lambda config: SimpleNamespace(history=history))
    scores = {f"{split}_{budget}": 0.5 for split in ("validation", "test") for budget in OWN["LABELS"]}
    monkeypatch.setitem(OWN, "evaluate", lambda result, **_: scores)
    settings = STUDY.settings(STUDY.configure("standard"))
    (row,) = STUDY.measure(cell, settings, STUDY.cell_seed(cell))
    assert row == {"loss": 37.5, "prediction": 75.0, "penalty": 112.5, **scores}
