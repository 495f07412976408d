"""What a grid leaves of the null mean, against mpmath and the grid itself."""

import mpmath
import numpy as np
import pytest

from sigreg_lab import alternatives
from sigreg_lab.theory.epps_pulley import expected_slope, expected_value
from sigreg_lab.theory.quadrature import aliasing, end_term, null_expectation
from sigreg_lab.univariate import EppsPulley

NULL = alternatives.REGISTRY["null"]


def _integral(t_max, sigma2):
    """Nodes and weights that integrate over [-t_max, t_max] to rounding: Gauss-Legendre on the half."""
    node, weight = np.polynomial.legendre.leggauss(200)
    t = t_max * (node + 1) / 2
    return t, t_max * weight * np.exp(-(t**2) / sigma2)


@pytest.mark.parametrize("t_max", [1.0, 3.0, 12.0])
@pytest.mark.parametrize("sigma2", [1.0, 2.0, 4.0])
def test_closed_form_of_the_null_mean_is_the_integral(t_max, sigma2):
    expected = 2 * mpmath.quad(lambda t: (1 - mpmath.exp(-(t**2))) * mpmath.exp(-(t**2) / sigma2), [0, 1, t_max])
    assert null_expectation(t_max, sigma2) == pytest.approx(float(expected), rel=1e-13)
    nodes = _integral(t_max, sigma2)
    assert expected_value(NULL, 77, *nodes) == pytest.approx(float(expected), rel=1e-13)


def test_end_term_and_aliasing_are_the_error_of_the_trapezoidal_rule():
    for t_max, points, leading in ((3.0, 65, end_term), (1.0, 65, end_term), (12.0, 8, aliasing)):
        t, _, weight = EppsPulley(t_max, points).nodes()
        step = t_max / (points - 1)
        expected = end_term(t_max, 2.0, step) if leading is end_term else aliasing(2.0, step)
        error = expected_value(NULL, 1, t, weight) - null_expectation(t_max, 2.0)
        assert error == pytest.approx(expected, rel=2e-3)


def test_slope_of_the_mean_is_exact_for_a_normal_scale():
    """E T(sd z) on the whole line in closed form: terms sqrt(pi / (1/2 + a sd^2 + b)); its derivative by mpmath."""

    def mean(sd):
        total = mpmath.sqrt(mpmath.pi / (mpmath.mpf(1) / 2 + sd**2)) * 9 - 20 * mpmath.sqrt(mpmath.pi / (1 + sd**2 / 2))
        return total + 10 * mpmath.sqrt(mpmath.pi / mpmath.mpf("1.5")) + mpmath.sqrt(2 * mpmath.pi)

    law = alternatives.REGISTRY["scale_1.25"]
    nodes = _integral(12.0, 2.0)
    assert expected_value(law, 10, *nodes) == pytest.approx(float(mean(mpmath.mpf("1.25"))), rel=1e-12)
    slope = mpmath.diff(mean, mpmath.mpf("1.25")) * mpmath.mpf("1.25")
    assert expected_slope(law, 10, *nodes) == pytest.approx(float(slope), rel=1e-6)
