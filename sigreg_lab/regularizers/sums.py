"""Univariate statistics that are functions of sample means: several processes need to add up those means only.

    T(x) = f(1/N sum_i g(x_i), N)

The characteristic-function distances, with weights w_k of the trapezoidal rule on t_k = k t_max / (n_points - 1):

    EP   = N sum_k w_k ((c_k - phi(t_k))^2 + s_k^2)                                       V-statistic          [1]
    EP_U = EP - N/(N-1) sum_k w_k (1 - c_k^2 - s_k^2)                                       U-statistic   [1, Thm. 6]

c_k, s_k are the means of cos(t_k x_i), sin(t_k x_i), and phi is the target's characteristic function, exp(-t^2/2).
The diagonal of |phi_hat|^2 = 1/N^2 sum_ij cos(t (x_i - x_j)) is what makes E[EP] larger than N times the population's
distance; EP_U leaves it out, so its expectation is exactly N times that distance, 0 for the target, and it can be
negative. For the uniform law on the sphere of radius sqrt(K) in K dimensions, phi(t) = 0F1(; K/2; -K t^2/4).

The moment distance, the limit that recovers VICReg's variance and covariance terms as slices grow in number:

    T = m^2 + (s - 1)^2                                                                                  [1, B.14]

m is the mean, s the standard deviation with divisor N - 1; no factor N.

[1] Balestriero & LeCun (2025), arXiv:2511.08544.
"""

import functools
import math

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.kernels import characteristic_function
from sigreg_lab.slicing.infinite import sphere_cosine
from sigreg_lab.univariate import EppsPulley, UnivariateTest

LEAST_STD = 1e-6


class SumStatistic(UnivariateTest):
    """Base of the statistics that are functions of sample means and of N.

    A subclass writes ``means`` ((..., N, M) -> (..., S, M)) and ``from_means`` (-> (..., M)).
    """

    def _statistic(self, x: Tensor) -> Tensor:
        return self.from_means(self.means(x), x.shape[-2]).to(x.dtype)

    def means(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def from_means(self, means: Tensor, num_samples: int | Tensor) -> Tensor:
        raise NotImplementedError


class CharacteristicDistance(SumStatistic):
    """Weighted L2 distance of the empirical characteristic function to a target's, on a grid.

    With the default target and ``unbiased=False`` this is ``EppsPulley`` with ``integration="trapezoid"``.

    Args:
        t_max: end of the grid.
        n_points: nodes on [0, t_max], both ends counted.
        sigma: width of the weight exp(-t^2/sigma^2).
        unbiased: take the U-statistic.
        sphere_dim: K; the target is a projection of the uniform law on the sphere of radius sqrt(K) instead of N(0, 1).

    Raises:
        ValueError: as ``EppsPulley``; ``sphere_dim`` below 2.
    """

    name = "characteristic_distance"
    sensitive_to = "any departure; strongest for location, scale and smooth changes of shape"

    def __init__(
        self,
        t_max: float = 3.0,
        n_points: int = 17,
        sigma: float = math.sqrt(2.0),
        *,
        unbiased: bool = False,
        sphere_dim: int | None = None,
    ) -> None:
        super().__init__()
        grid = EppsPulley(t_max, n_points, sigma=sigma)  # checks the three
        if sphere_dim is not None and sphere_dim < 2:
            raise ValueError(f"sphere_dim must be at least 2 (a sphere in the plane), got {sphere_dim}")
        self.t_max, self.n_points, self.sigma = grid.t_max, grid.n_points, grid.sigma
        self.unbiased = unbiased
        self.sphere_dim = sphere_dim

    def extra_repr(self) -> str:
        return f"t_max={self.t_max:g}, n_points={self.n_points}, sigma={self.sigma:.6g}, unbiased={self.unbiased}"

    def means(self, x: Tensor) -> Tensor:
        return torch.cat(characteristic_function(x, self.t_max, self.n_points), dim=-2)

    def from_means(self, means: Tensor, num_samples: int | Tensor) -> Tensor:
        c, s = means.chunk(2, dim=-2)
        weight, target = (
            torch.tensor(column, dtype=means.dtype, device=means.device)[:, None] for column in _grid(self)
        )
        value = num_samples * (weight * ((c - target) ** 2 + s**2)).sum(-2)
        if self.unbiased:
            value = value - num_samples / (num_samples - 1) * (weight * (1 - c**2 - s**2)).sum(-2)
        return value


def _grid(distance: CharacteristicDistance) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Weights and the target's values at the nodes but t = 0."""
    return _grid_values(distance.t_max, distance.n_points, distance.sigma, distance.sphere_dim)


@functools.lru_cache(maxsize=64)
def _grid_values(
    t_max: float, n_points: int, sigma: float, sphere_dim: int | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    step = t_max / (n_points - 1)
    nodes = [k * step for k in range(1, n_points)]
    weight = [2 * step * math.exp(-((t / sigma) ** 2)) for t in nodes]
    weight[-1] /= 2
    if sphere_dim is None:
        return tuple(weight), tuple(math.exp(-t * t / 2) for t in nodes)
    target = sphere_cosine(math.sqrt(sphere_dim) * np.asarray(nodes), sphere_dim)
    return tuple(weight), tuple(target.tolist())


class MeanAndScale(SumStatistic):
    """Squared mean and squared distance of the standard deviation to 1."""

    name = "mean_and_scale"
    sensitive_to = "mean, variance"

    def means(self, x: Tensor) -> Tensor:
        y = x.double()  # the variance is a difference of means of squares
        return torch.stack((y.mean(-2), (y**2).mean(-2)), dim=-2)

    def from_means(self, means: Tensor, num_samples: int | Tensor) -> Tensor:
        mean, square = means.unbind(-2)
        variance = (square - mean**2) * (num_samples / (num_samples - 1))
        return mean**2 + (variance.clamp_min(LEAST_STD**2).sqrt() - 1) ** 2


def as_sum_statistic(statistic: UnivariateTest) -> SumStatistic | None:
    """``statistic`` itself, or an equal one, as a function of sample means; None if there is none here."""
    if isinstance(statistic, SumStatistic):
        return statistic
    if isinstance(statistic, EppsPulley) and statistic.integration == "trapezoid":
        return CharacteristicDistance(statistic.t_max, statistic.n_points, statistic.sigma)
    return None
