"""Regularisers towards the uniform law on the unit sphere; u = z / |z|, the mean over views is taken.

|z| is held at 1e-6 or more. They see directions alone: no pull on the length |z|.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sigreg_lab.distributed import all_reduce_sum, gather_samples, mean_over_samples
from sigreg_lab.kernels import gaussian_grid
from sigreg_lab.kernels.characteristic_function import check_grid
from sigreg_lab.regularizers.base import Regularizer
from sigreg_lab.regularizers.sigreg import check_slices, draw_directions
from sigreg_lab.regularizers.sums import reduced_statistic
from sigreg_lab.slicing import project
from sigreg_lab.slicing.infinite import sphere_cosine
from sigreg_lab.univariate import Grid, characteristic_sums
from sigreg_lab.validation import table

LEAST_LENGTH = 1e-6
KOLEO_EPS = 1e-8


class Uniformity(Regularizer):
    """Uniformity: logarithm of the mean Gaussian potential of all pairs.

        R = 1/V sum_v log 1/(N (N - 1)) sum_{i != j} exp(-t |u_i - u_j|^2),   u = z / |z|                    [1, eq. 5]

    Gradient: each pair repels, those about 1/sqrt(2 t) apart the most; no pull on the length |z|. Cost O(V N^2 K),
    memory O(V N^2). Shapes, dtypes and errors of a call: ``Regularizer``.

    Args:
        t: sharpness of the potential.

    Raises:
        ValueError: ``t`` not positive.

    [1] Wang & Isola (2020), arXiv:2005.10242; t = 2.
    """

    def __init__(self, t: float = 2.0) -> None:
        super().__init__()
        if t <= 0:
            raise ValueError(f"t must be positive, got {t}")
        self.t = t

    def extra_repr(self) -> str:
        return f"t={self.t:g}"

    def _value(self, z: Tensor, generator: torch.Generator) -> Tensor:
        u = normalize(z, dim=-1, eps=LEAST_LENGTH)
        everyone, start = gather_samples(u)
        total = everyone.shape[-2]
        potential = torch.exp(2 * self.t * (u @ everyone.mT - 1)) * _others(u, total, start)
        return (all_reduce_sum(potential.sum((-2, -1))) / (total * (total - 1))).log().mean()


class KoLeo(Regularizer):
    """KoLeo: Kozachenko-Leonenko estimate of the entropy, negated, from distances to the nearest neighbour.

        R = -1/V sum_v 1/N sum_i log min_{j != i} |u_i - u_j|,   u = z / |z|                                    [1; 2]

    As in the code of [2], 1e-8 is added to the difference and to its length, which keeps value and gradient finite for
    equal embeddings. Gradient: each embedding and its nearest neighbour repel with 1 over their distance; no pull on
    the length |z|. Cost O(V N^2 K), memory O(V N^2). Shapes, dtypes and errors of a call: ``Regularizer``.

    [1] Sablayrolles, Douze, Schmid & Jégou (2019), Spreading vectors for similarity search, arXiv:1806.03198.
    [2] Oquab et al. (2023), DINOv2, arXiv:2304.07193; code facebookresearch/dinov2.
    """

    def _value(self, z: Tensor, generator: torch.Generator) -> Tensor:
        u = normalize(z, dim=-1, eps=LEAST_LENGTH)
        everyone, start = gather_samples(u)
        with torch.no_grad():
            others = _others(u, everyone.shape[-2], start)
            nearest = (u @ everyone.mT).masked_fill(~others, -torch.inf).argmax(-1, keepdim=True)
        neighbour = everyone.gather(-2, nearest.expand(*nearest.shape[:-1], u.shape[-1]))
        distance = torch.linalg.vector_norm(u - neighbour + KOLEO_EPS, dim=-1)
        return -mean_over_samples((distance + KOLEO_EPS).log(), dim=-1).mean()


def _others(u: Tensor, total: int, start: int) -> Tensor:
    """True where a pair (own sample, any sample) is of two samples, shape (N, total)."""
    own = torch.arange(start, start + u.shape[-2], device=u.device)
    return own[:, None] != torch.arange(total, device=u.device)


class SphereSlicing(Regularizer):
    """Slices of normalised embeddings against slices of the uniform law on the sphere of radius sqrt(K).

        R = 1/V sum_v 1/M sum_m T({sqrt(K) a_m'u_vn}_n),   u = z / |z|,   a_m unit vectors                          [1]
        T = N int |phi_hat(t) - phi(t)|^2 exp(-t^2/2) dt,   phi(t) = 0F1(; K/2; -K t^2/4)

    phi_hat is the empirical characteristic function, phi that of a slice of the uniform law; the integral is taken on a
    grid, as by ``EppsPulley``. [1] asks for the uniform law slice by slice; its discretisation was not at hand. Here
    the radius is sqrt(K), so that a slice has variance 1, with the grid and the weight of SIGReg's half-grid: for large
    K the target is that of N(0, 1). It carries the factor N. Gradient: smooth; no pull on the length |z|. Cost
    O(V N M (K + n_points)). Shapes, dtypes and errors of a call: ``Regularizer``.

    Args:
        num_slices: M, directions drawn at each call.
        t_max: end of the grid.
        n_points: nodes on [0, t_max], both ends counted.
        directions: kind of the directions drawn, see ``SIGReg``.

    Raises:
        ValueError: ``num_slices`` below 1, a bad grid, unknown ``directions``; in use, embeddings of fewer than 2
            dimensions.

    [1] SPHERE-JEPA (2026), arXiv:2605.26900.
    """

    def __init__(
        self, num_slices: int = 1024, *, t_max: float = 3.0, n_points: int = 17, directions: str = "iid"
    ) -> None:
        super().__init__()
        check_slices(num_slices, directions)
        check_grid(t_max, n_points)
        self.num_slices = num_slices
        self.directions = directions
        self.capturable = directions != "sobol"
        self.t_max, self.n_points = t_max, n_points

    def extra_repr(self) -> str:
        grid = f"t_max={self.t_max:g}, n_points={self.n_points}"
        return f"num_slices={self.num_slices}, {grid}, directions={self.directions!r}"

    def _value(self, z: Tensor, generator: torch.Generator) -> Tensor:
        dim = z.shape[-1]
        if dim < 2:
            raise ValueError(f"z has {dim} dimension; a sphere needs at least 2")
        directions = draw_directions(self.directions, z, self.num_slices, generator, z.dtype)
        form = characteristic_sums(Grid(self.t_max, self.n_points, lambda device: self._grid(dim, device)))
        u = normalize(z, dim=-1, eps=LEAST_LENGTH) * dim**0.5
        return reduced_statistic(project(u, directions), form).mean()

    def _grid(self, dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
        _, weight = gaussian_grid(self.t_max, self.n_points, math.sqrt(2), device)
        return _target(device, self.t_max, self.n_points, dim), weight


@table
def _target(t_max: float, n_points: int, dim: int) -> np.ndarray:
    """0F1(; K/2; -K t^2/4) at the nodes t > 0."""
    return sphere_cosine(math.sqrt(dim) * np.linspace(0, t_max, n_points)[1:], dim)
