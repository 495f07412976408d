"""Empirical characteristic function of samples on an equally spaced grid.

    c_k = 1/N sum_j cos(t_k x_j),   s_k = 1/N sum_j sin(t_k x_j),   t_k = k t_max / (n_points - 1)

The node t = 0 is constant (c = 1, s = 0), so only k = 1 .. n_points - 1 are returned. With a_k, b_k the gradients with
respect to N c_k and N s_k, the gradient of x_j is a trigonometric polynomial:

    g_j = sum_k t_k (b_k cos(t_k x_j) - a_k sin(t_k x_j))

Both sums take one sine and cosine per sample and follow the powers of exp(i step x), so that nothing of size
(N, M, n_points) is ever stored. They are registered with ``torch.library``: ``torch.compile`` keeps them as they are,
``vmap`` and ``torch.func.grad`` go through them, and they can be differentiated twice.
Sums are accumulated in float32 at least over blocks of samples and in float64 over blocks: the error is flat in N.
"""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from sigreg_lab.kernels import eager
from sigreg_lab.kernels.dispatch import choose_backend, implementation
from sigreg_lab.kernels.operation import operation
from sigreg_lab.validation import at_least_float32


def characteristic_function_reference(x: Tensor, t_max: float, n_points: int) -> tuple[Tensor, Tensor]:
    """The formula itself, (..., N, M) -> two of (..., n_points - 1, M); needs memory for all points at once.

    The yardstick of tests and benchmarks, in the dtype of ``x``.
    """
    t = torch.linspace(0, t_max, n_points, dtype=x.dtype, device=x.device)[1:]
    angle = x.unsqueeze(-3) * t[:, None, None]
    return angle.cos().mean(-2), angle.sin().mean(-2)


def characteristic_function(x: Tensor, t_max: float, n_points: int, *, backend: str = "auto") -> tuple[Tensor, Tensor]:
    """Real and imaginary part of the empirical characteristic function at the non-zero grid nodes.

    Args:
        x: samples, shape (..., N, M), floating point; bfloat16 and float16 are lifted to float32.
        t_max: last node, positive.
        n_points: nodes on [0, t_max], both ends counted; at least 2.
        backend: see ``choose_backend``.

    Returns:
        ``(c, s)``, each of shape (..., n_points - 1, M), differentiable; float64 whatever ``x`` is, because a distance
        to a target subtracts numbers that are nearly equal.

    Raises:
        ValueError: not floating point, fewer than 2 dimensions, no samples, a grid without nodes, an unknown backend.
        BackendUnavailable: a forced backend cannot run here.
    """
    check_grid(t_max, n_points)
    if not x.is_floating_point():
        raise ValueError(f"x must be floating point, got {x.dtype}; convert it with x.float()")
    if x.ndim < 2 or x.shape[-2] < 1:
        raise ValueError(f"x must have shape (..., N, M) with at least one sample, got {tuple(x.shape)}")
    x = at_least_float32(x)
    sums = CosineSineSums.apply(x, t_max / (n_points - 1), n_points - 1, backend)
    c, s = (sums / x.shape[-2]).unbind(-3)
    return c, s


def characteristic_slope(x: Tensor, t_max: float, n_points: int) -> tuple[Tensor, Tensor]:
    """Means of x cos(t x) and x sin(t x) at the non-zero grid nodes: phi_hat'(t) = i mean(x exp(i t x)).

    Arguments, result and errors as for ``characteristic_function``. The sums are taken in plain torch; their gradient
    is a trigonometric polynomial and x times another, by the same operation as there.
    """
    check_grid(t_max, n_points)
    x = at_least_float32(x)
    sums = _WeightedCosineSineSums.apply(x, t_max / (n_points - 1), n_points - 1)
    xc, xs = (sums / x.shape[-2]).unbind(-3)
    return xc, xs


def check_grid(t_max: float, n_points: int) -> None:
    """Raise ``ValueError`` unless the grid has a node besides 0."""
    if n_points < 2 or not t_max > 0:
        raise ValueError(f"the grid needs n_points >= 2 and t_max > 0, got n_points={n_points}, t_max={t_max}")


