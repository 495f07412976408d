import mpmath
import numpy as np
import pandas as pd
import pytest
import torch

from sigreg_lab import alternatives
from sigreg_lab.experiment.study import load_study
from sigreg_lab.univariate import EppsPulley

STUDY = load_study("quadrature")
NULL = alternatives.REGISTRY["null"]


@pytest.fixture
def quadrature():
    import sys

    return sys.modules["studies.quadrature"]


@pytest.mark.parametrize("t_max", [1.0, 3.0, 12.0])
@pytest.mark.parametrize("sigma2", [1.0, 2.0, 4.0])
def test_closed_form_of_the_null_mean_is_the_integral(quadrature, t_max, sigma2):
    expected = 2 * mpmath.quad(lambda t: (1 - mpmath.exp(-(t**2))) * mpmath.exp(-(t**2) / sigma2), [0, 1, t_max])
    assert quadrature.null_expectation(t_max, sigma2) == pytest.approx(float(expected), rel=1e-13)
    nodes = quadrature.integral(t_max, sigma2)
    assert quadrature.expected_value(NULL, 77, nodes) == pytest.approx(float(expected), rel=1e-13)


def test_end_term_and_aliasing_are_the_error_of_the_trapezoidal_rule(quadrature):
    for t_max, points, leading in ((3.0, 65, "end_term"), (1.0, 65, "end_term"), (12.0, 8, "aliasing")):
        errors = quadrature.exact_errors(t_max, 2.0, points)
        assert errors["mean_discretisation"] == pytest.approx(errors[leading], rel=2e-3)


def test_population_gradient_is_that_of_the_distance_to_the_law(quadrature):
    """For a large sample the gradient tends to N 2 sum w t (s cos(tx) - (c - phi_0) sin(tx)) / N, written out here."""
    law, test = alternatives.REGISTRY["chi_squared_5"], EppsPulley()
    x = torch.linspace(-2, 3, 8, dtype=torch.float64)[:, None].requires_grad_()
    t = 3 / 16 * np.arange(17)
    weight = np.where((t == 0) | (t == 3), 1, 2) * 3 / 16 * np.exp(-(t**2) / 2)
    phi, angle = law.characteristic_function(t), t * x.detach().numpy()
    expected = (2 * weight * t * (phi.imag * np.cos(angle) - (phi.real - np.exp(-(t**2) / 2)) * np.sin(angle))).sum(1)
    actual = quadrature.population_gradient(law, test, x)
    np.testing.assert_allclose(actual[:, 0].numpy(), expected, rtol=1e-10, atol=1e-13)


def test_slope_of_the_mean_is_exact_for_a_normal_scale(quadrature):
    """E T(sd z) on the whole line in closed form: terms sqrt(pi / (1/2 + a sd^2 + b)); its derivative by mpmath."""

    def mean(sd):
        total = mpmath.sqrt(mpmath.pi / (mpmath.mpf(1) / 2 + sd**2)) * 9 - 20 * mpmath.sqrt(mpmath.pi / (1 + sd**2 / 2))
        return total + 10 * mpmath.sqrt(mpmath.pi / mpmath.mpf("1.5")) + mpmath.sqrt(2 * mpmath.pi)

    law = alternatives.REGISTRY["scale_1.25"]
    nodes = quadrature.integral(12.0, 2.0)
    assert quadrature.expected_value(law, 10, nodes) == pytest.approx(float(mean(mpmath.mpf("1.25"))), rel=1e-12)
    slope = mpmath.diff(mean, mpmath.mpf("1.25")) * mpmath.mpf("1.25")
    assert quadrature.expected_slope(law, 10, nodes) == pytest.approx(float(slope), rel=1e-6)


def _run(**overrides):
    settings = {"points": [5, 17], "laws": ["null", "laplace"], "replicates": 2_000, "gradients": 100} | overrides
    cells = [{"n": 256, "sigma2": 2.0, "t_max": t_max} for t_max in (3.0, 12.0)]
    rows = [{**cell, **row} for cell in cells for row in STUDY.measure(cell, settings, STUDY.cell_seed(cell))]
    return pd.DataFrame(rows), settings


def test_verify_accepts_what_is_right_and_refuses_what_is_wrong(quadrature, monkeypatch):
    rows, settings = _run()
    assert STUDY.verify(STUDY.summarize(rows, settings)) == []
    low = rows.assign(rejections=rows["rejections"].where(rows["law"] != "null", 160))
    assert "size of t_max = 3, sigma^2 = 2, 5 points" in STUDY.verify(STUDY.summarize(low, settings))[0]
    assert "closed form" in STUDY.verify(STUDY.summarize(rows.assign(line_gap=1e-6), settings))[0]
    right = quadrature.grid
    monkeypatch.setattr(quadrature, "grid", lambda test: (right(test)[0], right(test)[1] * 2))
    complaints = STUDY.verify(STUDY.summarize(rows, settings))
    assert any("mean value" in text for text in complaints)
    assert any("mean slope" in text for text in complaints)


def test_samples_are_paired_and_the_default_differs_from_itself_by_nothing():
    rows, settings = _run()
    summary = STUDY.summarize(rows, settings)
    same = summary[(summary["points"] == 17) & (summary["t_max"] == 3)].set_index(["law", "quantity"])["estimate"]
    assert same["laplace", "power_difference"] == 0
    assert same["laplace", "snr_ratio"] == 1
