"""Deterministic discrepancies to the uniform law on the unit sphere: MMD, kernel Stein discrepancy, KL divergence.

With u = z / |z| in R^K and a zonal kernel phi(u'w), phi(1) = 1, the expectation of phi under the uniform law is a
constant. P_l are the Gegenbauer polynomials with P_l(1) = 1 (Legendre's at K = 3, Chebyshev's at K = 2), harmonics on
the sphere with eigenvalue lambda_l = l (l + K - 2) and multiplicity N_l = (2 l + K - 2) (l + K - 3)! / (l! (K - 2)!):

    phi(c) = sum_l w_l N_l P_l(c) / sum_l w_l N_l                                                            [1, eq. 10]
    w_l = exp(-t lambda_l)   "heat", the heat kernel at time t = time / K                                            [2]
    w_l = 1 for l <= degree, else 0   "bandlimited"
    phi(c) = E exp(-(1 - c) a_1^2), a uniform on the sphere   "sliced"                                        [1, eq. 4]

P_l for l > 0 has mean 0 under the uniform law, so that the mean of phi there is its coefficient of P_0. Values are the
means over views; each is 0 for the uniform law and 1 for embeddings that all point one way. They see directions alone:
no pull on the length |z|, which is held at 1e-6 or more. No factor N.

[1] Nicollier, Meinhardt-Llopis, Dunitz, Pic, Musé & Facciolo (2026), Expanding SPHERE-JEPA, arXiv:2606.17603.
[2] Zhao & Song (2018), Exact heat kernel on a hypersphere, Frontiers in Applied Mathematics and Statistics 4.
"""

import decimal
import functools
import math
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import torch
from scipy import fft, special
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from sigreg_lab.regularizers.base import Regularizer
from sigreg_lab.regularizers.multivariate import mean_over_views
from sigreg_lab.regularizers.sphere import LEAST_LENGTH
from sigreg_lab.slicing.infinite import sphere_gaussian
from sigreg_lab.slicing.pairwise import BLOCK, pair_sum

KERNELS = ("heat", "bandlimited", "sliced")
#: Terms of a series below exp(-this) times the largest are left out.
NEGLIGIBLE = 40.0
MOST_TERMS = 2000
#: Digits that the logarithm of the heat kernel may lose, as a natural logarithm; K = 2048 at time 2 loses 700.
MOST_LOST = 2000
#: Of the heat kernel of SphereMMD and SphereKSD [1, section 7].
PUBLISHED_TIME, PUBLISHED_DIM = 5.0, 256

Kernel = Literal["heat", "bandlimited", "sliced"]


class SphereMMD(Regularizer):
    """Squared maximum mean discrepancy to the uniform law on the sphere.

        R = 1/V sum_v (1/N^2 sum_ij phi(u_i'u_j) - C) / (1 - C),   u = z / |z|                               [1, eq. 11]

    C is the mean of phi under the uniform law, the coefficient of P_0; both expectations over that law in
    MMD^2 = E phi(u'u*) - 2 E phi(u'w) + E phi(w'w*), w and w* uniform, are equal to it. Kernels and references: this
    module. Pairs i = j add a constant: the U-statistic is (N R - 1) / (N - 1). With "sliced", R (1 - C) is the exact
    mean over slices a'u of the squared distance of their characteristic function to that of a'w, weighted by the
    density of N(0, 1): it needs no drawn directions. Gradient: smooth. Cost O(V N^2 (K + terms)), in float64, in
    blocks of fixed size. Shapes, dtypes and errors of a call: ``Regularizer``.

    Args:
        kernel: "heat", "bandlimited" or "sliced".
        time: of the heat kernel, in units of 1/K; 5 in [1], whose K is 256. If not given, 5 + log(K / 256), at which
            phi(c) is about the same function for every K. At a fixed time it tends to a line as K falls: with 5, 91% of
            the value at K = 32 is that of P_1, which sees the mean of u alone (39% at K = 256).
        degree: of the bandlimited kernel; 2 in [1].

    Raises:
        ValueError: an unknown ``kernel``, a ``time`` that is not positive, ``degree`` below 1; in use, embeddings of
            fewer than 2 dimensions, or a ``time`` so small that its series has more than 2000 terms.

    [1] Nicollier, Meinhardt-Llopis, Dunitz, Pic, Musé & Facciolo (2026), Expanding SPHERE-JEPA, arXiv:2606.17603.
    """

    def __init__(self, kernel: Kernel = "heat", *, time: float | None = None, degree: int = 2) -> None:
        super().__init__()
        if kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, got {kernel!r}")
        if time is not None:
            check_time(time)
        if degree < 1:
            raise ValueError(f"degree must be at least 1, got {degree}")
        self.kernel, self.time, self.degree = kernel, time, int(degree)

    def extra_repr(self) -> str:
        parameter = {"heat": f", time={self.time}", "bandlimited": f", degree={self.degree}"}.get(self.kernel, "")
        return f"kernel={self.kernel!r}{parameter}"

    def _value(self, z: Tensor, generator: torch.Generator) -> Tensor:
        dim = z.shape[-1]
        check_dimension(dim)
        coefficients = self._coefficients(dim)
        u = normalize(z.double(), dim=-1, eps=LEAST_LENGTH)

        def mean(u: Tensor) -> Tensor:
            total = pair_sum(u, lambda rows, columns: zonal_series(rows @ columns.mT, coefficients, dim))
            return total / u.shape[-2] ** 2

        return mean_over_views(u, mean).to(z.dtype)

    def _coefficients(self, dim: int) -> tuple[float, ...]:
        """Of P_0, P_1, ...; those of (phi - C) / (1 - C)."""
        return _without_mean(self._weights(dim))

    def _weights(self, dim: int) -> tuple[float, ...]:
        time = PUBLISHED_TIME + math.log(dim / PUBLISHED_DIM) if self.time is None else self.time
        return _weights(self.kernel, time, self.degree, dim)


