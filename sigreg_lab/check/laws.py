"""Null laws of the statistics that ``diagnose`` computes and that have no usable limit law, simulated together.

Each replicate is one sample of N(0, I) of the same number of rows and features, projected on the same directions; all
statistics are evaluated on it, which shares the cost of the draw. The laws of those on the whitened sample hold for any
normal law: a whitened normal sample is uniform on the matrices Y with Y'1 = 0 and Y'Y = N I, whatever its covariance.
Where the check standardises the features, so does the simulation.

The number of replicates follows the cost, between 599 and 999: the first check of a shape takes seconds, later ones
read the laws from the cache. P-values are ranks, none below 1/(replicates + 1): small enough to survive the correction
for the number of tests.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.multivariate import BHEP, AlternativeSkewness, Energy, MardiaSkewness
from sigreg_lab.multivariate.base import CODE, whiten
from sigreg_lab.nulls import MonteCarlo, simulated_law
from sigreg_lab.nulls.law import Array
from sigreg_lab.slicing import sliced_statistic
from sigreg_lab.univariate import EppsPulley

SEED = 20_251_111
LEAST_REPLICATES = 599
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
    "standardised_statistics": ("correlation", "slice_mean", "slice_max", "energy"),
    "whitened_statistics": ("mardia_skewness", "mardia_kurtosis", "alternative_skewness", "kurtosis_matrix", "bhep"),
    "pair_statistics": ("square_correlation",),
}
#: Of one slice named in advance: no test of the check, but a line in its picture.
ONE_SLICE = "slice_first"
_THIRD_MOMENTS = 5e7  # operations of their tensor, at most
_VALUES_AT_ONCE = 2**18  # of samples and projections simulated together: small samples cost calls, not arithmetic


def pair_rows(n: int) -> int:
    """Rows that the statistics over all pairs take."""
    return min(n, 256)


def whitened_rows(n: int, dim: int) -> int:
    """Rows that the whitened statistics take; 0 if they are not computed."""
    rows = min(n, _WHITENED_ROWS if dim <= 128 else max(1024, 4 * dim))
    return rows if 0 < dim <= MOST_WHITENED and rows >= max(ROWS_PER_FEATURE * dim, 8) else 0


def third_moment_rows(n: int, dim: int) -> int:
    """Rows that Mardia's skewness takes: all, or as many as its cost, N K^3 or N^2 K, allows."""
    most = _THIRD_MOMENTS / (10 * dim**3) if dim <= 16 else math.sqrt(_THIRD_MOMENTS / (2 * dim + 20))
    return min(n, int(most))


def operations(n: int, dim: int, num_slices: int) -> float:
    """Arithmetic of one replicate."""
    rows = whitened_rows(n, dim)
    third = third_moment_rows(rows, dim)
    third *= 10 * dim**3 if dim <= 16 else third * (2 * dim + 20)
    return float(n * (2 * dim + 60) * num_slices + 8 * rows * dim**2 + pair_rows(n) ** 2 * (3 * dim + 100) + third)


def replicates_by_cost(n: int, dim: int, num_slices: int) -> int:
    """The number of simulated samples if none is asked for."""
    return int(min(MOST_REPLICATES, max(LEAST_REPLICATES, OPERATIONS / operations(n, dim, num_slices))))


def slice_values(x: Tensor, directions: Tensor) -> Tensor:
    """Epps-Pulley of each slice of samples (..., N, K), shape (..., M), float64."""
    with torch.no_grad():
        return sliced_statistic(x, EppsPulley(), directions, "none").double()


def feature_values(x: Tensor) -> Tensor:
    """Epps-Pulley of each feature, shape (K,), float64."""
    with torch.no_grad():
        return EppsPulley()(x).double()


def known_statistics(x: Tensor, slices: Tensor) -> dict[str, Tensor]:
    """Statistics against N(0, I), of samples (..., N, K) as they are and of the values of their slices (..., M)."""
    return {
        "slice_mean": slices.mean(-1),
        "slice_max": slices.amax(-1),
        "energy": Energy()(x[..., : pair_rows(x.shape[-2]), :].double()),
    }


def standardised_statistics(x: Tensor, slices: Tensor) -> dict[str, Tensor]:
    """The same of samples whose features have mean 0 and variance 1, and N times the sum of squared correlations."""
    values = known_statistics(x, slices)
    n, dim = x.shape[-2:]
    if dim > 1:
        y = x.double()
        # tr R^2, by the smaller of the two products of the same trace.
        product = y.mT @ y if dim <= n else y @ y.mT
        own = (y.square().sum(-2) / (n - 1)).square().sum(-1)
        total = (product / (n - 1)).square().sum((-2, -1))
        values["correlation"] = n * (total - own) / 2
    return values


