"""Epps-Pulley on a grid of t or on the whole line.

The grid costs two sums per node (``kernels.characteristic_function``). The line is taken in closed form over pairs,
summed in float64, a block of rows at a time: bounded memory.
"""

import math
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sigreg_lab.kernels import characteristic_distance, characteristic_function, gaussian_grid
from sigreg_lab.nulls import WeightedChiSquares
from sigreg_lab.nulls.law import Array
from sigreg_lab.univariate.base import UnivariateTest
from sigreg_lab.univariate.sums import Grid, Nodes, SumForm, characteristic_sums

INTEGRATIONS = ("trapezoid", "exact")
ESTIMATORS = ("v", "u", "split")
#: t_max and points of ``n_points="auto"``: fewer points cannot hold the gradient within 1% (``theory.quadrature``).
AUTO_GRID = (3.2, 9)
_PAIRS_PER_BLOCK = 1 << 18  # 2 MiB of float64
_LARGEST_SAMPLE = 7.0  # in simulations under the null; beyond it 1 - 3e-12 of the mass of N(0, 1)


class EppsPulley(UnivariateTest):
    """Epps-Pulley statistic: weighted L2 distance of the empirical characteristic function phi_hat to that of N(0, 1).

        EP = N int |phi_hat(t) - exp(-t^2/2)|^2 w(t) dt,   w(t) = exp(-t^2/sigma^2)                      [1; 2, 4.2.3]

    Two discretisations:

    - ``integration="trapezoid"``: the trapezoidal rule on [0, t_max], doubled by symmetry. The defaults (t_max = 3,
      17 points) are the half-grid of the official LeJEPA code; t_max = 5 with 9 points is linspace(-5, 5, 17), the grid
      of the paper's Algorithm 1. O(N n_points).
    - ``integration="exact"``: the integral over the whole line. With c = 1/sigma^2

          EP = sqrt(pi/c) 1/N sum_jk exp(-(x_j - x_k)^2 / (4 c)) - 2 sqrt(pi/(c + 1/2)) sum_j exp(-x_j^2 / (4 c + 2))
               + N sqrt(pi/(c + 1))

      O(N^2).

    Three estimators of N int |phi_P - exp(-t^2/2)|^2 w dt, phi_P that of the sampled law:

    - ``estimator="v"``: the statistic above. Its mean under the null is int (1 - exp(-t^2)) w dt, not 0.
    - ``estimator="u"``: pairs of different samples only; unbiased for every N, may be negative.
    - ``estimator="split"``: phi_hat of the first N // 2 samples times that of the others, each less exp(-t^2/2);
      unbiased, noisier, and its value and gradient depend on the order of the samples.

    Null: N(0, 1) fully specified. Law: simulated below N = 256 (64 sigma if larger), from there on the limit, lambda
    the eigenvalues of the covariance of the empirical process under w: sum lambda chi2_1 (v), sum lambda (chi2_1 - 1)
    (u), sum lambda (chi2_1 - chi2_1') (split). Gradient: smooth and bounded. On the line it vanishes far out, on the
    grid it has the period 2 pi (n_points - 1)/t_max in x; the pull out of a collapsed sample vanishes with its spread.
    Shapes, dtypes, p-values and errors: ``UnivariateTest``.

    Args:
        t_max: end of the integration range; not used by ``integration="exact"``.
        n_points: nodes on [0, t_max], both ends counted; not used by ``integration="exact"``. "auto" is the cheapest
            grid whose gradient is within 1% of the full line's for samples in [-6, 6], whatever their law
            (``theory.quadrature.gradient_error``): 9 points on [0, 3.2] (``AUTO_GRID``), of the period 5 pi = 15.7. It
            chooses ``t_max`` too, and the weight is the usual one.
        integration: "trapezoid" (grid, O(N n_points)) or "exact" (full line, closed form, O(N^2)).
        sigma: width of the weight exp(-t^2/sigma^2); the default sqrt(2) is the usual exp(-t^2/2).
        estimator: "v" (biased, the official one), "u" (unbiased) or "split" (unbiased, two independent halves).
        num_points: another name of ``n_points``, as the official README writes it.

    Raises:
        ValueError: an unknown ``integration`` or ``estimator``, fewer than 2 points, a range or width that is not
            positive, or ``n_points="auto"`` with a range or width of one's own.

    [1] Epps & Pulley (1983), Biometrika 70, 723-726.
    [2] Balestriero & LeCun (2025), arXiv:2511.08544.
    """

    name = "epps_pulley"
    sensitive_to = "any departure; strongest for location, scale and smooth changes of shape"

    def __init__(
        self,
        t_max: float = 3.0,
        n_points: int | Literal["auto"] = 17,
        integration: Literal["trapezoid", "exact"] = "trapezoid",
        sigma: float = math.sqrt(2.0),
        estimator: Literal["v", "u", "split"] = "v",
        *,
        num_points: int | None = None,
    ) -> None:
        super().__init__()
        if num_points is not None:
            n_points = num_points
        if n_points == "auto":
            if t_max not in (3.0, AUTO_GRID[0]) or not math.isclose(sigma, math.sqrt(2)):
                raise ValueError(
                    f"n_points='auto' chooses t_max too, for the weight exp(-t^2/2); leave out t_max={t_max} and "
                    f"sigma={sigma}, or give a number of points"
                )
            t_max, n_points = AUTO_GRID
        if isinstance(n_points, str):
            raise ValueError(f"n_points must be a whole number or 'auto', got {n_points!r}")
        if integration not in INTEGRATIONS:
            raise ValueError(f"integration must be one of {', '.join(INTEGRATIONS)}, got {integration!r}")
        if estimator not in ESTIMATORS:
            raise ValueError(f"estimator must be one of {', '.join(ESTIMATORS)}, got {estimator!r}")
        if n_points < 2:
            raise ValueError(f"n_points must be at least 2 (both ends of the range), got {n_points}")
        if not (0 < t_max < math.inf and 0 < sigma < math.inf):
            raise ValueError(f"t_max and sigma must be positive and finite, got t_max={t_max}, sigma={sigma}")
        self.t_max = float(t_max)
        self.n_points = int(n_points)
        self.integration = integration
        self.sigma = float(sigma)
        self.estimator = estimator
        # A wide weight looks at small scales, where the process takes longer to become Gaussian.
        self.asymptotic_from = max(256, math.ceil(64 * sigma))

    def extra_repr(self) -> str:
        grid = f"t_max={self.t_max!r}, n_points={self.n_points}" if self.integration == "trapezoid" else "exact"
        return f"{grid}, sigma={self.sigma!r}, estimator={self.estimator!r}"

    def _statistic(self, x: Tensor) -> Tensor:
        if self.integration == "exact":
            return self._exact(x.double()).to(x.dtype)
        if self.estimator == "u":
            return self._trapezoid_unbiased(x)
        return self._trapezoid(x) if self.estimator == "v" else self._trapezoid_split(x)

    def _trapezoid(self, x: Tensor) -> Tensor:
        c, s = characteristic_function(x, self.t_max, self.n_points)
        target, weight = gaussian_grid(self.t_max, self.n_points, self.sigma, x.device)
        return (x.shape[-2] * characteristic_distance(c, s, target, weight)).to(x.dtype)

    def _trapezoid_unbiased(self, x: Tensor) -> Tensor:
        n = x.shape[-2]
        c, s = characteristic_function(x, self.t_max, self.n_points)
        target, weight = (row[:, None] for row in gaussian_grid(self.t_max, self.n_points, self.sigma, x.device))
        pairs = (n * (c**2 + s**2) - 1) / (n - 1)  # mean of cos(t (x_i - x_j)) over i != j
        return (n * (weight * (pairs - 2 * target * c + target**2)).sum(-2)).to(x.dtype)

    def _trapezoid_split(self, x: Tensor) -> Tensor:
        n = x.shape[-2]
        target, weight = (row[:, None] for row in gaussian_grid(self.t_max, self.n_points, self.sigma, x.device))
        c1, s1 = characteristic_function(x[..., : n // 2, :], self.t_max, self.n_points)
        c2, s2 = characteristic_function(x[..., n // 2 :, :], self.t_max, self.n_points)
        return (n * (weight * ((c1 - target) * (c2 - target) + s1 * s2)).sum(-2)).to(x.dtype)

    def sum_form(self) -> SumForm | None:
        if self.integration == "exact" or self.estimator == "split":
            return None
        grid = Grid(self.t_max, self.n_points, partial(gaussian_grid, self.t_max, self.n_points, self.sigma))
        return characteristic_sums(grid, unbiased=self.estimator == "u")

    def nodes(self) -> Nodes:
        """The grid, float64: nodes t > 0, exp(-t^2/2) there, and weights with exp(-t^2/sigma^2) and both sides of 0 in
        them. The full line has a grid of its own, exact to rounding."""
        if self.integration == "exact":
            return self._full_line_grid().nodes()
        target, weight = gaussian_grid(self.t_max, self.n_points, self.sigma, torch.device("cpu"))
        return Nodes(np.linspace(0, self.t_max, self.n_points)[1:], target.numpy(), weight.numpy())

    def _exact(self, x: Tensor) -> Tensor:
        """Term by term: the integral of exp(-a t^2) cos(t d) over the line is sqrt(pi/a) exp(-d^2/(4 a))."""
        n = x.shape[-2]
        decay = 1 / self.sigma**2
        across = math.sqrt(math.pi / (decay + 0.5)) * torch.exp(-(x**2) / (4 * decay + 2))
        target = math.sqrt(math.pi / (decay + 1))
        pair = math.sqrt(math.pi / decay)
        if self.estimator == "split":
            first, second = x[..., : n // 2, :], x[..., n // 2 :, :]
            within = pair * _gaussian_pairs(first, second, decay) / (first.shape[-2] * second.shape[-2])
            crossed = across[..., : n // 2, :].mean(-2) + across[..., n // 2 :, :].mean(-2)
            return n * (within - crossed + target)
        within = _gaussian_pairs(x, x, decay)
        within = (within - n) / (n - 1) if self.estimator == "u" else within / n
        return pair * within - 2 * across.sum(-2) + n * target

    def eigenvalues(self) -> Array:
        """Weights of the limit law, descending: eigenvalues of the covariance, under N(0, 1), of cos(tX) and sin(tX)
        at the nodes, scaled by the roots of the weights. The full line has a grid of its own, exact to rounding."""
        t, _, weight = self.nodes()
        difference = np.exp(-(np.subtract.outer(t, t) ** 2) / 2) / 2
        total = np.exp(-(np.add.outer(t, t) ** 2) / 2) / 2
        product = np.exp(-np.add.outer(t**2, t**2) / 2)
        scale = np.sqrt(np.outer(weight, weight))
        cosines = np.linalg.eigvalsh(scale * (difference + total - product))
        sines = np.linalg.eigvalsh(scale * (difference - total))
        values = np.sort(np.concatenate([cosines, sines]))[::-1]
        return values[values > 1e-15 * values[0]]

    def asymptotic_law(self, n: int) -> WeightedChiSquares:
        values = self.eigenvalues()
        if self.estimator == "split":
            return WeightedChiSquares(np.concatenate([values, -values]))
        return WeightedChiSquares(values, shift=-float(values.sum()) if self.estimator == "u" else 0.0)

    def simulate(self, rng: np.random.Generator, replicates: int, n: int) -> Array:
        """The full line is simulated on a grid that agrees with it to rounding, in O(N) instead of O(N^2)."""
        if self.integration == "exact":
            return self._full_line_grid().simulate(rng, replicates, n)
        return super().simulate(rng, replicates, n)

    def _full_line_grid(self) -> "EppsPulley":
        """The trapezoidal rule on the line is exact up to exp(-(t_max/sigma)^2), where it is cut off, and
        exp(-(2 pi/step - d)^2 sigma^2 / 4), the aliasing of the weight for samples d apart: both below 1e-14."""
        margin = math.sqrt(32.3)
        t_max = margin * self.sigma
        step = 2 * math.pi / (2 * _LARGEST_SAMPLE + 2 * margin / self.sigma)
        return EppsPulley(t_max, math.ceil(t_max / step) + 1, sigma=self.sigma, estimator=self.estimator)


def _gaussian_pairs(x: Tensor, y: Tensor, decay: float) -> Tensor:
    """sum_ij exp(-(x_i - y_j)^2 / (4 decay)) over dimension -2, shapes (..., N1, M) and (..., N2, M) to (..., M).

    Few pairs at once are plain operations, which can be differentiated any number of times; many go block by block,
    the gradient taken along the way, once."""
    if x.numel() * y.shape[-2] <= _PAIRS_PER_BLOCK:
        return torch.exp((x.unsqueeze(-2) - y.unsqueeze(-3)) ** 2 / (-4 * decay)).sum((-3, -2))
    value: Tensor = _BlockedGaussianPairs.apply(x.transpose(-1, -2), y.transpose(-1, -2), decay)
    return value


class _BlockedGaussianPairs(torch.autograd.Function):
    """The same on (..., M, N1) and (..., M, N2). With K_ij the summand, the gradients are
    (sum_j K_ij y_j - x_i sum_j K_ij) / (2 decay) and (sum_i K_ij x_i - y_j sum_i K_ij) / (2 decay)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, decay: float) -> Tensor:
        rows = max(1, _PAIRS_PER_BLOCK // y.numel())
        total = torch.zeros_like(x[..., 0])
        gradient_x, gradient_y = torch.zeros_like(x), torch.zeros_like(y)
        with_one_y = torch.stack([torch.ones_like(y), y], dim=-1)
        for start in range(0, x.shape[-1], rows):
            block = x[..., start : start + rows]
            kernel = (block.unsqueeze(-1) - y.unsqueeze(-2)).square_().div_(-4 * decay).exp_()
            sums = kernel @ with_one_y
            total += sums[..., 0].sum(-1)
            if any(ctx.needs_input_grad):
                gradient_x[..., start : start + rows] = sums[..., 1] - block * sums[..., 0]
                columns = kernel.transpose(-1, -2) @ torch.stack([torch.ones_like(block), block], dim=-1)
                gradient_y += columns[..., 1] - y * columns[..., 0]
        ctx.save_for_backward(gradient_x / (2 * decay), gradient_y / (2 * decay))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        gradient_x, gradient_y = ctx.saved_tensors
        return grad.unsqueeze(-1) * gradient_x, grad.unsqueeze(-1) * gradient_y, None
