"""Sharp bounds, closed forms and slopes by other means."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate

from sigreg_lab import univariate
from sigreg_lab.theory.collapse import period
from sigreg_lab.theory.gradients import (
    CONSTANT,
    full_line_terms,
    grid_terms,
    printed_bounds,
    sharp_bounds,
)
from sigreg_lab.univariate import EppsPulley

TESTS = [EppsPulley(), EppsPulley(5.0, 9), EppsPulley(integration="exact"), EppsPulley(integration="exact", sigma=1.0)]


def _all_derivatives(test, x):
    """Gradient, of the shape of ``x``, and curvature in the first sample of each column."""
    point = torch.from_numpy(np.asarray(x, dtype=float)).requires_grad_()
    (gradient,) = torch.autograd.grad(test.unchecked(point).sum(), point, create_graph=True)
    (curvature,) = torch.autograd.grad(gradient[0].sum(), point)
    return gradient.detach().numpy(), curvature[0].numpy()


def _derivatives(test, x):
    gradient, curvature = _all_derivatives(test, np.asarray(x)[:, None])
    return gradient[0, 0], curvature[0]


def _terms(test):
    return full_line_terms(test.sigma) if test.integration == "exact" else grid_terms(*test.nodes())


def _bounds(test, n):
    line = test.integration == "exact"
    return sharp_bounds(_terms(test), n, *(() if line else (period(test.nodes()[0]),)))


@pytest.mark.parametrize("sigma", [0.5, 1.0, math.sqrt(2)])
def test_pair_terms_are_their_integrals(sigma):
    terms = full_line_terms(sigma)
    for term, decay in zip(terms, (1 / sigma**2, 1 / sigma**2 + 0.5), strict=True):
        for d in (0.3, 1.7, 4.0):
            value = integrate.quad(lambda t, a=decay, d=d: t * math.sin(t * d) * math.exp(-a * t * t), -20, 20)[0]
            assert term(np.array(d)) == pytest.approx(value, rel=1e-7, abs=1e-12)


def test_the_sharp_bounds_of_the_full_line_are_attained_by_a_sample_of_two_values():
    test, n = EppsPulley(integration="exact"), 32
    gradient, curvature = _bounds(test, n)
    others = 1 - 1 / n
    assert gradient == pytest.approx(2 * (others * math.sqrt(2 * math.pi / math.e) + math.sqrt(math.pi / (2 * math.e))))
    assert curvature == pytest.approx(2 * (others * math.sqrt(2 * math.pi) + math.sqrt(math.pi) * math.exp(-1.5)))
    assert _derivatives(test, [math.sqrt(2), *[math.sqrt(2) + 1] * (n - 1)])[0] == pytest.approx(gradient, rel=1e-7)
    assert abs(_derivatives(test, [math.sqrt(6)] * n)[1]) == pytest.approx(curvature, rel=1e-6)


@pytest.mark.parametrize("test", TESTS, ids=repr)
def test_no_sample_exceeds_the_sharp_bounds_and_they_lie_below_the_theorems(test):
    rng, n = np.random.default_rng(1), 12
    bounds = _bounds(test, n)
    first, second = printed_bounds(test.sigma)
    printed = first, CONSTANT * second
    for bound, theorem in zip(bounds, printed, strict=True):
        assert bound < theorem
    x = rng.standard_normal((n, 500)) * 10 ** rng.uniform(-2, 2, 500)
    gradient, curvature = _all_derivatives(test, x)
    assert np.abs(gradient).max() <= bounds[0]
    assert np.abs(curvature).max() <= bounds[1]


def test_jarque_beras_gradient_in_an_outlier_falls_as_the_third_power():
    rest = [mpmath.mpf(v) for v in (-1.3, -0.2, 0.1, 0.4, 0.9, 1.1, -0.7)]

    def value(x):
        sample = [x, *rest]
        mean = sum(sample) / 8
        second, third, fourth = (sum((v - mean) ** p for v in sample) / 8 for p in (2, 3, 4))
        return mpmath.mpf(8) / 6 * (third**2 / second**3 + (fourth / second**2 - 3) ** 2 / 4)

    with mpmath.workdps(40):
        steep = [mpmath.diff(value, mpmath.mpf(x)) for x in (10**4, 10**5)]
    assert math.log10(steep[1] / steep[0]) == pytest.approx(-3, abs=1e-3)
    gradient, _ = _all_derivatives(univariate.JarqueBera(), [[1e4], *([float(v)] for v in rest)])
    assert gradient[0, 0] == pytest.approx(float(steep[0]), rel=1e-4)
