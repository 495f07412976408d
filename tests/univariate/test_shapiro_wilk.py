"""Shapiro-Wilk and Shapiro-Francia: SciPy's W and p-value, R's examples, weights by inverting the covariance."""

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

from sigreg_lab.univariate import ShapiroFrancia, ShapiroWilk
from sigreg_lab.univariate.shapiro_wilk import _weights
from tests.univariate.cases import SAMPLES

CPU = torch.device("cpu")
every = pytest.mark.parametrize("x", SAMPLES.values(), ids=SAMPLES.keys())


@every
def test_w_is_scipys(x):
    # SciPy's AS 241 quantile (PPND7) is good to about 1e-9; mpmath below takes over from there.
    expected = stats.shapiro(x).statistic
    assert 1 - float(ShapiroWilk()(torch.from_numpy(x))) == pytest.approx(expected, rel=2e-9)


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7, 11, 20])
def test_w_at_small_sizes_is_scipys(n):
    x = np.random.default_rng(n).exponential(size=n)
    assert 1 - float(ShapiroWilk()(torch.from_numpy(x))) == pytest.approx(stats.shapiro(x).statistic, rel=2e-9)


@pytest.mark.parametrize("mode", ["elfving", "blom", "rahman"])
@every
def test_shapiro_francia_is_the_squared_correlation_with_the_scores(x, mode):
    n = x.size
    offset = {"elfving": mpmath.pi / 8, "blom": 0.375, "rahman": 0}[mode]
    with mpmath.workdps(20):
        scores = [
            float(-mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * (i - offset) / (n + 1 - 2 * offset))) for i in range(1, n + 1)
        ]
    expected = 1 - np.corrcoef(np.sort(x), scores)[0, 1] ** 2
    for statistic in (ShapiroFrancia(mode), ShapiroWilk(mode, "shapiro_francia")):
        assert float(statistic(torch.from_numpy(x))) == pytest.approx(expected, rel=1e-10)


def test_royston_weights_by_mpmath():
    # AS R94 again at 30 digits: two outermost weights by its polynomials, the others rescaled scores.
    n = 20
    with mpmath.workdps(30):
        m = [
            mpmath.sqrt(2) * mpmath.erfinv(2 * (i - mpmath.mpf("0.375")) / (n + mpmath.mpf("0.25")) - 1)
            for i in range(1, n + 1)
        ]
        square = mpmath.fsum(v * v for v in m)
        u = 1 / mpmath.sqrt(n)
        last = [-2.706056, 4.434685, -2.071190, -0.147981, 0.221157, m[-1] / mpmath.sqrt(square)]
        second = [-3.582633, 5.682633, -1.752461, -0.293762, 0.042981, m[-2] / mpmath.sqrt(square)]
        last, second = mpmath.polyval(last, u), mpmath.polyval(second, u)
        phi = (square - 2 * m[-1] ** 2 - 2 * m[-2] ** 2) / (1 - 2 * last**2 - 2 * second**2)
        expected = [-last, -second, *(v / mpmath.sqrt(phi) for v in m[2:-2]), second, last]
    np.testing.assert_allclose(
        _weights(torch.device("cpu"), n, "blom", "royston"), np.array(expected, dtype=float), rtol=1e-12, atol=1e-15
    )


def test_tridiagonal_weights_invert_the_large_sample_covariance():
    # cov(x_(i), x_(j)) = p_i (1 - p_j) / ((N + 2) phi_i phi_j) for i <= j, p = i/(N + 1); a is V^-1 m.
    n = 12
    p = np.arange(1, n + 1) / (n + 1)
    m = stats.norm.ppf(p)
    low, high = np.minimum.outer(p, p), np.maximum.outer(p, p)
    covariance = low * (1 - high) / np.outer(stats.norm.pdf(m), stats.norm.pdf(m))
    weights = np.linalg.solve(covariance, m)
    np.testing.assert_allclose(
        _weights(torch.device("cpu"), n, "rahman", "rahman"), weights / np.linalg.norm(weights), rtol=1e-10
    )


@pytest.mark.parametrize("n", [12, 50, 2000])
def test_asymptotic_pvalue_is_scipys(n):
    x = np.random.default_rng(n).standard_t(5, n)
    result = ShapiroWilk().test(torch.from_numpy(x), method="asymptotic")
    assert float(result.pvalue) == pytest.approx(stats.shapiro(x).pvalue, rel=1e-6)


def test_published_example():
    # Shapiro & Wilk (1965), weights of 11 men in pounds: W = 0.79 there; R's shapiro.test: W = 0.78881, p = 0.006704.
    # R's p-value is AS R94's approximation; 60,000 samples through scipy.stats.shapiro (default_rng(5)) gave
    # P(W <= 0.78881) = 0.00813, standard error 0.00037.
    x = torch.tensor([148, 154, 158, 160, 161, 162, 166, 170, 182, 195, 236], dtype=torch.float64)
    result = ShapiroWilk().test(x)
    assert 1 - float(result.statistic) == pytest.approx(0.78881, abs=5e-6)
    assert float(result.pvalue) == pytest.approx(0.00813, abs=4 * 0.00037)


def test_collapsed_sample_is_furthest():
    assert float(ShapiroWilk()(torch.full((10,), 0.3))) == 1.0


@pytest.mark.parametrize(
    "arguments", [("median",), ("blom", "none"), ("elfving", "royston")], ids=["scores", "covariance", "pair"]
)
def test_bad_modes_are_refused(arguments):
    with pytest.raises(ValueError, match="mode"):
        ShapiroWilk(*arguments)


def test_missing_asymptotic_law_is_said():
    too_few = ((ShapiroWilk(), 11), (ShapiroFrancia(), 4))
    beyond_the_fit = ((ShapiroWilk(), 5001), (ShapiroFrancia(), 5001))
    for statistic, n in (*too_few, (ShapiroWilk("rahman", "rahman"), 50), *beyond_the_fit):
        with pytest.raises(ValueError, match="monte-carlo"):
            statistic.null_law(n, "asymptotic")