class SphereKSD(SphereMMD):
    """Squared kernel Stein discrepancy to the uniform law on the sphere.

        R = 1/V sum_v 1/N^2 sum_ij k0(u_i'u_j) / k0(1)                                                       [1, eq. 12]
        k0(c) = ((c^2 - 1) phi''(c) + c (K - 1) phi'(c)) / 2

    Each P_l solves (1 - c^2) P'' - (K - 1) c P' + lambda_l P = 0, so that k0 = 1/2 sum_l lambda_l a_l P_l where
    phi = sum_l a_l P_l: this is the ``SphereMMD`` of the weights lambda_l w_l, which gives fine structure a larger
    share. Arguments, gradient, cost and errors: ``SphereMMD``.

    [1] Nicollier, Meinhardt-Llopis, Dunitz, Pic, Musé & Facciolo (2026), Expanding SPHERE-JEPA, arXiv:2606.17603.
    """

    def _coefficients(self, dim: int) -> tuple[float, ...]:
        return _without_mean(tuple(order * (order + dim - 2) * w for order, w in enumerate(self._weights(dim))))


class SphereKL(Regularizer):
    """Kullback-Leibler divergence of a kernel density estimate on the sphere from the uniform law.

        R = 1/V sum_v (1 - 1/log C 1/N sum_i log(1/(N - 1) sum_{j != i} phi(u_i'u_j))),   u = z / |z|        [1, eq. 13]

    phi is the heat kernel at time t = time / K, C its mean under the uniform law: phi / C is the density of a heat
    kernel relative to the uniform law, and R the mean log density at the samples, each left out of its own estimate,
    divided by -log C. It is 1 for embeddings that all point one way and about 0 for the uniform law, there slightly
    negative. [1] has the logarithm of the sphere's area in place of log C, which changes the value and gradient by
    constants, and their sign from K = 18 down, where that area is larger than 1. Gradient: each pair repels, the near
    ones the most; no pull on the length. Cost O(V N^2 (K + degree)), in float64, in blocks of rows. Shapes, dtypes and
    errors of a call: ``Regularizer``.

    log phi is nearly linear in c; it is taken as a Chebyshev series, whose values are computed with as many digits as
    the terms of the heat kernel cancel.

    Args:
        time: of the heat kernel, in units of 1/K; 2 in [1].

    Raises:
        ValueError: a ``time`` that is not positive; in use, embeddings of fewer than 2 dimensions, or a ``time`` too
            small.

    [1] Nicollier, Meinhardt-Llopis, Dunitz, Pic, Musé & Facciolo (2026), Expanding SPHERE-JEPA, arXiv:2606.17603.
    """

    def __init__(self, time: float = 2.0) -> None:
        super().__init__()
        check_time(time)
        self.time = float(time)

    def extra_repr(self) -> str:
        return f"time={self.time:g}"

    def _value(self, z: Tensor, generator: torch.Generator) -> Tensor:
        dim = z.shape[-1]
        check_dimension(dim)
        coefficients, log_mean = _log_heat_kernel(self.time, dim)
        u = normalize(z.double(), dim=-1, eps=LEAST_LENGTH)
        return (1 - mean_over_views(u, lambda u: _mean_log_density(u, coefficients)) / log_mean).to(z.dtype)


