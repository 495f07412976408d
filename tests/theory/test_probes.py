"""Closed forms of probes by quadrature and brute force."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from sigreg_lab.theory import probes


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_every_law_has_the_covariance_it_declares_and_total_variance_k(dim):
    for name, law in probes.laws(dim).items():
        x = law.sample(np.random.default_rng(1), (200_000,))
        assert np.trace(law.covariance) == pytest.approx(dim), name
        assert np.cov(x.T) == pytest.approx(law.covariance.squeeze(), abs=0.04), name


@pytest.mark.parametrize("name", ["Gaussian", "ball power 4", "mixture", "Laplace", "Student t5"])
def test_fisher_information_of_a_coordinate_is_its_integral(name):
    law = probes.laws(1)[name]
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
    assert probes.ball(dim, 4).fisher == pytest.approx(found, rel=1e-6)


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
    exact = probes.kernel_bias(eigenvalues, width, length)
    error = np.hypot(bias.mean(0).std() / math.sqrt(2000), bias.mean(1).std() / math.sqrt(400))
    assert abs(bias.mean() - exact) < 4 * error < 0.2 * exact


@pytest.mark.parametrize("data", [False, True])
def test_kernel_bias_has_the_leading_term_of_the_theorem_and_its_curvature(data):
    eigenvalues, length = np.array([2.0, 0.7, 0.3]), 1.3
    scale = 1 / eigenvalues if data else np.ones(3)
    score = (scale / eigenvalues).sum() / length**2
    curvature = (scale.sum() ** 2 + 2 * (scale**2).sum()) / (4 * length**4)
    found = probes.kernel_bias(eigenvalues, 0.01, length, data=data) / 0.01**4
    assert found == pytest.approx(score + curvature, rel=2e-3)


def test_the_bound_for_kernels_is_the_mean_of_the_printed_one_over_tasks():
    w = np.random.default_rng(7).standard_normal((100_000, 3)) / 1.3
    slope, curvature = math.sqrt(2) * np.linalg.norm(w, axis=1), math.sqrt(2) * (w**2).sum(1)
    bounds = (2 * curvature**2 + 8 * slope**2 * 3) / 4  # J = 3
    assert probes.kernel_bound(3, 1.3) == pytest.approx(bounds.mean(), abs=4 * bounds.std() / math.sqrt(len(w)))


def test_a_ridge_equal_to_the_variance_makes_isotropy_the_worst_for_the_predictions_of_every_task():
    for dim, condition in [(2, 4), (8, 64)]:
        assert probes.ridge_biases(probes.spectrum(dim, condition), 1.0)["predictions"].max() < 0.25


def test_the_limit_of_slices_is_the_mean_over_angles():
    mean, covariance = np.array([0.3, -0.2]), np.array([[1.4, 0.5], [0.5, 0.6]])
    angle = np.linspace(0, math.pi, 2000, endpoint=False)
    a = np.stack([np.cos(angle), np.sin(angle)])
    expected = ((mean @ a) ** 2 + (np.sqrt((a * (covariance @ a)).sum(0)) - 1) ** 2).mean()
    assert probes.limit_of_slices(mean, covariance) == pytest.approx(expected, rel=1e-8)


def test_the_minima_of_the_fisher_information_are_found():
    rng = np.random.default_rng(5)
    for constraint in probes.CONSTRAINTS:
        assert probes.least_trace(3, constraint, rng) == pytest.approx(3, rel=1e-6)


def test_ridge_biases_are_those_of_fits_without_noise():
    rng = np.random.default_rng(0)
    x, beta, ridge = rng.standard_normal((30, 3)) * [2.0, 1.0, 0.5], rng.standard_normal(3), 0.4
    fit = np.linalg.solve(x.T @ x + ridge * 30 * np.eye(3), x.T @ (x @ beta))
    eigenvalues, axes = np.linalg.eigh(x.T @ x / 30)
    bias = probes.ridge_biases(eigenvalues, ridge)
    assert bias["weights"] @ (axes.T @ beta) ** 2 == pytest.approx(((fit - beta) ** 2).sum(), rel=1e-10)
    assert bias["predictions"] @ (axes.T @ beta) ** 2 == pytest.approx((((fit - beta) @ x.T) ** 2).mean(), rel=1e-10)


@pytest.mark.parametrize("name", ["condition 16", probes.ROTATED, "ball power 4", "mixture", "Laplace", "Student t5"])
def test_fisher_information_in_three_dimensions_is_the_mean_square_of_the_score(name):
    """The score by differences of the log density, at draws of the law: density, sampler and J are of one law."""
    law, h = probes.laws(3)[name], 1e-5
    x = law.sample(np.random.default_rng(2), (200_000,))
    squares = sum(((law.log_density(x + h * e) - law.log_density(x - h * e)) / (2 * h)) ** 2 for e in np.eye(3))
    assert abs(squares.mean() - law.fisher) < 4 * squares.std() / math.sqrt(len(x)) + 1e-3 < 0.05 * law.fisher


def test_the_limit_of_slices_in_five_dimensions_is_that_of_drawn_ones():
    rng = np.random.default_rng(4)
    mean, root = rng.standard_normal(5), rng.standard_normal((5, 5))
    covariance = root @ root.T
    a = rng.standard_normal((400_000, 5))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    values = (a @ mean) ** 2 + (np.sqrt(((a @ covariance) * a).sum(1)) - 1) ** 2
    exact = probes.limit_of_slices(mean, covariance)
    assert abs(values.mean() - exact) < 4 * values.std() / math.sqrt(len(values)) < 0.02 * exact
