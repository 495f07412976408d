"""What low precision does to a statistic and to its gradient: the rounding of the input, and that of the arithmetic.

A sample or a batch of embeddings is ``scale`` times standard normal numbers, in float64. Against the float64 value and
gradient stand those of each way to compute, split in two where the input is rounded:

    input        float64 on the rounded numbers, against float64 on the given ones: nothing computed from them is nearer
    arithmetic   the way to compute, against float64 on the same rounded numbers (the rounding of the result included)

Measured, each relative to the float64 quantity's root mean square:

    value, gradient    root mean square of the difference, of the norm of the difference
    turn               of that difference, the part orthogonal to the gradient: what its cosine sees
    layer              the same error in the gradient of a last layer x = z W + b, which adds up over the batch
    persistent         the norm of the mean over batches of the layer's error, estimated without bias: what no
                       averaging over steps removes, a bias of the direction

Ways to compute the mean of Epps-Pulley over M slices: the fused operation by backend; and the published formula
(project, unsqueeze, cos, sin, mean; [1], stable-pretraining 0.1.8 has the same) in float32, under bfloat16 autocast,
and with embeddings, directions and buffers all in bfloat16 or float16; lightly 1.6.0 draws its directions in the dtype
of the embeddings and keeps its buffers in float32. Rounded directions are other directions, not quite of norm 1; what
they alone change is measured too, in float64, as they are and normalised again. M = 0 stands for the univariate
statistics, on columns of their own.

Known exactly, and checked: the mean of the float64 value under the null; float32 errors within the tolerances
documented for the fused operation, 1e-6 and 5e-6 for projections up to 50 and N up to 8192 (beyond, N^0.5 times that:
c - phi shrinks, its rounding does not); autocast changes no bit; low-precision input is computed as its float32 copy
is.

[1] Balestriero & LeCun (2025), arXiv:2511.08544.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import special, stats
from torch import Tensor

from sigreg_lab import univariate
from sigreg_lab.experiment import Study, rate_interval
from sigreg_lab.experiment.intervals import squared_norm_of_mean
from sigreg_lab.experiment.power_laws import weighted_line
from sigreg_lab.experiment.study import Cell, Config, Row
from sigreg_lab.figures.tables import markdown_table
from sigreg_lab.figures.theme import error_bars, label, legend_below, log_ticks, new_figure, palette, themed
from sigreg_lab.kernels import (
    characteristic_distance,
    characteristic_function_reference,
    gaussian_grid,
    sliced_epps_pulley,
)
from sigreg_lab.slicing import iid_directions
from sigreg_lab.univariate import UnivariateTest

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
QUANTITIES = ("value", "gradient", "turn", "layer")
T_MAX, POINTS = 3.0, 17
TOLERANCE = {"value": 1e-6, "gradient": 5e-6}  # documented, docs/kernels.md
LARGEST, MOST_SAMPLES = 50.0, 8192  # projection and batch for which they are
REFERENCE_TOLERANCE = 1e-12
Z95 = 1.959964
GROUPS = 12
ERROR_RATE = 0.001  # probability that a right study complains of a mean, all comparisons together

Function = Callable[[Tensor], Tensor]


def published(x: Tensor, directions: Tensor, dtype: torch.dtype) -> Tensor:
    """The formula as published, buffers in ``dtype``; sums in what torch takes for the dtypes that meet."""
    t = torch.linspace(0, T_MAX, POINTS)
    weight = torch.full((POINTS,), 2 * T_MAX / (POINTS - 1))
    weight[[0, -1]] /= 2
    phi = (-(t**2) / 2).exp()
    t, phi, weight = t.to(dtype), phi.to(dtype), (weight * phi).to(dtype)
    angle = (x @ directions).unsqueeze(-1) * t
    error = (angle.cos().mean(-3) - phi).square() + angle.sin().mean(-3).square()
    return ((error @ weight) * x.shape[-2]).mean()


def published_autocast(x: Tensor, directions: Tensor) -> Tensor:
    """Embeddings come out of a layer in bfloat16; directions and buffers are float32, products are not."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return published(x, directions.float(), torch.float32)


def fused(backend: str) -> Callable[[Tensor, Tensor], Tensor]:
    target, weight = gaussian_grid(T_MAX, POINTS, math.sqrt(2.0), torch.device("cpu"))

    def function(x: Tensor, directions: Tensor) -> Tensor:
        directions = directions.to(torch.promote_types(x.dtype, torch.float32))
        return sliced_epps_pulley(x, directions, T_MAX, POINTS, target, weight, backend=backend)

    return function