def check_time(time: float) -> None:
    """Raise ``ValueError`` unless the time is positive and finite."""
    if not 0 < time < math.inf:
        raise ValueError(f"time must be positive and finite, got {time}")


def check_dimension(dim: int) -> None:
    """Raise ``ValueError`` where there is no sphere to be uniform on."""
    if dim < 2:
        raise ValueError(f"z has {dim} dimension; a sphere needs at least 2")


def zonal_series(c: Tensor, coefficients: tuple[float, ...], dim: int) -> Tensor:
    """sum_l coefficients_l P_l(c) for Gegenbauer polynomials of R^dim, P_l(1) = 1; differentiable to every order.

    Args:
        c: any shape.
        coefficients: of P_0, P_1, ...; at least two.
        dim: 2 gives Chebyshev polynomials, 3 those of Legendre.
    """
    value: Tensor = _ZonalSeries.apply(c, coefficients, dim)
    return value


class _ZonalSeries(torch.autograd.Function):
    """By the recurrence (l + dim - 2) P_{l+1} = (2 l + dim - 2) c P_l - l P_{l-1}; nothing is kept but c.

    P_l' = lambda_l / (dim - 1) times the P_{l-1} of R^(dim+2).
    """

    @staticmethod
    def forward(ctx: Any, c: Tensor, coefficients: tuple[float, ...], dim: int) -> Tensor:
        ctx.save_for_backward(c)
        ctx.coefficients, ctx.dim = coefficients, dim
        before, current = torch.ones_like(c), c
        value = coefficients[0] + coefficients[1] * c if len(coefficients) > 1 else torch.full_like(c, coefficients[0])
        for order, coefficient in enumerate(coefficients[2:], 1):
            scale = order + dim - 2
            after = (c * current).mul_((2 * order + dim - 2) / scale).sub_(before, alpha=order / scale)
            value.add_(after, alpha=coefficient)
            before, current = current, after
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (c,) = ctx.saved_tensors
        dim = ctx.dim
        slopes = tuple(a * order * (order + dim - 2) / (dim - 1) for order, a in enumerate(ctx.coefficients))[1:]
        return grad * zonal_series(c, slopes or (0.0,), dim + 2), None, None


