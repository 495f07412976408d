"""Estimates of the study: errors against their laws, times at equal error, grids in closed form."""

import math
from typing import Any

import numpy as np
import pandas as pd

from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import exactly, mapped, mean, root
from sigreg_lab.slicing import cheapest_directions
from sigreg_lab.theory import quadrature, slices
from sigreg_lab.univariate.epps_pulley import AUTO_GRID

from .measure import AUTO, EXACT, GRID, SHORT

SQUARE, VALUE, MEMORY = "gradient, mean square", "value, mean square", "peak memory, MiB"
TIME, WORK, SHORTER = "time over iid", "time at equal error", "time over the official grid"
LAWS = ("iid", "orthogonal", "hd3")  # kinds whose error is known
OFF, NULL, POINTS, REACHES = "error of the grid's gradient", "the same at the null", range(5, 14), (3.0, 6.0)


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Errors, held against their laws; times over those of as many independent slices, and at equal error."""
    found = _grids()
    for (n, dim), cell in rows.groupby(["n", "dim"], sort=False):
        rho, times, squares = slices.spread(n, dim, GRID), dict[str, dict[int, Row]](), dict[tuple[str, int], float]()
        for (kind, count, stated), part in cell.groupby(["directions", "num_slices", "error"], sort=False):
            values = {quantity: group["value"].to_numpy() for quantity, group in part.groupby("quantity", sort=False)}
            place = {"n": n, "dim": dim, "directions": SHORT.get(kind, kind), "num_slices": count}
            law = slices.squared_error(rho, dim, count, orthogonal=kind != "iid") if kind in LAWS else math.nan
            if kind == AUTO:
                found += _reached(n, dim, stated, values["gradient"] / stated**2)
            elif "gradient" in values:
                near = 2 / dim * law if kind == "hd3" else 0.0  # nearly uniform
                found.append(mean(SQUARE, values["gradient"], law, **place) | {"tolerance": near})
                found.append(mean(VALUE, values["value"], **place))
            if "memory" in values and kind not in SHORT:
                found.append(mean(MEMORY, values["memory"], **place))
            if "time" in values:
                logs = mean("log", np.log(values["time"]), **place)
                found.append(mapped(logs, SHORTER if kind in SHORT else TIME, math.exp))
                if kind not in SHORT:
                    times.setdefault(kind, {})[count] = found[-1]
                    squares[kind, count] = law if kind in LAWS else values.get("gradient", np.array(math.nan)).mean()
        for error in settings["errors"]:
            needed = (rho - 1) / error**2
            for kind, taken in times.items():
                count = min(taken, key=lambda m, needed=needed: abs(math.log(m / needed)))  # type: ignore[misc]
                factor = count / needed if kind == EXACT else squares[kind, count] * count / (rho - 1)
                if math.isfinite(factor):
                    found.append(mapped(taken[count], WORK, lambda t, f=factor: t * f, error=error))  # type: ignore[misc]
    return found


def _reached(n: int, dim: int, stated: float, over: Any) -> list[Row]:
    """What "auto" chose, and its error over the stated one; none of the exact mean, which has no error."""
    choice, place = cheapest_directions(n, dim, stated), {"n": n, "dim": dim, "error": stated}
    if choice.kind == EXACT:
        return []
    exact = (choice.error / stated) ** 2
    square = mean("", over, exact, **place) | {"tolerance": 2 / dim * exact if choice.kind == "hd3" else 0.0}
    return [mapped(square, "error over the stated one", root, directions=choice.kind, num_slices=choice.num_slices)]


def _grids() -> list[Row]:
    found = []
    for points in POINTS:
        for reach in REACHES:
            off, t_max = quadrature.least_gradient_error(points, reach)
            found.append(exactly(OFF, off, points=points, reach=reach))
            if reach == quadrature.REACH:
                found.append(exactly("t_max", t_max, points=points))
                found.append(exactly("period", 2 * math.pi * (points - 1) / t_max, points=points))
    for name, (t_max, points) in {"official": (3.0, 17), AUTO: AUTO_GRID}.items():
        found.append(exactly(OFF, quadrature.gradient_error(t_max, points), grid=name))
        found.append(exactly(NULL, quadrature.null_gradient_error(t_max, points, 512), grid=name))
        found.append(exactly("period", 2 * math.pi * (points - 1) / t_max, grid=name))
    return found
