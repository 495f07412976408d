"""Jarque-Bera, extended Jarque-Bera, D'Agostino's K2: SciPy's and statsmodels' values."""

import numpy as np
import pytest
import torch
from scipy import stats
from statsmodels.stats.stattools import jarque_bera

from sigreg_lab.univariate import DAgostinoK2, ExtendedJarqueBera, JarqueBera
from tests.univariate.cases import SAMPLES

every = pytest.mark.parametrize("x", SAMPLES.values(), ids=SAMPLES.keys())


@every
def test_jarque_bera_is_scipys(x):
    value = float(JarqueBera()(torch.from_numpy(x)))
    assert value == pytest.approx(stats.jarque_bera(x).statistic, rel=1e-10)
    assert value == pytest.approx(jarque_bera(x)[0], rel=1e-10)


@every
def test_extended_jarque_bera_adds_mean_and_variance(x):
    n, variance = x.size, x.var(ddof=1)
    skewness, kurtosis = stats.skew(x), stats.kurtosis(x, fisher=False)
    expected = n * x.mean() ** 2 / variance + (n - 1) * (variance - 1) ** 2 / 2
    expected += n / 6 * (skewness**2 + (kurtosis - 3) ** 2 / 4)
    assert float(ExtendedJarqueBera()(torch.from_numpy(x))) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("n", [8, 20, 100, 1023])
@pytest.mark.parametrize("kind", ["normal", "ties", "skewed"])
@pytest.mark.filterwarnings("ignore:`kurtosistest` p-value may be")
def test_k2_is_scipys(n, kind):
    x = np.random.default_rng(n).standard_normal(n)
    x = {"normal": x, "ties": np.round(x, 1), "skewed": 50 * np.exp(x) / np.exp(x).max()}[kind]
    result = DAgostinoK2().test(torch.from_numpy(x), method="asymptotic")
    expected = stats.normaltest(x)
    assert float(result.statistic) == pytest.approx(expected.statistic, rel=1e-10)
    assert float(result.pvalue) == pytest.approx(expected.pvalue, rel=1e-9)
