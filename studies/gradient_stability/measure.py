"""Theorem 4 of the LeJEPA paper: how large the gradient and the curvature of each statistic in one sample can get.

Measured: the size of the gradient as one sample moves out to |x| (part "outlier") or as all samples are scaled up from
N(0, 1) (part "scale"), exponents of |x| fitted to either, and the largest values of both that an optimiser finds (part
"worst"). Exact values are in ``theory.gradients``.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from sigreg_lab import univariate
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.theory import gradients
from sigreg_lab.theory.collapse import period
from sigreg_lab.univariate import EppsPulley, UnivariateTest

Array = NDArray[np.float64]

EPPS_PULLEY: dict[str, Callable[[], EppsPulley]] = {
    "epps_pulley": EppsPulley,
    "epps_pulley_paper_grid": lambda: EppsPulley(5.0, 9),
    "epps_pulley_full_line": lambda: EppsPulley(integration="exact"),
    "epps_pulley_full_line_sigma_1": lambda: EppsPulley(integration="exact", sigma=1.0),
}
OTHERS = (
    *("anderson_darling", "cramer_von_mises", "watson", "shapiro_wilk", "shapiro_francia", "jarque_bera"),
    *("extended_jarque_bera", "dagostino_k2", "vcreg", "mean_std", "moments", "entropy", "nll", "wasserstein"),
)
STATISTICS: dict[str, Callable[[], UnivariateTest]] = {
    **EPPS_PULLEY,
    **{name: univariate.REGISTRY[name] for name in OTHERS},
}
FITTED = 4  # octaves, the last ones, to which an exponent is fitted
OCTAVES = 12  # |x| from 1 to 4096; further out torch's second derivative of log Phi has no digits left
VANISHED = 1e-24  # a size below it in the last octave has fallen faster than any power


def pair_terms(test: EppsPulley) -> tuple[gradients.Term, gradients.Term]:
    """k and g."""
    if test.integration == "exact":
        return gradients.full_line_terms(test.sigma)
    return gradients.grid_terms(*test.nodes())


def largest(statistic: str, n: int) -> tuple[float, float]:
    """The largest |dT/dx_i| and |d2T/dx_i^2| over all samples of n; NaN where no formula is at hand."""
    if statistic == "cramer_von_mises":
        return gradients.cramer_von_mises_bound(n), math.nan
    if statistic not in EPPS_PULLEY:
        return math.nan, math.nan
    test = EPPS_PULLEY[statistic]()
    line = test.integration == "exact"
    return gradients.sharp_bounds(pair_terms(test), n, *(() if line else (period(test.nodes()[0]),)))


def gradient_of(test: UnivariateTest, x: Array) -> Array:
    """Of each column by itself, of the shape of ``x``."""
    point = torch.from_numpy(np.ascontiguousarray(x)).requires_grad_()
    return torch.autograd.grad(test.unchecked(point).sum(), point)[0].numpy()


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    name, n, rng = str(cell["statistic"]), int(cell["n"]), np.random.default_rng(seed)
    if cell["part"] == "worst":
        return _worst(name, n, settings, rng)
    return _moving(name, n, settings, rng, outlier=cell["part"] == "outlier")


def _row(
    quantity: str, estimate: float, error: float, count: int, at: float = math.nan, exact: float = math.nan
) -> Row:
    row = {"quantity": quantity, "at": at, "estimate": float(f"{estimate:.9g}")}
    return row | {"standard_error": float(f"{error:.5g}"), "count": count, "exact": exact}


def _moving(name: str, n: int, settings: Config, rng: np.random.Generator, *, outlier: bool) -> list[Row]:
    """Root mean square over |x| in [2^k, 2^(k+1)), of the outlier's gradient or of the largest."""
    points, replicates = settings["points"], settings["replicates"]
    shape = (OCTAVES, points, replicates)
    place = (np.arange(points)[:, None] + rng.random((points, replicates))) / points  # the same in every octave
    size = 2.0 ** (np.arange(OCTAVES)[:, None, None] + place)
    z = rng.standard_normal((n, replicates))
    x = np.broadcast_to(z[:, None, None, :], (n, *shape))
    x = np.concatenate([size[None], x[1:]]) if outlier else x * size
    x = x.reshape(n, -1)
    gradient = gradient_of(STATISTICS[name](), x)
    values = np.abs(gradient[0] if outlier else gradient).reshape(-1, *shape).max(0)
    logs = np.log2(np.maximum(np.sqrt((values**2).mean(1)), 1e-30))  # (octaves, replicates)
    error = logs.std(1, ddof=1) / math.sqrt(replicates)
    rows = [_row("gradient", logs[k].mean(), error[k], replicates, at=2.0**k) for k in range(OCTAVES)]
    slopes = np.polyfit(np.arange(FITTED), logs[-FITTED:], 1)[0]
    exponent, spread = slopes.mean(), slopes.std(ddof=1) / math.sqrt(replicates)
    if logs[-1].mean() < math.log2(VANISHED):
        exponent, spread = -math.inf, 0.0
    known = (gradients.OUTLIER if outlier else gradients.SCALE).get(name, math.nan)
    rows.append(_row("gradient exponent", exponent, spread, replicates, exact=known))
    return rows


def _worst(name: str, n: int, settings: Config, rng: np.random.Generator) -> list[Row]:
    """The largest derivatives that Adam finds, from samples of random width at a random distance from the first."""
    restarts, steps = settings["restarts"], settings["steps"]
    first = 2 * rng.standard_normal(restarts)
    width = 10 ** rng.uniform(-1.5, 0.5, restarts)
    start = first + rng.uniform(-3, 3, restarts) + width * rng.standard_normal((n, restarts))
    start[0] = first
    test = STATISTICS[name]()
    rows = []
    for quantity, exact in zip(("gradient", "curvature"), largest(name, n), strict=True):
        if math.isnan(exact):
            continue
        x = torch.from_numpy(start.copy()).requires_grad_()
        optimizer = torch.optim.Adam([x], lr=0.1)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        best = torch.zeros(restarts, dtype=torch.float64)
        for _ in range(steps):
            reached = torch.autograd.grad(test.unchecked(x).sum(), x, create_graph=True)[0][0]
            if quantity == "curvature":
                reached = torch.autograd.grad(reached.sum(), x, create_graph=True)[0][0]
            reached = reached.abs()
            best = torch.maximum(best, reached.detach())
            (x.grad,) = torch.autograd.grad(-reached.sum(), x)
            optimizer.step()
            schedule.step()
        rows.append(_row(f"largest {quantity}", float(best.max()), 0.0, restarts, exact=exact))
    return rows
