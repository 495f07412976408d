"""The study of gradient stability: its sharp bounds and exponents by other means, and that it fails loudly."""

import math

import mpmath
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import integrate

from sigreg_lab.experiment.study import load_study
from sigreg_lab.univariate import EppsPulley

STUDY = load_study("gradient_stability")
OWN = STUDY.measure.__globals__


def _derivatives(test, x):
    gradient, curvature = OWN["derivatives"](test, np.asarray(x, dtype=float)[:, None], second=True)
    return gradient[0, 0], curvature[0]


@pytest.mark.parametrize("sigma", [0.5, 1.0, math.sqrt(2)])
def test_pair_terms_are_their_integrals(sigma):
    terms = OWN["pair_terms"](EppsPulley(integration="exact", sigma=sigma))
    for term, decay in zip(terms, (1 / sigma**2, 1 / sigma**2 + 0.5), strict=True):
        for d in (0.3, 1.7, 4.0):
            value = integrate.quad(lambda t, a=decay, d=d: t * math.sin(t * d) * math.exp(-a * t * t), -20, 20)[0]
            assert term(np.array(d)) == pytest.approx(value, rel=1e-7, abs=1e-12)


def test_the_sharp_bounds_of_the_full_line_are_attained_by_a_sample_of_two_values():
    test, n = EppsPulley(integration="exact"), 32
    gradient, curvature = OWN["largest"]("epps_pulley_full_line", n)
    others = 1 - 1 / n
    assert gradient == pytest.approx(2 * (others * math.sqrt(2 * math.pi / math.e) + math.sqrt(math.pi / (2 * math.e))))
    assert curvature == pytest.approx(2 * (others * math.sqrt(2 * math.pi) + math.sqrt(math.pi) * math.exp(-1.5)))
    assert _derivatives(test, [math.sqrt(2), *[math.sqrt(2) + 1] * (n - 1)])[0] == pytest.approx(gradient, rel=1e-7)
    assert abs(_derivatives(test, [math.sqrt(6)] * n)[1]) == pytest.approx(curvature, rel=1e-6)


@pytest.mark.parametrize("name", list(OWN["EPPS_PULLEY"]))
def test_no_sample_exceeds_the_sharp_bounds_and_they_lie_below_the_theorems(name):
    test, rng, n = OWN["EPPS_PULLEY"][name](), np.random.default_rng(1), 12
    bounds = OWN["largest"](name, n)
    printed = 4 * test.sigma**2, (2 + 4 * math.exp(-1.5)) * math.sqrt(math.pi) * test.sigma**3 / 2
    for bound, theorem in zip(bounds, printed, strict=True):
        assert bound < theorem
    x = rng.standard_normal((n, 500)) * 10 ** rng.uniform(-2, 2, 500)
    gradient, curvature = OWN["derivatives"](test, x, second=True)
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
    measured = OWN["derivatives"](
        OWN["STATISTICS"]["jarque_bera"](), np.array([[1e4], *([float(v)] for v in rest)]), False
    )
    assert measured[0][0, 0] == pytest.approx(float(steep[0]), rel=1e-4)


def test_wasserstein_and_anderson_darling_have_the_mean_slope_that_simulation_gives():
    x = torch.from_numpy(np.random.default_rng(2).standard_normal((8, 200_000)))
    for name in ("wasserstein", "anderson_darling"):
        gradient, _ = OWN["derivatives"](OWN["STATISTICS"][name](), x.numpy(), second=False)
        slopes = (gradient * x.numpy()).sum(0)
        error = slopes.std() / math.sqrt(len(slopes))
        assert abs(slopes.mean() - OWN["mean_slope"](name, 8)) < 4 * error


def _rows(**changes):
    row = {"part": "null", "statistic": "epps_pulley", "n": 16, "quantity": "slope", "at": math.nan}
    row |= {"estimate": 0.97, "standard_error": 0.01, "count": 1000, "exact": 0.9648}
    return pd.DataFrame([row | changes])


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ({"estimate": 0.97}, {"estimate": 1.02}),
        ({"quantity": "gradient exponent", "estimate": 3.01, "exact": 3.0}, {"estimate": 2.85}),
        ({"quantity": "gradient exponent", "estimate": -math.inf, "exact": -math.inf}, {"estimate": -3.0}),
        (
            {"quantity": "largest gradient", "estimate": 4.37, "exact": 4.3785, "standard_error": 0.0},
            {"estimate": 4.379},
        ),
        ({"quantity": "largest gradient", "estimate": 4.37, "exact": 4.3785, "standard_error": 0.0}, {"estimate": 4.3}),
        (
            {"quantity": "distance to the closed form", "estimate": 1e-12, "exact": 0.0, "standard_error": 0.0},
            {"estimate": 1e-6},
        ),
    ],
)
def test_the_study_fails_loudly_where_a_known_value_is_missed(right, wrong):
    assert STUDY.verify(STUDY.summarize(_rows(**right), {})) == []
    assert len(STUDY.verify(STUDY.summarize(_rows(**(right | wrong)), {}))) == 1
