"""Tests whose critical value is an order statistic of reference values, simulated under the null.

With the kth largest of R reference values for a critical value, k = alpha (R + 1), a new value under the null exceeds
it with probability exactly k / (R + 1), averaged over reference values; given them the level varies by the beta law
with parameters k and R + 1 - k. Whatever the statistic's law, if it is continuous.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sigreg_lab.experiment.intervals import rate_interval

Array = NDArray[np.float64]


def exceedances(reference: int, alpha: float) -> int:
    """k: how many of ``reference`` values lie at or above the critical value of level ``alpha``.

    Raises:
        ValueError: ``alpha`` outside 0 .. 1, or fewer than 1.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, got {alpha:g}")
    count = round(alpha * (reference + 1))
    if count < 1:
        raise ValueError(f"reference must be at least {round(1 / alpha) - 1} for alpha={alpha:g}, got {reference}")
    return count


def critical_values(values: Array, alpha: float) -> Array:
    """The critical value of level ``alpha``, and the upper and lower end of its 95% interval.

    Args:
        values: reference values along the last axis, shape (..., R).
        alpha: the level.

    Returns:
        Shape (3, ...).
    """
    reference = values.shape[-1]
    exact, interval = exceedances(reference, alpha), stats.binom(reference, alpha)
    places = exact, max(int(interval.ppf(0.025)), 1), int(interval.ppf(0.975)) + 1
    descending = -np.sort(-values, axis=-1)
    return np.stack([descending[..., min(place, reference) - 1] for place in places])


def power_interval(rejections: int, at_upper: int, at_lower: int, replicates: int) -> tuple[float, float]:
    """95% interval for a power, the error of the critical value counted in.

    Wilson's interval for the rate and the change of the rate over the critical value's interval, two independent
    errors, are joined by squaring and adding [Zou & Donner (2008), Statistics in Medicine 27, 1693-1702].

    Args:
        rejections: how many of ``replicates`` values exceed the critical value.
        at_upper: how many exceed the upper end of its interval.
        at_lower: how many exceed the lower end.
        replicates: number of values.
    """
    rate, (low, high) = rejections / replicates, rate_interval(rejections, replicates)
    down, up = np.hypot(low - rate, at_upper / replicates - rate), np.hypot(high - rate, at_lower / replicates - rate)
    return max(rate - float(down), 0.0), min(rate + float(up), 1.0)


def null_rejections(replicates: int, reference: int, alpha: float):  # type: ignore[no-untyped-def]
    """The exact law of the number of rejections among ``replicates`` under the null: beta-binomial, a SciPy law."""
    count = exceedances(reference, alpha)
    return stats.betabinom(replicates, count, reference + 1 - count)
