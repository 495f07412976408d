"""Power laws y = c x^p: straight lines through logarithms, by least squares."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sigreg_lab.experiment.cells import Row
from sigreg_lab.experiment.estimates import Estimates, about

Z95 = 1.959964
#: A number, and the ends of its 95% interval.
Span = tuple[float, float, float]


def exponent(x: ArrayLike, y: ArrayLike, relative_error: ArrayLike = 0.0) -> tuple[float, float]:
    """Slope of log y in log x, each point counting alike, and its error from the relative standard errors of y."""
    log_x = np.log(np.asarray(x, dtype=float))
    weights = (log_x - log_x.mean()) / ((log_x - log_x.mean()) ** 2).sum()
    slope = weights @ np.log(np.asarray(y, dtype=float))
    return float(slope), float(np.sqrt((weights**2 * np.square(relative_error)).sum()))


class PowerLaw(NamedTuple):
    """log y = level + slope log x, fitted with weights.

    Attributes:
        level: log y at x = 1.
        slope: the exponent.
        covariance: of both, as the errors of the points have it.
        stretch: by how much the scatter about the line exceeds the errors (at least 1); intervals are wider by it.
    """

    level: float
    slope: float
    covariance: NDArray[np.float64]
    stretch: float

    @property
    def slope_error(self) -> float:
        """Standard error of the exponent, as the errors of the points have it."""
        return float(math.sqrt(self.covariance[1, 1]))

    def _error(self, log_x: float) -> float:
        place = np.array([1.0, log_x])
        return self.stretch * float(np.sqrt(place @ self.covariance @ place))

    def at(self, x: float) -> Span:
        """y at x."""
        middle, half = self.level + self.slope * math.log(x), Z95 * self._error(math.log(x))
        return math.exp(middle), math.exp(middle - half), math.exp(middle + half)

    def reaches(self, y: float) -> Span:
        """The x at which the line reaches y, to first order."""
        log_x = (math.log(y) - self.level) / self.slope
        half = Z95 * self._error(log_x) / abs(self.slope)
        return math.exp(log_x), math.exp(log_x - half), math.exp(log_x + half)


def power_law(x: ArrayLike, y: ArrayLike, relative_error: ArrayLike) -> PowerLaw:
    """Fit a power law to points with relative standard errors."""
    log_x = np.log(np.asarray(x, dtype=float))
    error = np.asarray(relative_error, dtype=float)
    design = np.stack([np.ones(len(log_x)), log_x], 1) / error[:, None]
    target = np.log(np.asarray(y, dtype=float)) / error
    covariance = np.linalg.inv(design.T @ design)
    level, slope = covariance @ design.T @ target
    freedom = len(log_x) - 2
    stretch = np.sqrt(((target - design @ [level, slope]) ** 2).sum() / freedom) if freedom else 1.0
    return PowerLaw(float(level), float(slope), covariance, max(1.0, float(stretch)))


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
