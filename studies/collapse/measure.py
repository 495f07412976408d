"""Near collapse: does a statistic's gradient vanish, how long does a collapsed sample take to spread, what can hide?

Part "pull". A sample of N points in R^K, seen through M slices, is eps away from a defect (z is standard normal):
    point     eps z: all points near the origin
    offset    c + eps z, |c| = 1: near another point
    rank      half the coordinates N(0, 1), the others eps z; the gradient in the others
    ties      N/2 points and their twins, eps z away; the difference of the twins' gradients
Part "escape". In R^1, N points eps z move down the gradient of the statistic that carries N (those that do not are
multiplied by it), until their standard deviation is 1/2: by gradient flow (an ODE), by gradient steps, by Adam.

Part "period". On nodes k h, x and x + P, P = 2 pi/h, are the same: a share of the points of N(0, 1) is moved by P. On
the grid E T stays int (1 - exp(-t^2)) w dt; on the full line N share^2 int |exp(i P t) - 1|^2 phi_0^2 w dt comes to it.
Part "basin". Adam from N(0, sd^2), far spread: how many points end nearer to another period, or are left behind.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import integrate
from torch import Tensor

from sigreg_lab import univariate
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.slicing import make_directions, seeded_generator, sliced_statistic
from sigreg_lab.slicing.infinite import infinite_slice_epps_pulley
from sigreg_lab.theory import null_means
from sigreg_lab.theory.collapse import (
    BY_RANK,
    SHAPES,
    SPREAD,
    escape_time,
    gradient_exponent,
    growth_rate,
    linear_terms,
    moved_mean,
    period,
)
from sigreg_lab.univariate import EppsPulley, UnivariateTest

Array = NDArray[np.float64]

GRIDS: dict[str, Callable[[], EppsPulley]] = {
    "epps_pulley": EppsPulley,
    "epps_pulley_paper_grid": lambda: EppsPulley(5.0, 9),
}
FULL_LINE = "epps_pulley_full_line"
STATISTICS: dict[str, Callable[[], UnivariateTest]] = {
    **GRIDS,
    FULL_LINE: lambda: EppsPulley(integration="exact"),
    **{
        name: univariate.REGISTRY[name]
        for name in (
            "anderson_darling",
            "cramer_von_mises",
            "watson",
            "extended_jarque_bera",
            "vcreg",
            "mean_std",
            "wasserstein",
        )
    },
}
ALL_SLICES = "infinite_slice_epps_pulley"
WITHOUT_N = ("mean_std", "wasserstein")
PULLED = ["epps_pulley", ALL_SLICES, *BY_RANK, "extended_jarque_bera", "vcreg", "mean_std"]
ESCAPING = [name for name in PULLED if name != ALL_SLICES]
EPSILONS = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]
FITTED = slice(1, 5)  # 1e-5 .. 1e-2: above the floor that holds variances at 1e-12
STEP = 0.01  # of gradient descent and of Adam
FAR = {"epps_pulley": 16.8, "epps_pulley_paper_grid": 5.03, FULL_LINE: 5.03}  # half a period, but for the full line
WIDEST = 1e6  # where a run that blows up is stopped


def null_mean(statistic: str, n: int) -> float:
    """E T under N(0, 1), the same for every slice."""
    if statistic == FULL_LINE:
        return null_means.FULL_LINE
    if statistic in GRIDS or statistic == ALL_SLICES:
        _, target, weight = GRIDS.get(statistic, EppsPulley)().nodes()
        return null_means.epps_pulley(target, weight)
    return null_means.null_mean(statistic, n)


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    part, name, dim = str(cell["part"]), str(cell["statistic"]), int(cell["dim"])
    rng = np.random.default_rng(seed)
    measured: dict[str, Callable[[], list[Row]]] = {
        "pull": lambda: _pull(name, dim, settings, rng),
        "null": lambda: _null(name, dim, settings, rng),
        "escape": lambda: _escape(name, settings, rng),
        "period": lambda: _period(name, dim, settings, rng),
        "basin": lambda: _basin(name, settings, rng),
    }
    return measured[part]()


def _row(case: str, quantity: str, values: Array | float, at: float = math.nan, exact: float = math.nan) -> Row:
    """Mean and standard error of independent ``values``; one that is deterministic comes alone."""
    values = np.atleast_1d(values)
    error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0
    return {
        "case": case,
        "quantity": quantity,
        "at": at,
        "estimate": float(f"{values.mean():.9g}"),
        "standard_error": float(f"{error:.5g}"),
        "count": len(values),
        "exact": exact,
    }


def _loss(name: str, x: Tensor, directions: Tensor) -> Tensor:
    """The mean over slices of T; over all directions for the infinite-slice statistic."""
    if name == ALL_SLICES:
        return infinite_slice_epps_pulley(x)
    return sliced_statistic(x, STATISTICS[name](), directions)


def _gradient(name: str, x: Array, directions: Tensor) -> Array:
    point = torch.from_numpy(x).requires_grad_()
    return torch.autograd.grad(_loss(name, point, directions), point)[0].numpy()


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
    sizes = {shape: np.zeros((len(EPSILONS) + 1, draws)) for shape in SHAPES}
    growth, remainder = np.zeros(draws), np.zeros(draws)
    for draw in range(draws):
        z, directions = rng.standard_normal((n, dim)), _directions(dim, settings, rng)
        for shape in SHAPES:
            for i, eps in enumerate([0.0, *EPSILONS]):
                x = near_collapse(shape, z, eps)
                gradient = _gradient(name, x, directions)
                sizes[shape][i, draw] = _size(shape, gradient)
                if shape == "point" and i == 1 and name in GRIDS:
                    linear = _linear_gradient(x, directions, GRIDS[name]())
                    remainder[draw] = np.abs(gradient - linear).max() / np.abs(linear).max()
                if shape == "point" and i == 1:
                    spread = x - x.mean(0)
                    growth[draw] = -(spread * gradient).sum() / (spread**2).sum()
    rows = []
    for shape, values in sizes.items():
        still = 0.0 if gradient_exponent(name, shape) == 1 else math.nan
        rows.append(_row(shape, "gradient at eps = 0", values[0], at=0.0, exact=still))
        logs = np.log10(np.maximum(values[1:], 1e-30))
        rows += [_row(shape, "gradient", line, at=eps) for eps, line in zip(EPSILONS, logs, strict=True)]
        slopes = np.polyfit(np.log10(EPSILONS[FITTED]), logs[FITTED], 1)[0]
        rows.append(_row(shape, "exponent", slopes, exact=gradient_exponent(name, shape)))
    if name in (*GRIDS, ALL_SLICES):
        rows.append(_row("point", "growth rate", growth, exact=growth_rate(*EppsPulley().nodes()) / dim))
    if name in GRIDS:
        rows.append(_row("point", "distance to the linear gradient", remainder.max(), exact=0.0))
    return rows


def _linear_gradient(x: Array, directions: Tensor, test: EppsPulley) -> Array:
    within, across = linear_terms(*test.nodes())
    a = directions.numpy()
    return 2 * (within * (x.mean(0) - x) + across * x) @ (a @ a.T) / a.shape[1]


def _null(name: str, dim: int, settings: Config, rng: np.random.Generator) -> list[Row]:
    n, draws = settings["num_samples"], settings["null_draws"]
    values = np.zeros(draws)
    for draw in range(draws):
        x = torch.from_numpy(rng.standard_normal((n, dim)))
        values[draw] = float(_loss(name, x, _directions(dim, settings, rng)))
    return [_row("null", "value", values, exact=null_mean(name, n))]


def _slope(name: str, x: Tensor) -> Tensor:
    """Gradient of the statistic that carries N, each column by itself."""
    point = x.detach().requires_grad_()
    value = STATISTICS[name]().unchecked(point).sum() * (len(x) if name in WITHOUT_N else 1)
    (gradient,) = torch.autograd.grad(value, point)
    return gradient


def flow_time(name: str, start: Array) -> float:
    """Time of the gradient flow from ``start``, shape (N,), until the standard deviation is 1/2."""

    def velocity(_: float, x: Array) -> Array:  # shape (N,), or (N, columns) for the Jacobian
        columns = torch.from_numpy(np.ascontiguousarray(x)).view(len(x), -1)
        return -_slope(name, columns).numpy().reshape(x.shape)

    def spread(_: float, x: Array) -> float:
        return float(x.std(ddof=1)) - SPREAD

    spread.terminal = True  # type: ignore[attr-defined]
    # Implicit: the shape terms of extended Jarque-Bera relax in a time of order eps^2.
    found = integrate.solve_ivp(  # type: ignore[call-overload]
        velocity,
        (0.0, 100.0),
        start,
        method="BDF",
        vectorized=True,
        events=spread,
        rtol=1e-6,
        atol=1e-6 * float(start.std()),
    )
    assert found.t_events is not None
    return float(found.t_events[0][0])


def _escape(name: str, settings: Config, rng: np.random.Generator) -> list[Row]:
    n, draws = settings["num_samples"], settings["escape_draws"]
    z = rng.standard_normal((n, draws))
    epsilons = np.array(EPSILONS[1:-1])  # 1e-6 lies at the floor under variances, where a flow has a kink
    times = np.array([[flow_time(name, eps * z[:, draw]) for draw in range(draws)] for eps in epsilons])
    exact = np.array([[escape_time(name, eps * z[:, draw]) for draw in range(draws)] for eps in epsilons])
    rows = [_row("flow", "time", line, at=eps) for eps, line in zip(epsilons, times, strict=True)]
    slopes = -np.polyfit(np.log(epsilons[:3]), times[:3], 1)[0]
    rate = {"epps_pulley": growth_rate(*EppsPulley().nodes()), "vcreg": 2.0, "extended_jarque_bera": 2.0}.get(
        name, math.inf
    )
    rows.append(_row("flow", "time per e-fold", slopes, exact=1 / rate))
    if not math.isnan(exact[0, 0]):
        distance = np.abs(times / exact - 1)[:4].max()
        rows.append(_row("flow", "distance to the exact time", distance, exact=0.0))
    for method in ("gradient", "adam"):
        steps, widest = _descend(name, (epsilons[:, None] * z[:, None, :]).reshape(n, -1), method, settings["steps"])
        for i, eps in enumerate(epsilons):
            chosen = slice(i * draws, (i + 1) * draws)
            escaped = np.isfinite(steps[chosen]) & (widest[chosen] < 10)
            rows.append(_row(method, "escaped", escaped.mean(), at=eps) | {"count": draws})
            rows.append(_row(method, "widest", np.log10(widest[chosen]), at=eps))
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


def _period(name: str, dim: int, settings: Config, rng: np.random.Generator) -> list[Row]:
    n, draws = settings["num_samples"], settings["null_draws" if dim == 1 else "draws"]
    grid, line = GRIDS[name](), STATISTICS[FULL_LINE]()
    assert isinstance(line, EppsPulley)
    rows = []
    z = torch.from_numpy(rng.standard_normal((draws, n, dim)))
    for share in settings["shares"]:
        moved = z.clone()
        moved[:, : round(share * n), 0] += period(grid.nodes()[0])
        rows += [
            _row("grid", "value", _values(grid, moved), at=share, exact=null_mean(name, n) if dim == 1 else math.nan),
            _row("full line", "value", _values(line, moved), at=share, exact=_moved_mean(grid, share, n, dim)),
        ]
        if dim == 1:
            here, there = (_column_gradients(grid, x[..., 0].T) for x in (z, moved))
            rows.append(_row("grid", "change of gradient", np.abs(here - there).max(), at=share, exact=0.0))
            far = _column_gradients(line, moved[..., 0].T) - _column_gradients(line, z[..., 0].T)
            rows.append(_row("full line", "change of gradient", np.abs(far).max(0), at=share))
    return rows


def _values(test: EppsPulley, x: Tensor) -> Array:
    """T of each sample, shape (draws, N, K); over all directions for K > 1."""
    if x.shape[-1] == 1:
        return test.unchecked(x[..., 0].T.contiguous()).numpy()
    return np.array([float(infinite_slice_epps_pulley(sample, test)) for sample in x])


def _column_gradients(test: UnivariateTest, x: Tensor) -> Array:
    point = x.contiguous().requires_grad_()
    (gradient,) = torch.autograd.grad(test.unchecked(point).sum(), point)
    return gradient.numpy()


def _moved_mean(grid: EppsPulley, share: float, n: int, dim: int) -> float:
    """E T on the full line with round(share n) of n samples moved by the grid's period along the first axis."""
    part = round(share * n) / n
    if dim > 1 and part > 0:
        return math.nan
    return moved_mean(null_means.FULL_LINE, period(grid.nodes()[0]), part, n)


def _basin(name: str, settings: Config, rng: np.random.Generator) -> list[Row]:
    n, draws = settings["num_samples"], settings["escape_draws"]
    rows = []
    for spread in settings["spreads"]:
        x = torch.from_numpy(spread * rng.standard_normal((n, draws)))
        before = int((x.abs() > FAR[name]).sum())
        optimizer = torch.optim.Adam([x], lr=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings["steps"])
        for _ in range(settings["steps"]):
            x.grad = _slope(name, x)
            optimizer.step()
            schedule.step()
        after = int((x.abs() > FAR[name]).sum())
        rows += [
            _row("start", "far", before / x.numel(), at=spread) | {"count": x.numel()},
            _row("end", "far", after / x.numel(), at=spread) | {"count": x.numel()},
            _row("end", "value", STATISTICS[name]().unchecked(x).numpy(), at=spread),
            _row("end", "value on the full line", STATISTICS[FULL_LINE]().unchecked(x).numpy(), at=spread),
        ]
    return rows
