"""Near collapse: does a statistic's gradient vanish, how long does a collapsed sample take to spread, what can hide?

Part "pull". A sample of N points in R^K, seen through M slices, is eps away from a defect (z is standard normal):
    point     eps z: all points near the origin
    offset    c + eps z, |c| = 1: near another point
    rank      half the coordinates N(0, 1), the others eps z; the gradient in the others
    ties      N/2 points and their twins, eps z away; the difference of the twins' gradients
Part "escape". In R^1, N points eps z move down the gradient of the statistic that carries N (those that do not are
multiplied by it), until their standard deviation is 1/2: by gradient steps, by Adam.
Part "basin". On nodes k h, x and x + P, P = 2 pi/h, are the same. Adam from N(0, sd^2), far spread: what is left of the
loss on the grid, and on the full line.
Part "null". The loss under N(0, I), whose mean is known.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sigreg_lab import univariate
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.slicing import make_directions, seeded_generator, sliced_statistic
from sigreg_lab.slicing.infinite import infinite_slice_epps_pulley
from sigreg_lab.theory import null_means
from sigreg_lab.theory.collapse import BY_RANK, SHAPES, SPREAD, gradient_exponent, growth_rate
from sigreg_lab.univariate import EppsPulley, UnivariateTest

Array = NDArray[np.float64]

ALL_SLICES, FULL_LINE = "infinite_slice_epps_pulley", "epps_pulley_full_line"
WITHOUT_N = ("mean_std", "wasserstein")
MOMENTS = ("vcreg", "extended_jarque_bera")
STATISTICS: dict[str, Callable[[], UnivariateTest]] = {
    "epps_pulley": EppsPulley,
    "epps_pulley_paper_grid": lambda: EppsPulley(5.0, 9),
    FULL_LINE: lambda: EppsPulley(integration="exact"),
    **{name: univariate.REGISTRY[name] for name in (*BY_RANK, *MOMENTS, "mean_std")},
}
PULLED = ["epps_pulley", ALL_SLICES, *BY_RANK, "extended_jarque_bera", "vcreg", "mean_std"]
ESCAPING = [name for name in PULLED if name != ALL_SLICES]
EPSILONS = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]
FITTED = slice(1, 5)  # 1e-5 .. 1e-2: above the floor that holds variances at 1e-12
STEP = 0.01  # of gradient descent and of Adam
SPREAD_OUT = ["epps_pulley", "epps_pulley_paper_grid", FULL_LINE]
WIDEST = 1e6  # where a run that blows up is stopped


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    name, dim, rng = str(cell["statistic"]), int(cell["dim"]), np.random.default_rng(seed)
    if cell["part"] in ("pull", "null"):
        return (_pull if cell["part"] == "pull" else _null)(name, dim, settings, rng)
    return (_escape if cell["part"] == "escape" else _basin)(name, settings, rng)


def _row(case: str, quantity: str, values: Array | float, at: float = math.nan, exact: float = math.nan) -> Row:
    """Mean and standard error of independent ``values``; one that is deterministic comes alone."""
    values = np.atleast_1d(values)
    error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0
    estimate, error = float(f"{values.mean():.9g}"), float(f"{error:.5g}")
    row = {"case": case, "quantity": quantity, "at": at, "estimate": estimate, "standard_error": error}
    return row | {"count": len(values), "exact": exact}


def _loss(name: str, x: Tensor, directions: Tensor) -> Tensor:
    """The mean over slices of T; over all directions for the infinite-slice statistic."""
    if name == ALL_SLICES:
        return infinite_slice_epps_pulley(x)
    return sliced_statistic(x, STATISTICS[name](), directions)


def _directions(dim: int, settings: Config, rng: np.random.Generator) -> Tensor:
    generator = seeded_generator(int(rng.integers(2**31)))
    return make_directions("iid", dim, settings["num_slices"], generator=generator, dtype=torch.float64)


def near_collapse(shape: str, z: Array, eps: float) -> Array:
    """The sample of that shape made of the standard normal ``z``, shape (N, K)."""
    n, dim = z.shape
    if shape == "rank":
        return np.concatenate([z[:, : dim // 2], eps * z[:, dim // 2 :]], axis=1)
    if shape == "ties":
        return np.concatenate([z[: n // 2], z[: n // 2] + eps * z[n // 2 :]])
    centre = np.eye(dim)[0] if shape == "offset" else np.zeros(dim)
    return centre + eps * z


def _size(shape: str, gradient: Array) -> float:
    """Root mean square over samples of the gradient's length, in the collapsed coordinates or between twins."""
    n, dim = gradient.shape
    if shape == "rank":
        gradient = gradient[:, dim // 2 :]
    elif shape == "ties":
        gradient = gradient[: n // 2] - gradient[n // 2 :]
    return float(np.sqrt((gradient**2).sum(1).mean()))


def _pull(name: str, dim: int, settings: Config, rng: np.random.Generator) -> list[Row]:
    n, draws = settings["num_samples"], settings["draws"]
    sizes = {shape: np.zeros((len(EPSILONS), draws)) for shape in SHAPES}
    growth = np.zeros(draws)
    for draw in range(draws):
        z, directions = rng.standard_normal((n, dim)), _directions(dim, settings, rng)
        for shape in SHAPES:
            for i, eps in enumerate(EPSILONS):
                x = torch.from_numpy(near_collapse(shape, z, eps)).requires_grad_()
                gradient = torch.autograd.grad(_loss(name, x, directions), x)[0].numpy()
                sizes[shape][i, draw] = _size(shape, gradient)
                if shape == "point" and i == 0:
                    spread = eps * (z - z.mean(0))
                    growth[draw] = -(spread * gradient).sum() / (spread**2).sum()
    rows = []
    for shape, values in sizes.items():
        logs = np.log10(np.maximum(values, 1e-30))
        rows += [_row(shape, "gradient", line, at=eps) for eps, line in zip(EPSILONS, logs, strict=True)]
        slopes = np.polyfit(np.log10(EPSILONS[FITTED]), logs[FITTED], 1)[0]
        rows.append(_row(shape, "exponent", slopes, exact=gradient_exponent(name, shape)))
    if name in ("epps_pulley", ALL_SLICES):
        rows.append(_row("point", "growth rate", growth, exact=growth_rate(*EppsPulley().nodes()) / dim))
    return rows


def _null(name: str, dim: int, settings: Config, rng: np.random.Generator) -> list[Row]:
    n, draws = settings["num_samples"], settings["null_draws"]
    values = np.zeros(draws)
    for draw in range(draws):
        x = torch.from_numpy(rng.standard_normal((n, dim)))
        values[draw] = float(_loss(name, x, _directions(dim, settings, rng)))
    grid = EppsPulley().nodes()[1:]
    known = name in ("epps_pulley", ALL_SLICES)
    return [
        _row("null", "value", values, exact=null_means.epps_pulley(*grid) if known else null_means.null_mean(name, n))
    ]


def _slope(name: str, x: Tensor) -> Tensor:
    """Gradient of the statistic that carries N, each column by itself."""
    point = x.detach().requires_grad_()
    value = STATISTICS[name]().unchecked(point).sum() * (len(x) if name in WITHOUT_N else 1)
    (gradient,) = torch.autograd.grad(value, point)
    return gradient


def _escape(name: str, settings: Config, rng: np.random.Generator) -> list[Row]:
    n, draws = settings["num_samples"], settings["escape_draws"]
    z = rng.standard_normal((n, draws))
    epsilons = np.array(EPSILONS[1:-1])  # 1e-6 lies at the floor under variances, where a flow has a kink
    rows = []
    for method in ("gradient", "adam"):
        steps, widest = _descend(name, (epsilons[:, None] * z[:, None, :]).reshape(n, -1), method, settings["steps"])
        for i, eps in enumerate(epsilons):
            chosen = slice(i * draws, (i + 1) * draws)
            escaped = np.isfinite(steps[chosen]) & (widest[chosen] < 10)
            rows.append(_row(method, "escaped", escaped.mean(), at=eps) | {"count": draws})
            if escaped.all():
                rows.append(_row(method, "steps", steps[chosen], at=eps))
    return rows


def _descend(name: str, start: Array, method: str, most: int) -> tuple[Array, Array]:
    """Steps until each column's standard deviation is 1/2 (infinite if it never is), and the largest that it reaches
    within all ``most`` steps; a column that blows up counts as ``WIDEST``."""
    x = torch.from_numpy(start.copy())
    kind = torch.optim.Adam if method == "adam" else torch.optim.SGD
    optimizer = kind([x], lr=STEP)
    steps = np.full(x.shape[1], np.inf)
    widest = np.zeros(x.shape[1])
    for step in range(1, most + 1):
        x.grad = _slope(name, x).nan_to_num(0.0, 0.0, 0.0)
        optimizer.step()
        spread = np.nan_to_num(x.std(0).numpy(), nan=WIDEST, posinf=WIDEST).clip(max=WIDEST)
        steps = np.where(np.isinf(steps) & (spread >= SPREAD), step, steps)
        widest = np.maximum(widest, spread)
        x[:, torch.from_numpy(spread >= WIDEST)] = torch.linspace(-1, 1, len(x), dtype=x.dtype)[:, None]  # over
    return steps, widest


def _basin(name: str, settings: Config, rng: np.random.Generator) -> list[Row]:
    n, draws = settings["num_samples"], settings["escape_draws"]
    rows = []
    for spread in settings["spreads"]:
        x = torch.from_numpy(spread * rng.standard_normal((n, draws)))
        optimizer = torch.optim.Adam([x], lr=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings["steps"])
        for _ in range(settings["steps"]):
            x.grad = _slope(name, x)
            optimizer.step()
            schedule.step()
        for quantity, test in {"value": name, "value on the full line": FULL_LINE}.items():
            rows.append(_row("end", quantity, STATISTICS[test]().unchecked(x).numpy(), at=spread))
    return rows
