"""Refitted linear models against what is known of them."""

import numpy as np
import pytest

from sigreg_lab.theory.linear_fits import least_squares, least_squares_covariance, logistic


@pytest.mark.parametrize("eigenvalues", [(1.0, 1.0), (1.8, 0.2)])
def test_the_weights_of_least_squares_have_their_mean_and_covariance(eigenvalues):
    eigenvalues, truth = np.array(eigenvalues), np.array([1.0, -0.5])
    found = least_squares(np.random.default_rng(3), eigenvalues, truth, n=12, noise=0.7, replicates=20_000)
    exact = least_squares_covariance(eigenvalues, n=12, noise=0.7)
    gaps = found - truth
    assert (np.abs(gaps.mean(0)) < 4 * np.sqrt(np.diag(exact) / len(gaps))).all()
    products = gaps[:, :, None] * gaps[:, None, :]
    errors = products.std(0, ddof=1) / np.sqrt(len(products))
    assert (np.abs(products.mean(0) - exact) < 4 * errors).all()
    assert (np.diag(errors) < 0.05 * np.diag(exact)).all()


def test_a_covariance_needs_more_samples_than_dimensions():
    with pytest.raises(ValueError, match="n must be above K"):
        least_squares_covariance(np.ones(2), n=3, noise=1.0)


def test_logistic_regression_finds_the_law_of_the_labels():
    truth = np.array([1.0, -2.0])
    found = logistic(np.random.default_rng(4), np.array([1.5, 0.5]), truth, n=4_000, replicates=20)
    errors = found.std(0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.mean(0) - [*truth, 0.0]) < 4 * errors).all()
    assert (errors < 0.05).all()
