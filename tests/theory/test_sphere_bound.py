"""Theorem 5, term by term, by other ways."""

import mpmath
import numpy as np
import pytest
from scipy import integrate

from sigreg_lab.theory.sphere_bound import (
    cauchy_coefficients,
    hidden_covariance,
    log10_constant,
    log10_directions,
    worst_in_the_plane,
)


@pytest.mark.parametrize(("dim", "alpha"), [(2, 0.5), (16, 7.5), (512, 300.0)])
def test_the_constant_is_the_printed_one(dim, alpha):
    half = mpmath.mpf(dim - 1) / 2
    ratio = mpmath.gamma(alpha + half) / (mpmath.gamma(alpha) * mpmath.gamma(half))
    constant = 2 ** (2 * mpmath.mpf(alpha)) * mpmath.pi**half * ratio / (dim - 1)
    assert log10_constant(dim, alpha) == pytest.approx(float(mpmath.log10(constant)), rel=1e-12)


@pytest.mark.parametrize("dim", [2, 4, 8, 32, 512])
def test_just_above_the_least_number_of_directions_the_bound_says_something_and_below_it_does_not(dim):
    needed = log10_directions(dim)
    alphas = (dim - 1) / 2 * np.geomspace(1, 1e6, 2000)

    def least(directions):
        return min(log10_constant(dim, a) - 2 * a / (dim - 1) * directions for a in alphas)

    assert least(needed + 0.01) < 0 <= least(needed - 0.01)
    if dim >= 8:
        assert needed == pytest.approx((dim - 1) * np.log10(2), abs=1e-3)


def test_no_direction_sees_a_hidden_covariance_and_enough_leave_none():
    directions = np.random.default_rng(1).standard_normal((8, 36))
    directions /= np.linalg.norm(directions, axis=0)
    for count in (8, 16, 35):
        hidden = hidden_covariance(directions[:, :count])
        seen = np.einsum("km,kl,lm->m", directions[:, :count], hidden, directions[:, :count])
        np.testing.assert_allclose(seen, 1, atol=1e-9)
        assert np.linalg.eigvalsh(hidden)[0] == pytest.approx(0, abs=1e-9)
        assert np.linalg.norm(hidden - np.eye(8)) > 1
    np.testing.assert_array_equal(hidden_covariance(directions), np.eye(8))


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_the_worst_function_on_equispaced_angles_is_the_sine_with_zeros_there(alpha):
    for size in (4, 16):
        worst = worst_in_the_plane(np.pi * np.arange(size) / size, alpha)
        assert worst == pytest.approx((1 + size**2) ** -alpha, rel=1e-9)


def test_more_angles_leave_less_and_none_leave_all():
    angles = np.random.default_rng(2).uniform(0, np.pi, 12)
    worst = [worst_in_the_plane(angles[:count], 1.0) for count in (1, 4, 12)]
    assert 1 > worst[0] > worst[1] > worst[2] > worst_in_the_plane(np.pi * np.arange(12) / 12, 1.0)


def test_coefficients_of_the_product_of_cauchy_laws_are_its_integrals():
    def part(angle):
        return np.exp(-np.cos(angle) - np.sin(angle)) * np.cos(8 * angle)  # of period pi/2

    value = integrate.quad(part, 0, np.pi / 2, epsabs=1e-12)[0] * 2 / np.pi
    assert cauchy_coefficients(np.array([8.0]))[0] == pytest.approx(abs(value), rel=1e-5)
