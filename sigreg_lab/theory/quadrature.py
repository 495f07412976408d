"""What a grid leaves of the Epps-Pulley integral: of its mean under N(0, 1), and of its gradient, in closed form.

With f = w (1 - exp(-t^2)), w = exp(-t^2/sigma^2), the mean is int f dt. Beyond t_max lies the truncation. Within, the
trapezoidal rule of step h adds an end term (Euler-Maclaurin) and the aliasing (Poisson's summation formula); the rule
is spectrally accurate only where the weight has died away at t_max.

With the weight exp(-t^2/2) the gradient of the statistic in a sample is 2 (B(x_i) - 1/N sum_j A(x_i - x_j)), where

    A(d) = int t sin(t d) exp(-t^2/2) dt = sqrt(2 pi) d exp(-d^2/2)      the push of another sample at the distance d
    B(x) = int t sin(t x) exp(-t^2) dt = sqrt(pi)/2 x exp(-x^2/4)        the pull of the target

over the whole line; a grid has sums in their place, which repeat with the period 2 pi/h, and are odd about its middle.
"""

import functools
import math

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from sigreg_lab.theory.views import embedding_square

Array = NDArray[np.float64]
REACH = 6.0  # of embeddings in a slice: one in 5e8 of N(0, 1) lies beyond


def _widths(sigma2: float) -> tuple[float, float]:
    """Of w and of w exp(-t^2)."""
    return math.sqrt(sigma2), 1 / math.sqrt(1 + 1 / sigma2)


def null_expectation(t_max: float, sigma2: float) -> float:
    """int f dt over [-t_max, t_max]."""
    wide, narrow = _widths(sigma2)
    return math.sqrt(math.pi) * float(wide * special.erf(t_max / wide) - narrow * special.erf(t_max / narrow))


def end_term(t_max: float, sigma2: float, step: float) -> float:
    """2 f'(t_max) h^2/12."""
    near, far = math.exp(-(t_max**2) / sigma2), math.exp(-(t_max**2) * (1 + 1 / sigma2))
    return step**2 / 3 * t_max * ((1 + 1 / sigma2) * far - near / sigma2)


def aliasing(sigma2: float, step: float) -> float:
    """2 sum_m F(2 pi m/h), F the Fourier transform of f."""
    wide, narrow = _widths(sigma2)
    omega = 2 * np.pi * np.arange(1, 50) / step
    transform = wide * np.exp(-((wide * omega / 2) ** 2)) - narrow * np.exp(-((narrow * omega / 2) ** 2))
    return 2 * math.sqrt(math.pi) * float(transform.sum())


def gradient_error(t_max: float, n_points: int, reach: float = REACH) -> float:
    """What a grid's gradient is off by, whatever the sample within [-reach, reach]: the largest error of A there, over
    the largest A, or that of B over the largest B if it is larger. Distances go up to twice the reach.

    Args:
        t_max: last node.
        n_points: nodes on [0, t_max], both ends counted.
        reach: of the samples.
    """
    t, target, weight = _grid(t_max, n_points)
    worst = 0.0
    for end, spread, weights in ((2 * reach, 1.0, weight), (reach, 2.0, weight * target)):
        x = np.linspace(0, end, 1201)
        whole = math.sqrt(2 * math.pi / spread) / spread * x * np.exp(-(x**2) / (2 * spread))
        largest = math.sqrt(2 * math.pi / math.e) / spread
        worst = max(worst, float(np.abs((weights * t) @ np.sin(np.outer(t, x)) - whole).max()) / largest)
    return worst


@functools.cache
def least_gradient_error(n_points: int, reach: float = REACH) -> tuple[float, float]:
    """The least ``gradient_error`` of grids of so many points, and the t_max that has it."""
    ends = np.arange(1.0, 6.0, 0.05)
    start = ends[int(np.argmin([gradient_error(end, n_points, reach) for end in ends]))]
    near = (max(start - 0.05, 0.5), start + 0.05)
    found = optimize.minimize_scalar(gradient_error, bounds=near, args=(n_points, reach), method="bounded")
    return float(found.fun), float(found.x)


def null_gradient_error(t_max: float, n_points: int, n: int) -> float:
    """Root mean square error of a grid's gradient to the full line's, relative, for samples of N from N(0, 1)."""
    line = _grid(12.0, 97)  # ends at exp(-72), repeats with period 50
    grid = [np.concatenate(pair) for pair in zip(_grid(t_max, n_points), line, strict=True)]
    grid[2][n_points - 1 :] *= -1  # the gradient is linear in the weights
    off, whole = (embedding_square(1.0, n, 3, 1, (t, target, weight)) for t, target, weight in (grid, line))
    return math.sqrt(off / whole)


def _grid(t_max: float, n_points: int) -> tuple[Array, Array, Array]:
    """Nodes t > 0, targets and weights of the trapezoidal rule, doubled by symmetry."""
    t = np.linspace(0, t_max, n_points)[1:]
    weight = 2 * t_max / (n_points - 1) * np.exp(-(t**2) / 2)
    weight[-1] /= 2
    return t, np.exp(-(t**2) / 2), weight
