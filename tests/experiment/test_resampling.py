"""Rank correlations of weighted runs, regrets and their intervals: known values, and coverage."""

import numpy as np
import pytest
from scipy import stats

from sigreg_lab.experiment.resampling import agreement, bootstrap, jackknife, rank_correlation, regret


def test_weights_count_runs_as_if_they_stood_there_that_often():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, (3, 20)).astype(float), rng.integers(0, 4, 20).astype(float)
    weights = rng.integers(0, 4, (5, 20))
    expected = [[stats.spearmanr(np.repeat(v, w), np.repeat(y, w)).statistic for v in x] for w in weights]
    np.testing.assert_allclose(rank_correlation(x, y, weights.astype(float)), expected, rtol=1e-12)


def test_runs_that_do_not_vary_have_no_correlation():
    x = np.array([[1.0, 2.0, 3.0]])
    assert rank_correlation(x, np.ones(3), np.ones((1, 3))) == 0
    assert rank_correlation(x, x[0], np.array([[3.0, 0.0, 0.0]])) == 0


def _normal_pairs(num_strata, per_stratum, correlation, rng):
    """C of a normal copula in strata of units, each of two runs that are nearly the same; and strata and units."""
    units = np.repeat(np.arange(num_strata * per_stratum), 2)
    shared, own = rng.standard_normal((2, len(units) // 2)), rng.standard_normal((2, len(units)))
    a, b = np.sqrt(0.9) * np.repeat(shared, 2, axis=1) + np.sqrt(0.1) * own
    accuracy = correlation * a + np.sqrt(1 - correlation**2) * b
    strata = units // per_stratum
    return agreement(-a[None, None], accuracy[None], strata), strata, units


@pytest.mark.parametrize(("num_strata", "per_stratum", "least", "most"), [(1, 36, 0.91, 0.99), (6, 6, 0.95, 1.0)])
@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_intervals_of_the_jackknife_cover(num_strata, per_stratum, correlation, least, most):
    """95% as claimed, give or take three standard errors of 300 trials; in small strata more."""
    rng = np.random.default_rng([num_strata, int(100 * correlation)])
    exact = 6 / np.pi * np.arcsin(correlation / 2)
    held = 0
    for _ in range(300):
        ((_, low, high),) = jackknife(*_normal_pairs(num_strata, per_stratum, correlation, rng), 1.0)
        held += low <= exact <= high
    assert least <= held / 300 <= most


def test_jackknife_of_a_mean_is_its_standard_error():
    x, units = np.random.default_rng(0).standard_normal(12), np.arange(12)
    strata = units // 6

    def mean_of_strata(weights):
        each = [(weights[:, own] @ x[own]) / weights[:, own].sum(1) for own in (strata == 0, strata == 1)]
        return np.mean(each, axis=0)[:, None]

    ((estimate, low, high),) = jackknife(mean_of_strata, strata, units, 9.0)
    error = np.sqrt((x[:6].var(ddof=1) + x[6:].var(ddof=1)) / 6) / 2
    assert estimate == pytest.approx(x.mean())
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 10) * error)
    assert jackknife(mean_of_strata, strata, units, 0.1)[0][1:] == (-0.1, 0.1)


def test_bootstrap_draws_units_whole():
    x, units = np.random.default_rng(0).standard_normal(80), np.repeat(np.arange(40), 2)
    halves = x.reshape(-1, 2).mean(1)
    ((estimate, low, high),) = bootstrap(lambda w: (w @ x / 80)[:, None], units, 4000, np.random.default_rng(1))
    assert estimate == pytest.approx(x.mean())
    assert (high - low) / (2 * 1.96) == pytest.approx(halves.std() / np.sqrt(40), rel=0.05)


def test_regret_is_that_of_the_least_score_and_a_tie_is_drawn_from():
    scores = np.array([[[2.0, 1.0, 1.0, 3.0]], [[0.0, 0.0, 0.0, 0.0]]])
    accuracy = np.array([[0.9, 0.5, 0.7, 0.8]])
    weights = np.array([[1.0, 1, 1, 1], [0, 2, 1, 1], [1, 0, 0, 1]])
    expected = [[0.9 - 0.6, 0.9 - 0.725], [0.8 - 1.7 / 3, 0.8 - 0.625], [0.0, 0.9 - 0.85]]
    np.testing.assert_allclose(regret(scores, accuracy)(weights), expected, rtol=1e-12)
