"""Power laws y = c x^p: straight lines through logarithms, by least squares."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sigreg_lab.experiment.cells import Row
from sigreg_lab.experiment.estimates import Estimates, about


def exponent(x: ArrayLike, y: ArrayLike, relative_error: ArrayLike = 0.0) -> tuple[float, float]:
    """Slope of log y in log x, each point counting alike, and its error from the relative standard errors of y."""
    log_x = np.log(np.asarray(x, dtype=float))
    weights = (log_x - log_x.mean()) / ((log_x - log_x.mean()) ** 2).sum()
    slope = weights @ np.log(np.asarray(y, dtype=float))
    return float(slope), float(np.sqrt((weights**2 * np.square(relative_error)).sum()))


class PowerLaw(NamedTuple):
    """log y = level + slope log x.

    Attributes:
        level: log y at x = 1.
        slope: the exponent.
    """

    level: float
    slope: float

    def reaches(self, y: float) -> float:
        """The x at which the line reaches y."""
        return math.exp((math.log(y) - self.level) / self.slope)


def power_law(x: ArrayLike, y: ArrayLike) -> PowerLaw:
    """Fit a power law, each point counting alike."""
    slope, level = np.polyfit(np.log(np.asarray(x, dtype=float)), np.log(np.asarray(y, dtype=float)), 1)
    return PowerLaw(float(level), float(slope))


def exponents(found: Estimates, x: str, by: Sequence[str]) -> list[Row]:
    """The exponent of an axis in each quantity, with its exact value where those of all points are known.

    Args:
        found: positive estimates; points that noise hides, whose interval reaches 0, are left out.
        x: the axis.
        by: axes of which each combination of values has an exponent of its own.
    """
    rows = []
    for (quantity, *key), cells in found.table.groupby(["quantity", *by], sort=False):
        cells = cells[cells["low"] > 0]
        if len(cells) > 1:
            slope, error = exponent(cells[x], cells["estimate"], cells["standard_error"] / cells["estimate"])
            known = exponent(cells[x], cells["exact"])[0] if (cells["exact"] > 0).all() else math.nan
            count = int(cells["replicates"].min())
            rows.append(about(f"exponent, {quantity}", slope, error, count, known, **dict(zip(by, key, strict=True))))
    return rows
