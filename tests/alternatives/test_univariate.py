"""Univariate laws: stated moments and characteristic function against quadrature, samples against the moments."""

import itertools

import numpy as np
import pytest
from scipy import integrate

from sigreg_lab import alternatives
from sigreg_lab.alternatives.univariate import chi_squared, gauss_hermite, normal_mixture

LAWS = list(alternatives.REGISTRY.values())
T = np.array([-7.3, -2.0, -0.4, 0.0, 0.1, 1.0, 3.1, 11.0])


def expectation(law, function):
    """E function(x) by adaptive quadrature over the density, split where a density may have a kink, or by a sum."""
    if law.atoms is not None:
        points, probabilities = law.atoms
        return np.sum(function(points) * probabilities)
    kinks = (*np.sqrt([3.0, 5.0]), *-np.sqrt([1.0, 2.5, 3.0, 5.0]), 0.0)  # uniform, beta; chi-squared_2, _5; Laplace
    ends = [-np.inf, *sorted(kinks), np.inf]
    total = 0.0
    for lower, upper in itertools.pairwise(ends):
        total += integrate.quad(lambda x: function(x) * law.density(x), lower, upper, limit=400, epsabs=1e-13)[0]
    return total


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_moments_equal_quadrature(law):
    assert expectation(law, lambda x: x**0) == pytest.approx(1, abs=1e-9)
    mean = expectation(law, lambda x: x)
    variance = expectation(law, lambda x: (x - law.mean) ** 2)
    assert mean == pytest.approx(law.mean, abs=1e-9)
    assert variance == pytest.approx(law.variance, abs=1e-9)
    third = expectation(law, lambda x: (x - law.mean) ** 3) / law.variance**1.5
    fourth = expectation(law, lambda x: (x - law.mean) ** 4) / law.variance**2
    assert third == pytest.approx(law.skewness, abs=1e-8)
    assert fourth == pytest.approx(law.kurtosis, abs=1e-7)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_characteristic_function_equals_quadrature(law):
    for t in T[np.abs(T) < 4]:
        real = expectation(law, lambda x, t=t: np.cos(t * x))
        imaginary = expectation(law, lambda x, t=t: np.sin(t * x))
        assert law.characteristic_function(t) == pytest.approx(real + 1j * imaginary, abs=2e-8)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_samples_have_the_stated_moments_and_characteristic_function(law):
    rng = np.random.default_rng(7)
    x = law.sample(rng, (200, 1000)).ravel()
    n = x.size
    z = (x - law.mean) / np.sqrt(law.variance)
    # four standard errors; the t5 law has no eighth moment, so its kurtosis is not held to one
    orders = {1: 0.0, 2: 1.0, 3: law.skewness} | ({} if law.name == "t5" else {4: law.kurtosis})
    for order, value in orders.items():
        error = (z**order).std() / np.sqrt(n)
        assert abs((z**order).mean() - value) <= 4 * error + 1e-12
    for t in T:
        difference = np.exp(1j * t * x).mean() - law.characteristic_function(t)
        assert abs(difference) <= 4.5 / np.sqrt(n)


def test_names_are_keys_and_null_is_standard_normal():
    assert all(name == law.name for name, law in alternatives.REGISTRY.items())
    assert {"null", "location_0.3", "scale_1.25", "laplace", "uniform", "t5"} <= set(alternatives.UNIVARIATE)
    law = alternatives.REGISTRY["null"]
    assert (law.mean, law.variance, law.skewness, law.kurtosis) == (0, 1, 0, 3)
    np.testing.assert_allclose(law.characteristic_function(T), np.exp(-(T**2) / 2), rtol=1e-14)


def test_shape_laws_have_mean_zero_and_variance_one():
    for law in LAWS:
        if not law.name.startswith(("location", "scale")):
            assert (law.mean, law.variance) == (0.0, 1.0)
            assert (law.skewness, law.kurtosis) != (0.0, 3.0) or law.name == "null" or law.atoms is not None


@pytest.mark.parametrize("num_atoms", [2, 3, 5, 10])
def test_gauss_hermite_law_matches_moments_up_to_its_order_and_not_beyond(num_atoms):
    points, probabilities = gauss_hermite(num_atoms).atoms
    gaussian = [0.0 if k % 2 else float(np.prod(np.arange(1, k, 2))) for k in range(2 * num_atoms + 1)]
    for k in range(2 * num_atoms):
        assert probabilities @ points**k == pytest.approx(gaussian[k], rel=1e-10, abs=1e-10 * gaussian[k - k % 2])
    assert abs(probabilities @ points ** (2 * num_atoms) / gaussian[-1] - 1) > 1e-6


@pytest.mark.parametrize("size", [5, (2, 3)])
def test_same_generator_state_gives_the_same_sample(size):
    for law in LAWS:
        x = law.sample(np.random.default_rng(3), size)
        assert x.shape == np.empty(size).shape
        assert x.dtype == np.float64
        np.testing.assert_array_equal(x, law.sample(np.random.default_rng(3), size))


def test_bad_parameters_are_refused_by_name():
    with pytest.raises(ValueError, match="weights must be"):
        normal_mixture("m", [0.5, 0.6], [0, 0], [1, 1])
    with pytest.raises(ValueError, match="scales must be"):
        normal_mixture("m", [1.0], [0], [0])
    with pytest.raises(ValueError, match="df must be"):
        chi_squared(0)
    with pytest.raises(ValueError, match="num_atoms must be"):
        gauss_hermite(1)
