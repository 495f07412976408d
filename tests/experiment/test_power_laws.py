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


def test_a_line_reaches_a_value_where_it_is_that_value():
    level, slope = power_law(X, Y)
    assert slope == pytest.approx(exponent(X, Y)[0])
    place = power_law(X, Y).reaches(0.2)
    assert level + slope * np.log(place) == pytest.approx(np.log(0.2))
    assert power_law(X, 5.0 * X**-0.5).reaches(0.1) == pytest.approx(2500)


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
