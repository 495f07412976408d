"""Wasserstein distance to N(0, 1): values by SciPy's quantiles, the exact form by quadrature."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from sigreg_lab.univariate import Wasserstein
from tests.univariate.cases import SAMPLES


@pytest.mark.parametrize("x", SAMPLES.values(), ids=SAMPLES.keys())
def test_values_of_both_quantile_rules(x):
    s, rank = np.sort(x), np.arange(1, x.size + 1)
    for quantiles, position in (("midpoint", (rank - 0.5) / x.size), ("mean", rank / (x.size + 1))):
        expected = np.mean((s - stats.norm.ppf(position)) ** 2)
        assert float(Wasserstein(quantiles)(torch.from_numpy(x))) == pytest.approx(expected, rel=1e-10)


def test_exact_is_the_integral_over_the_quantile_functions():
    x = SAMPLES["20 normal"]
    s = np.sort(x)
    edges = stats.norm.ppf(np.arange(21) / 20).clip(-38, 38)
    expected = sum(
        integrate.quad(lambda z, i=i: (s[i] - z) ** 2 * stats.norm.pdf(z), edges[i], edges[i + 1], epsabs=1e-14)[0]
        for i in range(20)
    )
    assert float(Wasserstein("exact")(torch.from_numpy(x))) == pytest.approx(expected, rel=1e-10)


def test_all_rules_agree_for_many_samples():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(20_000) * 1.5 + 0.3)
    limit = 0.3**2 + 0.5**2  # W2^2 between N(0.3, 1.5^2) and N(0, 1)
    for quantiles in ("midpoint", "mean", "exact"):
        assert float(Wasserstein(quantiles)(x)) == pytest.approx(limit, abs=4 * 2 / 20_000**0.5)


def test_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="quantiles"):
        Wasserstein("median")
