"""Multivariate laws: samples against the stated moments and characteristic function; projections against marginals."""

import numpy as np
import pytest
from scipy import integrate

from sigreg_lab import alternatives
from sigreg_lab.alternatives.univariate import REGISTRY

DIM = 6
LAWS = [build(DIM) for build in alternatives.MULTIVARIATE.values()]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_samples_have_the_stated_moments(law):
    x = law.sample(np.random.default_rng(11), 100_000)
    assert x.shape == (100_000, DIM)
    centred = x - law.mean
    products = centred[:, :, None] * centred[:, None, :]
    for values, expected in ((centred, 0 * law.mean), (products, law.covariance)):
        error = values.std(0) / np.sqrt(len(x))
        assert (np.abs(values.mean(0) - expected) <= 4.5 * error + 1e-12).all()
    radial = (centred**2).sum(-1) ** 2
    if law.name != "elliptical_t5":  # |x|^4 has no variance there
        assert abs(radial.mean() - law.radial_fourth_moment) <= 4 * radial.std() / np.sqrt(len(x)) + 1e-9


def test_elliptical_fourth_moment_equals_quadrature_over_the_mixing_law():
    law = alternatives.MULTIVARIATE["elliptical_t5"](DIM)
    constant = 2**2.5 * 1.329340388179137  # 2^(5/2) Gamma(5/2): the chi-squared_5 density's constant
    second = integrate.quad(lambda w: (3 / w) ** 2 * w**1.5 * np.exp(-w / 2) / constant, 0, np.inf)[0]
    assert law.radial_fourth_moment == pytest.approx(second * DIM * (DIM + 2), rel=1e-8)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_samples_have_the_stated_characteristic_function(law):
    rng = np.random.default_rng(12)
    x = law.sample(rng, 100_000)
    t = rng.standard_normal((12, DIM)) * np.linspace(0.1, 1.5, 12)[:, None]
    empirical = np.exp(1j * x @ t.T).mean(0)
    assert (np.abs(empirical - law.characteristic_function(t)) <= 4.5 / np.sqrt(len(x))).all()


def test_x_law_has_normal_marginals_and_a_law_of_its_own_along_the_diagonal():
    law = alternatives.MULTIVARIATE["x"](2)
    t = np.linspace(-3, 3, 13)
    for axis in np.eye(2):
        np.testing.assert_allclose(law.characteristic_function(t[:, None] * axis), np.exp(-(t**2) / 2), rtol=1e-14)
    diagonal = law.characteristic_function(t[:, None] * np.full(2, np.sqrt(0.5)))
    np.testing.assert_allclose(diagonal, (1 + np.exp(-(t**2))) / 2, rtol=1e-14)


def test_elliptical_projections_are_the_univariate_law():
    law = alternatives.MULTIVARIATE["elliptical_t5"](3)
    t = np.linspace(-3, 3, 13)
    direction = np.array([2.0, -1.0, 2.0]) / 3
    expected = REGISTRY["t5"].characteristic_function(t)
    np.testing.assert_allclose(law.characteristic_function(t[:, None] * direction), expected, rtol=1e-14)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_batched_sizes_and_seeds(law):
    x = law.sample(np.random.default_rng(3), (2, 5))
    assert x.shape == (2, 5, DIM)
    assert x.dtype == np.float64
    np.testing.assert_array_equal(x, law.sample(np.random.default_rng(3), (2, 5)))


@pytest.mark.parametrize(("name", "dim"), [("x", 1), ("rank_defect_4", 4), ("null", 0), ("sphere", 0)])
def test_a_dimension_that_is_too_small_is_refused(name, dim):
    with pytest.raises(ValueError, match="dim must be at least"):
        alternatives.MULTIVARIATE[name](dim)


def test_names_are_keys():
    for name, build in alternatives.MULTIVARIATE.items():
        assert build(DIM).name == name
