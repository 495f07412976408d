"""Mean and covariance of a multivariate sample: how its variance is spread over directions, and two tests.

    spectrum          eigenvalues of S = 1/(N - 1) sum_j (x_j - mean)(x_j - mean)'
    condition number  largest eigenvalue of S / smallest
    effective rank    exponential of the entropy of the normalised singular values                                [1, 2]
    alpha-ReQ         slope of the spectrum on logarithms: its k-th eigenvalue goes as k^-alpha                      [5]
    LiDAR             effective rank of what tells samples apart, by the spread of each sample's views              [6]
    mean test         N |mean|^2, chi-squared with K degrees of freedom under N(0, I)
    covariance test   n K W / 2,  W = tr (S - I)^2 / K - K/n (tr S / K)^2 + K/n,  n = N - 1; chi-squared with
                      K (K + 1)/2 degrees of freedom in the limit, whether K is fixed or grows with N                [3]

Under N(0, I) a spectrum is not flat: its law tends to Marchenko and Pastur's, on (1 -+ sqrt(K/n))^2.             [4]

All take a sample as a floating-point tensor or an array-like, give back the caller's kind, and know ``axis`` and
``nan_policy`` (``sigreg_lab.arrays``); the arithmetic is in float64.

[1] Roy & Vetterli (2007), EUSIPCO, 606-610. [2] Garrido et al. (2023), ICML (arXiv:2210.02885).
[3] Ledoit & Wolf (2002), Annals of Statistics 30, 1081-1102. [4] Marchenko & Pastur (1967), Math. USSR-Sbornik 1.
[5] Agrawal et al. (2022), NeurIPS (arXiv:2202.05808). [6] Thilak et al. (2024), ICLR (arXiv:2312.04000).
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.linalg import svdvals

from sigreg_lab.arrays import ArrayLike, NanPolicy, rows
from sigreg_lab.nulls import ChiSquared, Tested, TestResult
from sigreg_lab.validation import check_sample


def _of_array_likes(measure: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    @functools.wraps(measure)
    def measured(x: ArrayLike, *, axis: int = -2, nan_policy: NanPolicy = "raise") -> Any:
        samples = rows(x, axis, nan_policy, lambda dim: 2)
        return samples.back([measure(part) for part in samples.parts])

    return measured


@_of_array_likes
def effective_rank(x: Tensor) -> Tensor:
    """Exponential of the entropy of the normalised singular values of the centred sample (RankMe).

        erank = exp(-sum_k p_k log p_k),   p_k = s_k / sum_j s_j                                              [1, 2]

    Between 1 (all variance along one direction) and min(N - 1, K) (equal along all); 0 for a constant sample. [2]
    takes the singular values of the sample as it is; here it is centred, so that a common mean does not count.

    Args:
        x: sample, shape (..., N, K).

    Returns:
        Shape (...), float64.

    Raises:
        ValueError: a sample that is empty, not floating point, not finite, or of fewer than 2 rows.
    """
    check_sample(x, "x", ndim=2, min_samples=2, can_omit=True)
    return _rank(svdvals(_centred_and_scaled(x)[0]))


def spectral_rank(variances: Tensor) -> Tensor:
    """``effective_rank`` of a sample by its ``spectrum``, shape (..., K): (...)."""
    return _rank(variances.sqrt())


def _rank(singular: Tensor) -> Tensor:
    total = singular.sum(-1, keepdim=True)
    share = singular / total.clamp_min(1e-300)
    entropy = -(share * share.clamp_min(1e-300).log()).sum(-1)
    return entropy.exp() * (total.squeeze(-1) > 0)


@_of_array_likes
def spectrum(x: Tensor) -> Tensor:
    """Variances along the principal axes: eigenvalues of the covariance, divisor N - 1, descending.

    Args:
        x: sample, shape (..., N, K).

    Returns:
        Shape (..., K), float64; the last K - N + 1 are 0 for N <= K. Variances below 1e-308 become 0, those above 1e308
        infinite.

    Raises:
        ValueError: as ``effective_rank``.
    """
    check_sample(x, "x", ndim=2, min_samples=2, can_omit=True)
    centred, scale = _centred_and_scaled(x)
    return _variances(centred) * scale.squeeze(-1).square()


@_of_array_likes
def condition_number(x: Tensor) -> Tensor:
    """Largest eigenvalue of the covariance over the smallest; infinite where that is 0 to rounding, and for N <= K.

    Args:
        x: sample, shape (..., N, K).

    Returns:
        Shape (...), float64; NaN for a constant sample.

    Raises:
        ValueError: as ``effective_rank``.
    """
    check_sample(x, "x", ndim=2, min_samples=2, can_omit=True)
    values = _variances(_centred_and_scaled(x)[0])
    least = torch.where(values[..., -1] > _rounding(x, values), values[..., -1], 0.0)
    return values[..., 0] / least


@_of_array_likes
def alpha_req(x: Tensor) -> Tensor:
    """Decay of the spectrum: minus the least-squares slope of log s_k on log k, s_k the k-th largest variance.    [5]

    [5] expects the best representations near 1. It fits ranks 11 to 50 of wide networks; here all ranks whose variance
    is not 0 to rounding count, since the embeddings compared here have few dimensions.

    Args:
        x: sample, shape (..., N, K).

    Returns:
        Shape (...), float64; NaN where fewer than two variances are positive.

    Raises:
        ValueError: as ``effective_rank``.
    """
    check_sample(x, "x", ndim=2, min_samples=2, can_omit=True)
    values = _variances(_centred_and_scaled(x)[0])
    used = values > _rounding(x, values).unsqueeze(-1)
    count = used.sum(-1, keepdim=True)
    log_rank = torch.arange(1, values.shape[-1] + 1, dtype=torch.float64, device=x.device).log().expand_as(values)
    log_value = torch.where(used, values, 1.0).log()
    rank_offset = torch.where(used, log_rank - (log_rank * used).sum(-1, keepdim=True) / count, 0.0)
    slope = (rank_offset * log_value).sum(-1) / rank_offset.square().sum(-1)
    return torch.where(count.squeeze(-1) > 1, -slope, torch.nan)


def lidar(views: Tensor, delta: float = 1e-4) -> Tensor:
    """LiDAR: the effective rank of Fisher's discriminant, each sample a class whose members are its views.        [6]

        S = (W + delta I)^(-1/2) B (W + delta I)^(-1/2),   exp(-sum_k p_k log p_k),   p_k = l_k(S) / sum_j l_j(S)

    with B the covariance of the samples' means, W the mean covariance of views about them (divisors N and V). More is
    better, says [6]; it takes about 10 views and 1,000 or more samples.

    Args:
        views: embeddings of V views of N samples, shape (V, N, K).
        delta: what keeps W invertible.

    Returns:
        A scalar, float64, between 1 and min(N - 1, K); 0 where all samples' means agree.

    Raises:
        ValueError: not a finite floating-point tensor (V, N, K), fewer than 2 views or samples, ``delta`` not positive.
    """
    check_sample(views, "views", ndim=3, min_samples=2)
    if views.ndim != 3 or views.shape[1] < 2:
        raise ValueError(f"views must have shape (V, N, K), V and N at least 2, got {tuple(views.shape)}")
    if not delta > 0:
        raise ValueError(f"delta must be positive, got {delta}")
    z = views.double()
    means = z.mean(0)
    between, within = means - means.mean(0), (z - means).flatten(0, 1)
    eye = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
    factor = torch.linalg.cholesky(within.T @ within / len(within) + delta * eye)
    ratio = svdvals(torch.linalg.solve_triangular(factor, between.T, upper=False)).square()
    share = ratio / ratio.sum().clamp_min(1e-300)
    return (-(share * share.clamp_min(1e-300).log()).sum()).exp() * (ratio.sum() > 0)


def _centred_and_scaled(x: Tensor) -> tuple[Tensor, Tensor]:
    """x minus its mean, and over its largest size (..., 1, 1): its squares neither vanish nor overflow at any scale."""
    y, unit = _in_reach(x)
    centred = y - y.mean(-2, keepdim=True)
    largest = centred.abs().amax((-2, -1), keepdim=True)
    scale = torch.where(largest > 0, largest, 1.0)
    return centred / scale, scale * unit


def _in_reach(x: Tensor) -> tuple[Tensor, Tensor]:
    """x in float64 over a power of two (..., 1, 1), which is exact: the largest lie near 1, so that sums are finite."""
    y = x.double()
    largest = y.abs().amax((-2, -1), keepdim=True)
    unit = torch.where(largest > 0, largest / (2 * largest.frexp().mantissa), 1.0)
    return y / unit, unit


def _variances(centred: Tensor) -> Tensor:
    n, dim = centred.shape[-2:]
    values = svdvals(centred).square() / (n - 1)
    return torch.nn.functional.pad(values, (0, dim - values.shape[-1]))


def _rounding(x: Tensor, values: Tensor) -> Tensor:
    """Eigenvalues below this are 0 to the rounding of the singular values."""
    return values[..., 0] * (max(x.shape[-2:]) * torch.finfo(torch.float64).eps) ** 2


def expected_spectrum(n: int, dim: int) -> Tensor:
    """The spectrum to expect of ``n`` rows of N(0, I) in ``dim`` dimensions: quantiles of Marchenko and Pastur's law.

    Args:
        n: number of rows, at least 2; one degree of freedom goes to the mean.
        dim: K, at least 1.

    Returns:
        Shape (K,), float64, descending: quantiles at (K - i + 1/2)/K. The last K - n + 1 are 0 for n <= K.

    Raises:
        ValueError: ``n`` below 2 or ``dim`` below 1.
    """
    if n < 2 or dim < 1:
        raise ValueError(f"n must be at least 2 and dim at least 1, got {n} and {dim}")
    ratio = dim / (n - 1)
    root = np.sqrt(ratio)
    # On x = 1 + ratio + 2 root cos(u) the density times dx is smooth: 2/pi sin(u)^2 / x du, of mass min(1, 1/ratio).
    step = np.pi / 20_000
    u = (np.arange(20_000) + 0.5) * step
    x = 1 + ratio + 2 * root * np.cos(u)
    mass = np.cumsum(2 / np.pi * np.sin(u) ** 2 / x * step)  # from the largest eigenvalue down
    levels = (np.arange(dim) + 0.5) / dim
    values = np.interp(levels, mass, x)
    values[levels > mass[-1]] = 0.0 if ratio > 1 else x[-1]
    return torch.from_numpy(values)


def mean_test(x: ArrayLike, *, axis: int = -2, nan_policy: NanPolicy = "raise") -> TestResult:
    """N |mean|^2 and its p-value under N(0, I), an exact law.

    Args:
        x: sample, shape (..., N, K).
        axis: along which the rows lie.
        nan_policy: of rows that hold a NaN: "raise", "omit" or "propagate".

    Returns:
        ``TestResult``, which unpacks as ``statistic, pvalue``, each of shape (...), float64.

    Raises:
        ValueError: as ``effective_rank``.
    """
    samples = rows(x, axis, nan_policy, lambda dim: 2)
    tested = [_mean_tested(part) for part in samples.parts]
    return TestResult.of(samples, tested, test="N |mean|^2", null_hypothesis="independent rows of N(0, I)")


def _mean_tested(x: Tensor) -> Tested:
    check_sample(x, "x", ndim=2, min_samples=2, can_omit=True)
    n, dim = x.shape[-2:]
    law = ChiSquared(dim)
    law.kind = "exact"
    y, unit = _in_reach(x)
    statistic = n * (y.mean(-2) * unit.squeeze(-1)).square().sum(-1)
    return Tested(statistic, law.pvalue(statistic), law)


def covariance_test(x: ArrayLike, *, axis: int = -2, nan_policy: NanPolicy = "raise") -> TestResult:
    """Ledoit and Wolf's test that the covariance is I, whatever the mean; N may be smaller than K.

    In simulations of N(0, I) from 30 rows on, in 2 to 400 dimensions, it rejected in 9 to 10%, 4.5 to 5.5% and 0.8 to
    1.5% of samples at levels of 10, 5 and 1%; with 8 rows in 7, 4 and 1.7%.

    Args:
        x: sample, shape (..., N, K).
        axis: along which the rows lie.
        nan_policy: of rows that hold a NaN: "raise", "omit" or "propagate".

    Returns:
        ``TestResult``, which unpacks as ``statistic, pvalue``, each of shape (...), float64; the statistic is n K W/2,
        infinite with p-value 0 where it exceeds 1e308.

    Raises:
        ValueError: as ``effective_rank``.
    """
    samples = rows(x, axis, nan_policy, lambda dim: 2)
    null = "independent rows of N(mean, I), any mean"
    tested = [_covariance_tested(part) for part in samples.parts]
    return TestResult.of(samples, tested, test="n K W/2", null_hypothesis=null)


def _covariance_tested(x: Tensor) -> Tested:
    check_sample(x, "x", ndim=2, min_samples=2, can_omit=True)
    centred, scale = _centred_and_scaled(x)
    scale = scale.squeeze(-1).squeeze(-1)
    # In units of m^2 with m = max(scale, 1), no variance overflows.
    most = scale.clamp_min(1.0)
    values = _variances(centred) * (scale / most).square().unsqueeze(-1)
    return _covariance_by(values, most.pow(-2), x.shape[-2])


def spectral_covariance_test(values: Tensor, num_samples: int) -> Tested:
    """``covariance_test`` of a sample of ``num_samples`` rows by its ``spectrum``, shape (..., K)."""
    most = values.amax(-1).clamp_min(1.0)
    return _covariance_by(values / most.unsqueeze(-1), most.reciprocal(), num_samples)


def _covariance_by(values: Tensor, one: Tensor, num_samples: int) -> Tested:
    """The test by variances in units in which the variance of N(0, I) is ``one``, at most 1.

    W / m^4, with m^2 the unit, has no term that overflows. W itself may; it is infinite then, and its p-value 0.
    """
    n, dim = num_samples - 1, values.shape[-1]
    w = (values - one.unsqueeze(-1)).square().mean(-1) - dim / n * values.mean(-1).square() + dim / n * one.square()
    statistic = (n * dim / 2 * w / one.square()).nan_to_num(0.0, torch.inf, -torch.inf)  # 0/0: equal variances, N <= K
    law = ChiSquared(dim * (dim + 1) / 2)
    return Tested(statistic, law.pvalue(statistic), law)
