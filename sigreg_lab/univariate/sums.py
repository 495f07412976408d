"""Statistics that are functions of sample means: several processes need to add up those means only, O(S M) numbers.

    T(x) = f(1/N sum_i g(x_i), N)

Epps-Pulley on a grid, V- and U-statistic: g = cos(t_k x), sin(t_k x), S = 2 (n_points - 1). Mean and variance, and the
extended Jarque-Bera statistic: powers of x less its mean. Moments: powers of x. KSD: cos(t_k x), sin(t_k x), x times
both, x and x^2. A statistic says so by ``UnivariateTest.sum_form``; whoever spreads it over processes
(``regularizers.SIGReg``) reads nothing else.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sigreg_lab.kernels import characteristic_distance, characteristic_function
from sigreg_lab.nulls.law import Array


class Nodes(NamedTuple):
    """Nodes t > 0 of a rule for N int |phi_hat(t) - target(t)|^2 w(t) dt, doubled by symmetry; float64, one shape.

    Attributes:
        t: where the empirical characteristic function phi_hat is compared.
        target: the characteristic function that it is compared with.
        weight: of the squared error.
    """

    t: Array
    target: Array
    weight: Array


class Grid(NamedTuple):
    """Equally spaced nodes on [0, t_max], as the kernels take them.

    Attributes:
        t_max: the last node.
        n_points: nodes, both ends counted.
        values: from a device to target and weight at the nodes t > 0, as ``kernels.gaussian_grid``.
    """

    t_max: float
    n_points: int
    values: Callable[[torch.device], tuple[Tensor, Tensor]]


class SumForm(NamedTuple):
    """g and f of a statistic that is a function of sample means.

    Attributes:
        means: the means of g over a sample, float64, (..., N, M) -> (..., S, M); with ``centred`` it takes the mean of
            all samples too, (..., M), as its second argument.
        value: f, from the means of all samples and N, -> (..., M).
        centred: whether g looks at x less the mean of all samples.
        distance: where f is N times the weighted distance of the characteristic function on a grid, that grid: there is
            a kernel that takes projections, distance and gradient in one (``kernels.sliced_epps_pulley``).
    """

    means: Callable[..., Tensor]
    value: Callable[[Tensor, Tensor], Tensor]
    centred: bool = False
    distance: Grid | None = None


def characteristic_sums(grid: Grid, *, unbiased: bool = False) -> SumForm:
    """N times the weighted distance of the empirical characteristic function to a target, both given by ``grid``.

    The U-statistic leaves the diagonal out of |phi_hat|^2: EP_U = EP - N/(N-1) sum_k w_k (1 - c_k^2 - s_k^2).
    """

    def means(x: Tensor) -> Tensor:
        return torch.cat(characteristic_function(x, grid.t_max, grid.n_points), dim=-2).double()

    def value(means: Tensor, n: Tensor) -> Tensor:
        c, s = means.chunk(2, dim=-2)
        target, weight = grid.values(means.device)
        distance = n * characteristic_distance(c, s, target, weight)
        return distance - n / (n - 1) * (weight[:, None] * (1 - c**2 - s**2)).sum(-2) if unbiased else distance

    return SumForm(means, value, distance=None if unbiased else grid)
