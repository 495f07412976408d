"""SIGReg with control variates: what is smooth in the direction is averaged exactly, slices estimate the rest."""

import functools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sigreg_lab.distributed import all_reduce_sum, total_samples, world_size
from sigreg_lab.kernels import characteristic_function, matmul
from sigreg_lab.regularizers.sigreg import SIGReg, check_slices
from sigreg_lab.slicing import StructuredDirections, project
from sigreg_lab.slicing.infinite import CosineRadial
from sigreg_lab.univariate import EppsPulley, UnivariateTest
from sigreg_lab.validation import at_least_float32, on_device

_TINY = 1e-300  # in the place of a variance that is exactly 0
_SHORTEST = 0.2  # the range of a series: its slope is as accurate as its values over this
_CONVERGED = 3e-13  # the last coefficients of a series; the values that it is made of are as accurate


class ControlledSIGReg(SIGReg):
    """SIGReg with Epps-Pulley, the mean over all directions estimated with a fraction of the slices.

        R(z) = 1/V sum_v N sum_k w_k (E chat_k^2 + E shat_k^2 - 2 tau_k E c_k + tau_k^2
                                      + 1/M sum_m (c_k - chat_k)^2 + (s_k - shat_k)^2)                             [1]

    c_k and s_k are the real and imaginary part of the empirical characteristic function of slice a_m at t_k, tau_k is
    the target. chat_k and shat_k are their projections, in the mean square over all directions a, on functions of low
    degree in a: constants and a'B a, B the second moments less their trace's part, for c_k, and a'v for s_k:

        chat_k = alpha_k + gamma_k a'B a,   shat_k = a'v_k,   B = S - tr S/K I,   S = 1/N sum_n z_n z_n'

    All coefficients and averages E over directions are exact (docs/slices.md). So the value has the expectation of
    ``SIGReg``, the exact mean over directions, and its gradient that mean's, for any embeddings and any M; what is left
    to slices is what mean, scale and covariance do not explain. At N(0, I) its squared error is 0.23 of that of as many
    independent slices and 0.32 of that of orthogonal ones, N and K large. It saves slices; on a CPU it seldom saves
    time, see ``slice_variance``.

    Orthogonal directions add nothing here. Gradient: that of the value, coefficients included. Cost: O(V N K M) as
    ``SIGReg``, with the projections in memory, and O(V N K (min(N, K) + n_points)); the averages over directions are
    taken in float64, the rest as in ``SIGReg``. Shapes, dtypes and errors of a call: ``Regularizer``; embeddings so
    long that the tables of the averages do not reach them are refused. Not captured in a CUDA graph.

    Args:
        statistic: ``EppsPulley`` on a grid, V- or U-statistic.
        num_slices, per_view, directions: see ``SIGReg``.

    Raises:
        TypeError, ValueError: as ``SIGReg``; another statistic, ``integration="exact"`` or ``estimator="split"``.

    [1] Balestriero & LeCun (2025), arXiv:2511.08544, Definition 2, with the mean over the whole sphere; control
        variates: Owen (2013), Monte Carlo theory, methods and examples, 8.9.
    """

    statistic: EppsPulley

    def __init__(
        self, statistic: UnivariateTest, num_slices: int = 256, *, per_view: bool = True, directions: str = "iid"
    ) -> None:
        check_slices(num_slices, directions)
        super().__init__(statistic, num_slices, per_view=per_view, directions=directions)
        if not isinstance(statistic, EppsPulley):
            raise TypeError(f"statistic must be an EppsPulley, got {statistic!r}; SIGReg takes any statistic")
        if statistic.integration == "exact" or statistic.estimator == "split":
            raise ValueError(
                f"statistic must be on a grid (integration='trapezoid'), with estimator 'v' or 'u', got {statistic!r}; "
                "t_max=8, n_points=65 is the full line to rounding"
            )
        self.capturable = False  # the length of the embeddings decides how far a table reaches

    def _over_slices(self, z: Tensor, directions: Tensor | StructuredDirections) -> Tensor:
        with torch.autocast(device_type=z.device.type, enabled=False):
            x = at_least_float32(z)
            return self._controlled(x, directions).mean().to(x.dtype)

    def _controlled(self, x: Tensor, directions: Tensor | StructuredDirections) -> Tensor:
        """The value of each batch, (..., N, K) -> (...)."""
        statistic, dim = self.statistic, x.shape[-1]
        grid = [torch.from_numpy(row) for row in statistic.nodes()]
        t, target, weight = (on_device(row, x.device) for row in grid)
        n = torch.as_tensor(total_samples(x.shape[-2], x.device)).double()
        lengths: Tensor = _SumOfSquares.apply(x, -1)  # (..., N)
        forms: Tensor = _Forms.apply(x, lengths.detach(), n)
        scale, square = (all_reduce_sum(torch.stack([lengths.sum(-1), forms.sum(-1)])) / n).unbind()
        scale = scale / dim
        variance = 2 * square / (dim * (dim + 2))  # square = tr B^2

        # Averages over directions, of this rank's samples and then of all: (..., N, T) -> (..., T).
        inner, outer = _averages(lengths, grid[0], dim)
        arguments, outer = t**2 * lengths[..., None], outer / (dim * (dim + 2))
        columns = torch.stack(
            [(inner - arguments * outer).sum(-2), -(t**2) * (forms[..., None, :] @ outer)[..., 0, :]], -1
        )
        sums = torch.cat([columns, ((inner * t).to(x.dtype).mT @ x).double()], -1)
        alpha, slope, vectors = (all_reduce_sum(sums) / n).split([1, 1, dim], -1)  # (..., T, 1), (..., T, K)
        # Where S is a multiple of I to rounding, slope over variance is of no size: the denominator keeps gamma near 0.
        least = 2 * torch.finfo(x.dtype).eps * scale.detach().square() / (dim + 2) + _TINY
        variance, least = variance[..., None, None], least[..., None, None]
        gamma = slope / (variance.clamp_min(0) + least)
        explained = (
            alpha.square() + gamma * (2 * slope - gamma * variance) + vectors.square().sum(-1, keepdim=True) / dim
        )

        # What slices are left with: (..., T, M).
        p = project(x, directions)
        c, s = characteristic_function(p, statistic.t_max, statistic.n_points)
        squares: Tensor = _SumOfSquares.apply(p, -2)[..., None, :] / x.shape[-2]
        means = all_reduce_sum(torch.cat([c, s, squares], -2) * x.shape[-2]) / n
        c, s, squares = means.split([len(t), len(t), 1], -2)
        fit_c = alpha + gamma * (squares - scale[..., None, None])
        fit_s = project(vectors.to(x.dtype), directions).double()
        rest = ((c - fit_c).square() + (s - fit_s).square()).mean(-1, keepdim=True)

        modulus = explained + rest  # E |phi_hat|^2
        if statistic.estimator == "u":
            modulus = (n * modulus - 1) / (n - 1)
        distance = modulus.squeeze(-1) - 2 * target * alpha.squeeze(-1) + target**2
        value: Tensor = n * (weight * distance).sum(-1)
        return value


