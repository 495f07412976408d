"""Smooth functions on the sphere, and the constant of Theorem 5."""

import math

import mpmath
import numpy as np
import pytest

from sigreg_lab.theory.sphere import log_bound, smooth_field, spectrum


def test_the_constant_in_three_dimensions_is_elementary():
    """K = 3: Gamma(alpha + 1)/Gamma(alpha) = alpha, so that C = 4^alpha pi alpha / 2."""
    alpha = np.array([0.5, 1.0, 2.5, 7.0])
    np.testing.assert_allclose(np.exp(log_bound(alpha, 3)), 4**alpha * math.pi * alpha / 2, rtol=1e-12)


@pytest.mark.parametrize(("alpha", "dim", "num_slices"), [(0.3, 2, 1), (4.0, 17, 100), (20.0, 512, 10_000)])
def test_the_bound_is_the_printed_formula(alpha, dim, num_slices):
    half = mpmath.mpf(dim - 1) / 2
    printed = 2 ** (2 * mpmath.mpf(alpha)) * mpmath.pi**half * mpmath.gamma(alpha + half)
    printed /= (dim - 1) * mpmath.gamma(alpha) * mpmath.gamma(half)
    expected = mpmath.log(printed * mpmath.mpf(num_slices) ** (-alpha / half))
    assert float(log_bound(alpha, dim, num_slices)) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("wrong", [(0.0, 3, 1), (1.0, 1, 1), (1.0, 3, 0)])
def test_the_bound_refuses_what_has_none(wrong):
    with pytest.raises(ValueError, match="alpha must be above 0, dim at least 2, num_slices at least 1"):
        log_bound(*wrong)


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_a_field_has_the_power_of_its_spectrum_in_each_degree(alpha):
    """By quadrature that is exact for these degrees: sum over m of <f, Y_lm>^2 is sigma_l^2 times chi-squared(2l+1)."""
    degree, draws = 6, 400
    nodes, weights = np.polynomial.legendre.leggauss(degree + 1)
    phi = 2 * np.pi * np.arange(2 * degree + 2) / (2 * degree + 2)
    rng = np.random.default_rng(5)
    power = np.zeros(draws)
    for draw in range(draws):
        field = smooth_field(rng, alpha, np.arccos(nodes), phi, degree)
        power[draw] = (weights @ field**2).sum() * 2 * np.pi / len(phi)
        assert abs((weights @ field).sum()) < 1e-10  # orthogonal to constants
    degrees = np.arange(1, degree + 1)
    mean = (spectrum(alpha, degree) ** 2 * (2 * degrees + 1)).sum()
    error = power.std(ddof=1) / np.sqrt(draws)
    assert abs(power.mean() - mean) < 4 * error
    assert error < 0.06 * mean


def test_smoothness_alone_is_what_alpha_changes():
    theta, phi = np.linspace(0.1, 3.0, 7), np.linspace(0, 6, 9)
    one, same = (smooth_field(np.random.default_rng(2), 1.0, theta, phi, 1) for _ in range(2))
    other = smooth_field(np.random.default_rng(2), 3.0, theta, phi, 1)
    np.testing.assert_array_equal(one, same)
    np.testing.assert_allclose(other, one * 2.0**-1, rtol=1e-12)  # (1 * 2)^(-(4 - 2)/2) at degree 1
