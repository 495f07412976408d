"""What the benchmarks share: data, the contestants, and their measurement side by side.

Every contestant computes SIGReg with the Epps-Pulley statistic, forward and backward, on the same embeddings; the peers
draw their own directions, as they always do. ``Published`` is the formula in the layout of the published code,
(N, M, points): what users run today. ``formula`` is the library's eager reference, (points, N, M), which
``torch.compile`` makes a faster program of.
"""

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from sigreg_lab.kernels import (
    characteristic_distance,
    characteristic_function_reference,
    gaussian_grid,
    sliced_epps_pulley,
)
from sigreg_lab.kernels.matmul import linear

T_MAX = 3.0
SIGMA = 2**0.5

#: Rows of the paper's Table 6: N, M, points, and the official time on a V100, ms (forward and backward; K not stated).
TABLE_6 = [
    (512, 512, 16, 0.465),
    (512, 512, 64, 0.461),
    (512, 512, 256, 0.628),
    (2048, 512, 16, 1.406),
    (8192, 512, 16, 6.188),
    (8192, 8192, 16, 8.685),
    (32768, 512, 16, 26.373),
    (512, 2048, 16, 0.466),
    (512, 8192, 16, 0.670),
]

Contestant = Callable[[], object]
Clock = Callable[[], float]


def embeddings(
    num_samples: int, dim: int, num_slices: int, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Embeddings that carry a gradient, and unit directions of the same dtype (float32 for lower precision)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num_samples, dim, generator=generator).to(device, dtype).requires_grad_()
    directions = torch.randn(dim, num_slices, generator=generator)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return x, (directions / directions.norm(dim=0)).to(device, wide)


class Published(torch.nn.Module):
    """The formula as it is published: projections times nodes, all cosines and sines, means, one product [1, app.].

    Nodes and weights are made once, as in the official package and in stable-pretraining 0.1.8.

    [1] Balestriero & LeCun (2025), arXiv:2511.08544.
    """

    def __init__(self, n_points: int = 17) -> None:
        super().__init__()
        t = torch.linspace(0, T_MAX, n_points)
        weight = torch.full((n_points,), 2 * T_MAX / (n_points - 1))
        weight[[0, -1]] /= 2
        self.register_buffer("t", t)
        self.register_buffer("target", torch.exp(-t.square() / 2))
        self.register_buffer("weight", weight * self.target)

    def forward(self, x: Tensor, directions: Tensor) -> Tensor:
        angle = (x @ directions).unsqueeze(-1) * self.t
        error = (angle.cos().mean(-3) - self.target).square() + angle.sin().mean(-3).square()
        return (x.shape[-2] * (error @ self.weight)).mean()


def formula(x: Tensor, directions: Tensor, n_points: int) -> Tensor:
    """The library's reference, node by node: all cosines and sines at once, the node 0 left out."""
    c, s = characteristic_function_reference(x @ directions, T_MAX, n_points)
    target, weight = (column.to(x.dtype) for column in gaussian_grid(T_MAX, n_points, SIGMA, x.device))
    return (x.shape[-2] * characteristic_distance(c, s, target, weight)).mean()


def fused(x: Tensor, directions: Tensor, n_points: int, backend: str = "auto") -> Tensor:
    grid = gaussian_grid(T_MAX, n_points, SIGMA, x.device)
    return sliced_epps_pulley(x, directions, T_MAX, n_points, *grid, backend=backend)


def there_and_back(function: Callable[[], Tensor], x: Tensor, forward_only: bool = False) -> Contestant:
    """A call that runs ``function`` and its backward pass; the gradient is dropped."""

    def run() -> None:
        value = function()
        if not forward_only:
            value.backward()
            x.grad = None

    return run


def two_products(x: Tensor, directions: Tensor, by: Callable[[Tensor, Tensor], Tensor] = linear) -> Contestant:
    """The projections' product and that of their gradient: the floor."""
    x = x.detach()
    gradient = torch.randn(x.shape[0], directions.shape[1], dtype=x.dtype, device=x.device)
    return lambda: (by(x, directions.T), by(gradient, directions))


def peers(x: Tensor, num_slices: int, n_points: int) -> dict[str, Contestant]:
    """The peers that are installed."""
    found: dict[str, Contestant] = {}
    try:
        from lightly.loss.lejepa_loss import SIGReg

        lightly = SIGReg(knots=n_points, t_max=T_MAX, num_vectors=num_slices).to(x.device)
        found["lightly"] = there_and_back(lambda: lightly(x), x)
    except ImportError:
        pass
    try:
        from stable_pretraining.methods.lejepa import SlicedEppsPulley

        stable = SlicedEppsPulley(num_slices, T_MAX, n_points).to(x.device)
        found["stable-pretraining"] = there_and_back(lambda: stable(x), x)
    except ImportError:
        pass
    return found


def side_by_side(
    contestants: Mapping[str, Contestant],
    budget_s: float = 12.0,
    clock: Clock = time.perf_counter,
    calls: int | None = None,
) -> dict[str, list[float]]:
    """Seconds of each call, in rounds in which every contestant runs once: a busy machine slows all of them alike.

    A round leaves out those that have used up their share of the budget and have run three times; with ``calls`` every
    contestant runs as often.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for run in contestants.values():
        run()
    share = budget_s / len(contestants)

    def goes_on(taken: list[float]) -> bool:
        return len(taken) < 3 or sum(taken) < share if calls is None else len(taken) < calls

    while active := [name for name, taken in seconds.items() if goes_on(taken)]:
        for name in active:
            synchronize()
            start = clock()
            contestants[name]()
            synchronize()
            seconds[name].append(clock() - start)
        if calls is None and any(len(taken) >= 200 for taken in seconds.values()):
            break
    return seconds


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def median_ms(seconds: list[float]) -> float:
    return 1e3 * statistics.median(seconds)


def errors(x: Tensor, directions: Tensor, n_points: int, backend: str = "auto") -> tuple[float, float]:
    """Relative errors of value and gradient against the formula in float64."""
    wide = x.detach().double().requires_grad_()
    expected = formula(wide, directions.double(), n_points)
    value = fused(x, directions, n_points, backend)
    (gradient,) = torch.autograd.grad(value, x)
    (expected_gradient,) = torch.autograd.grad(expected, wide)
    difference = (gradient.double() - expected_gradient).norm() / expected_gradient.norm()
    return abs(float(value.detach() / expected.detach()) - 1), float(difference)
