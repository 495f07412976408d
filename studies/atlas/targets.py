"""SIGReg with other targets: isotropic laws of unit covariance that are not Gaussian.

The squared distance of characteristic functions along slices, as Epps-Pulley takes it, to that of

    ball      uniform in the ball of radius sqrt(K + 2)
    sphere    uniform on the sphere of radius sqrt(K)
    laplace   K independent Laplace variables; its marginals depend on the direction
    normal    N(0, I): SIGReg itself, for the tests
"""

import math

import torch
from scipy.special import gamma, jv
from torch import Tensor

from sigreg_lab.regularizers import Regularizer
from sigreg_lab.slicing import make_directions
from sigreg_lab.univariate import EppsPulley


class Target(Regularizer):
    """N 1/M sum_m int |phi_hat_m(t) - phi_m(t)|^2 w(t) dt, phi_m that of the target along direction m.

    Args:
        law: "ball", "sphere", "laplace" or "normal".
        num_slices: M, drawn anew at each call.
    """

    def __init__(self, law: str = "ball", num_slices: int = 256) -> None:
        super().__init__()
        if law not in ("ball", "sphere", "laplace", "normal"):
            raise ValueError(f"law must be ball, sphere, laplace or normal, got {law!r}")
        self.law, self.num_slices = law, num_slices
        nodes = EppsPulley().nodes()
        self.t, self.weight = (torch.as_tensor(values) for values in (nodes.t, nodes.weight))

    def _value(self, z: Tensor, generator: torch.Generator) -> Tensor:
        directions = make_directions(
            "iid", z.shape[-1], self.num_slices, generator=generator, dtype=z.dtype, device=z.device
        )
        angles = (z @ directions).unsqueeze(-1) * self.t.to(z)
        target = characteristic_function(self.law, self.t, directions.double()).to(z)
        distance = (angles.cos().mean(1) - target).square() + angles.sin().mean(1).square()
        return z.shape[1] * (distance * self.weight.to(z)).sum(-1).mean()


def characteristic_function(law: str, t: Tensor, directions: Tensor) -> Tensor:
    """Of the target along directions (K, M), at t (T,): shape (M, T), or (1, T) where no direction is special."""
    dim = len(directions)
    if law == "normal":
        return (-t.square() / 2).exp().unsqueeze(0)
    if law == "laplace":  # of unit variance: 1/(1 + t^2/2), at t a_k for each coordinate
        return 1 / (1 + directions.T.unsqueeze(-1).square() * t.square() / 2).prod(1)
    order, radius = (dim / 2 - 1, math.sqrt(dim)) if law == "sphere" else (dim / 2, math.sqrt(dim + 2))
    x = radius * t.numpy()
    return torch.from_numpy(gamma(order + 1) * (2 / x) ** order * jv(order, x)).unsqueeze(0)
