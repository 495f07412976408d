"""Products in float32 by the library that is fastest at float32 accuracy.

On x86 processors torch multiplies float32 matrices by MKL. On AMD processors with AVX-512, which MKL does not use
there, it runs at half the speed of oneDNN; on one without AVX-512 it was a little faster (``docs/kernel-design.md``).
So oneDNN has the processors with AVX-512, by the operation that ``torch.compile`` itself emits; where that is missing,
and for other processors, dtypes and devices, the product is torch's. The choice is by rule, not by a trial: a trial's
outcome may change from one process to the next, and the last digits of results with it.
"""

from typing import Any

import torch
from torch import Tensor

from sigreg_lab.kernels.operation import operation

_SMALL = 1 << 14  # multiplications below which a call's overhead decides


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x weight', for 2-D ``x`` (N, K) and ``weight`` (M, K), any strides; no gradient, no autocast."""
    return linear_by_onednn(x, weight) if uses_onednn(x, weight) else x @ weight.T


def linear_by_onednn(x: Tensor, weight: Tensor) -> Tensor:
    """The same by oneDNN, for float32 on the CPU."""
    return torch.ops.mkldnn._linear_pointwise(_dense(x), _dense(weight), None, "none", [], "")


def uses_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether ``linear`` leaves the product to oneDNN."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * weight.shape[0] >= _SMALL
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and has_onednn()
    )


def has_onednn() -> bool:
    """Whether this build of torch can multiply by oneDNN."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def matmul(x: Tensor, directions: Tensor) -> Tensor:
    """Differentiable x @ directions, for ``x`` (..., N, K) and ``directions`` (K, M), both float32 or float64.

    Returns:
        Shape (..., N, M), of the dtype of ``x``; autocast does not reach inside.
    """
    return _Matmul.apply(x, directions)


def _dense(x: Tensor) -> Tensor:
    """``x`` or a copy: part of a larger matrix would send oneDNN to its reference loops, thousands of times slower."""
    return x if x.is_contiguous() or x.T.is_contiguous() else x.contiguous()


def _describe_matmul(x: Tensor, directions: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], directions.shape[-1])


@operation("matmul", _describe_matmul)
def _matmul(x: Tensor, directions: Tensor) -> Tensor:
    flat = linear(x.reshape(-1, x.shape[-1]), directions.T)
    return flat.view(*x.shape[:-1], directions.shape[-1])


class _Matmul(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, directions: Tensor) -> Tensor:
        return torch.ops.sigreg_lab.matmul(x, directions)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, directions = ctx.saved_tensors
        grad_x = _Matmul.apply(grad, directions.T) if ctx.needs_input_grad[0] else None
        grad_directions = None
        if ctx.needs_input_grad[1]:
            grad_directions = x.flatten(0, -2).T @ grad.flatten(0, -2)
        return grad_x, grad_directions

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, directions: Tensor) -> tuple[Tensor, int]:
        if in_dims[1] is None:
            return _Matmul.apply(x.movedim(in_dims[0], 0), directions), 0
        directions = directions.movedim(in_dims[1], 0)
        rows = [x] * info.batch_size if in_dims[0] is None else x.movedim(in_dims[0], 0).unbind(0)
        return torch.stack([_Matmul.apply(*pair) for pair in zip(rows, directions.unbind(0), strict=True)]), 0
