"""Slices of the 'X', against quadrature over its characteristic function and over directions."""

import math

import numpy as np
import pytest
from scipy import integrate, special

from sigreg_lab import alternatives
from sigreg_lab.theory import cross


@pytest.mark.parametrize("angle", [0.0, 0.3, math.pi / 4, 2.0])
def test_the_distance_along_a_direction_is_its_integral(angle):
    law, direction = alternatives.MULTIVARIATE["x"](2), np.array([math.cos(angle), math.sin(angle)])

    def integrand(t):
        return abs(law.characteristic_function(t * direction) - math.exp(-(t**2) / 2)) ** 2 * math.exp(-(t**2) / 2)

    expected = integrate.quad(integrand, -12, 12, epsabs=1e-14)[0]
    assert cross.slice_distance(angle) == pytest.approx(expected, abs=1e-13)


def test_in_the_plane_the_mean_is_one_of_elliptic_integrals():
    """The mean of (p - q sin u)^(-1/2) over the circle is 2 K(2 q/(p + q))/(pi sqrt(p + q))."""
    mean = [2 / math.pi * special.ellipk(2 * q / (1.5 + q)) / math.sqrt(1.5 + q) for q in (1.0, 0.5)]
    expected = math.sqrt(math.pi) * (1.5 * 1.5**-0.5 + mean[0] / 2 - 2 * mean[1])
    assert cross.mean_distance(2) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dim", [3, 5, 16])
def test_in_more_dimensions_it_is_the_mean_over_the_length_in_the_plane_and_the_angle(dim):
    """a_1^2 + a_2^2 has the density (K - 2)/2 (1 - r)^(K/2 - 2); substituted so that K = 3 has no pole."""
    angles = np.linspace(0, math.pi, 400, endpoint=False)

    def along(r):
        s = r * np.sin(2 * angles)
        ends = [(1.5 - q) ** -0.5 + (1.5 + q) ** -0.5 for q in (s, s / 2)]
        return float(np.mean(math.sqrt(math.pi) * (1.5 * 1.5**-0.5 + ends[0] / 4 - ends[1])))

    expected = integrate.quad(lambda v: along(1 - v ** (2 / (dim - 2))), 0, 1, epsabs=1e-14)[0]
    assert cross.mean_distance(dim) == pytest.approx(expected, rel=1e-6)


def test_it_falls_as_the_fourth_power_of_the_dimension():
    assert cross.mean_distance(4096) * 4096**4 == pytest.approx(4.22, rel=0.01)
