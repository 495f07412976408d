"""Null laws of the statistics that ``diagnose`` computes and that have no usable limit law, simulated together.

Each replicate is one sample of N(0, I) of the same number of rows and features, projected on the same directions; all
statistics are evaluated on it, which shares the cost of the draw. The laws of those on the whitened sample hold for any
normal law: a whitened normal sample is uniform on the matrices Y with Y'1 = 0 and Y'Y = N I, whatever its covariance.

The number of replicates follows the cost, between 499 and 999: the first check of a shape takes seconds, later ones
read the laws from the cache. P-values are ranks, none below 1/(replicates + 1): small enough to survive the correction
for the number of tests.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.multivariate import BHEP, AlternativeSkewness, Energy, MardiaKurtosis
from sigreg_lab.multivariate.base import CODE, whiten
from sigreg_lab.nulls import MonteCarlo, simulated_law
from sigreg_lab.nulls.law import Array
from sigreg_lab.slicing import sliced_statistic
from sigreg_lab.univariate import EppsPulley

SEED = 20_251_111
LEAST_REPLICATES = 499
MOST_REPLICATES = 999
OPERATIONS = 6e10
#: Of one core, by which the time is estimated: between 5e9 and 2e10 a second were measured, by shape.
OPERATIONS_PER_MINUTE = 60 * 1e10

#: Whitened statistics need this many rows a feature: below it a whitened sample hardly differs from any other.
ROWS_PER_FEATURE = 3
#: And no more features than this, for the sake of time.
MOST_WHITENED = 512
_WHITENED_ROWS = 4096


#: The statistics that each function returns, as far as the sample allows.
NAMES = {
    "known_statistics": ("slice_mean", "slice_max", "energy"),
    "whitened_statistics": ("mardia_kurtosis", "alternative_skewness", "bhep", "square_correlation"),
}


def pair_rows(n: int, dim: int) -> int:
    """Rows that the statistics over all pairs take."""
    return min(n, 256)


def whitened_rows(n: int, dim: int) -> int:
    """Rows that the whitened statistics take; 0 if they are not computed."""
    rows = min(n, _WHITENED_ROWS if dim <= 128 else max(1024, 4 * dim))
    return rows if dim <= MOST_WHITENED and rows >= max(ROWS_PER_FEATURE * dim, 8) else 0


def operations(n: int, dim: int, num_slices: int) -> float:
    """Arithmetic of one replicate."""
    rows = whitened_rows(n, dim)
    return float(n * (2 * dim + 60) * num_slices + 4 * rows * dim**2 + pair_rows(n, dim) ** 2 * (3 * dim + 100))


def replicates_by_cost(n: int, dim: int, num_slices: int) -> int:
    """The number of simulated samples if none is asked for."""
    return int(min(MOST_REPLICATES, max(LEAST_REPLICATES, OPERATIONS / operations(n, dim, num_slices))))


def slice_values(x: Tensor, directions: Tensor) -> Tensor:
    """Epps-Pulley of each slice, shape (M,), float64."""
    with torch.no_grad():
        return sliced_statistic(x, EppsPulley(), directions, "none").double()


def feature_values(x: Tensor) -> Tensor:
    """Epps-Pulley of each feature, shape (K,), float64."""
    with torch.no_grad():
        return EppsPulley()(x).double()


def known_statistics(x: Tensor, slices: Tensor) -> dict[str, float]:
    """Statistics against N(0, I): the sample as it is, and the values of its slices."""
    return {
        "slice_mean": float(slices.mean()),
        "slice_max": float(slices.max()),
        "energy": float(Energy()(x[: pair_rows(*x.shape)].double())),
    }


def whitened_statistics(y: Tensor) -> dict[str, float]:
    """Statistics of a whitened sample, float64: the distance to any normal law."""
    n, dim = y.shape
    rows = pair_rows(n, dim)
    values = {
        "mardia_kurtosis": float(MardiaKurtosis()(y)),
        "alternative_skewness": float(AlternativeSkewness()(y)),
        "bhep": float(BHEP(dim**-0.5)(y[:rows])),
    }
    if dim > 1:
        values["square_correlation"] = float(square_correlations(y).abs().max())
    return values


def square_correlations(y: Tensor) -> Tensor:
    """Correlations between the squares of the columns, shape (K, K), 0 on the diagonal.

    0 in expectation for independent columns; the correlation of a column's square with another's shows dependence that
    the covariance does not, such as the 'X' of two columns of equal size and random sign.
    """
    squares = y.square()
    centred = squares - squares.mean(0)
    scaled = centred / centred.norm(dim=0).clamp_min(1e-300)
    return (scaled.T @ scaled).fill_diagonal_(0.0)


#: What the values come from: this file, the statistics, and what lies under them.
MADE_OF = (known_statistics, EppsPulley, Energy, MardiaKurtosis, AlternativeSkewness, BHEP, *CODE)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Many small operations: on a busy machine several threads would wait for each other at each."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class NullLaws:
    """The laws for samples of ``n`` rows in ``dim`` features on the given directions.

    Args:
        n: number of rows.
        dim: K.
        directions: shape (K, M).
        key: names the directions, for the cache.
        replicates: simulated samples; by their cost if not given.
        on_start: called with the number of replicates before a simulation starts, not if the laws are in the cache.

    Raises:
        ValueError: fewer than 100 ``replicates``.
    """

    def __init__(
        self,
        n: int,
        dim: int,
        directions: Tensor,
        key: str,
        *,
        replicates: int | None = None,
        on_start: Callable[[int], None] | None = None,
    ) -> None:
        self.n, self.dim = n, dim
        self.directions = directions.float()
        self.on_start = on_start
        self.replicates = replicates or replicates_by_cost(n, dim, directions.shape[1])
        self.key = f"{__name__}|n={n}|dim={dim}|{key}"

    def law(self, name: str) -> MonteCarlo:
        """The law of one statistic, by its name in ``known_statistics`` or ``whitened_statistics``."""

        def column(rng: np.random.Generator, count: int) -> Array:
            return self._table[name]

        return simulated_law(
            column, f"{self.key}|{name}", *MADE_OF, replicates=self.replicates, seed=SEED, chunk=self.replicates
        )

    @cached_property
    def _table(self) -> dict[str, Array]:
        if self.on_start is not None:
            self.on_start(self.replicates)
        rows = []
        rng = torch.Generator().manual_seed(SEED)
        whitened = whitened_rows(self.n, self.dim)
        with _one_thread():
            for _ in range(self.replicates):
                x = torch.randn(self.n, self.dim, generator=rng)
                row = known_statistics(x, slice_values(x, self.directions))
                if whitened:
                    row |= whitened_statistics(whiten(x[:whitened].double().unsqueeze(0)).squeeze(0))
                rows.append(row)
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}
