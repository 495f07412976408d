"""Cramér-von Mises and Watson: values from SciPy, the integral that defines them, the published table."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from sigreg_lab.univariate import CramerVonMises, Watson
from tests.univariate.cases import SAMPLES

every = pytest.mark.parametrize("x", SAMPLES.values(), ids=SAMPLES.keys())


@every
def test_cramer_von_mises_is_scipys(x):
    expected = stats.cramervonmises(x, "norm").statistic
    assert float(CramerVonMises()(torch.from_numpy(x))) == pytest.approx(expected, rel=1e-10)


@every
def test_watson_is_cramer_von_mises_less_its_location_part(x):
    # Watson (1961): U2 = W2 - N (mean u - 1/2)^2, with W2 and u from SciPy. Where far samples leave little of W2, the
    # comparison loses the digits that the difference does.
    w2 = stats.cramervonmises(x, "norm").statistic
    expected = w2 - x.size * (stats.norm.cdf(x).mean() - 0.5) ** 2
    assert float(Watson()(torch.from_numpy(x))) == pytest.approx(expected, rel=1e-10)


def test_both_are_the_integrals_that_define_them():
    x = np.sort(SAMPLES["20 normal"])
    u = stats.norm.cdf(x)
    edges = np.concatenate([[0.0], u, [1.0]])
    gap = lambda p, i: i / 20 - p  # noqa: E731
    first = sum(integrate.quad(gap, edges[i], edges[i + 1], args=(i,))[0] for i in range(21))
    second = sum(integrate.quad(lambda p, i: gap(p, i) ** 2, edges[i], edges[i + 1], args=(i,))[0] for i in range(21))
    assert float(CramerVonMises()(torch.from_numpy(x))) == pytest.approx(20 * second, rel=1e-10)
    assert float(Watson()(torch.from_numpy(x))) == pytest.approx(20 * (second - first**2), rel=1e-10)


def test_watson_does_not_change_under_rotation_of_the_circle():
    u = stats.norm.cdf(SAMPLES["100 normal"])
    turned = torch.from_numpy(stats.norm.ppf((u + 0.3) % 1))
    assert float(Watson()(turned)) == pytest.approx(float(Watson()(torch.from_numpy(stats.norm.ppf(u)))), rel=1e-10)
    assert not np.isclose(float(CramerVonMises()(turned)), float(CramerVonMises()(torch.from_numpy(stats.norm.ppf(u)))))


# Stephens (1974), table 1A: upper tail points of the limit laws, three digits.
W2_POINTS = {0.25: 0.209, 0.15: 0.284, 0.10: 0.347, 0.05: 0.461, 0.025: 0.581, 0.01: 0.743, 0.005: 0.869}
U2_POINTS = {0.15: 0.131, 0.10: 0.152, 0.05: 0.187, 0.025: 0.222, 0.01: 0.268}


@pytest.mark.parametrize(("statistic", "points"), [(CramerVonMises(), W2_POINTS), (Watson(), U2_POINTS)])
def test_asymptotic_law_gives_the_published_points(statistic, points):
    for alpha, point in points.items():
        assert statistic.critical_value(alpha, 100, "asymptotic") == pytest.approx(point, abs=6e-4)


def test_watsons_law_is_his_series():
    # Watson (1961), eq. 21: P(U2 > x) = 2 sum_k (-1)^(k-1) exp(-2 k^2 pi^2 x).
    x = np.array([0.05, 0.1, 0.187, 0.268, 0.5])
    k = np.arange(1, 60)[:, None]
    series = 2 * ((-1.0) ** (k - 1) * np.exp(-2 * k**2 * np.pi**2 * x)).sum(0)
    np.testing.assert_allclose(Watson().asymptotic_law(100).survival(x), series, rtol=0, atol=1e-8)


def test_cramer_von_mises_law_is_scipys():
    # Csörgő & Faraway (1996), eq. 1.2: a Bessel series; private in SciPy, which has no public function for the limit.
    from scipy.stats._hypotests import _cdf_cvm_inf

    x = np.array([0.03, 0.1, 0.2, 0.461, 0.743, 2.0])
    expected = [1 - float(_cdf_cvm_inf(v)) for v in x]
    np.testing.assert_allclose(CramerVonMises().asymptotic_law(100).survival(x), expected, rtol=0, atol=1e-7)