def _mean_log_density(u: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Mean over samples of log 1/(N - 1) sum_{j != i} phi(u_i'u_j); (V, N, K) -> (V,)."""
    n = u.shape[1]
    step = max(1, BLOCK // (u.shape[0] * n))

    def block(everyone: Tensor, start: int) -> Tensor:
        rows = everyone[:, start : start + step]
        log_kernel = zonal_series(rows @ everyone.mT, coefficients, 2)
        index = torch.arange(n, device=u.device)
        own = index[start : start + rows.shape[1], None] == index
        return log_kernel.masked_fill(own, -torch.inf).logsumexp(-1).sum(-1)

    keep = torch.is_grad_enabled() and u.requires_grad and step < n
    parts = [
        checkpoint(block, u, start, use_reentrant=False, preserve_rng_state=False) if keep else block(u, start)
        for start in range(0, n, step)
    ]
    return torch.stack(parts).sum(0) / n - math.log(n - 1)


def _without_mean(weights: tuple[float, ...]) -> tuple[float, ...]:
    """Coefficients of a series without its P_0, scaled to 1 at c = 1."""
    total = math.fsum(weights[1:])
    return (0.0, *(weight / total for weight in weights[1:]))


@functools.lru_cache(maxsize=64)
def _weights(kernel: str, time: float, degree: int, dim: int) -> tuple[float, ...]:
    """w_l N_l of a kernel up to a common factor, l = 0, 1, ..., until they are negligible."""
    if kernel == "sliced":
        return _sliced_weights(dim)
    if kernel == "bandlimited":
        terms = [_log_multiplicity(order, dim) for order in range(degree + 1)]
    else:
        terms = _log_heat_terms(time, dim)
    largest = max(terms)
    return tuple(math.exp(term - largest) for term in terms)


def _log_heat_terms(time: float, dim: int, further: float = 0.0) -> list[float]:
    """log of w_l N_l until they are below the largest times exp(-``NEGLIGIBLE`` - ``further``)."""
    terms = [0.0]
    while terms[-1] > max(terms) - NEGLIGIBLE - further:
        order = len(terms)
        if order > MOST_TERMS:
            raise ValueError(
                f"time={time:g} is too small: the heat kernel in {dim} dimensions then has over {MOST_TERMS} terms"
            )
        terms.append(_log_multiplicity(order, dim) - time / dim * order * (order + dim - 2))
    return terms


def _log_multiplicity(order: int, dim: int) -> float:
    if order == 0:
        return 0.0
    return math.log(2 * order + dim - 2) + math.lgamma(order + dim - 2) - math.lgamma(order + 1) - math.lgamma(dim - 1)


def _sliced_weights(dim: int) -> tuple[float, ...]:
    """Coefficients a_l of f(c), the mean over the sphere of exp(-(1 - c) a_1^2), by Rodrigues' formula:

    a_l = N_l Gamma((K-1)/2) / (2^l Gamma(l + (K-1)/2)) E[f^(l)(c) (1 - c^2)^l],   c = u'w for uniform u, w
    """
    nodes, quadrature = special.roots_gegenbauer(32, (dim - 2) / 2) if dim > 2 else special.roots_chebyt(32)
    half = (dim - 1) / 2
    terms: list[float] = []
    while len(terms) < 3 or terms[-1] > terms[1] - NEGLIGIBLE:
        order = len(terms)
        slope = special.poch(0.5, order) / special.poch(dim / 2, order) * sphere_gaussian(1 - nodes, dim, order)
        mean = np.average(slope * (1 - nodes**2) ** order, weights=quadrature)
        scale = math.lgamma(half) - math.lgamma(order + half) - order * math.log(2)
        terms.append(_log_multiplicity(order, dim) + scale + math.log(mean))
    return tuple(math.exp(term) for term in terms)


@functools.lru_cache(maxsize=64)
def _log_heat_kernel(time: float, dim: int) -> tuple[tuple[float, ...], float]:
    """Chebyshev coefficients of log phi for the heat kernel, and the logarithm of its mean under the uniform law.

    Raises:
        ValueError: a time so small that 256 coefficients, or ``MOST_LOST``, are too few.
    """
    for count in (64, 128, 256):
        nodes = np.cos(np.pi * (np.arange(count) + 0.5) / count)
        values, log_mean = _log_heat_values(time, dim, nodes)
        coefficients = fft.dct(values) / count
        coefficients[0] /= 2
        size = np.abs(coefficients) / np.abs(coefficients).max()
        if size[count // 2 :].max() < 1e-14:
            last = int(np.flatnonzero(size > 1e-15).max())
            return tuple(float(x) for x in coefficients[: max(last, 1) + 1]), log_mean
    raise ValueError(f"time={time:g} is too small for the logarithm of the heat kernel in {dim} dimensions; raise it")


def _log_heat_values(time: float, dim: int, nodes: np.ndarray) -> tuple[np.ndarray, float]:
    """log phi at ``nodes``, and log C, in as many digits as cancel: phi(-1) is a sum of terms of both signs."""
    lost = 100.0  # natural logarithm of what is lost to cancellation
    while lost < MOST_LOST:
        count = len(_log_heat_terms(time, dim, lost))
        with decimal.localcontext() as context:
            context.prec = 20 + int(lost / math.log(10))
            decay = Decimal(time) / dim
            weights = [_multiplicity(order, dim) * (-decay * order * (order + dim - 2)).exp() for order in range(count)]
            total = sum(weights, Decimal(0))
            at_minus_one = (sum(weights[::2], Decimal(0)) - sum(weights[1::2], Decimal(0))) / total
            if at_minus_one > 0 and -at_minus_one.ln() < Decimal(lost) - 45:
                values = [(_decimal_series(Decimal(float(c)), weights, dim) / total).ln() for c in nodes]
                return np.array([float(value) for value in values]), float((weights[0] / total).ln())
        lost *= 2
    raise ValueError(f"time={time:g} is too small for the logarithm of the heat kernel in {dim} dimensions; raise it")


def _decimal_series(c: Decimal, weights: list[Decimal], dim: int) -> Decimal:
    """sum_l weights_l P_l(c), as ``zonal_series``."""
    before, current = Decimal(1), c
    value = weights[0] + weights[1] * c
    for order, weight in enumerate(weights[2:], 1):
        before, current = current, ((2 * order + dim - 2) * c * current - order * before) / (order + dim - 2)
        value += weight * current
    return value


def _multiplicity(order: int, dim: int) -> int:
    return math.comb(order + dim - 1, order) - (math.comb(order + dim - 3, order - 2) if order > 1 else 0)
