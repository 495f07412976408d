"""VISReg: centre, scale, and the sliced Wasserstein distance of what remains to N(0, I)."""

from typing import Literal

import torch
from torch import Tensor

from sigreg_lab.distributed import mean_over_samples
from sigreg_lab.regularizers.base import Regularizer
from sigreg_lab.regularizers.sigreg import check_slices, draw_directions, mean_over_slices
from sigreg_lab.univariate import Wasserstein

LEAST_STD = 1e-6


class VISReg(Regularizer):
    """VISReg: centre, scale and sliced-Wasserstein shape, each with its weight.

        R = center mean_j mu_j^2 + scale mean_j (1 - sigma_j)^2
            + shape mean_m W({a_m'(z_n - mu) / stopgrad(sigma)}_n)                                         [1, eq. 1-6]

    averaged over views; mu, sigma are the mean and the standard deviation (divisor N) of each coordinate, W the squared
    2-Wasserstein distance of ``sigreg_lab.univariate.Wasserstein``. sigma is held at 1e-6 or more, as in the authors'
    code. It carries no factor N. Gradient: the stop-gradient keeps shape from scale. The scale term pulls out of a
    collapse with constant strength, the shape term inwards like 1/sigma. Cost O(V N M (K + log N)). Shapes, dtypes and
    errors of a call: ``Regularizer``.

    Args:
        num_slices: M, directions drawn at each call.
        center: weight of the mean's term, 0 or more.
        scale: weight of the standard deviation's term, 0 or more.
        shape: weight of the sliced-Wasserstein term, 0 or more.
        quantiles: of N(0, 1), see ``Wasserstein``.
        directions: kind of the directions drawn, see ``SIGReg``.

    Raises:
        ValueError: ``num_slices`` below 1, a negative weight, unknown ``quantiles`` or ``directions``.

    [1] Wu, Balestriero & Levine (2026), arXiv:2606.02572; code HaiyuWu/visreg: quantiles at i/(N + 1), 4096 slices,
        equal weights.
    """

    def __init__(
        self,
        num_slices: int = 4096,
        *,
        center: float = 1.0,
        scale: float = 1.0,
        shape: float = 1.0,
        quantiles: Literal["midpoint", "mean", "exact"] = "mean",
        directions: str = "iid",
    ) -> None:
        super().__init__()
        check_slices(num_slices, directions)
        if min(center, scale, shape) < 0:
            raise ValueError(f"center, scale and shape must be 0 or more, got {center}, {scale}, {shape}")
        self.num_slices = num_slices
        self.directions = directions
        self.capturable = directions != "sobol"
        self.center, self.scale, self.shape = center, scale, shape
        self.statistic = Wasserstein(quantiles)

    def extra_repr(self) -> str:
        weights = f"center={self.center:g}, scale={self.scale:g}, shape={self.shape:g}"
        return f"num_slices={self.num_slices}, {weights}, directions={self.directions!r}"

    def _value(self, z: Tensor, generator: torch.Generator) -> Tensor:
        directions = draw_directions(self.directions, z, self.num_slices, generator, z.dtype)
        mean = mean_over_samples(z)
        centred = z - mean.unsqueeze(-2)
        std = mean_over_samples(centred.square()).clamp_min(LEAST_STD**2).sqrt()
        shape = mean_over_slices(centred / std.detach().unsqueeze(-2), self.statistic, directions)
        return self.center * mean.square().mean() + self.scale * (1 - std).square().mean() + self.shape * shape