#: Ways to compute: the dtypes of the embeddings, and the function of embeddings and directions.
SLICED: dict[str, tuple[tuple[str, ...], Callable[[Tensor, Tensor], Tensor]]] = {
    "fused_cpu": (("float32", "bfloat16", "float16"), fused("cpu")),
    "fused_eager": (("float32", "bfloat16", "float16"), fused("eager")),
    "published": (("float32",), lambda x, a: published(x, a.float(), torch.float32)),
    "published_autocast": (("bfloat16",), published_autocast),
    "published_cast": (
        ("bfloat16", "float16"),
        lambda x, a: published(x, a.to(x.dtype), x.dtype),
    ),
    "lightly": (("bfloat16",), lambda x, a: published(x, a.to(x.dtype), torch.float32)),
    "directions": (("bfloat16",), lambda x, a: fused("eager")(x.double(), a.to(x.dtype).double())),
    "directions_normalised": (
        ("bfloat16",),
        lambda x, a: fused("eager")(x.double(), torch.nn.functional.normalize(a.to(x.dtype).double(), dim=0)),
    ),
}
NAMES = {
    "given": "input rounding alone",
    "fused_cpu": "fused, C",
    "fused_eager": "fused, eager",
    "published": "published",
    "published_autocast": "published, autocast",
    "published_cast": "published, all cast",
    "lightly": "lightly",
    "directions": "directions alone rounded",
    "directions_normalised": "directions alone rounded, normalised",
}


def formula(x: Tensor, directions: Tensor) -> Tensor:
    """The plain formula in the dtype of ``x``, for the float64 yardstick's own check."""
    c, s = characteristic_function_reference(x @ directions, T_MAX, POINTS)
    target, weight = gaussian_grid(T_MAX, POINTS, math.sqrt(2.0), x.device)
    return len(x) * characteristic_distance(c, s, target, weight).mean()


def with_gradient(function: Function, x: Tensor) -> tuple[Tensor, Tensor]:
    """Value and gradient, float64; a value for each column, or one for all."""
    x = x.detach().clone().requires_grad_()
    value = function(x)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach().double(), gradient.double()


class Errors:
    """Sums of squared errors of one way to compute, over units: batches of embeddings, or columns.

    A unit is value (U,), gradient (U, N, C) and standard normal numbers z (U, N, C) that the input was made of.
    """

    def __init__(self) -> None:
        self.units: dict[str, list[Tensor]] = {name: [] for name in (*QUANTITIES, "value_size", "gradient_size")}
        self.layers: list[Tensor] = []
        self.layer_sizes: list[Tensor] = []
        self.broken = 0

    def add(
        self, z: Tensor, exact: tuple[Tensor, Tensor], found: tuple[Tensor, Tensor], base: tuple[Tensor, Tensor]
    ) -> None:
        """``found`` against ``base``, relative to ``exact``."""
        fine = torch.isfinite(found[0]) & torch.isfinite(base[0])
        fine &= torch.isfinite(found[1]).flatten(1).all(1) & torch.isfinite(base[1]).flatten(1).all(1)
        self.broken += int((~fine).sum())
        z = z[fine]
        (value, gradient), (base_value, base_gradient) = ((pair[0][fine], pair[1][fine]) for pair in (found, base))
        difference = gradient - base_gradient
        flat, base_flat = gradient.flatten(1), base_gradient.flatten(1)
        along = (flat * base_flat).sum(1, keepdim=True) / (base_flat**2).sum(1, keepdim=True).clamp_min(1e-300)
        layer = _layer(z, difference)
        self.units["value"].append((value - base_value) ** 2)
        self.units["gradient"].append((difference**2).sum((1, 2)))
        self.units["turn"].append(((flat - along * base_flat) ** 2).sum(1))
        self.units["layer"].append((layer**2).sum(1))
        self.units["value_size"].append(exact[0][fine] ** 2)
        self.units["gradient_size"].append((exact[1][fine] ** 2).sum((1, 2)))
        self.layers.append(layer)
        self.layer_sizes.append((_layer(z, exact[1][fine]) ** 2).sum(1))

    def row(self, *, has_layer: bool = True) -> Row:
        """Mean squares relative to those of the exact quantity, with standard errors; ``has_layer``: not where the
        layer's gradient is 0, of statistics that do not see location and scale."""
        units = {name: torch.cat(parts) for name, parts in self.units.items()}
        layers, layer_size = torch.cat(self.layers), torch.cat(self.layer_sizes).mean()
        row: Row = {"units": len(layers), "broken": self.broken}
        if len(layers) < GROUPS:
            return row
        gradient_size = units["gradient_size"].mean()
        sizes = {"value": units["value_size"].mean(), "gradient": gradient_size, "turn": gradient_size}
        if has_layer:
            sizes["layer"] = layer_size
        for name, size in sizes.items():
            squares = units[name] / size
            row[name], row[f"{name}_se"] = float(squares.mean()), float(squares.std() / math.sqrt(len(squares)))
        if not has_layer:
            return row
        means = torch.stack([part.mean(0) for part in layers.tensor_split(GROUPS)]) / layer_size.sqrt()
        row["persistent"], row["persistent_se"] = squared_norm_of_mean((means @ means.T).numpy())
        return row


