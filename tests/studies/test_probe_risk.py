"""The study of probes: its closed forms by quadrature and brute force, and rows that contradict them are refused."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from sigreg_lab.experiment.study import load_study
from studies import probe_risk as script

STUDY = load_study("probe_risk")


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_every_law_has_the_covariance_it_declares_and_total_variance_k(dim):
    for name, law in script.laws(dim).items():
        x = law.sample(np.random.default_rng(1), (200_000,))
        assert np.trace(law.covariance) == pytest.approx(dim), name
        assert np.cov(x.T) == pytest.approx(law.covariance.squeeze(), abs=0.04), name


@pytest.mark.parametrize("name", ["Gaussian", "ball power 4", "mixture", "Laplace", "Student t5"])
def test_fisher_information_of_a_coordinate_is_its_integral(name):
    law = script.laws(1)[name]
    edge = math.sqrt(11) if name == "ball power 4" else 60.0

    def density(x):
        return math.exp(law.log_density(np.array([[x]]))[0])

    def integrand(x):
        h = 1e-5
        ahead, behind = law.log_density(np.array([[x + h], [x - h]]))
        return ((ahead - behind) / (2 * h)) ** 2 * density(x)

    inside = edge - 1e-4
    mass = integrate.quad(density, 0, inside, limit=400, points=[1, 2, 3])[0]
    found = integrate.quad(integrand, 1e-4, inside, limit=400, points=[1, 2, 3])[0]
    assert found / mass == pytest.approx(law.fisher, rel=1e-3)


@pytest.mark.parametrize("dim", [2, 4])
def test_fisher_information_of_a_ball_law_is_its_radial_integral(dim):
    square = dim + 10
    law = stats.beta(dim / 2, 5)  # of u = |x|^2/R^2; |grad log p|^2 = 64 u/(1 - u)^2/R^2
    found = law.expect(lambda u: 64 * u / (1 - u) ** 2 / square)
    assert script.ball(dim, 4).fisher == pytest.approx(found, rel=1e-6)


def test_kernel_bias_is_that_of_brute_force():
    eigenvalues, width, length = np.array([1.6, 0.4]), 0.6, 1.5
    rng = np.random.default_rng(2)
    x = rng.standard_normal((400, 2)) * np.sqrt(eigenvalues)
    w, phase = rng.standard_normal((2, 2000)) / length, rng.uniform(0, 2 * math.pi, 2000)
    node, weight = np.polynomial.hermite_e.hermegauss(60)
    z = np.stack(np.meshgrid(node, node), axis=-1).reshape(-1, 2) * np.sqrt(eigenvalues)
    mass = np.outer(weight, weight).ravel() * np.exp(-((x[:, None] - z) ** 2).sum(-1) / (2 * width**2))
    fit = (mass @ np.cos(z @ w + phase)) / mass.sum(1, keepdims=True)
    bias = 2 * (fit - np.cos(x @ w + phase)) ** 2
    exact = script.kernel_bias(eigenvalues, width, length)
    error = np.hypot(bias.mean(0).std() / math.sqrt(2000), bias.mean(1).std() / math.sqrt(400))
    assert abs(bias.mean() - exact) < 4 * error < 0.2 * exact
    of_tasks = script.kernel_task_bias(eigenvalues, width, w.T)
    assert of_tasks.mean() == pytest.approx(exact, abs=4 * of_tasks.std() / math.sqrt(2000))


@pytest.mark.parametrize("data", [False, True])
def test_kernel_bias_has_the_leading_term_of_the_theorem_and_its_curvature(data):
    eigenvalues, length = np.array([2.0, 0.7, 0.3]), 1.3
    scale = 1 / eigenvalues if data else np.ones(3)
    score = (scale / eigenvalues).sum() / length**2
    curvature = (scale.sum() ** 2 + 2 * (scale**2).sum()) / (4 * length**4)
    found = script.kernel_bias(eigenvalues, 0.01, length, data=data) / 0.01**4
    assert found == pytest.approx(score + curvature, rel=2e-3)


def test_a_wide_kernel_prefers_anisotropy_and_a_narrow_one_does_not():
    for dim, condition, length in [(2, 16, 1.0), (8, 4, 3.0)]:
        width = script.crossover(dim, condition, length)
        for factor, sign in ((0.8, 1), (1.25, -1)):
            aniso = script.kernel_bias(script.spectrum(dim, condition), factor * width, length)
            assert sign * (aniso - script.kernel_bias(np.ones(dim), factor * width, length)) > 0


def test_the_bias_of_draws_is_the_exact_one():
    law, rng = script.gaussian(np.array([1.5, 0.5])), np.random.default_rng(3)
    x, w = law.sample(rng, (20_000,)), rng.standard_normal((20_000, 2))
    values = script.population_bias(law, x, w, 0.1 * rng.standard_normal((20_000, 32, 2)))
    exact = script.kernel_bias(np.array([1.5, 0.5]), 0.1, 1.0)
    assert abs(values.mean() - exact) < 4 * values.std() / math.sqrt(20_000) < 0.1 * exact


def test_exponents_are_those_of_a_power_law_and_their_interval_covers():
    steps = np.array(script.STEPS[:3])
    noise = np.exp(0.3 * np.random.default_rng(4).standard_normal((3, 4000)))
    found = script.exponents(noise / steps[:, None])  # h^4/h
    assert abs(found.mean() - 3) < 4 * found.std(ddof=1) / math.sqrt(len(found))


def test_the_share_of_tasks_in_the_plane_is_the_one_of_angles():
    eigenvalues = script.spectrum(2, 16)
    value = script.ridge_biases(eigenvalues, 0.5)["weights"]
    angle = np.linspace(0, 2 * math.pi, 200_001)
    bias = np.cos(angle) ** 2 * value[0] + np.sin(angle) ** 2 * value[1]
    assert script.plane_share(eigenvalues, value, 1 / 9) == pytest.approx((bias > 1 / 9).mean(), abs=1e-4)


def test_a_ridge_equal_to_the_variance_makes_isotropy_the_worst_for_the_predictions_of_every_task():
    for dim, condition in [(2, 4), (8, 64)]:
        assert script.ridge_biases(script.spectrum(dim, condition), 1.0)["predictions"].max() < 0.25


def test_the_limit_of_slices_is_the_mean_over_angles():
    mean, covariance = np.array([0.3, -0.2]), np.array([[1.4, 0.5], [0.5, 0.6]])
    angle = np.linspace(0, math.pi, 2000, endpoint=False)
    a = np.stack([np.cos(angle), np.sin(angle)])
    expected = ((mean @ a) ** 2 + (np.sqrt((a * (covariance @ a)).sum(0)) - 1) ** 2).mean()
    assert script.limit_of_slices(mean, covariance) == pytest.approx(expected, rel=1e-8)


def test_the_minima_of_the_fisher_information_are_found():
    rng = np.random.default_rng(5)
    for constraint in script.CONSTRAINTS:
        assert script.least_trace(3, constraint, rng) == pytest.approx(3, rel=1e-6)
    assert script.least_fisher() == pytest.approx(1, rel=2e-4)


def _rows(**changes):
    row = {"part": "bias", "dim": 2, "length": 1.0, "quantity": "bias", "law": "Gaussian", "probe": "kernel", "at": 0.1}
    row |= {"estimate": 4.0, "standard_error": 0.1, "count": 1000, "exact": 4.1}
    return pd.DataFrame([row | changes])


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ({}, {"estimate": 4.6}),
        ({"count": 1, "standard_error": 0.0, "estimate": 4.0999}, {"estimate": 4.05}),
        (
            {"quantity": "isotropic wins, weights", "estimate": 1.0, "standard_error": 0.0, "exact": 0.999},
            {"exact": 0.97},
        ),
    ],
)
def test_the_study_fails_loudly_where_a_known_value_is_missed(right, wrong):
    assert STUDY.verify(STUDY.summarize(_rows(**right), {})) == []
    assert len(STUDY.verify(STUDY.summarize(_rows(**(right | wrong)), {}))) == 1
