"""Lines through logarithms against NumPy's fits and against draws."""

import numpy as np
import pytest

from sigreg_lab.experiment.estimates import Estimates, about, tabulate
from sigreg_lab.experiment.power_laws import exponent, exponents, power_law

X = np.array([16, 64, 128, 1024])
Y = np.array([3.0, 0.9, 0.4, 0.06])
ERROR = np.array([0.1, 0.02, 0.05, 0.2])


def test_an_exponent_is_numpys_slope_and_its_error_that_of_draws():
    assert exponent(X, Y)[0] == pytest.approx(np.polyfit(np.log(X), np.log(Y), 1)[0])
    assert exponent(X, 5.0 * X**-0.5) == (pytest.approx(-0.5), 0.0)
    rng = np.random.default_rng(0)
    slopes = [exponent(X, Y * (1 + 0.1 * ERROR * rng.standard_normal(4)))[0] for _ in range(4_000)]
    assert exponent(X, Y, 0.1 * ERROR)[1] == pytest.approx(np.std(slopes), rel=0.05)


def test_a_weighted_line_is_numpys_with_the_covariance_of_the_errors_given():
    expected, covariance = np.polyfit(np.log(X), np.log(Y), 1, w=1 / ERROR, cov="unscaled")
    level, slope, found, stretch = power_law(X, Y, ERROR)
    assert (slope, level) == pytest.approx(tuple(expected))
    np.testing.assert_allclose(found[::-1, ::-1], covariance)
    residuals = (np.log(Y) - np.polyval(expected, np.log(X))) / ERROR
    assert stretch == pytest.approx(np.sqrt((residuals**2).sum() / 2))
    assert stretch > 1
    assert power_law(X, 5.0 * X**-0.5, ERROR).stretch == 1.0, "points on the line are no better than their errors"
    assert power_law(X[:2], Y[:2], ERROR[:2]).stretch == 1.0, "two points have no scatter"


def test_where_a_line_reaches_a_value_and_what_it_is_there_cover():
    rng, truth, covered, total = np.random.default_rng(1), 5.0 * X**-0.5, np.zeros(2), 1500
    for _ in range(total):
        line = power_law(X, truth * np.exp(0.05 * rng.standard_normal(4)), np.full(4, 0.05))
        (_, low, high), (_, least, most) = line.at(256.0), line.reaches(0.1)
        covered += [low <= 5 / 16 <= high, least <= 2500 <= most]
    # the stretch, never below 1, makes them a little wide
    assert ((covered / total > 0.94) & (covered / total < 0.985)).all(), covered / total


def test_exponents_are_taken_place_by_place_and_leave_out_what_noise_hides():
    rows = [
        about("bias", y, 0.01 * y, 40, 5.0 * x**-0.5, n=x, sd=sd) for sd in (1, 2) for x, y in zip(X, Y, strict=True)
    ]
    rows.append(about("bias", 0.1, 1.0, 40, 1.0, n=4096, sd=2))
    first, second = exponents(Estimates(tabulate(rows)), "n", ["sd"])
    for row, sd in ((first, 1), (second, 2)):
        assert (row["quantity"], row["sd"], row["replicates"]) == ("exponent, bias", sd, 40)
        assert row["estimate"] == pytest.approx(exponent(X, Y)[0])
        assert row["standard_error"] == pytest.approx(exponent(X, Y, 0.01)[1])
        assert row["exact"] == pytest.approx(-0.5)
