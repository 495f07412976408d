"""The numbers against other ways to them, and against their own law under N(0, I)."""

import functools
import math

import numpy as np
import pytest
import torch
from scipy import linalg, stats

from sigreg_lab import diagnostics
from sigreg_lab.monitor import embedding_health
from sigreg_lab.monitor.health import BANDED, largest_slice, null_bands, null_spectra
from sigreg_lab.univariate import EppsPulley


@pytest.fixture
def one_law(monkeypatch):
    """The law of a slice is made once: thousands of calls here would find the same nodes each time."""
    own = EppsPulley.null_law
    law = functools.cache(lambda n, method: own(EppsPulley(), n, method))
    monkeypatch.setattr(EppsPulley, "null_law", lambda self, n, method: law(n, method))


def sample(n, dim, seed=0):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_distance_is_that_of_the_two_gaussians():
    """Against the formula with matrix square roots: |m|^2 + tr(S + I - 2 sqrt(S))."""
    x = sample(40, 5) @ sample(5, 5, seed=1) + 0.3
    numbers, spectrum = embedding_health(x)
    mean, covariance = x.mean(0).numpy(), np.cov(x.numpy().T)
    covariance_part = np.trace(covariance + np.eye(5) - 2 * linalg.sqrtm(covariance).real)
    assert numbers["distance_mean"] == pytest.approx(np.linalg.norm(mean), rel=1e-12)
    assert numbers["distance_covariance"] == pytest.approx(math.sqrt(covariance_part), rel=1e-9)
    assert numbers["distance"] == pytest.approx(math.sqrt(mean @ mean + covariance_part), rel=1e-9)
    np.testing.assert_allclose(spectrum, np.linalg.eigvalsh(covariance)[::-1], rtol=1e-9)
    assert numbers["variance_mean"] == pytest.approx(np.trace(covariance) / 5, rel=1e-12)


@pytest.mark.parametrize("shape", [(60, 7), (9, 20)])
def test_what_diagnostics_says(shape):
    x = 2 * sample(*shape) + 0.1
    numbers, spectrum = embedding_health(x)
    assert numbers["effective_rank"] == pytest.approx(float(diagnostics.effective_rank(x)), rel=1e-9)
    assert numbers["mean_pvalue"] == float(diagnostics.mean_test(x).pvalue)
    assert numbers["covariance_pvalue"] == pytest.approx(float(diagnostics.covariance_test(x).pvalue), rel=1e-9)
    assert torch.equal(spectrum, diagnostics.spectrum(x))
    assert numbers["num_samples"] == shape[0]


@pytest.mark.parametrize("shape", [(30, 6), (6, 30), (12, 11), (2, 4)])
def test_simulated_spectra_have_the_law_of_those_of_samples(shape):
    """Trace, sum of roots and largest variance, two samples each: Kolmogorov-Smirnov, at a level that chance passes."""
    n, dim = shape
    fast = null_spectra(n, dim, 2000, np.random.default_rng(0))
    x = torch.randn(2000, n, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slow = diagnostics.spectrum(x).numpy()
    assert (np.diff(fast, axis=1) <= 0).all()
    assert (fast[:, min(n - 1, dim) :] == 0).all()
    for measure in (lambda v: v.sum(1), lambda v: np.sqrt(v).sum(1), lambda v: v[:, 0]):
        assert stats.ks_2samp(measure(fast), measure(slow)).pvalue > 1e-4
    assert stats.ks_2samp((1.1 * fast).sum(1), slow.sum(1)).pvalue < 1e-4 or n == 2  # it can fail


@pytest.mark.usefixtures("one_law")
def test_bands_hold_their_share_of_samples_of_the_null_and_none_of_others():
    """95%, but for the ends' own error: of 499 replicates they lie where 2.5% (standard error 0.7%) are beyond."""
    n, dim, total = 60, 12, 400
    inside = dict.fromkeys(BANDED, 0)
    for seed in range(total):
        numbers, _ = embedding_health(sample(n, dim, seed))
        for name in BANDED:
            inside[name] += numbers[f"{name}_low"] <= numbers[name] <= numbers[f"{name}_high"]
    error = math.sqrt(0.95 * 0.05 / total + 2 * 0.025 * 0.975 / 499)
    assert {name for name, count in inside.items() if abs(count / total - 0.95) > 4 * error} == set()
    wide, _ = embedding_health(1.5 * sample(n, dim) + 0.5)
    assert all(wide[name] > wide[f"{name}_high"] for name in BANDED if name != "effective_rank")
    narrow, _ = embedding_health(sample(n, 3) @ sample(3, dim))
    assert narrow["effective_rank"] <= 3 < narrow["effective_rank_low"]


@pytest.mark.usefixtures("one_law")
@pytest.mark.parametrize(("n", "dim"), [(64, 40), (300, 8)])
def test_the_largest_slice_keeps_its_level(n, dim):
    total = 600
    rejected = np.array([largest_slice(sample(n, dim, seed), 256, seed)[1] <= 0.05 for seed in range(total)])
    assert rejected.mean() == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / total) + 0.005)  # limit law at N = 64


def test_the_largest_slice_finds_one_direction_that_is_not_normal():
    x = sample(4096, 2)
    x[:, 1] = x[:, 1].sign()
    numbers = embedding_health(x, seed=3)[0]
    assert numbers["slice_pvalue"] < 1e-6
    assert numbers["covariance_pvalue"] > 0.01, "mean and covariance are those of N(0, I)"


def test_bands_are_simulated_once_and_the_same_each_time():
    first = null_bands(50, 4)
    null_bands.cache_clear()
    assert null_bands(50, 4) == first
    assert all(low < high for low, high in first.values())


def test_constant_embeddings_have_numbers():
    numbers, spectrum = embedding_health(torch.full((16, 4), 0.25))
    assert numbers["effective_rank"] == 0
    assert numbers["distance"] == pytest.approx(math.sqrt(4 * 0.25**2 + 4))
    assert spectrum.tolist() == [0] * 4


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(7, 3), "x holds 7 sample"),
        (torch.zeros(2, 9, 3), r"x must have shape \(N, K\), got \(2, 9, 3\); hand in one view"),
        (torch.full((9, 3), torch.nan), "x holds 27 NaN"),
    ],
)
def test_bad_samples_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        embedding_health(bad)
    with pytest.raises(ValueError, match="num_slices must be at least 1"):
        embedding_health(sample(9, 3), num_slices=0)
