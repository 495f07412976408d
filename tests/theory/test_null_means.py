"""Means under N(0, 1) against simulated samples."""

import math

import numpy as np
from scipy import stats

from sigreg_lab.theory.null_means import null_mean


def test_the_mean_of_jarque_bera_is_that_of_simulated_samples():
    x = np.random.default_rng(3).standard_normal((1_000_000, 12))
    values = 12 / 6 * (stats.skew(x, axis=1) ** 2 + stats.kurtosis(x, axis=1) ** 2 / 4)
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean() - null_mean("jarque_bera", 12)) < 4 * error
