"""Epps-Pulley distance over slices of embeddings, averaged: projections, sums, distance and gradient in one operation.

    p = x A,   EP_m = N sum_k w_k ((c_km - phi_k)^2 + s_km^2),   value = 1/M sum_m EP_m
    d value / dx = G A',   G_nm = 2/M sum_k w_k t_k (s_km cos(t_k p_nm) - (c_km - phi_k) sin(t_k p_nm))

c_km + i s_km is the empirical characteristic function of column m at t_k (``characteristic_function``). The weight of
every slice in the mean is known beforehand, so the gradient is taken during the forward pass, block of slices by block
of slices: two matrix products in all, and at no time more than one block of projections in memory (``BLOCK_BYTES``),
beside the gradient itself. Directions by their signs (``hadamard``) go the same way on a processor, with transforms for
products. A second derivative, or a gradient for the directions, goes back to the separate operations.
"""

from typing import Any

import torch
from torch import Tensor

from sigreg_lab.kernels.characteristic_function import characteristic_function, check_grid
from sigreg_lab.kernels.dispatch import choose_backend, implementation
from sigreg_lab.kernels.hadamard import check_signs, hd3_lengths, hd3_project
from sigreg_lab.kernels.matmul import linear, matmul
from sigreg_lab.kernels.operation import operation
from sigreg_lab.validation import at_least_float32

BLOCK_BYTES = 8 << 20
_ROWS = 2048  # rows of the gradient that are updated at a time


