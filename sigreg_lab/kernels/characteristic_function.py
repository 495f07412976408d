"""Empirical characteristic function of samples on an equally spaced grid.

    c_k = 1/N sum_j cos(t_k x_j),   s_k = 1/N sum_j sin(t_k x_j),   t_k = k t_max / (n_points - 1)

The node t = 0 is constant (c = 1, s = 0), so only k = 1 .. n_points - 1 are returned.
"""

import torch
from torch import Tensor


def characteristic_function(x: Tensor, t_max: float, n_points: int) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of the empirical characteristic function at the non-zero grid nodes.

    Args:
        x: samples, shape (..., N, M), float32 or float64.
        t_max: last node.
        n_points: nodes on [0, t_max], both ends counted.

    Returns:
        ``(c, s)``, each of shape (..., n_points - 1, M) and of the dtype of ``x``; differentiable.
    """
    t = torch.linspace(0, t_max, n_points, dtype=x.dtype, device=x.device)[1:]
    angle = x.unsqueeze(-3) * t[:, None, None]
    return angle.cos().mean(-2), angle.sin().mean(-2)
