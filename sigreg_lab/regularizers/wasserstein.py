"""Sliced Wasserstein distance to N(0, I), alone and with centre and scale taken out (VISReg).

    W(x) = 1/N sum_i (x_(i) - Phi^-1(p_i))^2        p_i = i / (N + 1)          "weibull"                   [1, 2]
                                                     p_i = (i - 1/2) / N       "hazen"

squared 2-Wasserstein distance of a sample to the N quantiles of N(0, 1); p_i are the plotting positions. Sliced
Wasserstein is its mean over random directions. With mu, sigma the mean and the standard deviation (divisor N) of
each coordinate, VISReg is

    R = mean_j mu_j^2 + mean_j (1 - sigma_j)^2 + mean_a W(a' (z - mu) / stopgrad(sigma))         [2, eq. 1-6]

averaged over views. sigma is held at 1e-6 or more where it divides, as in the authors' code.

[1] Bonneel, Rabin, Peyré & Pfister (2015), Journal of Mathematical Imaging and Vision 51, 22-45 (slicing).
[2] Wu, Balestriero & Levine (2026), VISReg, arXiv:2606.02572; code HaiyuWu/visreg.
"""

from typing import Literal

import torch
from torch import Tensor

from sigreg_lab.distributed import mean_over_samples
from sigreg_lab.regularizers.base import Regularizer
from sigreg_lab.regularizers.sigreg import check_num_slices, mean_over_slices
from sigreg_lab.regularizers.sums import LEAST_STD
from sigreg_lab.slicing import iid_directions
from sigreg_lab.univariate import UnivariateTest

POSITIONS = ("weibull", "hazen")


class Wasserstein(UnivariateTest):
    """Squared 2-Wasserstein distance of a sample to quantiles of N(0, 1); no factor N.

    Args:
        positions: "weibull", i/(N+1), or "hazen", (i-1/2)/N.

    Raises:
        ValueError: unknown ``positions``.
    """

    name = "wasserstein"
    sensitive_to = "any departure"
    uses_order = True

    def __init__(self, positions: Literal["weibull", "hazen"] = "weibull") -> None:
        super().__init__()
        if positions not in POSITIONS:
            raise ValueError(f"positions must be one of {', '.join(POSITIONS)}, got {positions!r}")
        self.positions = positions

    def extra_repr(self) -> str:
        return f"positions={self.positions!r}"

    def _statistic(self, x: Tensor) -> Tensor:
        n = x.shape[-2]
        rank = torch.arange(1, n + 1, dtype=torch.float64, device=x.device)
        p = rank / (n + 1) if self.positions == "weibull" else (rank - 0.5) / n
        return (x - torch.special.ndtri(p).to(x.dtype)[:, None]).square().mean(-2)


class VISReg(Regularizer):
    """Centre, scale and sliced-Wasserstein shape, each with its weight.

    Args:
        num_slices: M, directions drawn at each call.
        center: weight of the mean's term.
        scale: weight of the standard deviation's term.
        shape: weight of the sliced-Wasserstein term.
        positions: plotting positions, see ``Wasserstein``.

    Raises:
        ValueError: ``num_slices`` below 1, a negative weight, unknown ``positions``.
    """

    def __init__(
        self,
        num_slices: int = 4096,
        *,
        center: float = 1.0,
        scale: float = 1.0,
        shape: float = 1.0,
        positions: Literal["weibull", "hazen"] = "weibull",
    ) -> None:
        super().__init__()
        check_num_slices(num_slices)
        if min(center, scale, shape) < 0:
            raise ValueError(f"center, scale and shape must be 0 or more, got {center}, {scale}, {shape}")
        self.num_slices = num_slices
        self.center, self.scale, self.shape = center, scale, shape
        self.statistic = Wasserstein(positions)

    def extra_repr(self) -> str:
        return f"num_slices={self.num_slices}, center={self.center:g}, scale={self.scale:g}, shape={self.shape:g}"

    def _value(self, z: Tensor, generator: torch.Generator) -> Tensor:
        directions = iid_directions(z.shape[-1], self.num_slices, generator=generator, dtype=z.dtype, device=z.device)
        mean = mean_over_samples(z)
        centred = z - mean.unsqueeze(-2)
        std = mean_over_samples(centred.square()).clamp_min(LEAST_STD**2).sqrt()
        shape = mean_over_slices(centred / std.detach().unsqueeze(-2), self.statistic, directions)
        return self.center * mean.square().mean() + self.scale * (1 - std).square().mean() + self.shape * shape