def gaussian_grid(t_max: float, n_points: int, sigma: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Target exp(-t^2/2) and weight exp(-t^2/sigma^2) of the trapezoidal rule, doubled by symmetry, at the nodes t > 0.

    Returns:
        ``(target, weight)``, each of shape (n_points - 1,), float64. At t = 0 the distance is 0.
    """
    step = t_max / (n_points - 1)
    t = step * torch.arange(1, n_points, dtype=torch.float64, device=device)
    weight = 2 * step * torch.exp(-((t / sigma) ** 2))
    weight[-1] /= 2
    return torch.exp(-(t**2) / 2), weight


def characteristic_distance(c: Tensor, s: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """sum_k w_k ((c_k - target_k)^2 + s_k^2) over dimension -2: two of (..., order, M) -> (..., M)."""
    return (weight[:, None] * ((c - target[:, None]) ** 2 + s**2)).sum(-2)


def sliced_epps_pulley(
    x: Tensor,
    directions: Tensor,
    t_max: float,
    n_points: int,
    target: Tensor,
    weight: Tensor,
    *,
    columns: tuple[int, int] | None = None,
    backend: str = "auto",
) -> Tensor:
    """Mean over slices of N times the characteristic distance of the projections of ``x``.

    Args:
        x: embeddings, shape (..., N, K), floating point. The arithmetic is in float32 or better, but for the products
            on a GPU, which take bfloat16 embeddings as they are, round directions and gradient to 8 bits, and add in
            float32: value and gradient then differ from those of ``x.float()`` by up to 1% and 1.5%. Elsewhere they are
            those of ``x.float()``, the gradient rounded to the dtype of ``x`` at the end.
        directions: shape (K, M), on the device of ``x``; taken in the dtype of the products. Or the signs of structured
            ones, shape (blocks, rounds, n), as ``hd3_project`` takes them.
        t_max: last node of the grid.
        n_points: nodes on [0, t_max], both ends counted.
        target: characteristic function that the projections are compared with, shape (n_points - 1,), real.
        weight: of each node's squared error, shape (n_points - 1,); see ``gaussian_grid``.
        columns: of structured directions, those that count, first and end; all if None.
        backend: see ``choose_backend``.

    Returns:
        Shape (...), float32, or float64 for float64 ``x``.

    Raises:
        ValueError: a shape that does not fit, inputs on different devices, no samples, an unknown backend.
        BackendUnavailable: a forced backend cannot run here.
    """
    check_grid(t_max, n_points)
    first, end = _check(x, directions, columns, target, weight, n_points)
    step = t_max / (n_points - 1)
    on_gpu = x.device.type != "cpu" or backend == "triton"
    if directions.requires_grad or (directions.ndim == 3 and on_gpu):
        return _separately(x, directions, first, end, step, target, weight, backend)
    with_gradient = torch.is_grad_enabled() and x.requires_grad
    target, weight = target.double(), weight.double()
    return _SlicedEppsPulley.apply(x, directions, first, end, step, target, weight, with_gradient, backend)[0]


def _check(
    x: Tensor, directions: Tensor, columns: tuple[int, int] | None, target: Tensor, weight: Tensor, n_points: int
) -> tuple[int, int]:
    """The columns that count, first and end."""
    if not x.is_floating_point() or x.ndim < 2 or x.shape[-2] < 1:
        raise ValueError(
            f"x must be floating point, of shape (..., N, K) with at least one sample; got {x.dtype}, {tuple(x.shape)}"
        )
    if directions.ndim == 3:
        check_signs(x, directions)
        most = directions.shape[0] * directions.shape[2]
    elif directions.ndim != 2 or directions.shape[0] != x.shape[-1] or directions.shape[1] < 1:
        raise ValueError(
            f"directions must have shape (K, M) with K = {x.shape[-1]} and M >= 1, got {tuple(directions.shape)}"
        )
    else:
        most = directions.shape[1]
    first, end = (0, most) if columns is None else columns
    if not 0 <= first < end <= most or (directions.ndim == 2 and (first, end) != (0, most)):
        raise ValueError(
            f"columns must be first and end of structured directions, 0 <= first < end <= {most}; got {columns}"
        )
    for name, tensor in (("directions", directions), ("target", target), ("weight", weight)):
        if tensor.device != x.device:
            raise ValueError(f"{name} lies on {tensor.device} and x on {x.device}; move it with {name}.to(x.device)")
    for name, tensor in (("target", target), ("weight", weight)):
        if tensor.shape != (n_points - 1,):
            raise ValueError(f"{name} must have shape ({n_points - 1},), one value a node; got {tuple(tensor.shape)}")
    return first, end


def _separately(
    x: Tensor,
    directions: Tensor,
    first: int,
    end: int,
    step: float,
    target: Tensor,
    weight: Tensor,
    backend: str,
) -> Tensor:
    """The same value by the separate, everywhere differentiable operations."""
    lifted = at_least_float32(x)
    if directions.ndim == 3:
        p = hd3_project(lifted, directions, end, backend=backend)[..., first:]
    else:
        p = matmul(lifted, directions.to(lifted.dtype))
    n_points = len(target) + 1
    c, s = characteristic_function(p, step * (n_points - 1), n_points, backend=backend)
    return (x.shape[-2] * characteristic_distance(c, s, target, weight)).mean(-1).to(lifted.dtype)


class _Dense:
    """A block of directions: projections of rows, and the transposed map."""

    def __init__(self, directions: Tensor, first: int, end: int) -> None:
        self.block = directions[:, first:end].contiguous()

    def project(self, rows: Tensor) -> Tensor:
        return linear(rows, self.block.T)

    def back(self, g: Tensor) -> Tensor:
        return linear(g, self.block)


class _Structured:
    """The same by signs and fast transforms. Directions before ``first`` in its block of n are projected in vain."""

    def __init__(self, signs: Tensor, dim: int, first: int, end: int, backend: str) -> None:
        n = signs.shape[-1]
        self.dim, self.backend = dim, backend
        self.signs = signs[first // n : -(-end // n)]
        self.before, self.width = first % n, end - first // n * n
        lengths = None if dim == n else hd3_lengths(dim, self.signs, self.width, backend)
        self.lengths = None if lengths is None else lengths[self.before :].to(signs.dtype)

    def project(self, rows: Tensor) -> Tensor:
        p = torch.ops.sigreg_lab.hadamard(rows, self.signs, self.width, False, self.backend)[:, self.before :]
        return p if self.lengths is None else p.div_(self.lengths)

    def back(self, g: Tensor) -> Tensor:
        if self.lengths is not None:
            g = g.div_(self.lengths)
        if self.before:
            g = torch.nn.functional.pad(g, (self.before, 0))
        return torch.ops.sigreg_lab.hadamard(g, self.signs, self.width, True, self.backend)[:, : self.dim]


def _by_blocks_of_slices(
    x: Tensor,
    directions: Tensor,
    first: int,
    end: int,
    step: float,
    target: Tensor,
    weight: Tensor,
    with_gradient: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Value (B,) in float64 and gradient (B, N, K) (empty without one), for ``x`` of shape (B, N, K)."""
    batch, num_samples, dim = x.shape
    kernels = implementation(backend)
    num_slices, order = end - first, len(target)
    rows = x.reshape(-1, dim)
    value = x.new_zeros(batch, dtype=torch.float64)
    gradient = None
    structured, unit = directions.ndim == 3, directions.shape[-1] if directions.ndim == 3 else 64
    width = max(unit, BLOCK_BYTES // (rows.shape[0] * x.element_size()) // unit * unit)
    for start in range(first // unit * unit, end, width):
        part = max(first, start), min(start + width, end)
        block = _Structured(directions, dim, *part, backend) if structured else _Dense(directions, *part)
        p = block.project(rows).unflatten(0, (batch, num_samples))
        sums = kernels.cosine_sine_sums(p, step, order)  # (2, B, order, M)
        wanted = p.dtype if with_gradient else None
        distance, a, b = kernels.distance_and_slopes(sums, step, num_samples, num_slices, target, weight, wanted)
        value += distance
        if with_gradient:
            g = kernels.trigonometric_polynomial(p, step, a, b, out=p).flatten(0, 1)
            if gradient is None:
                gradient = block.back(g)
            else:
                for row in range(0, rows.shape[0], _ROWS):
                    gradient[row : row + _ROWS] += block.back(g[row : row + _ROWS])
            del g
        del p  # before the next block's is made
    return value, x.new_empty(0) if gradient is None else gradient.reshape(x.shape)


def _describe_sliced_epps_pulley(x: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    with_gradient, _ = others[-2:]
    dtype = torch.promote_types(x.dtype, torch.float32)
    gradient_shape = x.shape if with_gradient else (0,)
    return x.new_empty(x.shape[:-2], dtype=dtype), x.new_empty(gradient_shape, dtype=_gradient_dtype(x))


@operation("sliced_epps_pulley", _describe_sliced_epps_pulley)
def _sliced_epps_pulley(
    x: Tensor,
    directions: Tensor,
    first: int,
    end: int,
    step: float,
    target: Tensor,
    weight: Tensor,
    with_gradient: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Value (...), float32 or better, and, if asked for, its gradient, of the shape of ``x``."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    if x.numel() == 0:
        gradient_shape = x.shape if with_gradient else (0,)
        return x.new_zeros(x.shape[:-2], dtype=dtype), x.new_zeros(gradient_shape, dtype=_gradient_dtype(x))
    batched = x.reshape(-1, *x.shape[-2:])
    chosen = choose_backend(backend, x.device, dtype)
    if chosen == "triton":
        from sigreg_lab.kernels.triton_epps_pulley import sliced_epps_pulley as by_triton

        value, gradient = by_triton(batched, directions, step, target, weight, with_gradient)
    else:
        value, gradient = _by_blocks_of_slices(
            batched.to(dtype), directions.to(dtype), first, end, step, target, weight, with_gradient, chosen
        )
    gradient = gradient.to(_gradient_dtype(x))
    return value.to(dtype).view(x.shape[:-2]), gradient.view(x.shape) if with_gradient else gradient


def _gradient_dtype(x: Tensor) -> torch.dtype:
    """float32 or better, so that it is rounded once, when it has been scaled; bfloat16 where a GPU makes it so."""
    return x.dtype if x.dtype == torch.bfloat16 and x.is_cuda else torch.promote_types(x.dtype, torch.float32)


def _in_the_last_pass(grad: Tensor) -> bool:
    """Whether a backward pass is running that frees what was saved for it, so that this may be written over."""
    if torch.compiler.is_compiling() or not torch._C._has_storage(grad):  # a batch of passes, wrapped by vmap
        return False
    return not torch._C._autograd._get_current_graph_task_keep_graph()


class _SlicedEppsPulley(torch.autograd.Function):
    """Value and, for the backward pass, the gradient that the forward pass has found."""

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, Tensor]:
        return torch.ops.sigreg_lab.sliced_epps_pulley(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, directions, ctx.first, ctx.end, ctx.step, target, weight, _, ctx.backend = inputs
        ctx.set_materialize_grads(False)  # no zeros for the gradient's own gradient
        ctx.save_for_backward(x, directions, target, weight, output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * len(ctx.needs_input_grad)
        x, directions, target, weight, gradient = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph: x has to stay visible
            value = _separately(x, directions, ctx.first, ctx.end, ctx.step, target, weight, ctx.backend)
            (grad_x,) = torch.autograd.grad(value, x, grad, create_graph=True)
        else:
            grad = grad[..., None, None]
            grad_x = (gradient.mul_(grad) if _in_the_last_pass(grad) else grad * gradient).to(x.dtype)
        return grad_x, *(None,) * (len(ctx.needs_input_grad) - 1)

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, x: Tensor, directions: Tensor, *others: Any
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        if any(dim is not None for dim in in_dims[1:]):
            raise ValueError("vmap maps over views of x only; directions, target and weight are shared")
        return _SlicedEppsPulley.apply(x.movedim(in_dims[0], 0), directions, *others), (0, 0)
