"""The univariate kernel Stein discrepancy against a double loop, quadrature over t, and its expectation."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate

from sigreg_lab import nulls
from sigreg_lab.univariate import KSD, base

SAMPLE = [0.3, -1.7, 0.9, 2.4, -0.2, 0.3]


def double_loop(x: list[float], h: float, estimator: str) -> float:
    """k0 from the derivatives of the kernel, spelt out with Python numbers."""
    total = 0.0
    for i, a in enumerate(x):
        for j, b in enumerate(x):
            if estimator == "v" or i != j:
                k = math.exp(-((a - b) ** 2) / (2 * h * h))
                da, db = -(a - b) / h**2 * k, (a - b) / h**2 * k
                dadb = k / h**2 - (a - b) ** 2 / h**4 * k
                total += a * b * k - a * db - b * da + dadb
    return total / (len(x) if estimator == "v" else len(x) - 1)


@pytest.mark.parametrize("estimator", ["v", "u"])
@pytest.mark.parametrize("h", [0.7, 1.0, 2.5])
def test_equals_the_double_loop(h, estimator):
    """The default grid ends at 5/h; what lies beyond is of size exp(-5^2/2) beside the diagonal 1/h^2."""
    x = torch.tensor(SAMPLE, dtype=torch.float64)
    expected = double_loop(SAMPLE, h, estimator)
    assert float(KSD(h, estimator=estimator)(x)) == pytest.approx(expected, abs=2e-5 * (5 + 1 / h**2))
    assert float(KSD(h, t_max=9.0, n_points=65, estimator=estimator)(x)) == pytest.approx(expected, rel=1e-11)


def test_equals_the_integral_over_t():
    x = np.array(SAMPLE)

    def height(t: float) -> float:
        wave = np.exp(1j * t * x)
        return abs((1j * x * wave).mean() + t * wave.mean()) ** 2 * math.exp(-t * t / 2) / math.sqrt(2 * math.pi)

    expected = len(x) * integrate.quad(height, -12, 12, limit=400)[0]
    value = KSD(t_max=9.0, n_points=65)(torch.from_numpy(x))
    assert float(value) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("h", [1.0, 2.0])
@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (0.4, 1.0), (0.0, 0.6), (0.3, 1.5)])
def test_mean_of_the_u_statistic(mean, sd, h):
    """phi' + t phi = (i m + (1 - s^2) t) phi for N(m, s^2), a Gaussian integral; 0 at the null."""
    n, replicates = 20, 20_000
    shrunk = 1 + 2 * sd**2 / h**2
    expected = n * (mean**2 + (1 - sd**2) ** 2 / (h**2 * shrunk)) / math.sqrt(shrunk)
    x = torch.randn(n, replicates, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = KSD(h, estimator="u")(mean + sd * x)
    assert abs(float(values.mean()) - expected) < 4 * float(values.std()) / replicates**0.5
    if (mean, sd) == (0.0, 1.0):
        assert expected == 0


@pytest.mark.parametrize("estimator", ["v", "u"])
def test_gradients_of_both_orders(estimator):
    x = torch.tensor(SAMPLE, dtype=torch.float64, requires_grad=True)
    statistic = KSD(0.8, estimator=estimator)
    assert torch.autograd.gradcheck(statistic, x)
    assert torch.autograd.gradgradcheck(statistic, x)


def test_columns_are_statistics_of_their_own_in_every_dtype():
    x = torch.randn(2, 33, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = KSD()(x)
    assert expected.shape == (2, 5)
    torch.testing.assert_close(expected[1, 2], KSD()(x[1, :, 2]), rtol=1e-12, atol=0)
    assert KSD()(x.float()).dtype == torch.float32
    torch.testing.assert_close(KSD()(x.float()).double(), expected, rtol=2e-5, atol=0)
    assert KSD()(x.bfloat16()).dtype == torch.float32
    order = torch.randperm(33, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(KSD()(x[:, order]), expected, rtol=1e-12, atol=0)


def test_rejects_at_its_level_and_finds_a_shift(monkeypatch):
    monkeypatch.setattr(base, "MOST_REPLICATES", 20_000)
    nulls.forget_laws()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 4000, generator=generator, dtype=torch.float64)
    statistic = KSD()
    error = (0.05 * 0.95 * (1 / 4000 + 1 / 20_000)) ** 0.5
    assert abs(float((statistic.test(x).pvalue < 0.05).double().mean()) - 0.05) < 4 * error
    assert (statistic.test(x[:, :50] + 1).pvalue < 0.05).all()


def test_bad_options_are_refused_by_name():
    with pytest.raises(ValueError, match="bandwidth must be positive and finite"):
        KSD(0.0)
    with pytest.raises(ValueError, match="estimator must be one of v, u, got 'split'"):
        KSD(estimator="split")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n_points >= 2"):
        KSD(n_points=1)