def gradient_coefficients(grad_sums: Tensor, step: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """From the gradients of C and S, stacked along dimension -3, to the polynomial's a (sines) and b (cosines)."""
    order = grad_sums.shape[-2]
    t = step * torch.arange(1, order + 1, dtype=grad_sums.dtype, device=grad_sums.device)[:, None]
    grad_c, grad_s = grad_sums.unbind(-3)
    return (-t * grad_c).to(dtype), (t * grad_s).to(dtype)


def _kernels(backend: str, x: Tensor) -> ModuleType:
    """Chosen inside the registered operations, at run time, where ``torch.compile`` does not look."""
    return implementation(choose_backend(backend, x.device, x.dtype))


def _batched(x: Tensor) -> Tensor:
    """(..., N, M) as (B, N, M), a view where the strides allow it."""
    return x.reshape(-1, *x.shape[-2:]) if x.ndim != 3 else x


def _describe_cosine_sine_sums(x: Tensor, step: float, order: int, backend: str) -> Tensor:
    return x.new_empty((*x.shape[:-2], 2, order, x.shape[-1]), dtype=torch.float64)


@operation("cosine_sine_sums", _describe_cosine_sine_sums)
def _cosine_sine_sums(x: Tensor, step: float, order: int, backend: str) -> Tensor:
    shape = (*x.shape[:-2], 2, order, x.shape[-1])
    if x.numel() == 0:
        return x.new_zeros(shape, dtype=torch.float64)
    sums = _kernels(backend, x).cosine_sine_sums(_batched(x), step, order)
    return sums.transpose(0, 1).contiguous().view(shape)


def _describe_trigonometric_polynomial(x: Tensor, step: float, a: Tensor, b: Tensor, backend: str) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@operation("trigonometric_polynomial", _describe_trigonometric_polynomial)
def _trigonometric_polynomial(x: Tensor, step: float, a: Tensor, b: Tensor, backend: str) -> Tensor:
    if x.numel() == 0:
        return torch.zeros_like(x, memory_format=torch.contiguous_format)
    value = _kernels(backend, x).trigonometric_polynomial(_batched(x), step, _batched(a), _batched(b))
    return value.reshape(x.shape).contiguous()


class CosineSineSums(torch.autograd.Function):
    """``apply(x, step, order, backend)``: (..., N, M) -> (..., 2, order, M), cosines first; float64."""

    @staticmethod
    def forward(x: Tensor, step: float, order: int, backend: str) -> Tensor:
        return torch.ops.sigreg_lab.cosine_sine_sums(x, step, order, backend)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.step, _, ctx.backend = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        a, b = gradient_coefficients(grad, ctx.step, x.dtype)
        return TrigonometricPolynomial.apply(x, ctx.step, a, b, ctx.backend), None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, step: float, order: int, backend: str) -> tuple[Tensor, int]:
        return CosineSineSums.apply(x.movedim(in_dims[0], 0), step, order, backend), 0


class TrigonometricPolynomial(torch.autograd.Function):
    """``apply(x, step, a, b, backend)``: sum_k a_k sin(k step x) + b_k cos(k step x); a, b: (..., order, M)."""

    @staticmethod
    def forward(x: Tensor, step: float, a: Tensor, b: Tensor, backend: str) -> Tensor:
        return torch.ops.sigreg_lab.trigonometric_polynomial(x, step, a, b, backend)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.step, a, b, ctx.backend = inputs
        ctx.save_for_backward(x, a, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The derivative in x is a polynomial again; those in a and b are weighted sums of powers, taken plainly."""
        x, a, b = ctx.saved_tensors
        t = ctx.step * torch.arange(1, a.shape[-2] + 1, dtype=x.dtype, device=x.device)
        slope = TrigonometricPolynomial.apply(x, ctx.step, -t[:, None] * b, t[:, None] * a, ctx.backend)
        grad_a = torch.stack([(grad * (x * node).sin()).sum(-2) for node in t], -2)
        grad_b = torch.stack([(grad * (x * node).cos()).sum(-2) for node in t], -2)
        return grad * slope, None, grad_a, grad_b, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, step: float, a: Tensor, b: Tensor, backend: str) -> tuple[Tensor, int]:
        mapped = ((x, in_dims[0]), (a, in_dims[2]), (b, in_dims[3]))
        x, a, b = (
            tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in mapped
        )
        return TrigonometricPolynomial.apply(x, step, a, b, backend), 0


class _WeightedCosineSineSums(torch.autograd.Function):
    """``apply(x, step, order)``: sums of x cos and x sin, (..., N, M) -> (..., 2, order, M), float64.

    With a_k, b_k the gradients with respect to them, that of x_j is

        sum_k a_k cos(t_k x_j) + b_k sin(t_k x_j) + x_j sum_k t_k (b_k cos(t_k x_j) - a_k sin(t_k x_j))
    """

    @staticmethod
    def forward(x: Tensor, step: float, order: int) -> Tensor:
        sums = eager.weighted_cosine_sine_sums(_batched(x), step, order)
        return sums.transpose(0, 1).reshape(*x.shape[:-2], 2, order, x.shape[-1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.step, _ = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        grad_cosines, grad_sines = grad.to(x.dtype).unbind(-3)
        plain = TrigonometricPolynomial.apply(x, ctx.step, grad_sines.contiguous(), grad_cosines.contiguous(), "auto")
        a, b = gradient_coefficients(grad, ctx.step, x.dtype)
        return plain + x * TrigonometricPolynomial.apply(x, ctx.step, a, b, "auto"), None, None
