"""Exponents of power laws: straight lines through logarithms, by least squares."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def exponent(x: ArrayLike, y: ArrayLike, relative_error: ArrayLike = 0.0) -> tuple[float, float]:
    """Slope of log y in log x, each point counting alike, and its error from the relative standard errors of y."""
    log_x = np.log(np.asarray(x, dtype=float))
    weights = (log_x - log_x.mean()) / ((log_x - log_x.mean()) ** 2).sum()
    slope = weights @ np.log(np.asarray(y, dtype=float))
    return float(slope), float(np.sqrt((weights**2 * np.square(relative_error)).sum()))


def weighted_line(x: ArrayLike, y: ArrayLike, error: NDArray[np.float64]) -> tuple[float, float, np.ndarray, float]:
    """log y = level + slope log x by least squares, ``error`` the standard errors of log y.

    Returns:
        level, slope, their covariance as the errors have it, and by how much the scatter about the line exceeds the
        errors (at least 1).
    """
    log_x = np.log(np.asarray(x, dtype=float))
    design = np.stack([np.ones(len(log_x)), log_x], 1) / error[:, None]
    target = np.log(np.asarray(y, dtype=float)) / error
    covariance = np.linalg.inv(design.T @ design)
    level, slope = covariance @ design.T @ target
    freedom = len(log_x) - 2
    stretch = np.sqrt(((target - design @ [level, slope]) ** 2).sum() / freedom) if freedom else 1.0
    return float(level), float(slope), covariance, max(1.0, float(stretch))
