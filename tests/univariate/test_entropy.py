"""Vasicek's entropy: SciPy's estimator; the spacings estimator by brute force; ties."""

import numpy as np
import pytest
import torch
from scipy import stats

from sigreg_lab.univariate import Entropy
from tests.univariate.cases import SAMPLES

_DISTINCT = {name: x for name, x in SAMPLES.items() if "ties" not in name}


@pytest.mark.parametrize("m", [1, 2, 5])
@pytest.mark.parametrize("x", _DISTINCT.values(), ids=_DISTINCT.keys())
def test_centered_is_scipys_entropy(x, m):
    if x.size <= 2 * m:
        pytest.skip("the sample is no longer than the spacing")
    entropy = stats.differential_entropy(x, window_length=m, method="vasicek")
    expected = np.log(x.std() * np.sqrt(2 * np.pi * np.e)) - entropy
    assert float(Entropy(m=m, eps=1e-12)(torch.from_numpy(x))) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("x", _DISTINCT.values(), ids=_DISTINCT.keys())
def test_right_is_the_mean_log_spacing(x, m):
    s, n = np.sort(x), x.size
    entropy = np.mean([np.log((n + 1) / m * (s[i + m] - s[i])) for i in range(n - m)])
    expected = np.log(x.std() * np.sqrt(2 * np.pi * np.e)) - entropy
    statistic = Entropy(m=m, eps=1e-12, method="right")
    assert float(statistic(torch.from_numpy(x))) == pytest.approx(expected, rel=1e-9)


def test_a_tie_counts_as_the_least_spacing():
    x = np.array([-1.0, 0.0, 0.0, 0.0, 2.0])
    spacing = np.maximum(np.array([1.0, 1.0, 0.0, 2.0, 2.0]) / x.std(), 1e-3)
    expected = 0.5 * np.log(2 * np.pi * np.e) - np.mean(np.log(5 / 2 * spacing))
    assert float(Entropy(eps=1e-3)(torch.from_numpy(x))) == pytest.approx(expected, rel=1e-12)


def test_tends_to_zero_for_a_normal_sample():
    # The exact normal quantiles, n = 20001, m = 50: the entropy estimate is then within 1e-2 of its limit.
    x = stats.norm.ppf((np.arange(20_001) + 0.5) / 20_001)
    assert abs(float(Entropy(m=50)(torch.from_numpy(x)))) < 1e-2


@pytest.mark.parametrize("arguments", [{"m": 0}, {"eps": 0.0}, {"method": "left"}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Entropy(**arguments)


def test_sample_no_longer_than_the_spacing_is_refused():
    with pytest.raises(ValueError, match="at least 7 are needed"):
        Entropy(m=3)(torch.randn(6, generator=torch.Generator().manual_seed(0)))
