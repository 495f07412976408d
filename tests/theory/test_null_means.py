"""Means under N(0, 1) and N(0, I) against samples."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from sigreg_lab.multivariate.energy import Energy
from sigreg_lab.theory import null_means


@pytest.mark.parametrize(
    ("exact", "statistic", "dim"),
    [
        (null_means.energy_of_plane(), lambda x: Energy()(torch.from_numpy(x)).numpy(), 2),
        (
            null_means.covariance_distance(3, 20),
            lambda x: ((x.transpose(0, 2, 1) @ x / 20 - np.eye(3)) ** 2).sum((1, 2)),
            3,
        ),
    ],
)
def test_null_means_are_those_of_samples(exact, statistic, dim):
    values = statistic(np.random.default_rng(3).standard_normal((4000, 20, dim)))
    error = values.std() / math.sqrt(len(values))
    assert values.mean() == pytest.approx(exact, abs=4 * error)
    assert error < 0.02 * exact


def test_the_mean_of_jarque_bera_is_that_of_simulated_samples():
    x = np.random.default_rng(3).standard_normal((1_000_000, 12))
    values = 12 / 6 * (stats.skew(x, axis=1) ** 2 + stats.kurtosis(x, axis=1) ** 2 / 4)
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean() - null_means.null_mean("jarque_bera", 12)) < 4 * error


@pytest.mark.parametrize("n", [2, 3])
def test_of_two_or_three_samples_the_squared_mean_over_the_variance_has_no_mean_and_others_have(n):
    assert null_means.null_mean("vcreg", n) == null_means.null_mean("extended_jarque_bera", n) == math.inf
    assert null_means.null_mean("watson", n) == pytest.approx(1 / 12)
