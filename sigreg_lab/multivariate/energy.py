"""Energy statistic, with E|x - Z| as a radial function of ``sigreg_lab.slicing.infinite``.

With F_K(z) = 1F1(1/2; K/2; -z), 1F1(-1/2; K/2; -z) = F_K(z) + z/(K/2) F_(K+2)(z), all terms positive (from the NIST
Digital Library of Mathematical Functions, 13.3.4). Far from the origin it is the expansion at infinity (13.7.2),

    E|x - Z| = |x| sum_s (-1/2)_s ((1 - K)/2)_s / s! (2/|x|^2)^s = |x| + (K - 1) / (2 |x|) + ...
"""

import math
from functools import lru_cache

import numpy as np
import torch
from scipy import special
from torch import Tensor

from sigreg_lab.multivariate.base import MultivariateTest
from sigreg_lab.slicing.infinite import RadialFunction, Real, largest_length, smoothing, sphere_gaussian
from sigreg_lab.slicing.pairwise import Distance, pair_sum

_FAR_TERMS = 12  # of the expansion at infinity, to 1e-15 from |x|^2 = max(400, 128 K) on


class Energy(MultivariateTest):
    """Energy statistic: N times the energy distance of the sample to N(0, I).

        E = N (2/N sum_j E|x_j - Z| - E|Z - Z'| - 1/N^2 sum_jk |x_j - x_k|),   Z, Z' ~ N(0, I)                   [1]

        E|x - Z| = sqrt 2 G 1F1(-1/2; K/2; -|x|^2/2),   E|Z - Z'| = 2 G,   G = Gamma((K + 1)/2) / Gamma(K/2)

    Non-negative; E/N tends to 0 for N(0, I) alone. Null: N(0, I) fully specified, or any normal law (``standardise``).
    Law: simulated, from N = max(1024, 8 K) on at that N. Gradient: bounded; it vanishes neither far out nor as the
    sample collapses. That of |x_j - x_k| at a tie is taken as 0. Cost O(N^2 K). Shapes, dtypes, p-values and errors:
    ``MultivariateTest``.

    Args:
        standardise: see ``MultivariateTest``.

    Raises:
        ValueError: in use, rows longer than 1e154, whose square float64 does not hold.

    [1] Szekely & Rizzo (2005), Journal of Multivariate Analysis 93, 58-80.
    """

    name = "energy"
    sensitive_to = "any departure; strongest for location and scale"
    reads_values = True

    def _statistic(self, x: Tensor) -> Tensor:
        n, dim = x.shape[-2:]
        within = pair_sum(x, Distance()) / n
        across = _mean_distance(x.square().sum(-1), dim, largest_length(x)).sum(-1)
        return 2 * across - n * 2 * gamma_ratio(dim) - within


def _mean_distance(q: Tensor, dim: int, largest: float) -> Tensor:
    """E|x - Z| as a function of q = |x|^2, float64, differentiable to every order; no |x| lies beyond ``largest``."""
    if not math.isfinite(largest):
        raise ValueError("x holds rows longer than 1e154, whose square float64 does not hold; drop those rows")
    border = math.sqrt(max(400, 128 * dim))
    near = _distance_to_normal(dim)
    near.cover(min(largest, border))
    if largest <= border:
        return near(q)
    outside = q > border**2
    length = torch.where(outside, q, border**2).sqrt()
    s = np.arange(_FAR_TERMS)
    coefficients = special.poch(-0.5, s) * special.poch((1 - dim) / 2, s) / special.factorial(s) * 2.0**s
    series = torch.zeros_like(q)
    for coefficient in reversed(coefficients.tolist()):
        series = series / length**2 + coefficient
    return torch.where(outside, length * series, near(torch.where(outside, 0.0, q)))


class _DistanceToNormal(RadialFunction):
    """E|x - Z| as a function of q = |x|^2."""

    def __init__(self, dim: int) -> None:
        super().__init__(piece=0.3 * smoothing(dim))
        self.dim = dim

    def derivative(self, order: int, r: Real) -> Real:
        z, b = r**2 / 2, self.dim / 2
        constant = math.sqrt(2) * gamma_ratio(self.dim)
        if order == 0:
            return constant * (sphere_gaussian(z, self.dim) + z / b * sphere_gaussian(z, self.dim + 2))
        factor = (-0.5) ** order * special.poch(-0.5, order) / special.poch(b, order)
        return np.asarray(constant * factor * sphere_gaussian(z, self.dim + 2, order - 1))


@lru_cache(maxsize=32)
def _distance_to_normal(dim: int) -> _DistanceToNormal:
    return _DistanceToNormal(dim)


@lru_cache(maxsize=256)
def gamma_ratio(dim: int) -> float:
    """Gamma((dim + 1)/2) / Gamma(dim/2) by its recurrence: to 1e-15 where the difference of log-gammas loses digits."""
    ratio = math.sqrt(math.pi) / 2 if dim % 2 == 0 else 1 / math.sqrt(math.pi)
    for d in range(2 - dim % 2, dim, 2):
        ratio *= (d + 1) / d
    return ratio
