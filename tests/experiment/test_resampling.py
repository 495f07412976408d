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


def _runs(correlation, between, strata, rng):
    """C of scores and accuracies in 6 strata of 6 units, each of two runs that are nearly the same.

    ``strata`` (6, 2) moves scores and accuracies of a stratum, ``between`` is its share of the variance.
    """
    units = np.repeat(np.arange(36), 2)
    stratum = units // 6
    shared, own = rng.standard_normal((2, 36)), rng.standard_normal((2, 72))
    a, b = np.sqrt(0.9) * np.repeat(shared, 2, axis=1) + np.sqrt(0.1) * own
    within = np.stack([a, correlation * a + np.sqrt(1 - correlation**2) * b])
    score, accuracy = np.sqrt(between) * strata[stratum].T + np.sqrt(1 - between) * within
    return agreement(-score[None, None], accuracy[None]), stratum, units


@pytest.mark.parametrize(("correlation", "between"), [(0.0, 0.0), (0.7, 0.5), (0.0, 0.8)])
def test_intervals_for_the_same_strata_cover(correlation, between):
    """Within strata units are drawn anew. 95% as claimed, give or take three points and those of 400 trials."""
    rng = np.random.default_rng([int(100 * correlation), int(100 * between)])
    strata = rng.standard_normal((6, 2))
    exact = np.mean([_runs(correlation, between, strata, rng)[0](np.ones((1, 72))) for _ in range(4000)])
    held = 0
    for _ in range(400):
        ((_, low, high),) = jackknife(*_runs(correlation, between, strata, rng), 1.0)
        held += low <= exact <= high
    assert held / 400 == pytest.approx(0.95, abs=0.03 + 3 * np.sqrt(0.05 * 0.95 / 400))


def test_intervals_for_other_strata_cover_where_these_carry_the_variance_and_those_for_the_same_do_not():
    rng = np.random.default_rng(4)
    held = np.zeros(2)
    for _ in range(400):
        statistic, stratum, units = _runs(0.0, 0.8, rng.standard_normal((6, 2)), rng)
        alike = np.zeros(len(units), dtype=np.intp)
        spans = [jackknife(statistic, alike, stratum, 1.0)[0], jackknife(statistic, stratum, units, 1.0)[0]]
        held += [low <= 0.0 <= high for _, low, high in spans]
    assert 0.92 <= held[0] / 400 <= 1.0
    assert held[1] / 400 < 0.8


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
    ((estimate, low, high),) = bootstrap(
        lambda w: (w @ x / 80)[:, None], np.zeros(80, dtype=np.intp), units, 4000, np.random.default_rng(1), -9.0
    )
    assert estimate == pytest.approx(x.mean())
    assert (high - low) / (2 * 1.96) == pytest.approx(halves.std(ddof=1) / np.sqrt(40), rel=0.05)


def test_bootstrap_draws_within_strata():
    """A mean over strata of other levels: their spread does not count."""
    x, units = np.random.default_rng(0).standard_normal(60), np.arange(60)
    strata = units // 20
    moved = x + 100 * strata
    ((_, low, high),) = bootstrap(
        lambda w: (w @ moved / 60)[:, None], strata, units, 4000, np.random.default_rng(1), -99.0
    )
    error = np.sqrt(np.mean([x[strata == k].var(ddof=1) for k in range(3)]) / 60)
    assert (high - low) / (2 * 1.96) == pytest.approx(error, rel=0.05)


def test_regret_is_that_of_the_least_score_and_a_tie_is_drawn_from():
    scores = np.array([[[2.0, 1.0, 1.0, 3.0]], [[0.0, 0.0, 0.0, 0.0]]])
    accuracy = np.array([[0.9, 0.5, 0.7, 0.8]])
    weights = np.array([[1.0, 1, 1, 1], [0, 2, 1, 1], [1, 0, 0, 1]])
    expected = [[0.9 - 0.6, 0.9 - 0.725], [0.8 - 1.7 / 3, 0.8 - 0.625], [0.0, 0.9 - 0.85]]
    np.testing.assert_allclose(regret(scores, accuracy)(weights), expected, rtol=1e-12)


def test_intervals_of_a_regret_cover_that_of_new_units_more_often_than_percentiles_would():
    """Best less mean: draws from these units hold no better one, so that percentiles lie low, and cover 66%."""
    rng, strata, total = np.random.default_rng(7), np.repeat(np.arange(6), 6), 300
    accuracies = 0.9 + 0.02 * np.random.default_rng(3).standard_normal((20_000, 36))
    exact = (accuracies.max(1) - accuracies.mean(1)).mean()
    covered = 0
    for accuracy in accuracies[:total]:
        statistic = regret(np.zeros((1, 1, 36)), accuracy[None])
        ((value, low, high),) = bootstrap(statistic, strata, np.arange(36), 300, rng, 0.0)
        covered += low <= exact <= high
        assert 0 <= low <= value <= high
    assert covered / total > 0.85