class _SumOfSquares(torch.autograd.Function):
    """Sums of squares over a dimension, float64, with one pass over ``x`` in either direction."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.dim = dim
        return torch.linalg.vector_norm(x, dim=dim, dtype=torch.float64).square()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return x * (2 * grad).unsqueeze(ctx.dim).to(x.dtype), None


class _Forms(torch.autograd.Function):
    """z_n'B z_n of this rank's samples, B = S - tr S/K I, S the second moments of all: (..., N, K) -> (..., N).

        dz_n = 2 g_n B z_n + 2/N (W - tr W/K I) z_n,   W = sum_n g_n z_n z_n'

    Two products of N K min(N, K) multiplications or four, where autograd takes three or six.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, lengths: Tensor, n: Tensor) -> Tensor:
        ctx.short = world_size() == 1 and x.shape[-2] < x.shape[-1]
        if ctx.short:
            product = _matmul(x, x.mT)
            scale = lengths.mean(-1, keepdim=True) / x.shape[-1]
            forms = product.double().square().mean(-1) - scale * lengths
        else:
            moments, scale = _traceless(all_reduce_sum(_matmul(x.mT, x).double()) / n)
            product = _matmul(x, moments.to(x.dtype))
            forms = (product * x).double().sum(-1)
        ctx.save_for_backward(x, product, scale, n)
        return forms

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, product, scale, n = ctx.saved_tensors
        weight = grad[..., None]
        if ctx.short:
            lengths = product.diagonal(dim1=-2, dim2=-1)
            trace = (grad * lengths).sum(-1, keepdim=True) / x.shape[-1]
            pairs = _matmul(((weight + grad[..., None, :]) / n).to(x.dtype) * product, x)
            return 2 * (pairs - (scale * grad + trace / n)[..., None].to(x.dtype) * x), None, None
        outer, _ = _traceless(all_reduce_sum(_matmul(x.mT, weight.to(x.dtype) * x).double()))
        return 2 * (weight.to(x.dtype) * product + _matmul(x, (outer / n).to(x.dtype))), None, None


