"""Near collapse: does a statistic's gradient vanish, how long does a collapsed sample take to spread, what can hide?

Part "pull". A sample of N points in R^K, seen through M slices, is eps away from a defect (z is standard normal):
    point     eps z: all points near the origin
    offset    c + eps z, |c| = 1: near another point
    rank      half the coordinates N(0, 1), the others eps z; the gradient in the others
    ties      N/2 points and their twins, eps z away; the difference of the twins' gradients
Near the origin the gradient of Epps-Pulley, T = N int |phi_hat - phi_0|^2 w dt, is linear, and its flow is
    dx_i/dt = -dT/dx_i = 2 (k'(0) (x_i - mean x) - g'(0) x_i),   k'(0) = int t^2 w dt,   g'(0) = int t^2 phi_0 w dt
so that the spread grows as exp(rate time), rate = 2 (k'(0) - g'(0)); over all directions of R^K it is rate/K.

Part "escape". In R^1, N points eps z move down the gradient of the statistic that carries N (those that do not are
multiplied by it), until their standard deviation is 1/2: by gradient flow (an ODE), by gradient steps, by Adam. Times
of the flow, with q = sum x_i^2 / (N - 1) and s the standard deviation at the start, all exact but the last:
    VCReg, extended Jarque-Bera   log((1 - q)/(3 q))/4         (their mean dies out at once, in a time of order eps^2)
    mean^2 + (std - 1)^2          (N - 1)/(2 N) log(2 (1 - s))
    Wasserstein                   -log(u)/2, u the root of sd(u x + (1 - u) quantiles) = 1/2
    Epps-Pulley                   log(1/eps)/rate + constant + O(eps)

Part "period". On nodes k h, x and x + P, P = 2 pi/h, are the same: a share of the points of N(0, 1) is moved by P. On
the grid E T stays int (1 - exp(-t^2)) w dt; on the full line N share^2 int |exp(i P t) - 1|^2 phi_0^2 w dt comes to it.
Part "basin". Adam from N(0, sd^2), far spread: how many points end nearer to another period, or are left behind.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import integrate, optimize, special, stats
from torch import Tensor

from sigreg_lab import univariate
from sigreg_lab.experiment import Study, rate_interval
from sigreg_lab.experiment.study import Cell, Config, Row
from sigreg_lab.figures.tables import markdown_table
from sigreg_lab.figures.theme import label, legend_below, new_figure, palette, themed
from sigreg_lab.kernels import gaussian_grid
from sigreg_lab.slicing import make_directions, seeded_generator, sliced_statistic
from sigreg_lab.slicing.infinite import infinite_slice_epps_pulley
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
BY_RANK = ("anderson_darling", "cramer_von_mises", "watson", "wasserstein")
PULLED = ["epps_pulley", ALL_SLICES, *BY_RANK, "extended_jarque_bera", "vcreg", "mean_std"]
ESCAPING = [name for name in PULLED if name != ALL_SLICES]
SHAPES = {"point": "a point", "offset": "a point off the origin", "rank": "half the coordinates", "ties": "pairs"}
EPSILONS = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]
FITTED = slice(1, 5)  # 1e-5 .. 1e-2: above the floor that holds variances at 1e-12
METHODS = {"flow": "gradient flow: time", "gradient": "gradient descent: steps", "adam": "Adam: steps"}
STEP = 0.01  # of gradient descent and of Adam
SPREAD = 0.5
FAR = {"epps_pulley": 16.8, "epps_pulley_paper_grid": 5.03, FULL_LINE: 5.03}  # half a period, but for the full line
WIDEST = 1e6  # where a run that blows up is stopped
STANDARD_ERRORS = 4.5
REMAINDER = 0.03  # of exponents fitted to eps up to 1e-2, whose next term is of order eps


def exponent(statistic: str, shape: str) -> float:
    """Of eps in the size of the gradient, as eps falls to 0; NaN where not known."""
    moments = statistic in ("extended_jarque_bera", "vcreg")
    if shape == "point":  # moments: mean^2/s^2 does not change with scale
        return -1.0 if moments else 0.0 if statistic in (*BY_RANK, "mean_std") else 1.0
    if shape == "offset":  # moments: mean^2/s^2 = (c/eps)^2
        return -3.0 if moments else 0.0
    if shape == "ties":
        return 0.0 if statistic in BY_RANK else 1.0
    return 1.0 if statistic == ALL_SLICES else math.nan


def nodes(test: EppsPulley) -> tuple[Array, Array, Array]:
    """Nodes t > 0 of a grid, target and weight there."""
    target, weight = gaussian_grid(test.t_max, test.n_points, test.sigma, torch.device("cpu"))
    return np.linspace(0.0, test.t_max, test.n_points)[1:], target.numpy(), weight.numpy()


def linear_terms(test: EppsPulley) -> tuple[float, float]:
    """k'(0) and g'(0)."""
    t, target, weight = nodes(test)
    return float((weight * t**2).sum()), float((weight * t**2 * target).sum())


def growth_rate(test: EppsPulley) -> float:
    within, across = linear_terms(test)
    return 2 * (within - across)


def null_mean(statistic: str, n: int) -> float:
    """E T under N(0, 1), the same for every slice."""
    if statistic == FULL_LINE:
        return math.sqrt(2 * math.pi) - math.sqrt(2 * math.pi / 3)
    if statistic in GRIDS or statistic == ALL_SLICES:
        _, target, weight = nodes(GRIDS.get(statistic, EppsPulley)())
        return float((weight * (1 - target**2)).sum())
    if statistic == "mean_std":
        log_c4 = special.gammaln(n / 2) - special.gammaln((n - 1) / 2) + 0.5 * math.log(2 / (n - 1))
        return float(1 / n + 2 - 2 * math.exp(log_c4))
    known = {"anderson_darling": 1.0, "cramer_von_mises": 1 / 6, "watson": 1 / 12, "vcreg": 1 + (n - 1) / (n - 3)}
    return known.get(statistic, math.nan)


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
        still = 0.0 if exponent(name, shape) == 1 else math.nan
        rows.append(_row(shape, "gradient at eps = 0", values[0], at=0.0, exact=still))
        logs = np.log10(np.maximum(values[1:], 1e-30))
        rows += [_row(shape, "gradient", line, at=eps) for eps, line in zip(EPSILONS, logs, strict=True)]
        slopes = np.polyfit(np.log10(EPSILONS[FITTED]), logs[FITTED], 1)[0]
        rows.append(_row(shape, "exponent", slopes, exact=exponent(name, shape)))
    if name in (*GRIDS, ALL_SLICES):
        rows.append(_row("point", "growth rate", growth, exact=growth_rate(EppsPulley()) / dim))
    if name in GRIDS:
        rows.append(_row("point", "distance to the linear gradient", remainder.max(), exact=0.0))
    return rows


def _linear_gradient(x: Array, directions: Tensor, test: EppsPulley) -> Array:
    within, across = linear_terms(test)
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


def escape_time(name: str, start: Array) -> float:
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


def exact_time(name: str, start: Array) -> float:
    """The same in closed form, NaN where there is none."""
    n = len(start)
    if name in ("vcreg", "extended_jarque_bera"):
        q = (start**2).sum() / (n - 1)
        return float(np.log((1 - q) / (3 * q)) / 4)
    if name == "mean_std":
        return float((n - 1) / (2 * n) * np.log(2 * (1 - start.std(ddof=1))))
    if name == "wasserstein":
        s, quantiles = np.sort(start), special.ndtri((np.arange(n) + 0.5) / n)
        root = optimize.brentq(lambda u: np.std(u * s + (1 - u) * quantiles, ddof=1) - SPREAD, 0, 1)
        return float(-np.log(root) / 2)
    return math.nan


def _escape(name: str, settings: Config, rng: np.random.Generator) -> list[Row]:
    n, draws = settings["num_samples"], settings["escape_draws"]
    z = rng.standard_normal((n, draws))
    epsilons = np.array(EPSILONS[1:-1])  # 1e-6 lies at the floor under variances, where a flow has a kink
    times = np.array([[escape_time(name, eps * z[:, draw]) for draw in range(draws)] for eps in epsilons])
    exact = np.array([[exact_time(name, eps * z[:, draw]) for draw in range(draws)] for eps in epsilons])
    rows = [_row("flow", "time", line, at=eps) for eps, line in zip(epsilons, times, strict=True)]
    slopes = -np.polyfit(np.log(epsilons[:3]), times[:3], 1)[0]
    rate = {"epps_pulley": growth_rate(EppsPulley()), "vcreg": 2.0, "extended_jarque_bera": 2.0}.get(name, math.inf)
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


def period(test: EppsPulley) -> float:
    return 2 * math.pi * (test.n_points - 1) / test.t_max


def _period(name: str, dim: int, settings: Config, rng: np.random.Generator) -> list[Row]:
    n, draws = settings["num_samples"], settings["null_draws" if dim == 1 else "draws"]
    grid, line = GRIDS[name](), STATISTICS[FULL_LINE]()
    assert isinstance(line, EppsPulley)
    rows = []
    z = torch.from_numpy(rng.standard_normal((draws, n, dim)))
    for share in settings["shares"]:
        moved = z.clone()
        moved[:, : round(share * n), 0] += period(grid)
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
    distance = 2 * math.sqrt(2 * math.pi / 3) * (1 - math.exp(-(period(grid) ** 2) / 6))
    return null_mean(FULL_LINE, n) + n * part**2 * distance


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


def summarize(rows: pd.DataFrame, settings: Config) -> pd.DataFrame:
    """95% intervals: Student's for means, Wilson's for shares of points; what is deterministic has low = high.

    Sizes of the gradient and the widest spread are geometric means over draws."""
    summary = rows.assign(most_steps=settings["steps"])
    half = stats.t.ppf(0.975, np.maximum(rows["count"] - 1, 1)) * rows["standard_error"]
    summary["low"], summary["high"] = rows["estimate"] - half, rows["estimate"] + half
    logs = rows["quantity"].isin(["gradient", "widest"])
    for column in ("estimate", "low", "high"):
        summary.loc[logs, column] = 10.0 ** summary.loc[logs, column]
    for i in summary.index[rows["quantity"].isin(["far", "escaped"])]:
        total = int(rows.loc[i, "count"])
        summary.loc[i, ["low", "high"]] = rate_interval(round(rows.loc[i, "estimate"] * total), total)
    return summary


#: Beyond chance, absolute: from the next order in eps, the tolerance of the solver, rounding.
TOLERANCES = {
    "gradient at eps = 0": 1e-9,
    "exponent": REMAINDER,
    "growth rate": 1e-6,
    "distance to the linear gradient": 1e-7,
    "time per e-fold": 2e-3,
    "distance to the exact time": 2e-3,
    "value": 1e-9,
    "change of gradient": 1e-9,
}


def verify(summary: pd.DataFrame) -> list[str]:
    """What is known exactly within 4.5 standard errors and the tolerance of its kind."""
    complaints = []
    for row in summary[summary["exact"].notna()].itertuples():
        chance = row.standard_error * stats.t.ppf(stats.norm.cdf(STANDARD_ERRORS), max(row.count - 1, 1))
        if not abs(row.estimate - row.exact) <= chance + TOLERANCES[row.quantity]:
            complaints.append(
                f"{row.quantity} of {row.statistic} ({row.part}, {row.case}, K = {row.dim}, at {row.at:g}) is "
                f"{row.estimate:.6g}, not {row.exact:.6g}"
            )
    return complaints


@themed()
def figures(summary: pd.DataFrame) -> dict[str, Figure]:
    return {"collapse_pull": _draw_pull(summary), "collapse_escape": _draw_escape(summary)}


def _draw_pull(summary: pd.DataFrame) -> Figure:
    part = summary[(summary["part"] == "pull") & (summary["quantity"] == "gradient")]
    dim = middle(part["dim"])
    names, colours = _drawn(part)
    figure = new_figure(10.4, 4.0)
    axes = figure.subplots(1, len(SHAPES), sharey=True)
    for axis, (shape, text) in zip(axes, SHAPES.items(), strict=True):
        cells = part[(part["case"] == shape) & (part["dim"] == dim)]
        for place, name in enumerate(names):
            row = cells[cells["statistic"] == name]
            axis.plot(row["at"], row["estimate"], label=label(name), **_style(name, place, colours))
            axis.fill_between(row["at"], row["low"], row["high"], color=colours[name], alpha=0.2, lw=0)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_ylim(1e-8, 1e10)
        axis.set(title=text, xlabel="distance eps to collapse")
    axes[0].set_ylabel(f"gradient per sample, K = {dim}\n(geometric mean; bands: 95% interval)")
    legend_below(figure, axes[0], 5)
    return figure


def _draw_escape(summary: pd.DataFrame) -> Figure:
    part = summary[summary["part"] == "escape"]
    names, colours = _drawn(part)
    figure = new_figure(9.0, 4.2)
    axes = figure.subplots(1, len(METHODS))
    for axis, (method, text) in zip(axes, METHODS.items(), strict=True):
        cells = part[(part["case"] == method) & part["quantity"].isin(["time", "steps"])]
        failed = part[(part["case"] == method) & (part["quantity"] == "escaped") & (part["estimate"] < 1)]
        for place, name in enumerate(names):
            row = cells[cells["statistic"] == name]
            axis.plot(row["at"], row["estimate"], label=label(name), **_style(name, place, colours))
            axis.fill_between(row["at"], row["low"], row["high"], color=colours[name], alpha=0.2, lw=0)
            lost = failed.loc[failed["statistic"] == name, "at"]
            axis.plot(lost, np.full(len(lost), 3000 * 1.15**place), "x", ms=5, color=colours[name])
        axis.set_xscale("log")
        if method == "flow":
            axis.set_ylim(bottom=0)
        else:
            axis.set_yscale("log")
            axis.set_ylim(0.8, 15_000)
        axis.set(title=text, xlabel="distance eps to collapse")
    axes[0].set_ylabel("until the standard deviation is 1/2\n(mean; bands: 95% interval)")
    axes[0].plot([], [], "x", color="0.3", label="not all runs escape")
    legend_below(figure, axes[0], 5)
    return figure


def _drawn(part: pd.DataFrame) -> tuple[list[str], dict[str, tuple[float, float, float]]]:
    """Names in the order of ``PULLED``, the same colour in every figure."""
    found = set(part["statistic"])
    return [name for name in PULLED if name in found], palette(PULLED)


def _style(name: str, place: int, colours: dict[str, tuple[float, float, float]]) -> dict[str, Any]:
    """Thinner lines lie on thicker ones, so that equal curves are both seen."""
    dashed = name not in (*GRIDS, ALL_SLICES)
    return {"color": colours[name], "lw": 2.8 - 0.2 * place, "ls": "--" if dashed else "-", "marker": "o", "ms": 3}


def middle(dims: "pd.Series") -> int:
    """The dimension that figures and report show."""
    values = sorted(set(dims))
    return int(values[len(values) // 2])


def report(summary: pd.DataFrame) -> str:
    pull = summary[summary["part"] == "pull"]
    dim = middle(pull["dim"])
    pull = pull[pull["dim"] == dim]
    escape = summary[summary["part"] == "escape"]
    least, near, far = pull["at"][pull["at"] > 0].min(), escape["at"].min(), 1e-2
    moments = escape[escape["statistic"].isin(["vcreg", "extended_jarque_bera"]) & (escape["at"] < far)]
    epps_pulley = escape[(escape["statistic"] == "epps_pulley") & (escape["at"] < far)]
    most = int(summary["most_steps"].iloc[0])
    everywhere = summary[(summary["part"] == "pull") & (summary["dim"] == summary["dim"].max())]
    growth = _pick(everywhere, ALL_SLICES, "point", "growth rate")
    folds = {name: _pick(escape, name, "flow", "time per e-fold") for name in ("epps_pulley", "vcreg")}
    floor, none = _pick(pull, "epps_pulley", "rank", "gradient", least), _pick(pull, ALL_SLICES, "rank", "exponent")
    flow = [_pick(escape, "epps_pulley", "flow", "time", at) for at in (near, far)]
    steps = [_pick(escape, "epps_pulley", "adam", "steps", at) for at in (near, far)]
    lines = [
        f"- Started nearer than eps = {far:g} to collapse, Adam brings {_runs(moments, 'adam')} of VCReg and extended "
        f"Jarque-Bera to a standard deviation of {SPREAD:g} within {most} steps, {_runs(epps_pulley, 'adam')} of "
        f"Epps-Pulley.",
        f"- The statistics of mean and variance do worse at collapse than Epps-Pulley: mean^2/s^2 makes their gradient "
        f"grow as 1/eps (eps^-3 off the origin). With steps of {STEP:g} Adam remembers the first gradients; plain "
        f"gradient descent brings {_runs(moments, 'gradient')} of VCReg and extended Jarque-Bera from below eps = "
        f"{far:g} to {SPREAD:g}, and throws or leaves the others far off.",
        *_landing(summary[summary["part"] == "basin"]),
        f"- That SIGReg's gradient vanishes at collapse **holds with a correction**: at the origin it falls as "
        f"eps^{_span(_pick(pull, 'epps_pulley', 'point', 'exponent'))}, but the rate of growth is constant. The flow "
        f"takes {_span(folds['epps_pulley'], 4)} per e-fold of eps, exactly {folds['epps_pulley']['exact']:.4f} "
        f"(VCReg: {_span(folds['vcreg'], 4)}), {_span(flow[0])} in all from eps = {near:g}, {_span(flow[1])} from "
        f"{far:g}. Adam takes {_span(steps[0], 1)} and {_span(steps[1], 1)} steps of {STEP:g}: it sees no collapse. "
        f"In K = {growth['dim']} the rate is K times less: {_span(growth, 4)}, exactly {growth['exact']:.4f}. "
        f"Rank-based statistics and mean^2 + (std - 1)^2 keep a gradient of constant size.",
        f"- Off the origin it does not vanish (exponent {_span(_pick(pull, 'epps_pulley', 'offset', 'exponent'))} at "
        f"|c| = 1). In collapsed coordinates beside sound ones it vanishes over all directions (exponent "
        f"{_span(none)}), but a finite number of slices leaves a random gradient of {_span(floor, 3)} per sample at "
        f"eps = {least:g}.",
        f"- Exact ties: Epps-Pulley and moments give twins the same gradient, so they never part (the difference goes "
        f"as eps^{_span(_pick(pull, 'epps_pulley', 'ties', 'exponent'))}); rank-based statistics push them apart with "
        f"constant force, in the order in which they stand in the batch.",
        *_hidden(summary, dim),
        f"- {int(summary['exact'].notna().sum())} quantities are known exactly; all agree.",
    ]
    header = ["statistic", *SHAPES.values(), f"flow, {near:g}", f"flow, {far:g}", f"steps, {near:g}", f"Adam, {near:g}"]
    table = markdown_table(
        header,
        [
            [
                label(name),
                *(_span(_pick(pull, name, shape, "exponent")) for shape in SHAPES),
                *(_time(escape, name, "flow", at) for at in (near, far)),
                *(_time(escape, name, method, near) for method in ("gradient", "adam")),
            ]
            for name in dict.fromkeys(pull["statistic"])
        ],
    )
    return "\n".join(lines) + (
        f"\n\nExponents of eps in the gradient near each kind of collapse (K = {dim}), and the time or the steps until "
        f"the standard deviation is {SPREAD:g} (K = 1; 95% intervals):\n\n{table}\n\nAdam from far spread samples at "
        f"K = 1: points beyond half a period (full line: beyond {FAR[FULL_LINE]:g}), before and after:\n\n"
        + _basins(summary[summary["part"] == "basin"])
    )


def _runs(part: pd.DataFrame, method: str) -> str:
    rows = part[(part["case"] == method) & (part["quantity"] == "escaped")]
    total, out = int(rows["count"].sum()), round((rows["estimate"] * rows["count"]).sum())
    low, high = rate_interval(out, total)
    return f"{out} of {total} runs ({low:.0%}, {high:.0%})"


def _landing(basin: pd.DataFrame) -> list[str]:
    name, widest = "epps_pulley_paper_grid", basin["at"].max()
    if name not in set(basin["statistic"]):
        return []
    ends = [_pick(basin, name, "end", quantity, widest) for quantity in ("far", "value", "value on the full line")]
    return [
        f"- A grid is periodic: from N(0, {widest:g}^2) Adam on the paper's grid takes {ends[0]['estimate']:.0%} "
        f"({ends[0]['low']:.0%}, {ends[0]['high']:.0%}) of the points to other periods at K = 1, and calls it perfect: "
        f"T = {_span(ends[1], 3)}, on the full line {_span(ends[2], 0)}."
    ]


def _hidden(summary: pd.DataFrame, dim: int) -> list[str]:
    part = summary[summary["part"] == "period"]
    share = 0.5
    lines = []
    for name in dict.fromkeys(part["statistic"]):
        own, line = (_pick(part[part["dim"] == 1], name, case, "value", share) for case in ("grid", "full line"))
        many, other = (_pick(part[part["dim"] == dim], name, case, "value", share) for case in ("grid", "full line"))
        moved = _pick(part[part["dim"] == 1], name, "grid", "change of gradient", share)
        lines.append(
            f"- {label(name)} has period {period(GRIDS[name]()):.2f}: with half of the points moved by it T is "
            f"{_span(own)} (null {own['exact']:.2f}) and no gradient changes by more than {moved['estimate']:.0e}; on "
            f"the full line it is {_span(line, 0)}. Any share can hide so, but at K = 1 alone: over all directions of "
            f"K = {dim} the grid sees {_span(many, 1)} (full line {_span(other, 1)})."
        )
    return lines


def _basins(basin: pd.DataFrame) -> str:
    rows = []
    for (name, at), group in basin.groupby(["statistic", "at"], sort=False):
        values = [_pick(group, name, case, what) for case, what in (("start", "far"), ("end", "far"))]
        ends = [_pick(group, name, "end", what) for what in ("value", "value on the full line")]
        shares = [f"{v['estimate']:.3f} ({v['low']:.3f}, {v['high']:.3f})" for v in values]
        rows.append([label(str(name)), f"{at:g}", *shares, *(_span(end) for end in ends)])
    return markdown_table(["statistic", "sd at the start", "far, before", "after", "T after", "T, full line"], rows)


def _pick(part: pd.DataFrame, statistic: str, case: str, quantity: str, at: float | None = None) -> "pd.Series":
    found = part[(part["statistic"] == statistic) & (part["case"] == case) & (part["quantity"] == quantity)]
    return (found if at is None else found[found["at"] == at]).iloc[0]


def _time(escape: pd.DataFrame, name: str, case: str, at: float) -> str:
    rows = escape[(escape["statistic"] == name) & (escape["case"] == case) & (escape["at"] == at)]
    found = rows[rows["quantity"].isin(["time", "steps"])]
    if len(found):
        return _span(found.iloc[0], 2 if case == "flow" else 0)
    return "-" if rows.empty else f"{rows[rows['quantity'] == 'escaped'].iloc[0]['estimate']:.0%} escape"


def _span(row: "pd.Series", digits: int = 2) -> str:
    estimate, low, high = (round(row[column], digits) + 0.0 for column in ("estimate", "low", "high"))
    return f"{estimate:.{digits}f} ({low:.{digits}f}, {high:.{digits}f})"


def _keep(cell: Cell, settings: Config) -> bool:
    name, dim = cell["statistic"], cell["dim"]
    if cell["part"] in ("pull", "null"):
        return dim != 1 and name in PULLED
    if cell["part"] == "escape":
        return dim == 1 and name in ESCAPING
    if cell["part"] == "period":
        return name in GRIDS
    return dim == 1 and name in FAR


def _preset(statistic: list[str], dim: list[int], draws: int, null_draws: int, escape_draws: int, steps: int) -> Config:
    return {
        "part": ["pull", "null", "escape", "period", "basin"],
        "statistic": statistic,
        "dim": [1, *dim],
        "num_samples": 64,
        "num_slices": 128,
        "draws": draws,
        "null_draws": null_draws,
        "escape_draws": escape_draws,
        "steps": steps,
        "shares": [0.0, 0.125, 0.5, 1.0],
        "spreads": [1.0, 2.0, 4.0, 8.0],
    }


EVERY = list(dict.fromkeys([*PULLED, *FAR]))
STUDY = Study(
    name="collapse",
    title="Near collapse, and what a grid lets through",
    question="Does the gradient vanish at collapse, how long does a collapsed sample take to spread, and what can hide "
    "in the period of a grid?",
    expectation="Epps-Pulley's gradient vanishes linearly at a point, at a constant rate of growth, so that it escapes "
    "in a time of log(1/eps)/rate; rank-based statistics escape in a time that does not depend on eps; moments as "
    "Epps-Pulley. Adam does not care. Points moved by whole periods of the grid are not seen, at K = 1.",
    seed=20251118,
    axes=("part", "statistic", "dim"),
    keep=_keep,
    paired=("statistic",),
    presets={
        "smoke": _preset(["epps_pulley", ALL_SLICES, "anderson_darling", "vcreg", FULL_LINE], [4], 2, 50, 2, 100)
        | {"num_samples": 24, "shares": [0.0, 0.5], "spreads": [8.0]},
        "quick": _preset(EVERY, [4, 16], 4, 100, 2, 1000),
        "standard": _preset(EVERY, [2, 16, 64], 8, 400, 8, 1500),
        "paper": _preset(EVERY, [2, 4, 16, 64, 256], 64, 10_000, 64, 5000),
    },
    measure=measure,
    summarize=summarize,
    verify=verify,
    figures=figures,
    report=report,
)
