"""Statistics that are functions of sample means: several processes need to add up those means only, O(S M) numbers.

    T(x) = f(1/N sum_i g(x_i), N)

Epps-Pulley on a grid, V- and U-statistic: g = cos(t_k x), sin(t_k x), S = 2 (n_points - 1). Mean and variance, and the
extended Jarque-Bera statistic: powers of x less its mean, which is reduced first. Moments: powers of x. KSD: both of
Epps-Pulley, x times both, x and x^2. The formulas are those of ``sigreg_lab.univariate``; the means are float64.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sigreg_lab.distributed import all_reduce_sum, mean_over_samples, total_samples
from sigreg_lab.kernels import characteristic_distance, characteristic_function, gaussian_grid
from sigreg_lab.univariate import KSD, EppsPulley, ExtendedJarqueBera, Moments, UnivariateTest
from sigreg_lab.univariate.jarque_bera import mean_and_central_moments
from sigreg_lab.univariate.mean_variance import MeanVarianceTest

#: From a device to target and weight at the nodes t > 0, as ``gaussian_grid``.
Grid = Callable[[torch.device], tuple[Tensor, Tensor]]


class SumForm(NamedTuple):
    """g and f: ``means`` is (..., N, M) -> (..., S, M), ``value`` takes those of all samples and N, -> (..., M)."""

    means: Callable[[Tensor], Tensor]
    value: Callable[[Tensor, Tensor], Tensor]


def sum_form(statistic: UnivariateTest) -> SumForm | None:
    """The statistic as a function of sample means; None if it is none, or none that is known here."""
    if isinstance(statistic, EppsPulley) and statistic.integration == "trapezoid" and statistic.estimator in ("v", "u"):
        grid = functools.partial(gaussian_grid, statistic.t_max, statistic.n_points, statistic.sigma)
        return characteristic_sums(statistic.t_max, statistic.n_points, grid, unbiased=statistic.estimator == "u")
    if isinstance(statistic, MeanVarianceTest):
        return SumForm(lambda x: _moments(x, 2), lambda m, n: _from_mean_and_variance(statistic, m, n))
    if isinstance(statistic, ExtendedJarqueBera):
        return SumForm(lambda x: _moments(x, 4), lambda m, n: statistic._from_moments(m, n))
    if isinstance(statistic, Moments):
        return SumForm(lambda x: statistic._raw_moments(x.double()), lambda m, n: statistic._from_moments(m))
    if isinstance(statistic, KSD):
        return SumForm(statistic._means, statistic._from_means)
    return None


def characteristic_sums(t_max: float, n_points: int, grid: Grid, *, unbiased: bool = False) -> SumForm:
    """N times the weighted distance of the empirical characteristic function to a target, both given by ``grid``.

    The U-statistic leaves the diagonal out of |phi_hat|^2: EP_U = EP - N/(N-1) sum_k w_k (1 - c_k^2 - s_k^2).
    """

    def means(x: Tensor) -> Tensor:
        return torch.cat(characteristic_function(x, t_max, n_points), dim=-2).double()

    def value(means: Tensor, n: Tensor) -> Tensor:
        c, s = means.chunk(2, dim=-2)
        target, weight = grid(means.device)
        distance = n * characteristic_distance(c, s, target, weight)
        return distance - n / (n - 1) * (weight[:, None] * (1 - c**2 - s**2)).sum(-2) if unbiased else distance

    return SumForm(means, value)


def reduced_statistic(x: Tensor, form: SumForm) -> Tensor:
    """The statistic of the samples of all ranks, of which ``x`` are this rank's, (..., N, M) -> (..., M)."""
    n = torch.as_tensor(total_samples(x.shape[-2], x.device)).to(torch.float64)
    means = all_reduce_sum(form.means(x) * x.shape[-2]) / n
    return form.value(means, n).to(x.dtype)


def _moments(x: Tensor, order: int) -> Tensor:
    """Mean and central moments of order 2 .. ``order``, (..., order, M); the mean is that of all ranks."""
    y = x.double()
    return mean_and_central_moments(y, mean_over_samples(y), order)


def _from_mean_and_variance(statistic: MeanVarianceTest, moments: Tensor, n: Tensor) -> Tensor:
    mean, second = moments.unbind(-2)
    return statistic._from_mean_and_variance(mean, second * n / (n - 1), n)