def _traceless(square: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix less its trace's part, and the mean of its diagonal, (..., K, K) -> (..., K, K), (..., 1)."""
    scale = square.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True)
    return square - scale[..., None] * torch.eye(square.shape[-1], dtype=square.dtype, device=square.device), scale


def _matmul(one: Tensor, other: Tensor) -> Tensor:
    """Products of matrices, view by view, by the library that is fastest."""
    if one.ndim == 2:
        return matmul(one, other)
    return torch.stack([_matmul(*pair) for pair in zip(one, other, strict=True)])


def _averages(lengths: Tensor, t: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """0F1(; K/2 + 1; -t^2 q/4) and 0F1(; K/2 + 2; -t^2 q/4) at all squared lengths q and nodes t: (...) -> (..., T).

    They are means of cos(t r a_1) over the spheres of R^(K+2) and R^(K+4), smooth functions of q: Chebyshev series over
    a range that holds all q, or piece by piece from their tables where a series would be too long.
    """
    low, high = _range(lengths)
    # Ends on a grid of four steps an octave: while embeddings change little the series are those of the last call.
    ends = (
        math.floor(4 * math.log2(low)) if 16 * low > high > _SHORTEST else None,
        math.ceil(4 * math.log2(max(high, _SHORTEST))),
    )
    middle, half, series = _series(dim, tuple(t.tolist()), *ends)
    if series is not None:
        basis = _chebyshev((lengths - middle) / half, series.shape[-2] - 1)
        inner, outer = on_device(series, lengths.device)
        return basis @ inner, basis @ outer
    arguments = on_device(t**2, lengths.device) * lengths[..., None]
    inner, outer = (_cosine_average(dim + extra)(arguments) for extra in (2, 4))
    return inner, outer


@functools.lru_cache(maxsize=256)
def _series(dim: int, t: tuple[float, ...], first: int | None, last: int) -> tuple[float, float, Tensor | None]:
    """Middle and half of the range of q, 2^(first/4) or 0 to 2^(last/4), and the two functions' series, (2, d, T)."""
    low, high = 0.0 if first is None else 2.0 ** (first / 4), 2.0 ** (last / 4)
    middle, half = (low + high) / 2, (high - low) / 2
    functions = [_cosine_average(dim + 2), _cosine_average(dim + 4)]
    for function in functions:
        function.cover(t[-1] * math.sqrt(high))
    for degree in (8, 16, 32, 64):
        k = torch.arange(degree + 1, dtype=torch.float64)
        angles = (k + 0.5) * (math.pi / (degree + 1))
        cosines = torch.cos(torch.outer(k, angles)) * (2 / (degree + 1))
        cosines[0] /= 2
        values = (middle + half * torch.cos(angles))[:, None] * torch.tensor(t, dtype=torch.float64) ** 2
        series = torch.stack([cosines @ function.evaluate(values, 0) for function in functions])
        if float(series[:, -degree // 4 :].abs().max()) < _CONVERGED:
            return middle, half, series
    return middle, half, None


def _range(q: Tensor) -> tuple[float, float]:
    """Least and largest value, for which a call waits on a GPU."""
    low, high = torch.stack([q.detach().amin(), q.detach().amax()]).tolist()
    return low, high


def _chebyshev(u: Tensor, degree: int) -> Tensor:
    """T_0 .. T_degree at u, (...) -> (..., degree + 1), ``degree`` a power of two: T_(m+j) = 2 T_m T_j - T_(m-j)."""
    basis = torch.stack([torch.ones_like(u), u], -1)
    while basis.shape[-1] <= degree:
        basis = torch.cat([basis, 2 * basis[..., -1:] * basis[..., 1:] - basis[..., :-1].flip(-1)], -1)
    return basis


@functools.lru_cache(maxsize=32)
def _cosine_average(dim: int) -> CosineRadial:
    return CosineRadial(dim, np.ones(1), np.ones(1))
