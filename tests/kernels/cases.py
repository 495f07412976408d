"""What the kernels' tests share: the float64 yardstick, made of the eager reference formula, and error measures."""

import torch
from torch import Tensor

from sigreg_lab.kernels import characteristic_distance, characteristic_function_reference, gaussian_grid

SIGMA = 2**0.5
BACKENDS = ("eager", "cpu")
#: Compiler flags for registers of 16, 32 and 64 bytes; the last as a processor without AVX-512 runs them, by halves.
PROCESSORS = {
    "baseline": (),
    "avx2": ("-mavx2", "-mfma"),
    "avx512 by halves": ("-mavx2", "-mfma", "-DBYTES=64"),
}


def reference_value(x: Tensor, directions: Tensor, t_max: float, n_points: int) -> Tensor:
    """Mean Epps-Pulley over slices in float64."""
    c, s = characteristic_function_reference(x.double() @ directions.double(), t_max, n_points)
    return (x.shape[-2] * characteristic_distance(c, s, *gaussian_grid(t_max, n_points, SIGMA, x.device))).mean(-1)


def value_and_gradient(function, x: Tensor) -> tuple[Tensor, Tensor]:
    """Of the sum of ``function(x)``, in float64."""
    x = x.detach().clone().requires_grad_()
    value = function(x)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach().double(), gradient.double()


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of what is expected."""
    return float((actual.double() - expected.double()).norm() / expected.double().norm())


def sample(generator: torch.Generator, *shape: int, scale: float = 1.3, dtype: torch.dtype = torch.float32) -> Tensor:
    return (torch.randn(*shape, generator=generator, dtype=torch.float64) * scale + 0.1).to(dtype)


def unit_columns(generator: torch.Generator, dim: int, num_slices: int, dtype: torch.dtype = torch.float32) -> Tensor:
    directions = torch.randn(dim, num_slices, generator=generator, dtype=torch.float64)
    return (directions / directions.norm(dim=0)).to(dtype)
