"""Exact values of views against brute force, finite differences and simulation."""

import functools
import itertools

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from sigreg_lab.regularizers import SIGReg, prediction_loss
from sigreg_lab.slicing import seeded_generator
from sigreg_lab.theory.views import embedding_square, flattened_mean, mean_gradient, prediction_gradients
from sigreg_lab.univariate import EppsPulley

GRID = EppsPulley().nodes()


def test_the_mean_of_the_flattened_statistic_is_that_of_its_pairs():
    sd, rho, n, views = 0.9, 0.6, 5, 3
    t, target, weight = GRID
    total = 0.0
    rows = list(itertools.product(range(views), range(n)))
    for (a, i), (b, j) in itertools.product(rows, rows):
        variance = 0.0 if (a, i) == (b, j) else 2 * sd**2 * ((1 - rho) if i == j else 1.0)
        total += (weight * np.exp(-(t**2) * variance / 2)).sum() / (views * n)
    one = np.exp(-((sd * t) ** 2) / 2)
    total += views * n * (weight * (target**2 - 2 * target * one)).sum()
    assert flattened_mean(sd, rho, n, views, GRID)[0] == pytest.approx(total, rel=1e-12)


def test_copies_of_a_view_are_that_many_times_one_view():
    value = flattened_mean(0.8, 1.0, 16, 4, GRID)
    alone = flattened_mean(0.8, 0.0, 16, 1, GRID)
    np.testing.assert_allclose(value[:2], 4 * np.array(alone[:2]), rtol=1e-12)


def test_slopes_are_those_of_the_mean():
    mean, step = functools.partial(flattened_mean, grid=GRID), 1e-5
    _, in_sd, in_rho = mean(0.9, 0.6, 20, 4)
    assert in_sd == pytest.approx((mean(0.9 + step, 0.6, 20, 4)[0] - mean(0.9 - step, 0.6, 20, 4)[0]) / (2 * step))
    assert in_rho == pytest.approx((mean(0.9, 0.6 + step, 20, 4)[0] - mean(0.9, 0.6 - step, 20, 4)[0]) / (2 * step))


def test_the_gradient_for_a_rank_defect_is_that_of_the_mean_over_directions():
    dim, n = 8, 64

    def mean(last):  # over the square u of a direction's last coordinate, which is Beta(1/2, (K - 1)/2)
        law = stats.beta(0.5, (dim - 1) / 2)

        def value(u):
            length = np.sqrt(1 - u + last**2 * u)
            return flattened_mean(length, 0.0, n, 1, GRID)[0]

        return integrate.quad(lambda v: value(v**2) * law.pdf(v**2) * 2 * v, 0, 1)[0]

    gradient = mean_gradient(np.append(np.ones(dim - 1), 0.1), n, GRID)
    assert gradient[-1] == pytest.approx((mean(0.1 + 1e-4) - mean(0.1 - 1e-4)) / 2e-4, rel=1e-5)
    assert gradient[0] == gradient[1]


@pytest.mark.parametrize("views", [2, 4, 10])
def test_flattened_views_that_nearly_agree_part_from_a_lambda_that_falls_with_their_number(views):
    pull = 1 - 1 / views  # slope in the correlation of the prediction loss, averaged over coordinates
    push = flattened_mean(1.0, 1.0, 256, views, GRID)[2]
    assert pull / push == pytest.approx(1 / (2.4318 * views), rel=1e-4)


def test_the_square_of_one_embedding_s_gradient_is_that_of_a_simulation():
    n, dim, slices, count, views = (
        6,
        4,
        3,
        500,
        8,
    )  # samples of one draw of directions, of which the statistic is a mean
    z = torch.from_numpy(np.random.default_rng(0).standard_normal((count, views, n, dim))).requires_grad_()
    value = sum(SIGReg(EppsPulley(), slices)(z[i], seeded_generator(0, i)) for i in range(count))
    (gradient,) = torch.autograd.grad(views * value, z)
    squares = gradient.square().sum(-1).mean((1, 2))
    expected, error = embedding_square(1.0, n, dim, slices, GRID), float(squares.std()) / count**0.5
    assert abs(float(squares.mean()) - expected) < 4 * error < 0.1 * expected


@pytest.mark.parametrize("num_global", [1, 2, 5])
def test_eq_5_and_6_are_those_of_a_simulation(num_global):
    views, count = 5, 200_000
    z = torch.from_numpy(np.random.default_rng(1).standard_normal((views, count, 1))).requires_grad_()
    values, gradients = {}, {}
    for name, prediction in (("eq. 5", "pairwise"), ("eq. 6", "centroid")):
        value = prediction_loss(z, num_global, prediction=prediction, dimensions="sum")
        (gradients[name],) = torch.autograd.grad(value, z)
        values[name] = float(value.detach())
    exact = prediction_gradients(num_global, views)
    for name in values:
        assert values[name] == pytest.approx(exact[name], rel=0.02)
        assert float(gradients[name].square().sum()) * count == pytest.approx(exact[f"{name}, gradient"], rel=0.02)
    product = float((gradients["eq. 5"] * gradients["eq. 6"]).sum()) * count
    assert product == pytest.approx(exact["product of gradients"], rel=0.02)
