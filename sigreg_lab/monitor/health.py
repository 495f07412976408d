"""What a sample of embeddings is like, in a few numbers, and what they would be for N(0, I).

With m the mean of N rows in K dimensions, and v_1 .. v_K their variances along the principal axes:

    distance^2 = |m|^2 + sum_k (sqrt(v_k) - 1)^2        of N(m, S) from N(0, I), the 2-Wasserstein distance        [1]
    effective rank = exp(entropy of sqrt(v_k) / sum_j sqrt(v_j))                                                   [2]
    slice_max = max_m T({a_m'x_n}_n),   T Epps-Pulley, a_1 .. a_M orthonormal

The two terms of the distance are its mean part and its covariance part. Neither is 0 for a sample of N(0, I): beside
each number stands the band that holds it with probability 95% there, at the same N and K. |m|^2 is chi-squared with K
degrees of freedom, over N. The spectrum is simulated, by a bidiagonal matrix of chi variables whose singular values
have the law of those of a Gaussian matrix [3]: K^2 operations a sample instead of N K^2.

Projections of N(0, I) on orthonormal directions are independent. The largest of M independent statistics exceeds t with
probability 1 - (1 - p)^M, where p is the p-value of one (Sidak); p is that of the limit law of Epps-Pulley.

[1] Dowson & Landau (1982), Journal of Multivariate Analysis 12, 450-455. [2] Roy & Vetterli (2007), EUSIPCO, 606-610.
[3] Silverstein (1985), Annals of Probability 13, 1364-1368.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from sigreg_lab import diagnostics
from sigreg_lab.nulls.law import Array
from sigreg_lab.slicing import make_directions, seeded_generator, sliced_statistic
from sigreg_lab.univariate import EppsPulley
from sigreg_lab.validation import check_sample

#: The fewest rows of which anything is said.
LEAST_ROWS = 8
#: Simulated spectra behind a band; its ends are at 2.5% and 97.5%.
REPLICATES = 499
LEVEL = 0.95
#: Numbers that stand beside their band, as ``name_low`` and ``name_high``.
BANDED = ("effective_rank", "distance", "distance_mean", "distance_covariance")
_SEED = 20_251_111


def embedding_health(x: Tensor, *, num_slices: int = 256, seed: int = 0) -> tuple[dict[str, float], Tensor]:
    """Numbers that say what embeddings are like, and their spectrum.

    Args:
        x: independent embeddings, shape (N, K), of one view: several views of one image depend on each other, and no
            p-value would hold.
        num_slices: M, the number of slices; at most K are taken.
        seed: of the slices.

    Returns:
        The numbers, by name: ``num_samples``; ``effective_rank``, ``distance``, ``distance_mean`` and
        ``distance_covariance``, each with ``_low`` and ``_high``, its band under N(0, I); ``mean_pvalue`` and
        ``covariance_pvalue`` (``diagnostics.mean_test``, ``covariance_test``); ``variance_mean``, ``variance_largest``,
        ``variance_median`` and ``variance_smallest``, of the principal axes; ``slice_max`` and ``slice_pvalue``. And
        the spectrum, shape (K,), float64, descending.

    Raises:
        ValueError: ``x`` is not a finite floating-point tensor of shape (N, K) with 8 rows or more, or ``num_slices``
            is below 1.
    """
    check_sample(x, "x", ndim=2, min_samples=LEAST_ROWS)
    if x.ndim != 2:
        raise ValueError(f"x must have shape (N, K), got {tuple(x.shape)}; hand in one view")
    if num_slices < 1:
        raise ValueError(f"num_slices must be at least 1, got {num_slices}")
    x = x.detach().double()
    n, dim = x.shape
    spectrum = diagnostics.spectrum(x)
    mean_part, covariance_part = float(x.mean(0).square().sum()), float((spectrum.sqrt() - 1).square().sum())
    numbers = {
        "num_samples": float(n),
        "effective_rank": float(diagnostics.spectral_rank(spectrum)),
        "distance": math.sqrt(mean_part + covariance_part),
        "distance_mean": math.sqrt(mean_part),
        "distance_covariance": math.sqrt(covariance_part),
    }
    for name, (low, high) in null_bands(n, dim).items():
        numbers |= {f"{name}_low": low, f"{name}_high": high}
    slice_max, slice_pvalue = largest_slice(x, num_slices, seed)
    numbers |= {
        "mean_pvalue": float(diagnostics.mean_test(x).pvalue),
        "covariance_pvalue": float(diagnostics.spectral_covariance_test(spectrum, n).pvalue),
        "variance_mean": float(spectrum.mean()),
        "variance_largest": float(spectrum[0]),
        "variance_median": float(spectrum.median()),
        "variance_smallest": float(spectrum[-1]),
        "slice_max": slice_max,
        "slice_pvalue": slice_pvalue,
    }
    return numbers, spectrum


def largest_slice(x: Tensor, num_slices: int, seed: int) -> tuple[float, float]:
    """The largest Epps-Pulley statistic of orthonormal slices, and its p-value under N(0, I)."""
    n, dim = x.shape
    statistic = EppsPulley()
    count = min(num_slices, dim)
    directions = make_directions("orthogonal", dim, count, generator=seeded_generator(seed, dim), dtype=torch.float64)
    with torch.no_grad():
        largest = sliced_statistic(x, statistic, directions, "none").max().double()
    one = float(statistic.null_law(n, "asymptotic").pvalue(largest))
    return float(largest), -math.expm1(count * math.log1p(-one)) if one < 1 else 1.0


@lru_cache(maxsize=32)
def null_bands(n: int, dim: int) -> dict[str, tuple[float, float]]:
    """Where ``n`` rows of N(0, I) in ``dim`` dimensions leave each number of ``BANDED`` with probability 95%.

    Simulated, at the first call for a shape: under a second up to K = 256.
    """
    rng = np.random.default_rng(np.random.SeedSequence([_SEED, n, dim]))
    spectra = null_spectra(n, dim, REPLICATES, rng)
    mean_parts = rng.chisquare(dim, REPLICATES) / n
    covariance_parts = ((np.sqrt(spectra) - 1) ** 2).sum(1)
    values = {
        "effective_rank": diagnostics.spectral_rank(torch.from_numpy(spectra)).numpy(),
        "distance": np.sqrt(mean_parts + covariance_parts),
        "distance_mean": np.sqrt(mean_parts),
        "distance_covariance": np.sqrt(covariance_parts),
    }
    ends = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    return {name: tuple(np.quantile(values[name], ends, method="weibull").tolist()) for name in BANDED}


def null_spectra(n: int, dim: int, replicates: int, rng: np.random.Generator) -> Array:
    """Spectra of simulated samples of ``n`` rows of N(0, I): shape (replicates, dim), descending.

    The scatter matrix of n rows is that of n - 1 about a known mean. With m = min(n - 1, dim) and p the larger of the
    two, it has the eigenvalues of B'B, B bidiagonal with chi_p, chi_(p-1), .. on the diagonal and chi_(m-1), .., chi_1
    beside it, all independent [3].
    """
    from scipy.linalg import eigvalsh_tridiagonal

    least, most = sorted((n - 1, dim))
    steps = np.arange(least)
    squares = rng.chisquare(most - steps, (replicates, least))
    beside = rng.chisquare(least - 1 - steps[:-1], (replicates, least - 1))
    diagonal = squares.copy()
    diagonal[:, 1:] += beside
    off = np.sqrt(squares[:, :-1] * beside)
    found = np.zeros((replicates, dim))
    for row, d, e in zip(found, diagonal, off, strict=True):
        row[:least] = eigvalsh_tridiagonal(d, e, lapack_driver="sterf")[::-1].clip(min=0) / (n - 1)
    return found
