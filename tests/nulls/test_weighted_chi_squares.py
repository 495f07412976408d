"""Weighted chi-squares: against SciPy's chi-squared and Laplace laws, and against Imhof's integral by mpmath."""

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

from sigreg_lab.nulls import WeightedChiSquares


@pytest.mark.parametrize("count", [1, 2, 4, 10, 30, 100, 300])
def test_equal_weights_give_a_chi_squared(count):
    x = np.array([0.2, 0.5, 0.9, 1.0, 1.2, 2.0, 4.0]) * 0.3 * count
    law = WeightedChiSquares([0.3] * count)
    np.testing.assert_allclose(law.survival(x), stats.chi2(count, scale=0.3).sf(x), rtol=0, atol=1e-11)


@pytest.mark.parametrize("count", [10_000, 1_000_000, 5_000_000])
def test_millions_of_equal_weights_give_a_chi_squared(count):
    x = 1e-7 * (count + np.sqrt(2 * count) * np.array([-6.0, -3.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0]))
    law = WeightedChiSquares(np.full(count, 1e-7))
    np.testing.assert_allclose(law.survival(x), stats.chi2(count, scale=1e-7).sf(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("many", "few", "weight"), [(5952, 32, 18.0), (357_632, 128, 66.0), (2_828_800, 256, 130.0)])
def test_many_light_weights_and_some_heavy_ones_give_the_convolution(many, few, weight):
    """As those of Mardia's skewness in 32, 128 and 256 dimensions, where a path to the left would meet L = exp(1e6)."""
    law = WeightedChiSquares([1.0, weight], degrees=[many, few])
    light, heavy = stats.chi2(many), stats.chi2(few, scale=weight)
    y, h = np.linspace(max(0, heavy.mean() - 14 * heavy.std()), heavy.mean() + 20 * heavy.std(), 40_001, retstep=True)
    for z in (-3.0, -1.0, 0.0, 1.0, 2.0, 4.0):
        x = law.mean + z * np.sqrt(law.variance)
        integrand = heavy.pdf(y) * light.sf(x - y)
        expected = h * (integrand.sum() - (integrand[0] + integrand[-1]) / 2)
        assert law.survival(np.array(x)) == pytest.approx(expected, abs=1e-9)


def test_one_heavy_weight_and_a_million_that_hardly_count_give_a_shifted_chi_squared():
    # The light ones are 0.001 with standard deviation 1.4e-6: they shift the heavy one's law, to second order in it.
    x = np.array([0.01, 0.3, 1.0, 4.0, 10.0, 40.0])
    law = WeightedChiSquares([1.0, 1e-9], degrees=[1, 1_000_000])
    np.testing.assert_allclose(law.survival(x + 0.001), stats.chi2(1).sf(x), rtol=0, atol=1e-8)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_far_tail_keeps_its_relative_accuracy(count):
    x = np.array([40.0, 60.0, 90.0])  # p-values down to 1e-20
    expected = stats.chi2(count).sf(x)
    np.testing.assert_allclose(WeightedChiSquares([1.0] * count).survival(x), expected, rtol=1e-6)


def test_opposite_pairs_give_a_laplace_law():
    # chi2_2 - chi2_2' is Laplace with scale 2.
    x = np.array([-30.0, -3.0, -1e-2, 0.0, 1e-2, 0.7, 5.0, 30.0])
    law = WeightedChiSquares([1.0, 1.0, -1.0, -1.0])
    np.testing.assert_allclose(law.survival(x), stats.laplace(scale=2).sf(x), rtol=0, atol=1e-11)


def _imhof(weights, x):
    """P(Q > x) by Imhof's integral [1, eq. 3.2], adaptive Gauss-Legendre."""

    def integrand(u):
        theta = sum(mpmath.atan(float(w) * u) for w in weights) / 2 - x * u / 2
        modulus = mpmath.mpf(1)
        for w in weights:
            modulus *= (1 + (float(w) * u) ** 2) ** 0.25
        return mpmath.sin(theta) / (u * modulus)

    nodes = [0, 2, 4, 7, 10, 15, 20, 30, 40, 60, 100, 200, 400]
    return float(0.5 + mpmath.quad(integrand, nodes, method="gauss-legendre") / mpmath.pi)


@pytest.mark.parametrize("x", [0.8, 5.0])
@pytest.mark.parametrize("signs", [(1, 1, 1, 1, 1, 1, 1, 1), (1, -1, 1, -1, 1, -1, 1, 1)])
def test_agrees_with_imhofs_integral(signs, x):
    weights = np.array(signs) * [1.0, 0.8, 0.7, 0.6, 0.5, 0.45, 0.4, 0.35]
    # Cut off at u = 400, the integral misses less than the integrand's modulus there, 1e-9 u^-4.
    assert WeightedChiSquares(weights).survival(np.array(x)) == pytest.approx(_imhof(weights, x), abs=1e-9)


def test_degrees_of_freedom_are_repeated_weights():
    x = np.linspace(-5, 30, 50)
    law = WeightedChiSquares([2.0, 0.3, -1.0, 7.0], 0.5, degrees=[3, 5, 2, 0])
    repeated = WeightedChiSquares([2.0, 2.0, 2.0, *[0.3] * 5, -1.0, -1.0], 0.5)
    np.testing.assert_array_equal(law.survival(x), repeated.survival(x))
    assert (law.mean, law.variance) == pytest.approx((0.5 + 6 + 1.5 - 2, 2 * (12 + 0.45 + 2)))


def test_shift_moves_the_law():
    x = np.linspace(-1, 9, 21)
    plain, moved = WeightedChiSquares([2.0, 1.0]), WeightedChiSquares([2.0, 1.0], shift=-0.5)
    np.testing.assert_allclose(moved.survival(x), plain.survival(x + 0.5), rtol=0, atol=1e-14)
    assert moved.mean == pytest.approx(2.5)
    assert moved.variance == pytest.approx(10.0)
    assert moved.survival(np.array([-0.5, -3.0])).tolist() == [1.0, 1.0]


def test_only_negative_weights_mirror_the_law():
    x = np.array([-7.0, -1.0, 0.0, 2.0])
    expected = stats.chi2(3).cdf(-x)
    np.testing.assert_allclose(WeightedChiSquares([-1.0] * 3).survival(x), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("alpha", [0.999, 0.5, 0.05, 1e-3, 1e-8])
def test_critical_value_inverts_the_survival_function(alpha):
    for law in (WeightedChiSquares([0.6, 0.3, 0.1]), WeightedChiSquares([0.6, 0.3, -0.5, -0.1], shift=1.0)):
        value = law.critical_value(alpha)
        assert law.survival(np.array(value)) == pytest.approx(alpha, rel=1e-8)


def test_pvalue_is_batched_and_keeps_shape_and_order():
    law = WeightedChiSquares([1.0, 0.5, 0.25])
    x = torch.linspace(0.01, 30, 1500).reshape(3, 1, 500)[:, :, torch.randperm(500, generator=torch.manual_seed(0))]
    p = law.pvalue(x)
    assert p.shape == x.shape
    assert p.dtype == torch.float64
    one_by_one = [float(law.survival(np.array(float(v)))) for v in x.flatten()[::100]]
    np.testing.assert_allclose(p.flatten()[::100], one_by_one, rtol=0, atol=1e-14)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="eigenvalues"):
        WeightedChiSquares([0.0])
    with pytest.raises(ValueError, match="eigenvalues"):
        WeightedChiSquares([1.0, float("nan")])
    with pytest.raises(ValueError, match="eigenvalues"):
        WeightedChiSquares([1.0], degrees=[0])
    for degrees in ([1], [1, -1]):
        with pytest.raises(ValueError, match="degrees must be 0 or more for each of the 2"):
            WeightedChiSquares([1.0, 2.0], degrees=degrees)
    law = WeightedChiSquares([1.0])
    for alpha in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="alpha"):
            law.critical_value(alpha)
    with pytest.raises(ValueError, match="statistic holds NaN"):
        law.pvalue(torch.tensor([1.0, float("nan")]))
    with pytest.raises(ValueError, match="floating-point"):
        law.pvalue(torch.tensor([1, 2]))
