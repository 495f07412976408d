"""Several statistics of many samples at once, for Monte-Carlo studies: one sort and one Phi shared by all, float64."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sigreg_lab.kernels import sort_samples
from sigreg_lab.univariate.anderson_darling import AndersonDarling, from_logs
from sigreg_lab.univariate.base import VALUES_PER_CHUNK, UnivariateTest
from sigreg_lab.univariate.empirical_distribution import EmpiricalDistributionTest, normal_cdf, upper_tail
from sigreg_lab.validation import check_sample

_SAFE = 36.0  # beyond it Phi(-x) nears the least float64, and Anderson-Darling keeps to its own logarithms


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
    least = max(test.min_samples for test in tests)
    # A finite sum has finite terms; the full check, five times as slow, tells what is wrong.
    if not (isinstance(x, Tensor) and x.is_floating_point() and x.shape[0] >= least and x.sum().isfinite()):
        check_sample(x, "x", ndim=2, min_samples=least)
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
    u = (
        normal_cdf(ordered)
        if any(isinstance(test, EmpiricalDistributionTest | AndersonDarling) for test in tests)
        else x
    )
    values = []
    for test in tests:
        if isinstance(test, EmpiricalDistributionTest):
            values.append(test._from_cdf(u))
        elif isinstance(test, AndersonDarling) and ordered[0].min() > -_SAFE and ordered[-1].max() < _SAFE:
            values.append(from_logs(u.log(), upper_tail(ordered).log()))
        else:
            values.append(test.unchecked(ordered if test.uses_order else x, presorted=True))
    return torch.stack(values)
