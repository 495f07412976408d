"""Epps-Pulley averaged over all directions of the unit sphere, exactly: what M slices estimate.

    E_a EP({a'x_n}) = 1/N sum_jk G(|x_j - x_k|) - 2 sum_j H(|x_j|) + N C                                          [1]

For a uniform on the sphere of R^D, E_a cos(t a'd) = 0F1(; D/2; -t^2 |d|^2 / 4) =: L(t |d|). On a grid t_k with the
weights w_k of the trapezoidal rule,

    G(r) = sum_k w_k L(t_k r),   H(r) = sum_k w_k exp(-t_k^2/2) L(t_k r),   C = sum_k w_k exp(-t_k^2);

on the full line with the weight exp(-c t^2), c = 1/sigma^2, and F(z) = 1F1(1/2; D/2; -z) = E_a exp(-z (a'e)^2),

    G(r) = sqrt(pi / c) F(r^2 / (4 c)),   H(r) = sqrt(pi / (c + 1/2)) F(r^2 / (4 c + 2)),   C = sqrt(pi / (c + 1)).

G and H depend on the pair through one number, r. They are evaluated on a fine grid of r, by quadrature over the sphere
and SciPy, and from there by piecewise polynomials of degree 9, accurate to 1e-13 of their largest value. As functions
of q = r^2 they are smooth at 0 (ties need no care), and their m-th derivative is of the same kind [2, 13.3.16, 16.3.1]:

    d^m/dq^m 0F1(; D/2; -t^2 q / 4) = (-t^2 / 4)^m / (D/2)_m  0F1(; D/2 + m; -t^2 q / 4)
    d^m/dq^m 1F1(1/2; D/2; -k q)    = (-k)^m (1/2)_m / (D/2)_m  1F1(1/2 + m; D/2 + m; -k q)

which gives gradients of every order. The cost is O(N^2) in time, O(N) in memory beyond blocks of fixed size.

[1] Balestriero & LeCun (2025), arXiv:2511.08544, Definition 2, with the mean over the whole sphere.
[2] NIST Digital Library of Mathematical Functions.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft, linalg, special
from torch import Tensor

from sigreg_lab.slicing.pairwise import Radial, pair_sum
from sigreg_lab.univariate import EppsPulley
from sigreg_lab.validation import at_least_float32, check_sample

Real = NDArray[np.float64]

DEGREE = 9
#: Pieces of a table beyond which the sample is refused; with the defaults, norms of 5400 in two dimensions.
MOST_PIECES = 2**15
#: Degree of a Chebyshev series in q over all distances of a sample; the half-grid reaches it at 140 in R^3.
HIGHEST_DEGREE = 256
#: Chebyshev coefficients below this times the sum of all are noise of the values.
ROUNDING = 4e-15


def sphere_cosine(v: Real, dim: int) -> Real:
    """Mean of cos(v a_1) over the unit sphere of R^dim, 0F1(; dim/2; -v^2/4), to 1e-13 absolute.

    Two ways, each where it is accurate: Gauss-Gegenbauer quadrature over a_1 below v = max(dim/2, 30), and the Bessel
    form Gamma(nu + 1) (2/v)^nu J_nu(v), nu = dim/2 - 1, in log space above. (``scipy.special.hyp0f1`` gives NaN from
    dimension 200 or so on.)

    Args:
        v: non-negative, any shape.
        dim: at least 1.
    """
    if dim == 1:
        return np.cos(v)
    nu = dim / 2 - 1
    switch = max(dim / 2, 30.0)
    result = np.empty_like(v)
    small = v <= switch
    nodes, weights = _gegenbauer(dim, 48 + math.ceil(0.3 * switch))
    result[small] = np.cos(v[small, None] * nodes) @ weights
    large = v[~small]
    result[~small] = np.exp(special.gammaln(nu + 1) + nu * np.log(2 / large)) * special.jv(nu, large)
    return result


def sphere_gaussian(z: Real, dim: int, order: int = 0) -> Real:
    """1F1(1/2 + m; dim/2 + m; -z), to 1e-14 relative; for m = 0 the mean of exp(-z a_1^2) over the sphere of R^dim.

    Below dimension 64 it is SciPy's, whose error grows with the dimension to 1e-12 at 2048. From 64 on it is the Beta
    integral of exp(-z w) w^(a - 1) (1 - w)^(b - a - 1), a = 1/2 + m, b = dim/2 + m, by Gauss-Laguerre quadrature in
    s = (z + c) w, c = b - a - 1, whose remaining factor exp(c (w + log(1 - w))) is smooth there. Its constant is the
    same integral at z = 0: no gamma function is needed.

    Args:
        z: non-negative, any shape.
        dim: at least 1.
        order: m.
    """
    z = np.asarray(z, dtype=np.float64)
    a, c = 0.5 + order, (dim - 3) / 2
    if dim < 64:
        return np.asarray(special.hyp1f1(a, dim / 2 + order, -z), dtype=np.float64)
    s, weight = special.roots_genlaguerre(64, a - 1)

    def integral(total: Real) -> Real:
        w = np.minimum(s / total[..., None], 1 - 1e-16)
        return np.exp(c * (w + np.log1p(-w))) @ weight

    return (c / (z + c)) ** a * integral(z + c) / integral(np.array(c))


@lru_cache(maxsize=64)
def _gegenbauer(dim: int, num_nodes: int) -> tuple[Real, Real]:
    """Gauss nodes in [0, 1] and weights for the mean over the sphere of an even function of a_1 (Golub-Welsch)."""
    k = np.arange(1, 2 * num_nodes, dtype=np.float64)
    half = (dim - 2) / 2  # the weight is (1 - u^2)^(half - 1/2)
    with np.errstate(invalid="ignore"):
        squared = k * (k + 2 * half - 1) / (4 * (k + half) * (k + half - 1))
    if dim == 2:
        squared[0] = 0.5
    values, vectors = linalg.eigh_tridiagonal(np.zeros(2 * num_nodes), np.sqrt(squared))
    weights = np.asarray(vectors[0, num_nodes:] ** 2, dtype=np.float64)
    return np.asarray(values[num_nodes:], dtype=np.float64), weights / weights.sum()


class RadialFunction:
    """A smooth function of q = r^2, with its derivatives, read from piecewise polynomials in r.

    A subclass writes ``derivative(order, r)``, exact values of the order-th derivative in q, and hands in ``piece``,
    the length in r over which a polynomial of degree 9 represents it to rounding. Tables are made when first needed
    and grow by doubling; they reach as far as ``cover`` was told, so that evaluating looks at no value.
    """

    def __init__(self, piece: float) -> None:
        self.piece = piece
        self._pieces = 8
        self._tables: dict[tuple[int, torch.device], Tensor] = {}
        self._series: dict[int, Tensor | None] = {}

    def derivative(self, order: int, r: Real) -> Real:
        """The ``order``-th derivative in q = r^2 at r, float64."""
        raise NotImplementedError

    def __call__(self, q: Tensor) -> Tensor:
        """Values at q, float64, any shape; differentiable to every order."""
        value: Tensor = _Evaluate.apply(q, self, 0)
        return value

    def cover(self, radius: float) -> None:
        """Have the tables reach ``radius``; call it before values are asked for.

        Raises:
            ValueError: so far that a table would not hold it.
        """
        pieces = radius / self.piece
        if not pieces < MOST_PIECES:
            raise ValueError(
                f"x holds rows at a distance of {radius:.3g} from the origin or from each other, beyond the "
                f"{MOST_PIECES * self.piece:.3g} that the exact mean over slices covers; drop those rows, or use "
                f"Energy or SlicingUnivariateTest, which take them"
            )
        self._pieces = max(self._pieces, 2 ** math.ceil(math.log2(int(pieces * (1 + 1e-6)) + 1)))

    def evaluate(self, q: Tensor, order: int) -> Tensor:
        """Values of the derivative of that order at q within what is covered; carries no gradient."""
        position = q.clamp_min(0).sqrt() / self.piece
        table = self._table(order, q.device)
        index = position.floor()
        offset = 2 * (position - index) - 1
        index = index.long()
        value = table[DEGREE][index]
        for power in range(DEGREE - 1, -1, -1):
            value = value * offset + table[power][index]
        return value

    def chebyshev(self, radius: float) -> tuple[Tensor, float] | None:
        """Coefficients of the Chebyshev series in q over [0, R^2], R the next power of 2^(1/4) from ``radius`` on.

        None beyond degree ``HIGHEST_DEGREE``, where the pieces of a table are the quicker way.
        """
        if not radius < MOST_PIECES * self.piece:
            return None
        step = math.ceil(4 * math.log2(max(radius, self.piece)))
        reach = 2.0 ** (step / 4)
        if step not in self._series:
            self._series[step] = self._chebyshev(reach)
        coefficients = self._series[step]
        return None if coefficients is None else (coefficients, reach)

    def _chebyshev(self, reach: float) -> Tensor | None:
        for count in (32, 64, 128, 2 * HIGHEST_DEGREE):
            angle = np.pi * (np.arange(count) + 0.5) / count
            values = self.derivative(0, reach * np.cos(angle / 2))  # at q = R^2 (1 + cos) / 2
            coefficients = fft.dct(values) / count
            coefficients[0] /= 2
            size = np.abs(coefficients) / np.abs(coefficients).sum()
            if size[count // 2 :].max() < ROUNDING:
                return torch.from_numpy(coefficients[: np.flatnonzero(size > ROUNDING / 4).max() + 1].copy())
        return None

    def _table(self, order: int, device: torch.device) -> Tensor:
        table = self._tables.get((order, device))
        if table is None or table.shape[1] < self._pieces:
            nodes = np.cos(np.pi * (np.arange(DEGREE + 1) + 0.5) / (DEGREE + 1))
            r = (np.arange(self._pieces)[:, None] + (nodes + 1) / 2) * self.piece
            values = self.derivative(order, r)
            coefficients = np.linalg.solve(np.vander(nodes, increasing=True), values.T)
            table = self._tables[order, device] = torch.from_numpy(coefficients).to(device)
        return table


class _Evaluate(torch.autograd.Function):
    """A radial function at q; its derivative is again a radial function, so that every order exists."""

    @staticmethod
    def forward(ctx, q: Tensor, function: RadialFunction, order: int) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(q)
        ctx.function, ctx.order = function, order
        return function.evaluate(q, order)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
        (q,) = ctx.saved_tensors
        return grad * _Evaluate.apply(q, ctx.function, ctx.order + 1), None, None


def largest_length(x: Tensor) -> float:
    """Length of the longest row of all samples, for which a call waits on a GPU."""
    return math.sqrt(float(x.detach().square().sum(-1).max()))


def smoothing(dim: int) -> float:
    """How much longer a piece may be in R^dim than on a line: E a_1^10 to the power -1/10."""
    k = np.arange(1, 6)
    return float(np.prod((2 * k - 1) / (dim + 2 * k - 2)) ** -0.1)


class GaussianRadial(RadialFunction):
    """amplitude 1F1(1/2; dim/2; -rate q): the mean over directions of amplitude exp(-rate (a'd)^2), q = |d|^2."""

    def __init__(self, dim: int, amplitude: float, rate: float) -> None:
        super().__init__(piece=0.3 * smoothing(dim) / math.sqrt(2 * rate))
        self.dim, self.amplitude, self.rate = dim, amplitude, rate

    def derivative(self, order: int, r: Real) -> Real:
        a, b = 0.5, self.dim / 2
        factor = self.amplitude * (-self.rate) ** order * special.poch(a, order) / special.poch(b, order)
        return factor * sphere_gaussian(self.rate * r**2, self.dim, order)


class CosineRadial(RadialFunction):
    """sum_k weight_k 0F1(; dim/2; -t_k^2 q / 4): the mean over directions of sum_k weight_k cos(t_k a'd)."""

    def __init__(self, dim: int, t: Real, weight: Real) -> None:
        super().__init__(piece=smoothing(dim) / float(t.max()))
        self.dim, self.t, self.weight = dim, t, weight

    def derivative(self, order: int, r: Real) -> Real:
        total = np.zeros_like(r)
        for t, weight in zip(self.t, self.weight, strict=True):
            factor = weight * (-(t**2) / 4) ** order / special.poch(self.dim / 2, order)
            total += factor * sphere_cosine(t * r, self.dim + 2 * order)
        return total


@lru_cache(maxsize=32)
def _radial_functions(
    dim: int, t_max: float, n_points: int, integration: str, sigma: float
) -> tuple[RadialFunction, RadialFunction, float]:
    """G, H and C of the module's formula."""
    if integration == "exact":
        c = 1 / sigma**2
        within = GaussianRadial(dim, math.sqrt(math.pi / c), 1 / (4 * c))
        across = GaussianRadial(dim, math.sqrt(math.pi / (c + 0.5)), 1 / (4 * c + 2))
        return within, across, math.sqrt(math.pi / (c + 1))
    t = np.linspace(0, t_max, n_points)[1:]  # the node t = 0 adds nothing
    weight = 2 * t_max / (n_points - 1) * np.exp(-((t / sigma) ** 2))
    weight[-1] /= 2
    across_weight = weight * np.exp(-(t**2) / 2)
    constant = float((weight * np.exp(-(t**2))).sum())
    return CosineRadial(dim, t, weight), CosineRadial(dim, t, across_weight), constant


def infinite_slice_epps_pulley(x: Tensor, statistic: EppsPulley | None = None) -> Tensor:
    """The exact mean over all directions of the Epps-Pulley statistic of the projections.

    Args:
        x: samples, shape (..., N, K), floating point.
        statistic: which Epps-Pulley: its grid, or the full line for ``integration="exact"``, its ``sigma`` and its
            ``estimator``, "v" or "u"; the default half-grid if not given.

    Returns:
        Shape (...); computed in float64, returned in the dtype of ``x`` (float32 for bfloat16 and float16).
        Differentiable; O(N^2) time, memory O(N K) and blocks of fixed size.

    Raises:
        ValueError: a sample that is no finite floating-point tensor of shape (..., N, K) with 2 rows or more, or one
            spread so far that the table of the radial functions would not hold it; ``estimator="split"``.
    """
    statistic = EppsPulley() if statistic is None else statistic
    if statistic.estimator not in ("v", "u"):
        raise ValueError(f"statistic.estimator must be 'v' or 'u' over all directions, got {statistic.estimator!r}")
    check_sample(x, "x", ndim=2, min_samples=statistic.min_samples)
    with torch.autocast(device_type=x.device.type, enabled=False):
        y = x.double().flatten(0, -3) if x.ndim > 2 else x.double().unsqueeze(0)
        n, dim = y.shape[-2:]
        within, across, constant = _radial_functions(
            dim, statistic.t_max, statistic.n_points, statistic.integration, statistic.sigma
        )
        centred = y - y.detach().mean(-2, keepdim=True)  # distances do not change, their rounding errors shrink
        across.cover(largest_length(y))
        within.cover(2 * largest_length(centred))
        pairs = pair_sum(centred, Radial(within))
        if statistic.estimator == "u":  # without the N pairs of a sample with itself
            pairs = (pairs - n * within.evaluate(pairs.new_zeros(1), 0)) * (n / (n - 1))
        value = pairs / n - 2 * across(y.square().sum(-1)).sum(-1) + n * constant
    return value.reshape(x.shape[:-2]).to(at_least_float32(x).dtype)