def _layer(z: Tensor, gradient: Tensor) -> Tensor:
    """Gradients (U, N, C) in x = z W + b, for W and b: z' g and the sum of g, flattened."""
    return torch.cat([(z.transpose(1, 2) @ gradient).flatten(1), gradient.sum(1)], dim=1)


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    n, scale, num_slices = int(cell["n"]), float(cell["scale"]), int(cell["num_slices"])
    rng = np.random.default_rng(seed)
    if num_slices:
        rows = _measure_sliced(rng, n, scale, num_slices, settings)
    else:
        rows = [
            row
            for name in settings["statistics"]
            for row in _measure_statistic(name, n, scale, settings, rng.spawn(1)[0])
        ]
    return [{key: _short(key, value) for key, value in row.items()} for row in rows]


def _short(key: str, value: str | float) -> str | float:
    digits = 6 if key.startswith("null") else 2 if key.endswith("_se") else 3
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def _measure_sliced(rng: np.random.Generator, n: int, scale: float, num_slices: int, settings: Config) -> list[Row]:
    dim = settings["dim"]
    errors: dict[tuple[str, str, str], Errors] = {}
    checks = {"yardstick": 0.0, "largest": 0.0, "changed": 0.0}
    batches = int(np.clip(settings["values"] // (n * num_slices), GROUPS, settings["most_units"]))
    for batch in range(batches):
        z = torch.from_numpy(rng.standard_normal((n, dim)))
        directions = iid_directions(dim, num_slices, generator=torch.Generator().manual_seed(int(rng.integers(2**62))))
        # The same float32 directions for all.
        directions = directions.float().double()
        x = scale * z
        exactly = _bind(fused("eager"), directions)
        exact = _unit(with_gradient(exactly, x))
        if batch == 0:
            plain = _unit(with_gradient(_bind(formula, directions), x))
            checks["yardstick"] = max(_relative(exact[0], plain[0]), _relative(exact[1], plain[1]))
        checks["largest"] = max(checks["largest"], float((x @ directions).abs().max()))
        for dtype_name, dtype in DTYPES.items():
            rounded = x.to(dtype)
            base = _unit(with_gradient(exactly, rounded.double()))
            errors.setdefault(("given", dtype_name, "input"), Errors()).add(z[None], exact, base, exact)
            for name, (inputs, function) in SLICED.items():
                if dtype_name in inputs:
                    call = _bind(function, directions)
                    found = _unit(with_gradient(call, rounded))
                    errors.setdefault((name, dtype_name, "arithmetic"), Errors()).add(z[None], exact, found, base)
                    if batch == 0 and name.startswith("fused"):
                        checks["changed"] += _changed(call, rounded)
    rows: list[Row] = [
        {"method": method, "input": dtype_name, "part": part} | found.row()
        for (method, dtype_name, part), found in errors.items()
    ]
    rows[0] |= checks
    return rows


def _bind(function: Callable[[Tensor, Tensor], Tensor], directions: Tensor) -> Function:
    return lambda y: function(y, directions)


def _unit(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return pair[0][None], pair[1][None]


def _relative(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def _changed(function: Function, x: Tensor) -> int:
    """How many of the ways that must not matter do: autocast, and the lifting of low precision to float32."""
    value, gradient = with_gradient(function, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again, gradient_again = with_gradient(function, x)
    lifted, gradient_lifted = with_gradient(function, x.float())
    if x.dtype != torch.float32:
        gradient_lifted = gradient_lifted.to(x.dtype).double()
    pairs = ((value, again), (gradient, gradient_again), (value, lifted), (gradient, gradient_lifted))
    return sum(not torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs)


def _measure_statistic(name: str, n: int, scale: float, settings: Config, rng: np.random.Generator) -> list[Row]:
    test = univariate.REGISTRY[name]()
    columns = int(np.clip(settings["values"] // (8 * n), 2 * GROUPS, 8 * settings["most_units"]))
    z = torch.from_numpy(rng.standard_normal((n, columns)))
    x, units = scale * z, z.T[:, :, None]
    exact = _columns(with_gradient(test, x))
    errors: dict[tuple[str, str], Errors] = {}
    changed = 0
    for dtype_name, dtype in DTYPES.items():
        rounded = x.to(dtype)
        base = _columns(with_gradient(test, rounded.double()))
        found = _columns(with_gradient(test, rounded))
        if dtype_name != "float32":
            errors.setdefault((dtype_name, "input"), Errors()).add(units, exact, base, exact)
        errors.setdefault((dtype_name, "arithmetic"), Errors()).add(units, exact, found, base)
        changed += _changed(test, rounded)
    rows: list[Row] = [
        {"method": name, "input": dtype_name, "part": part} | found.row(has_layer=test.null_hypothesis == "simple")
        for (dtype_name, part), found in errors.items()
    ]
    for row in rows:  # within a few percent of the gradient's error, and the rows are many
        row.pop("turn", None)
        row.pop("turn_se", None)
    rows[0]["changed"] = float(changed)
    if scale == 1 and not math.isnan(null_expectation(name, n)):
        rows[0] |= _null_mean(test, n, settings["null_values"], rng)
    return rows


def _columns(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return pair[0], pair[1].T[:, :, None]


def _null_mean(test: UnivariateTest, n: int, values: int, rng: np.random.Generator) -> Row:
    sample = torch.from_numpy(rng.standard_normal((max(2 * GROUPS, values // n), n))).T
    found = univariate.evaluate([test], sample)[0]
    return {
        "null_samples": len(found),
        "null_mean": float(found.mean()),
        "null_mean_se": float(found.std() / math.sqrt(len(found))),
    }


def null_expectation(name: str, n: int) -> float:
    """Of the statistic of n samples of N(0, 1), NaN where no closed form is at hand."""
    skewness = 6 * (n - 2) / ((n + 1) * (n + 3))  # E g1^2, and E (b2 - 3)^2 of moments with divisor n
    kurtosis = 24 * n * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5)) + (6 / (n + 1)) ** 2
    jarque_bera = n / 6 * (skewness + kurtosis / 4)
    if name == "epps_pulley":
        target, weight = (row.numpy() for row in gaussian_grid(T_MAX, POINTS, math.sqrt(2.0), torch.device("cpu")))
        return float((weight * (1 - target**2)).sum())
    if name == "mean_std":
        log_c4 = special.gammaln(n / 2) - special.gammaln((n - 1) / 2) + 0.5 * np.log(2 / (n - 1))
        return float(1 / n + 2 * (1 - np.exp(log_c4)))
    known = {
        "anderson_darling": 1.0,
        "cramer_von_mises": 1 / 6,
        "watson": 1 / 12,
        "jarque_bera": jarque_bera,
        "vcreg": (n - 1) / (n - 3) + 1,
        "extended_jarque_bera": jarque_bera + (n - 1) / (n - 3) + 1,
    }
    return known.get(name, math.nan)


def summarize(rows: pd.DataFrame, settings: Config) -> pd.DataFrame:
    """One estimate a row, with a 95% interval: Student's, on the logarithm of mean squares, but for persistent ones.

    Exact checks, worst over a cell, have intervals of one point. Exponents of N have n = 0.
    """
    estimates: list[Row] = []
    for row in rows.to_dict("records"):
        key = {name: row[name] for name in ("num_slices", "n", "scale", "method", "input", "part")}
        for quantity in QUANTITIES:
            square = row.get(quantity, math.nan)
            if square > 0:
                relative = row[f"{quantity}_se"] / square / 2
                factor = math.exp(stats.t.ppf(0.975, row["units"] - 1) * relative)
                rms = math.sqrt(square)
                interval = {"estimate": rms, "low": rms / factor, "high": rms * factor}
                estimates.append(key | {"quantity": quantity} | interval)
        square = row.get("persistent", math.nan)
        if not math.isnan(square):
            half = stats.t.ppf(0.975, GROUPS - 1) * row["persistent_se"]
            interval = dict(zip(("estimate", "low", "high"), (square, square - half, square + half), strict=True))
            roots = {name: math.sqrt(max(value, 0.0)) for name, value in interval.items()}
            estimates.append(key | {"quantity": "persistent"} | roots)
        broken = row["broken"] / (row["units"] + row["broken"])
        low, high = rate_interval(row["broken"], row["units"] + row["broken"])
        if broken:
            estimates.append(key | {"quantity": "broken", "estimate": broken, "low": low, "high": high})
        if not math.isnan(row.get("null_mean", math.nan)):
            mean, error = row["null_mean"], row["null_mean_se"]
            exact = null_expectation(row["method"], row["n"])
            half = stats.t.ppf(0.975, row["null_samples"] - 1) * error
            found = {"quantity": "null_mean", "estimate": mean, "low": mean - half, "high": mean + half}
            known = {"exact": exact, "deviation": (mean - exact) / error, "samples": row["null_samples"]}
            estimates.append(key | found | known)
    for key, part in rows.groupby(["num_slices", "n", "scale"], sort=False):
        for check in ("yardstick", "largest", "changed"):
            value = part[check].max() if check in part else math.nan
            if not math.isnan(value):
                cell = dict(zip(("num_slices", "n", "scale"), key, strict=True))
                names = {"method": "all", "input": "all", "part": "check", "quantity": check}
                estimates.append(cell | names | {"estimate": value, "low": value, "high": value})
    summary = pd.DataFrame(estimates)
    summary = pd.concat([summary, _exponents(summary)], ignore_index=True)
    for column in ("estimate", "low", "high"):
        summary[column] = [float(f"{value:.4g}") for value in summary[column]]
    return summary


def _exponents(summary: pd.DataFrame) -> pd.DataFrame:
    """Slopes of log error in log N, weighted least squares; the interval is stretched where points scatter more."""
    found = []
    part = summary[summary["quantity"].isin(["value", "gradient"]) & (summary["num_slices"] > 0)]
    for key, curve in part.groupby(["num_slices", "scale", "method", "input", "part", "quantity"], sort=False):
        if len(curve) < 3:
            continue
        error = np.log(curve["high"] / curve["low"]).to_numpy() / (2 * Z95)
        _, slope, covariance, stretch = weighted_line(curve["n"], curve["estimate"], error)
        half = Z95 * stretch * math.sqrt(covariance[1, 1])
        names = dict(zip(("num_slices", "scale", "method", "input", "part", "quantity"), key, strict=True))
        names["quantity"] = f"exponent_{names['quantity']}"
        found.append(names | {"n": 0, "estimate": slope, "low": slope - half, "high": slope + half})
    return pd.DataFrame(found)


def verify(summary: pd.DataFrame) -> list[str]:
    """What the module's docstring says is known. Null means within a family-wise error of 0.1%, Student's law."""
    complaints = []
    means = summary[summary["quantity"] == "null_mean"]
    for row in means.itertuples():
        if abs(row.deviation) > stats.t.isf(ERROR_RATE / 2 / len(means), row.samples - 1):
            complaints.append(
                f"mean of {row.method} at n = {row.n} is {row.estimate:.5g}, not {row.exact:.5g} ({row.deviation:+.1f} "
                "standard errors)"
            )
    checks = summary[summary["part"] == "check"].set_index(["quantity", "num_slices", "n", "scale"])["estimate"]
    for (check, num_slices, n, scale), value in checks.items():
        where = f"M = {num_slices}, N = {n}, scale {scale:g}"
        if check == "yardstick" and not value < REFERENCE_TOLERANCE:
            complaints.append(f"the float64 yardstick is off the plain formula by {value:.1e} at {where}")
        if check == "changed" and value != 0:
            complaints.append(f"autocast or the lifting of low precision changes results at {where}")
    for quantity, bound in TOLERANCE.items():
        fused_rows = summary[summary["method"].str.startswith("fused") & (summary["input"] == "float32")]
        for row in fused_rows[fused_rows["quantity"] == quantity].itertuples():
            within = checks["largest", row.num_slices, row.n, row.scale] <= LARGEST
            limit = bound * max(1.0, math.sqrt(row.n / MOST_SAMPLES))
            if within and not row.estimate <= limit:
                complaints.append(
                    f"{quantity} of {row.method} in float32 is off by {row.estimate:.1e}, more than {limit:.0e}, at "
                    f"M = {row.num_slices}, N = {row.n}, scale {row.scale:g}"
                )
    return complaints


#: Ways to compute in the figure and the table: method, dtype of the input, part.
SHOWN = {
    ("given", "bfloat16", "input"): "bf16 input, rounding alone",
    ("fused_cpu", "bfloat16", "arithmetic"): "fused (C), bf16 input",
    ("fused_cpu", "float32", "arithmetic"): "fused (C), float32",
    ("fused_eager", "float32", "arithmetic"): "fused (eager), float32",
    ("published", "float32", "arithmetic"): "published, float32",
    ("published_autocast", "bfloat16", "arithmetic"): "published, bf16 autocast",
    ("published_cast", "bfloat16", "arithmetic"): "published, all bf16",
    ("published_cast", "float16", "arithmetic"): "published, all fp16",
    ("directions", "bfloat16", "arithmetic"): "bf16 directions alone",
    ("directions_normalised", "bfloat16", "arithmetic"): "bf16 directions, normalised",
    ("lightly", "bfloat16", "arithmetic"): "lightly, bf16 input",
}
DRAWN = [key for key in SHOWN if key[0] not in ("fused_eager", "lightly", "directions_normalised")]


def _way(summary: pd.DataFrame, way: tuple[str, str, str], quantity: str) -> pd.DataFrame:
    method, dtype, part = way
    return summary[
        (summary["method"] == method)
        & (summary["input"] == dtype)
        & (summary["part"] == part)
        & (summary["quantity"] == quantity)
    ]


def _sliced(summary: pd.DataFrame) -> pd.DataFrame:
    """The part with the fewest slices, of which there are all N."""
    sliced = summary[summary["num_slices"] > 0]
    return sliced[sliced["num_slices"] == sliced["num_slices"].min()]


@themed()
def figures(summary: pd.DataFrame) -> dict[str, Figure]:
    return {"precision_ways": _ways_figure(_sliced(summary)), "precision_statistics": _statistics_figure(summary)}


def _ways_figure(sliced: pd.DataFrame) -> Figure:
    """Errors by way to compute, against N; and the gradient's against the scale of the input."""
    null = sliced[(sliced["scale"] == 1) & (sliced["n"] > 0)]
    sizes, scales = sorted(null["n"].unique()), sorted(sliced["scale"].unique())
    middle = sizes[len(sizes) // 2]
    colours = palette([str(way) for way in DRAWN])
    titles = {"value": "value", "gradient": "gradient", "persistent": "a layer's gradient, persistent (▽: at most)"}
    figure = new_figure(11.5, 7.0)
    axes = figure.subplots(2, 2)
    for axis, (quantity, title) in zip(axes.flat, titles.items(), strict=False):
        for way in DRAWN:
            _curve(
                axis, _way(null, way, quantity), "n", colours[str(way)], SHOWN[way], "s" if way[0] == "given" else "o"
            )
        if quantity == "gradient":
            ends = np.array([sizes[0], sizes[-1]])
            axis.plot(ends, 2e-3 * np.sqrt(ends / ends[0]), color="0.3", lw=1, ls="--", label="slope of N^0.5")
        axis.set(title=f"{title}, scale 1", xlabel="batch size N", yscale="log")
        log_ticks(axis, sizes)
    last = axes[1][1]
    for way in DRAWN:
        rows = _way(sliced[sliced["n"] == middle], way, "gradient")
        _curve(last, rows, "scale", colours[str(way)], SHOWN[way], "s" if way[0] == "given" else "o")
    last.set(title=f"gradient, N = {middle}", xlabel="standard deviation of the embeddings", xscale="log", yscale="log")
    last.set_xticks(scales, [f"{scale:g}" for scale in scales])
    last.minorticks_off()
    for axis in axes[:, 0]:
        axis.set_ylabel("relative error (95% interval)")
    legend_below(figure, axes[0][1], 5)
    return figure


def _curve(axis: Axes, rows: pd.DataFrame, place: str, colour: Any, text: str, marker: str) -> None:
    """Estimates with whiskers; what cannot be told from 0 is a whisker's end with an arrow down."""
    rows = rows.sort_values(place)
    known, unknown = rows[rows["low"] > 0], rows[rows["low"] <= 0]
    error_bars(axis, known[place], known, "estimate", marker=marker, ms=4, lw=1.2, color=colour, label=text)
    axis.plot(unknown[place], unknown["high"], marker="v", ms=5, mfc="none", ls="none", color=colour)


def _statistics_part(summary: pd.DataFrame) -> pd.DataFrame:
    columns = summary[(summary["num_slices"] == 0) & (summary["scale"] == 1)]
    sizes = sorted(columns["n"].unique())
    return columns[columns["n"] == min(sizes, key=lambda n: abs(math.log(n / 4096)))]


def _statistics_figure(summary: pd.DataFrame) -> Figure:
    part = _statistics_part(summary)
    ways = {
        ("float32", "arithmetic"): "float32 arithmetic",
        ("float16", "input"): "rounding of the input to float16",
        ("bfloat16", "input"): "rounding of the input to bfloat16",
    }
    names = _order(part)
    colours = palette([str(way) for way in ways])
    figure = new_figure(9.0, 1.6 + 0.28 * len(names))
    axes = figure.subplots(1, 2, sharey=True)
    for axis, quantity in zip(axes, ("value", "gradient"), strict=True):
        for (dtype, kind), text in ways.items():
            rows = part[(part["input"] == dtype) & (part["part"] == kind) & (part["quantity"] == quantity)]
            whiskers = [rows["estimate"] - rows["low"], rows["high"] - rows["estimate"]]
            places = [names.index(name) for name in rows["method"]]
            colour = colours[str((dtype, kind))]
            axis.errorbar(rows["estimate"], places, xerr=whiskers, fmt="o", ms=4.5, lw=1.4, color=colour, label=text)
        axis.set(xscale="log", xlabel=f"relative error of the {quantity} (95% interval)")
        axis.grid(axis="y", visible=False)
        axis.set_ylim(len(names) - 0.5, -0.5)
    axes[0].set_yticks(range(len(names)), [label(name) for name in names])
    axes[0].set_title(f"N(0, 1), N = {part['n'].iloc[0]}")
    legend_below(figure, axes[0], 3)
    return figure


def _order(part: pd.DataFrame) -> list[str]:
    """Statistics by the gradient's error from bfloat16 input, least first."""
    rows = part[(part["input"] == "bfloat16") & (part["part"] == "input") & (part["quantity"] == "gradient")]
    return [str(name) for name in rows.sort_values("estimate")["method"]]


def report(summary: pd.DataFrame) -> str:
    sliced = _sliced(summary)
    null = sliced[sliced["scale"] == 1]
    largest = null["n"].max()
    here = null[null["n"] == largest]
    lines = [
        _ways_line(here, largest),
        *_growth_line(null),
        *_bias_line(here),
        *_statistics_lines(summary),
        *_scale_line(sliced),
        *_broken_line(summary),
        _check_line(summary),
    ]
    tables = [_ways_table(here, largest), _statistics_table(summary)]
    return "\n\n".join(["\n".join(lines), *tables])


def _text(rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    row = rows.iloc[0]
    if row["low"] <= 0:
        return f"< {row['high']:.1e}"
    return f"{row['estimate']:.2e} ({row['low']:.1e}, {row['high']:.1e})"


WAY = {SHOWN[way]: way for way in SHOWN}


def _ways_line(here: pd.DataFrame, n: int) -> str:
    def gradient(text: str) -> str:
        return _text(_way(here, WAY[text], "gradient"))

    exact = _way(here, WAY["bf16 input, rounding alone"], "gradient").iloc[0]
    ratios = []
    for text in ("published, bf16 autocast", "fused (C), bf16 input"):
        row = _way(here, WAY[text], "gradient").iloc[0]
        ratio = row["estimate"] / exact["estimate"]
        factor = math.exp(math.hypot(*(math.log(r["high"] / r["low"]) / 2 for r in (exact, row))))
        ratios.append((ratio, ratio / factor, ratio * factor))
    (autocast, low, high), fused = ratios
    more = "more than" if low > 1 else "less than" if high < 1 else "about as much as"
    return (
        f"- With bfloat16 embeddings autocast costs {more} their rounding: it adds {autocast:.1f} ({low:.1f}, "
        f"{high:.1f}) times that error of the gradient (N = {n}), the fused operation {fused[0]:.2f} ({fused[1]:.2f}, "
        f"{fused[2]:.2f}).\n"
        f"- At N = {n}, null, rounding the embeddings to bfloat16 moves the gradient by "
        f"{gradient('bf16 input, rounding alone')}, relative; the published formula under autocast adds "
        f"{gradient('published, bf16 autocast')}, all in bfloat16 {gradient('published, all bf16')}; the fused "
        f"operation {gradient('fused (C), bf16 input')}, the rounding of its result to bfloat16.\n"
        "- The chief cause is the norm of the directions, which autocast rounds with them: directions in bfloat16, all "
        f"else in float64, make {gradient('bf16 directions alone')}; the same directions, normalised again, "
        f"{gradient('bf16 directions, normalised')}. A slice of norm 1 + e asks for another variance, and a large "
        "batch sees it."
    )


def _growth_line(null: pd.DataFrame) -> list[str]:
    text = []
    for way in DRAWN:
        exponent = _way(null, way, "exponent_gradient")
        if len(exponent):
            row = exponent.iloc[0]
            text.append(f"{SHOWN[way]} {row['estimate']:.2f} ({row['low']:.2f}, {row['high']:.2f})")
    if not text:
        return []
    return [
        f"- Exponent of N in the gradient's relative error under the null: {'; '.join(text)}. An error of c and s that "
        "is flat in N grows as N^0.5 beside c - phi, which shrinks as N^-0.5."
    ]


def _bias_line(here: pd.DataFrame) -> list[str]:
    names = ("published, bf16 autocast", "published, all bf16", "published, all fp16", "bf16 input, rounding alone")
    text = []
    for name in names:
        layer, persistent = (_way(here, WAY[name], quantity) for quantity in ("layer", "persistent"))
        if len(layer) and len(persistent):
            text.append(f"{name}: {_text(layer)} in one batch, {_text(persistent)} persistent")
    return [
        "- Noise or bias? Error of the gradient in a last layer, where a batch's errors add up, and what of it "
        f"persists over batches and directions: {'; '.join(text)}. What does not persist is noise, mostly of new "
        "directions at each step, and small beside the gradient, which under the null is noise itself."
    ]


def _statistics_lines(summary: pd.DataFrame) -> list[str]:
    part = _statistics_part(summary)
    rounding = part[(part["input"] == "bfloat16") & (part["part"] == "input")]
    lines = []
    for quantity in ("gradient", "value"):
        rows = rounding[rounding["quantity"] == quantity].sort_values("estimate")
        if len(rows) < 4:
            continue
        names = rows["method"].iloc[-4:]
        worst = "; ".join(f"{label(name)} {_text(rows[rows['method'] == name])}" for name in names)
        best, usual = rows.iloc[0], rows[rows["method"] == "epps_pulley"]
        middle = "" if best["method"] == "epps_pulley" else f", Epps-Pulley {_text(usual)}"
        lines.append(
            f"- Rounding the sample to bfloat16 (N = {rows['n'].iloc[0]}, null) moves the {quantity} least for "
            f"{label(best['method'])}, {_text(rows.iloc[:1])}{middle}, most for {worst}."
        )
    if lines:
        lines[0] += (
            " Statistics of ranks see the ties that rounding makes: neighbours swap their gradients, which cancels in "
            "a layer; entropy, made of spacings, is lost."
        )
    return lines


def _scale_line(sliced: pd.DataFrame) -> list[str]:
    largest = sliced["scale"].max()
    sizes = sorted(sliced.loc[sliced["n"] > 0, "n"].unique())
    rows = sliced[(sliced["n"] == sizes[len(sizes) // 2]) & (sliced["scale"] == largest)]
    if largest <= 1:
        return []
    gradient = {name: _text(_way(rows, WAY[name], "gradient")) for name in SHOWN.values()}
    return [
        f"- Far from the target (standard deviation {largest:g}, N = {rows['n'].iloc[0]}) bfloat16 input alone moves "
        f"the gradient by {gradient['bf16 input, rounding alone']}, autocast adds "
        f"{gradient['published, bf16 autocast']}, float32 arithmetic {gradient['fused (C), float32']}."
    ]


def _broken_line(summary: pd.DataFrame) -> list[str]:
    rows = summary[summary["quantity"] == "broken"]
    if rows.empty:
        return ["- No value and no gradient is NaN or infinite."]
    text = []
    for (method, dtype, part), cells in rows.groupby(["method", "input", "part"], sort=False):
        worst = cells.loc[cells["estimate"].idxmax()]
        text.append(
            f"{label(str(method)) if method in univariate.REGISTRY else NAMES[str(method)]}, {dtype} {part}: "
            f"{worst['estimate']:.0%} ({worst['low']:.0%}, {worst['high']:.0%}) at scale {worst['scale']:g}, "
            f"N = {worst['n']}"
        )
    return [f"- NaN or infinite values or gradients, worst cell of each: {'; '.join(text)}."]


def _check_line(summary: pd.DataFrame) -> str:
    means = summary[summary["quantity"] == "null_mean"]
    single = summary[(summary["method"].str.startswith("fused")) & (summary["input"] == "float32")]
    worst = {q: single.loc[single.loc[single["quantity"] == q, "estimate"].idxmax()] for q in ("value", "gradient")}
    return (
        f"- Checked: {len(means)} null means (largest deviation {means['deviation'].abs().max():.1f} standard errors); "
        "autocast and lifting change no bit; float32 of the fused operation within its tolerances up to |projection| "
        f"= {LARGEST:g}. Its worst over all cells: value {_text(worst['value'].to_frame().T)} (scale "
        f"{worst['value']['scale']:g}, N = {worst['value']['n']}), gradient {_text(worst['gradient'].to_frame().T)} "
        f"(scale {worst['gradient']['scale']:g}, N = {worst['gradient']['n']})."
    )


def _ways_table(here: pd.DataFrame, n: int) -> str:
    quantities = (*QUANTITIES, "persistent")
    table = [[name, *(_text(_way(here, way, q)) for q in quantities)] for way, name in SHOWN.items()]
    heading = f"Relative error at the null, N = {n}, M = {here['num_slices'].iloc[0]} (95% interval):"
    return f"{heading}\n\n{markdown_table(['way to compute', *quantities], table)}"


def _statistics_table(summary: pd.DataFrame) -> str:
    part = _statistics_part(summary)
    table = []
    for name in _order(part):
        rows = part[part["method"] == name]
        rounding = [_text(_way(rows, (name, "bfloat16", "input"), q)) for q in ("value", "gradient", "layer")]
        table.append([label(name), _text(_way(rows, (name, "float32", "arithmetic"), "gradient")), *rounding])
    header = ["statistic", "float32, gradient", "bf16 input, value", "bf16 input, gradient", "bf16 input, layer"]
    heading = f"Relative error by statistic, null, N = {part['n'].iloc[0]} (95% interval):"
    return f"{heading}\n\n{markdown_table(header, table)}"


def keep(cell: Cell, settings: Config) -> bool:
    return int(cell["n"]) * int(cell["num_slices"]) <= settings["largest_batch"]


def _preset(
    num_slices: list[int], n: list[int], scale: list[float], statistics: list[str], values: int, null_values: int
) -> Config:
    return {
        "num_slices": num_slices,
        "n": n,
        "scale": scale,
        "statistics": statistics,
        "dim": 64,
        "values": values,  # projections in a cell, or eight times the samples of a statistic
        "most_units": 48,
        "largest_batch": min(values // 2, 1 << 23),  # projections
        "null_values": null_values,
    }


STATISTICS = list(univariate.REGISTRY)
STUDY = Study(
    name="precision",
    title="Low precision: the input's rounding and the arithmetic's",
    question="How far do float32, bfloat16 and float16 move each statistic and its gradient, how does that grow with "
    "N, and is it the rounding of the embeddings or that of the arithmetic; noise, or a bias of the direction?",
    expectation="float32 is as good as float64. With bfloat16 embeddings their own rounding dominates, and is noise; "
    "arithmetic in bfloat16 is worse, grows as N^0.5 and biases the gradient's direction.",
    seed=20251118,
    axes=("num_slices", "n", "scale"),
    keep=keep,
    presets={
        "smoke": _preset([0, 16], [64, 256], [1.0], ["epps_pulley", "anderson_darling", "vcreg"], 1 << 15, 1 << 18),
        "quick": _preset([0, 16], [64, 512, 4096], [0.1, 1.0, 10.0], STATISTICS, 1 << 18, 1 << 20),
        "standard": _preset([0, 16, 128], [64, 512, 4096, 16384], [0.1, 1.0, 10.0, 50.0], STATISTICS, 1 << 20, 1 << 22),
        "paper": _preset(
            [0, 16, 128, 1024],
            [64, 256, 1024, 4096, 16384, 65536],
            [0.1, 0.5, 1.0, 2.0, 10.0, 50.0],
            STATISTICS,
            1 << 26,
            1 << 26,
        ),
    },
    measure=measure,
    summarize=summarize,
    verify=verify,
    figures=figures,
    report=report,
)
