"""What low precision does to a statistic and to its gradient: the rounding of the input, and that of the arithmetic.

A sample or a batch of embeddings is ``scale`` times standard normal numbers, in float64. Against the float64 value and
gradient stand those of each way to compute, split in two where the input is rounded:

    input        float64 on the rounded numbers, against float64 on the given ones: nothing computed from them is nearer
    arithmetic   the way to compute, against float64 on the same rounded numbers (the rounding of the result included)

Measured, each relative to the float64 quantity's root mean square:

    value, gradient    root mean square of the difference, of the norm of the difference
    layer              the same error in the gradient of a last layer x = z W + b, which adds up over the batch
    persistent         the norm of the mean over batches of the layer's error, estimated without bias: what no
                       averaging over steps removes, a bias of the direction

Ways to compute the mean of Epps-Pulley over M slices: the fused operation by backend; and the published formula
(project, unsqueeze, cos, sin, mean; [1], stable-pretraining 0.1.8 has the same) in float32, under bfloat16 autocast,
and with embeddings, directions and buffers all in bfloat16 or float16; lightly 1.6.0 draws its directions in the dtype
of the embeddings and keeps its buffers in float32. Rounded directions are other directions, not quite of norm 1; what
they alone change is measured too, in float64, as they are and normalised again. M = 0 stands for the univariate
statistics, on columns of their own.

[1] Balestriero & LeCun (2025), arXiv:2511.08544.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sigreg_lab import univariate
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.experiment.intervals import squared_norm_of_mean
from sigreg_lab.kernels import (
    characteristic_distance,
    characteristic_function_reference,
    gaussian_grid,
    sliced_epps_pulley,
)
from sigreg_lab.slicing import iid_directions

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
QUANTITIES = ("value", "gradient", "layer")
T_MAX, POINTS = 3.0, 17
GROUPS = 12

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
        self.units: dict[str, list[Tensor]] = {f"{name}{of}": [] for name in QUANTITIES for of in ("", "_size")}
        self.layers: list[Tensor] = []
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
        layer = _layer(z, difference)
        self.units["value"].append((value - base_value) ** 2)
        self.units["gradient"].append((difference**2).sum((1, 2)))
        self.units["layer"].append((layer**2).sum(1))
        self.units["value_size"].append(exact[0][fine] ** 2)
        self.units["gradient_size"].append((exact[1][fine] ** 2).sum((1, 2)))
        self.layers.append(layer)
        self.units["layer_size"].append((_layer(z, exact[1][fine]) ** 2).sum(1))

    def row(self, *, has_layer: bool = True) -> Row:
        """Mean squares relative to those of the exact quantity, with linearised standard errors; ``has_layer``: not
        where the layer's gradient is 0, of statistics that do not see location and scale."""
        units, layers = {name: torch.cat(parts) for name, parts in self.units.items()}, torch.cat(self.layers)
        row: Row = {"units": len(layers), "broken": self.broken}
        if len(layers) < GROUPS:
            return row
        for name in QUANTITIES if has_layer else QUANTITIES[:2]:
            size = units[f"{name}_size"].mean()
            row[name] = float(units[name].mean() / size)
            left = (units[name] - row[name] * units[f"{name}_size"]) / size
            row[f"{name}_se"] = float(left.std() / math.sqrt(len(left)))
        if not has_layer:
            return row
        means = torch.stack([part.mean(0) for part in layers.tensor_split(GROUPS)]) / units["layer_size"].mean().sqrt()
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
    digits = 2 if key.endswith("_se") else 3
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
    rows[0]["changed"] = float(changed)
    return rows


def _columns(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return pair[0], pair[1].T[:, :, None]
