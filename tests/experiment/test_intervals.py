"""Intervals: known values, and coverage where the claim is a coverage."""

import numpy as np
import pytest
from scipy import stats

from sigreg_lab.experiment import mean_interval, rate_interval
from sigreg_lab.experiment.intervals import squared_norm_of_mean


def test_rate_interval_is_wilsons():
    # Brown, Cai & DasGupta (2001), Statistical Science 16, eq. 4, worked out for 5 of 10 and z = 1.959964.
    z = stats.norm.ppf(0.975)
    centre, half = 0.5, z * np.sqrt(10) / (10 + z**2) * np.sqrt(0.25 + z**2 / 40)
    assert rate_interval(5, 10) == pytest.approx((centre - half, centre + half), abs=1e-12)
    assert rate_interval(0, 10)[0] == pytest.approx(0.0, abs=1e-12)
    assert rate_interval(10, 10)[1] == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("count", "total"), [(1, 0), (-1, 5), (6, 5)])
def test_rate_interval_refuses_what_is_no_rate(count, total):
    with pytest.raises(ValueError, match="count must lie in"):
        rate_interval(count, total)


def test_mean_interval_agrees_with_scipy_ttest():
    values = [0.2, 0.5, 0.1, 0.9]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx(tuple(expected), abs=1e-12)


def test_mean_interval_of_one_value_is_unbounded_and_of_none_refused():
    assert mean_interval([3.0]) == (float("-inf"), float("inf"))
    with pytest.raises(ValueError, match="values is empty"):
        mean_interval([])


def test_students_interval_covers_at_five_seeds_where_the_percentile_bootstrap_does_not():
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((2000, 5))
    student = np.mean([low <= 0 <= high for low, high in map(mean_interval, samples)])
    resampled = rng.integers(5, size=(2000, 1000, 5))
    means = np.take_along_axis(samples[:, None, :], resampled, axis=2).mean(2)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    bootstrap = np.mean((low <= 0) & (high >= 0))
    error = np.sqrt(0.95 * 0.05 / 2000)
    assert abs(student - 0.95) < 3.3 * error
    assert bootstrap < 0.88


def test_the_squared_norm_of_a_mean_is_unbiased_and_its_error_not_understated():
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((4000, 12, 5)) + np.array([0.3, 0, 0, 0, 0])
    found = np.array([squared_norm_of_mean(v @ v.T) for v in vectors])
    assert abs(found[:, 0].mean() - 0.09) < 4 * found[:, 0].std() / np.sqrt(len(found))
    assert 1.0 < found[:, 1].mean() / found[:, 0].std() < 1.45  # the jackknife is cautious where the mean is near 0