def whitened_statistics(y: Tensor) -> dict[str, Tensor]:
    """Statistics of whitened samples (..., N, K), float64: the distance to any normal law.

    They depend on y through inner products alone, so that a rotation of y, hence any invertible linear map of the
    sample, leaves them as they are. Mardia's two are scaled as R's MVN prints them, N b1/6 and z.
    """
    n, dim = y.shape[-2:]
    third = third_moment_rows(n, dim)
    squares = y.square().sum(-1, keepdim=True)
    fourth = squares.square().mean((-2, -1))
    matrix = (y * squares).mT @ y / n - (dim + 2) * torch.eye(dim, dtype=y.dtype)
    return {
        "mardia_skewness": third * MardiaSkewness()(y[..., :third, :]) / 6,
        "mardia_kurtosis": (fourth - dim * (dim + 2)) / math.sqrt(8 * dim * (dim + 2) / n),
        "alternative_skewness": AlternativeSkewness()(y),
        "kurtosis_matrix": matrix.square().sum((-2, -1)),
        "bhep": BHEP(dim**-0.5)(y[..., : pair_rows(n), :]),
    }


def pair_statistics(y: Tensor) -> dict[str, Tensor]:
    """The statistic of pairs of features, of samples whitened so that their columns still belong to them."""
    return {"square_correlation": square_correlations(y).abs().amax((-2, -1))} if y.shape[-1] > 1 else {}


def extremeness(name: str, value: Tensor, n: int, dim: int) -> Tensor:
    """What speaks against the null when large: the statistic, but of Mardia's kurtosis its distance to its mean."""
    if name != "mardia_kurtosis":
        return value
    return (value + 2 * dim * (dim + 2) / (n + 1) / math.sqrt(8 * dim * (dim + 2) / n)).abs()


def square_correlations(y: Tensor) -> Tensor:
    """Correlations between the squares of the columns of (..., N, K), shape (..., K, K), 0 on the diagonal.

    0 in expectation for independent columns; the correlation of a column's square with another's shows dependence that
    the covariance does not, such as the 'X' of two columns of equal size and random sign.
    """
    squares = y.square()
    centred = squares - squares.mean(-2, keepdim=True)
    scaled = centred / centred.norm(dim=-2, keepdim=True).clamp_min(1e-300)
    return (scaled.mT @ scaled) * (1 - torch.eye(y.shape[-1], dtype=y.dtype))


#: What the values come from: this file, the statistics, and what lies under them.
MADE_OF = (known_statistics, EppsPulley, Energy, MardiaSkewness, AlternativeSkewness, BHEP, *CODE)


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
        rank: of the whitened samples, K unless the sample's own is lower.
        standardised: whether each feature is brought to mean 0 and variance 1 first.
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
        rank: int | None = None,
        standardised: bool = False,
        replicates: int | None = None,
        on_start: Callable[[int], None] | None = None,
    ) -> None:
        self.n, self.dim, self.rank, self.standardised = n, dim, dim if rank is None else rank, standardised
        self.directions = directions.float()
        self.on_start = on_start
        self.replicates = replicates or replicates_by_cost(n, dim, directions.shape[1])
        self.key = f"{__name__}|n={n}|dim={dim}|rank={self.rank}|standardised={standardised}|{key}"

    def law(self, name: str) -> MonteCarlo:
        """The law of one statistic's ``extremeness``, by its name in ``NAMES``, or of ``ONE_SLICE``."""

        def column(rng: np.random.Generator, count: int) -> Array:
            return self._table[name]

        return simulated_law(
            column, f"{self.key}|{name}", *MADE_OF, replicates=self.replicates, seed=SEED, chunk=self.replicates
        )

    @cached_property
    def _table(self) -> dict[str, Array]:
        if self.on_start is not None:
            self.on_start(self.replicates)
        rng = torch.Generator().manual_seed(SEED)
        at_once = max(1, _VALUES_AT_ONCE // (self.n * (self.dim + self.directions.shape[1])))
        with _one_thread():
            parts = [
                self._simulate(min(at_once, self.replicates - start), rng)
                for start in range(0, self.replicates, at_once)
            ]
        return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}

    def _simulate(self, count: int, rng: torch.Generator) -> dict[str, Tensor]:
        x = torch.randn(count, self.n, self.dim, generator=rng)
        if self.standardised:
            x = (x - x.mean(-2, keepdim=True)) / x.std(-2, keepdim=True)
        slices = slice_values(x, self.directions)
        known = standardised_statistics if self.standardised else known_statistics
        values = known(x, slices) | {ONE_SLICE: slices[:, 0]}
        rows = whitened_rows(self.n, self.rank)
        if rows:
            if self.rank < self.dim:
                x = torch.randn(count, rows, self.rank, generator=rng)
            y = whiten(x[:, :rows].double())
            own = whitened_statistics(y) | pair_statistics(y)
            values |= {name: extremeness(name, value, rows, self.rank) for name, value in own.items()}
        return values
