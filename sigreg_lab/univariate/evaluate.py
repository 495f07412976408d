"""Several statistics of many samples at once, for Monte-Carlo studies: one sort and one Phi shared by all, float64."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sigreg_lab.arrays import ArrayLike, columns
from sigreg_lab.kernels import sort_samples
from sigreg_lab.univariate.base import VALUES_PER_CHUNK, UnivariateTest
from sigreg_lab.univariate.empirical_distribution import normal_cdf, upper_tail
from sigreg_lab.validation import check_sample


class SharedSample:
    """Columns that several statistics look at, and what they share: made when the first of them asks, then kept.

    Args:
        x: shape (N, M), float64.
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x

    @cached_property
    def ordered(self) -> Tensor:
        """Each column in ascending order."""
        return sort_samples(self.x)

    @cached_property
    def cdf(self) -> Tensor:
        """Phi of ``ordered``."""
        return normal_cdf(self.ordered)

    @cached_property
    def upper_tail(self) -> Tensor:
        """1 - Phi of ``ordered``, without cancellation."""
        return upper_tail(self.ordered)


def evaluate(tests: Sequence[UnivariateTest], x: ArrayLike) -> Any:
    """Each statistic of each column, without gradient, in float64.

    Args:
        tests: the statistics, at least one.
        x: samples, shape (N, M), a floating-point tensor or an array-like; M replicates. The columns are taken in
            groups that fit the processor's cache. Fastest when a column is contiguous: ``x = rows.T`` with ``rows`` of
            shape (M, N).

    Returns:
        Shape (len(tests), M), float64, on the device of ``x``; row i is ``tests[i](x.double())``. An array for an
        array, for a DataFrame a DataFrame with a row for each statistic.

    Raises:
        ValueError: no statistic; ``x`` not of two dimensions, or refused by one of the statistics.
    """
    if not tests:
        raise ValueError("tests is empty; hand in at least one statistic")
    if not isinstance(x, Tensor):
        samples = columns(x, -2, "raise", 1)
        return samples.kind.give(evaluate(tests, samples.whole), index=[test.name for test in tests])
    if x.ndim != 2:
        raise ValueError(f"x must have shape (N, M), got {tuple(x.shape)}; reshape its columns into one dimension")
    least = max(test.min_samples for test in tests)
    check_sample(x, "x", ndim=2, min_samples=least)
    n = x.shape[0]
    result = torch.empty(len(tests), x.shape[1], dtype=torch.float64, device=x.device)
    with torch.no_grad():
        size = max(1, VALUES_PER_CHUNK // n)
        for start in range(0, x.shape[1], size):
            some = slice(start, start + size)
            sample = SharedSample(x[:, some].double())
            result[:, some] = torch.stack([test.bulk(sample) for test in tests])
    return result
