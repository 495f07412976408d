"""Critical values from reference values: exact level, exact law of the rejections, coverage of the interval."""

import numpy as np
import pytest
from scipy import stats

from sigreg_lab.experiment.reference import critical_values, exceedances, null_rejections, power_interval


def test_the_level_is_exact_and_rejections_follow_their_law():
    rng = np.random.default_rng(0)
    critical = critical_values(rng.standard_normal((20_000, 99)), 0.05)
    assert critical.shape == (3, 20_000)
    assert (critical[2] <= critical[0]).all()
    assert (critical[0] <= critical[1]).all()
    counts = (rng.standard_normal((20_000, 50)) > critical[0][:, None]).sum(1)
    law = null_rejections(50, 99, 0.05)
    assert abs(counts.mean() / 50 - 0.05) < 4 * law.std() / 50 / np.sqrt(20_000)
    assert counts.var() == pytest.approx(law.var(), rel=0.05)
    assert counts.var() > 1.3 * 50 * 0.05 * 0.95  # a binomial law, without the reference values' part, would not do


def test_the_interval_of_a_power_covers_it():
    rng = np.random.default_rng(1)
    trials, replicates, shift = 2_000, 200, 2.0
    power = stats.norm.sf(stats.norm.isf(0.05) - shift)
    covered = 0
    for critical in critical_values(rng.standard_normal((trials, 199)), 0.05).T:
        values = shift + rng.standard_normal(replicates)
        low, high = power_interval(*((values > c).sum() for c in critical), replicates)
        covered += low <= power <= high
    assert 0.94 <= covered / trials <= 0.985  # Wilson's interval alone covers 0.68


def test_too_few_reference_values_are_refused():
    assert exceedances(19, 0.05) == 1
    with pytest.raises(ValueError, match="reference must be at least 19"):
        exceedances(8, 0.05)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0, -0.1, float("nan")])
def test_a_level_that_is_none_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1, got "):
        critical_values(np.zeros(99), alpha)
