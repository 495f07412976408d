"""Values of formulas as printed, each beside the right one; formulas as a transcription of the papers has them.

Comparisons are (formula, point, as printed, right, the ratio's exact value or NaN). The right value comes from another
way: a sum over a fine grid of the integral that is meant, quadrature, SciPy.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import integrate, special, stats

from sigreg_lab import alternatives
from sigreg_lab.multivariate import InfiniteSliceEppsPulley, InfiniteSliceKSD
from sigreg_lab.theory import quadrature
from sigreg_lab.theory.epps_pulley import expected_value
from sigreg_lab.univariate import EppsPulley

Real = NDArray[np.float64]
Compared = tuple[str, str, float, float, float]

N = 20
LINE = EppsPulley(12.0, 481)  # the whole line, to rounding


def _pairs(a: Real, b: Real, gamma: float) -> Real:
    size = (a**2).sum(1)[:, None] - (b**2).sum(1)
    return np.exp(size / (4 * gamma)) * np.cos(a @ b.T / (2 * gamma))


def appendix_f(y: Real, b: float = 1.0, g: float = 3.0) -> Iterator[Compared]:
    """Closed forms of appendix F of a sample (N, K), and the integral by which it introduces the first."""
    n, d = y.shape
    axis = np.linspace(-14, 14, 351)
    t = np.stack(np.meshgrid(*[axis] * d, indexing="ij"), -1).reshape(-1, d)
    cell, tt, ty, inner, square = (axis[1] - axis[0]) ** d, (t**2).sum(1), t @ y.T, y @ y.T, (y**2).sum(1)
    plus, minus = (square[:, None] + square + sign * 2 * inner for sign in (1, -1))
    weight = np.exp(-tt / (2 * b**2)) / (2 * math.pi * b**2) ** (d / 2)
    ecf, point, factor = np.exp(-1j * ty).mean(1), f"K = {d}", (math.pi / g) ** (d / 2)

    bhep = np.exp(-(b**2) * minus / 2).sum() / n + n / (1 + 2 * b**2) ** (d / 2)
    bhep -= 2 / (1 + b**2) ** (d / 2) * np.exp(-(b**2) * square / (2 * (1 + b**2))).sum()
    meant, printed = (n * cell * (np.abs(ecf - np.exp(-r / 2)) ** 2 * weight).sum() for r in (tt, np.sqrt(tt)))
    yield "BHEP's integral", point, printed, bhep, math.nan
    yield "BHEP", point, bhep, meant, 1.0

    moments = np.exp(ty - g * tt[:, None] / 2)  # exp(t'y) times the root of the weight
    mgf = np.exp(plus / (4 * g)).sum() / n / g ** (d / 2) + n / (g - 1) ** (d / 2)
    mgf -= 2 / (g - 0.5) ** (d / 2) * np.exp(square / (4 * g - 2)).sum()
    gap = (moments.mean(1) - np.exp((1 - g) * tt / 2)) ** 2
    yield "eq. 58", point, math.pi ** (d / 2) * mgf, n * cell * gap.sum(), 1.0

    root = np.exp(-g * tt / 2)
    u, two = math.sqrt(n) * (np.cos(ty).mean(1) * moments.mean(1) - root), _pairs(y, y, g).sum()
    sums, gaps = ((y[:, None] + sign * y).reshape(-1, d) for sign in (1, -1))
    four = _pairs(sums, gaps, g).sum() + _pairs(sums, sums, g).sum()
    yield "eq. 59", point, factor * (four / (2 * n**3) - 2 / n * two + n), cell * (u**2).sum(), 1.0
    yield "eq. 61", point, factor * math.sqrt(n) * (two / n**2 - 1), cell * (u * root).sum(), 1.0

    slope = (moments[:, :, None] * (y[None] - t[:, None, :])).mean(1)
    hv = np.exp(plus / (4 * g)) * (inner - plus / (2 * g) + d / (2 * g) + plus / (4 * g**2))
    yield "eq. 63", point, factor * hv.sum() / n, n * cell * (slope**2).sum(), 1.0


def covariances() -> dict[str, Real]:
    """V of eq. 54 as printed and with 1 - p_j, i <= j, for p_j; and V^-1 of eq. 56."""
    p = np.arange(1, N + 1) / (N + 1)
    f = stats.norm.pdf(special.ndtri(p))
    product, densities = np.multiply.outer(p, p), np.multiply.outer(f, f)
    tridiagonal = 2 * np.eye(N) - np.eye(N, k=1) - np.eye(N, k=-1)
    return {
        "eq. 54": product / densities / (N + 2),
        "eq. 54, corrected": (np.minimum.outer(p, p) - product) / densities / (N + 2),
        "eq. 56": (N + 1) * (N + 2) * densities * tridiagonal,
    }


def _order_variance(i: int) -> float:
    """Of the i-th smallest of N samples of N(0, 1), by quadrature."""
    law = stats.beta(i, N + 1 - i)
    first, second = (
        integrate.quad(lambda x, k=k: x**k * law.pdf(stats.norm.cdf(x)) * stats.norm.pdf(x), -9, 9)[0] for k in (1, 2)
    )
    return float(second - first**2)


def slips() -> Iterator[Compared]:
    """Formulas that do not say what is meant."""
    for views in (2, 10):  # of length 1, orthogonal
        z = np.eye(views)
        yield "eq. 21", f"{views} orthogonal views", (z**2).sum(1).mean(), (z.mean(0) ** 2).sum(), views
    blom = special.ndtri((np.arange(1, N + 1) - 0.375) / (N + 0.25))
    for scale in (1, 2):  # SciPy's W is (a'Y)^2/S^2; printed is a'Y/S^2
        w, squares = stats.shapiro(scale * blom).statistic, scale**2 * float((blom**2).sum())
        yield "eq. 51", f"normal scores times {scale}", math.sqrt(w / squares), w, 1 / math.sqrt(w * squares)
    found = covariances()
    for formula in ("eq. 54", "eq. 54, corrected"):
        for i in (1, N // 2, N):
            variance = found[formula][i - 1, i - 1]
            yield formula, f"variance of number {i} of {N}", variance, _order_variance(i), math.nan
    loss = np.arange(1.0, 11.0)
    yield "eq. 8", "accuracy falls as the loss grows", stats.spearmanr(loss, -loss).statistic, 1.0, -1.0
    text, code = (quadrature.null_expectation(math.inf, width) for width in (1.0, 2.0))
    t, _, weight = LINE.nodes()
    summed = expected_value(alternatives.REGISTRY["null"], 1, t, weight)
    yield "weight", "mean of T at N(0, 1)", text, summed, text / code


def discrepancies(x: Real) -> Iterator[Compared]:
    """KerJEPA's identities, of a sample (N, K): EP as MMD in its first coordinate, and the mean over all slices."""
    n, dim = x.shape
    scale, one = math.sqrt(2 * math.pi) * n, x[:, 0]
    z, mass = np.polynomial.hermite_e.hermegauss(100)
    mass = mass / math.sqrt(2 * math.pi)
    within, across, target = (np.exp(-(np.subtract.outer(*pair) ** 2) / 2) for pair in ((one, one), (one, z), (z, z)))
    mmd = within.mean() - 2 * (across @ mass).mean() + mass @ target @ mass
    yield "EP as MMD", f"K = {dim}, first coordinate", scale * mmd, LINE(torch.from_numpy(one)).item(), 1.0

    def kernel(square: Real | float) -> Real:
        return special.hyp1f1(0.5, dim / 2, -np.asarray(square) / 2)

    def mean(density: Callable[[float], Any], factor: float) -> float:
        return float(integrate.quad(lambda q: kernel(factor * q) * density(q), 0, np.inf, epsrel=1e-11, limit=200)[0])

    single = np.mean([mean(stats.ncx2(dim, length).pdf, 1.0) for length in (x**2).sum(1)])
    mmd = kernel(((x[:, None] - x) ** 2).sum(-1)).mean() - 2 * single + mean(stats.chi2(dim).pdf, 2.0)
    every = InfiniteSliceEppsPulley(EppsPulley(integration="exact"))(torch.from_numpy(x)).item()
    yield "sliced MMD", f"K = {dim}", scale * mmd, every, 1.0
    if dim == 2:  # where the mean over all slices is one over a half circle
        angles = np.linspace(0, math.pi, 200, endpoint=False)
        a = x @ np.stack([np.cos(angles), np.sin(angles)])
        r = (a[:, None] - a) ** 2
        circle = (np.exp(-r / 2) * (a[:, None] * a - 2 * r + 1)).sum((0, 1)).mean() / n
        yield "sliced KSD", f"K = {dim}", InfiniteSliceKSD()(torch.from_numpy(x)).item(), circle, 1.0
