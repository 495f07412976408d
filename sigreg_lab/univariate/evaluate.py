"""Several statistics of many samples at once, for Monte-Carlo studies: one sort and one Phi shared by all, float64."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sigreg_lab.kernels import sort_samples
from sigreg_lab.univariate.anderson_darling import LEAST_CDF, AndersonDarling
from sigreg_lab.univariate.base import VALUES_PER_CHUNK, UnivariateTest
from sigreg_lab.univariate.empirical_distribution import EmpiricalDistributionTest, normal_cdf
from sigreg_lab.validation import check_sample


def evaluate(tests: Sequence[UnivariateTest], x: Tensor) -> Tensor:
    """Each statistic of each column, without gradient, in float64.

    Args:
        tests: the statistics, at least one.
        x: samples, shape (N, M), floating point; M replicates. The columns are taken in groups that fit the processor's
            cache. Fastest when a column is contiguous: ``x = rows.T`` with ``rows`` of shape (M, N).

    Returns:
        Shape (len(tests), M), float64, on the device of ``x``; row i is ``tests[i](x.double())``.

    Raises:
        ValueError: no statistic; ``x`` not of two dimensions, or refused by one of the statistics.
    """
    if not tests:
        raise ValueError("tests is empty; hand in at least one statistic")
    if isinstance(x, Tensor) and x.ndim != 2:
        raise ValueError(f"x must have shape (N, M), got {tuple(x.shape)}; reshape its columns into one dimension")
    check_sample(x, "x", ndim=2, min_samples=max(test.min_samples for test in tests))
    n = x.shape[0]
    result = torch.empty(len(tests), x.shape[1], dtype=torch.float64, device=x.device)
    with torch.no_grad():
        size = max(1, VALUES_PER_CHUNK // n)
        for start in range(0, x.shape[1], size):
            columns = slice(start, start + size)
            result[:, columns] = _evaluate_chunk(tests, x[:, columns].double())
    return result


def _evaluate_chunk(tests: Sequence[UnivariateTest], x: Tensor) -> Tensor:
    ordered = sort_samples(x) if any(test.uses_order for test in tests) else x
    cdf = None
    if any(isinstance(test, EmpiricalDistributionTest) for test in tests):
        cdf = normal_cdf(ordered), normal_cdf(-ordered)
    values = []
    for test in tests:
        if cdf is not None and isinstance(test, EmpiricalDistributionTest) and _usable(test, *cdf):
            values.append(test._from_cdf(*cdf))
        else:
            values.append(test.unchecked(ordered if test.uses_order else x, presorted=True))
    return torch.stack(values)


def _usable(test: UnivariateTest, lower: Tensor, upper: Tensor) -> bool:
    """Anderson-Darling takes logarithms: tails that underflow are left to its own formula."""
    return not isinstance(test, AndersonDarling) or bool(min(lower[0].min(), upper[-1].min()) > LEAST_CDF)
