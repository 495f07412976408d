"""The contract of a multivariate statistic: a sample goes in, a number comes out.

A statistic measures how far a sample is from N(0, I) over dimension -2: shape (..., N, K) gives (...). It is
differentiable; larger means further away. With ``standardise=True`` the sample is first centred and whitened,

    y_j = L^-1 (x_j - mean),   L L' = S = 1/N sum_j (x_j - mean)(x_j - mean)',

so that it measures the distance to *any* normal law (the classical tests of normality). The statistics depend on y
through inner products alone, so any square root of S gives the same number.
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sigreg_lab import kernels
from sigreg_lab.arrays import ArrayLike, NanPolicy, rows
from sigreg_lab.nulls import NullLaw, Tested, TestResult, simulated_law
from sigreg_lab.nulls.law import Array, check_levels
from sigreg_lab.slicing import directions, estimators, infinite, pairwise
from sigreg_lab.univariate import base as univariate
from sigreg_lab.univariate.base import METHODS, SEED, Method
from sigreg_lab.validation import at_least_float32, check_sample, may_read

#: Replicates of a simulated law: as many as fit this number of operations (half a minute on one core, by the sums in C;
#: some minutes where there is no compiler), between the two bounds.
SIMULATED_OPERATIONS = 1.1e12
MOST_REPLICATES = 100_000
LEAST_REPLICATES = 2_000
#: A sample size for which the least number of replicates costs more than this, about ten minutes, is refused.
MOST_OPERATIONS = 2e13
#: Whitening is refused where a diagonal entry of the Cholesky factor is below this times the largest.
_SINGULAR = 1e-7
#: What lies under the statistics: a change of it makes simulated laws anew, as one of the statistic does.
CODE = (
    *univariate.CODE,
    *(pairwise, infinite, estimators, directions),
    *(Path(kernels.__file__).with_name(name) for name in ("pairs.c", "vectors.h")),
)


class MultivariateTest(torch.nn.Module):
    """Base of all multivariate statistics.

    A subclass sets the class attributes and writes ``_statistic``, the formula alone: it receives (B, N, K) in float64,
    whitened already if ``standardise`` is set, and returns (B,). It may declare its limit law by ``asymptotic_law``
    and ``asymptotic_from``; without them the law is simulated.

    Args:
        standardise: False measures the distance to N(0, I) ("case 0"), True to any normal law.

    Attributes:
        name: the name in registries, rows and tables.
        sensitive_to: which departures it reacts to, in a few words.
        reads_values: whether the host waits for a value of the sample, such as the length of its longest row.
        limit_at: for larger N (and 8 K) the law is simulated at this N: a statistic that carries the factor N has a
            limit law, which it reaches to O(1/N). None, for one that has none, also with the parameters of an
            instance, simulates at N itself, whatever it costs.
    """

    name: ClassVar[str]
    sensitive_to: ClassVar[str]
    reads_values: ClassVar[bool] = False
    limit_at: int | None = 1024

    def __init__(self, *, standardise: bool = False) -> None:
        super().__init__()
        self.standardise = bool(standardise)

    def extra_repr(self) -> str:
        return self._repr()

    def _repr(self, *parameters: str) -> str:
        return ", ".join([*parameters, *(["standardise=True"] if self.standardise else [])])

    def min_samples(self, dim: int) -> int:
        """The least N for which it is defined in dimension ``dim``: 2, or K + 1 to whiten."""
        return max(2, dim + 1) if self.standardise else 2

    def forward(self, x: ArrayLike, *, axis: int = -2, nan_policy: NanPolicy = "raise") -> Tensor:
        """The statistic of each sample.

        Args:
            x: samples, shape (..., N, K): a floating-point tensor, or an array, list or DataFrame of numbers
                (``sigreg_lab.arrays``). A gradient beyond 65504 is infinite in float16.
            axis: along which the rows lie; the last other one holds the K coordinates.
            nan_policy: of rows that hold a NaN: "raise" refuses them, "omit" leaves them out, and "propagate" gives NaN
                for a sample that has one. Infinite values are always refused.

        Returns:
            Shape (...), a tensor also for an array, as the official classes do; ``test`` gives floats and arrays. The
            arithmetic is in float64 under any autocast; the result has the dtype of ``x``, float32 for bfloat16 and
            float16.

        Raises:
            ValueError: ``x`` is no floating-point tensor and no array of numbers of that shape, is empty, has NaN or
                infinite values, too few samples, or, to whiten, a singular covariance; an ``axis`` or a ``nan_policy``
                that there is not.
        """
        if isinstance(x, Tensor) and axis == -2 and nan_policy == "raise":
            return self._value(x).to(at_least_float32(x).dtype)
        samples = rows(x, axis, nan_policy, self.min_samples)
        return samples.joined([self.forward(part) for part in samples.parts])

    def _check(self, x: Tensor) -> None:
        check_sample(x, "x", ndim=2, min_samples=2, can_omit=True)
        check_sample(x, "x", ndim=2, min_samples=self.min_samples(x.shape[-1]))

    def _value(self, x: Tensor) -> Tensor:
        self._check(x)
        with torch.autocast(device_type=x.device.type, enabled=False):
            y = x.double().reshape(-1, *x.shape[-2:])
            if self.standardise:
                y = whiten(y)
            return self._statistic(y).reshape(x.shape[:-2])

    def _statistic(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def test(
        self, x: ArrayLike, method: Method = "auto", *, axis: int = -2, nan_policy: NanPolicy = "raise"
    ) -> TestResult:
        """Statistic and p-value of each sample, for independent rows under the null hypothesis.

        Rows that depend in groups, such as views of one picture, are tested one view at a time: V samples of shape
        (V, N, K) get V p-values. See ``nulls.split_groups`` and ``nulls.combine_pvalues``.

        Args:
            x: as for ``forward``; lifted to float64.
            method: "asymptotic", the limit law; "monte-carlo", the simulated law; "auto", the first where it is
                trusted (``asymptotic_from``), else the second. A simulated law is computed once, in seconds to
                minutes, and then read from the cache; for large N see ``limit_at``.
            axis: as for ``forward``.
            nan_policy: as for ``forward``; "omit" takes a law for each number of rows that is left.

        Returns:
            ``TestResult``, which unpacks as ``statistic, pvalue``, both float64, of the shape of ``forward``'s result,
            in the caller's kind and without gradient; it knows the law, its error, decisions and critical values.

        Raises:
            ValueError: as ``forward``; an unknown ``method``; "asymptotic" where no limit law is known; a sample too
                large to simulate its law.
        """
        samples = rows(x, axis, nan_policy, self.min_samples)
        tested = [self._tested(part, method) for part in samples.parts]
        law = "a normal law of any mean and covariance" if self.standardise else "N(0, I)"
        return TestResult.of(samples, tested, test=str(self), null_hypothesis=f"independent rows of {law}")

    def _tested(self, x: Tensor, method: Method) -> Tested:
        self._check(x)
        n, dim = x.shape[-2:]
        law = self._known_law(n, dim, method)
        with torch.no_grad():
            statistic = self._value(x)
        law = law or self._simulated_law(n, dim)
        size = self._simulated_size(n, dim)
        remark = f" of {size:,} rows" if law.kind == "simulated" and size < n else ""
        return Tested(statistic, law.pvalue(self._extremeness(statistic)), law, remark)

    def critical_value(self, alpha: ArrayLike, n: int, dim: int, method: Method = "auto") -> Any:
        """The threshold that the statistic of ``n`` samples in ``dim`` dimensions exceeds with probability ``alpha``.

        Args:
            alpha: a level, or several.
            n: the number of rows.
            dim: K, the number of coordinates.
            method: as for ``test``.

        Returns:
            A float; for several levels a value for each, in the kind of ``alpha``.

        Raises:
            ValueError: ``alpha`` outside (0, 1) or too small for a simulated law; as ``null_law``.
        """
        check_levels(alpha)  # before the law is simulated
        return self.null_law(n, dim, method).critical_value(alpha)

    def null_law(self, n: int, dim: int, method: Method = "auto") -> NullLaw:
        """Law of the statistic of ``n`` samples in ``dim`` dimensions under its null hypothesis.

        Raises:
            ValueError: too small an ``n`` or ``dim``; an unknown ``method``; "asymptotic" where no limit law is known;
                an ``n`` too large to simulate.
        """
        return self._known_law(n, dim, method) or self._simulated_law(n, dim)

    def _known_law(self, n: int, dim: int, method: Method) -> NullLaw | None:
        """The asymptotic law, or None if the law is to be simulated; ``ValueError`` if it is to be and cannot."""
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}")
        if n < self.min_samples(dim):
            raise ValueError(f"n must be at least {self.min_samples(dim)} for {self.name} with dim={dim}, got {n}")
        trusted = self.asymptotic_from(dim)
        if method == "asymptotic" or (method == "auto" and trusted is not None and n >= trusted):
            law = self.asymptotic_law(n, dim)
            if law is None:
                raise ValueError(f"{self.name} has no asymptotic law here; use method='monte-carlo'")
            return law
        if LEAST_REPLICATES * self._operations(self._simulated_size(n, dim), dim) > MOST_OPERATIONS:
            raise ValueError(self._too_large(n, dim))
        return None

    def asymptotic_law(self, n: int, dim: int) -> NullLaw | None:
        """The law for large ``n``, or an exact one; None if none is known."""
        return None

    def asymptotic_from(self, dim: int) -> int | None:
        """The least N at which ``method="auto"`` trusts the asymptotic law in dimension ``dim``; None if never."""
        return None

    def simulate(self, rng: np.random.Generator, replicates: int, n: int, dim: int) -> Array:
        """Values of the statistic on independent samples of N(0, I), float64."""
        with torch.no_grad():
            x = torch.from_numpy(rng.standard_normal((replicates, n, dim)))
            return self._extremeness(self._value(x)).numpy()

    def _extremeness(self, statistic: Tensor) -> Tensor:
        """What speaks against the null when large: the statistic itself, unless a subclass is two-sided."""
        return statistic

    def _simulated_size(self, n: int, dim: int) -> int:
        return n if self.limit_at is None else min(n, max(self.limit_at, 8 * dim))

    def _simulated_law(self, n: int, dim: int) -> NullLaw:
        size = self._simulated_size(n, dim)
        replicates = int(SIMULATED_OPERATIONS / self._operations(size, dim))
        replicates = min(MOST_REPLICATES, max(LEAST_REPLICATES, replicates))
        return simulated_law(
            lambda rng, count: self.simulate(rng, count, size, dim),
            f"{type(self).__module__}.{self}|n={size}|dim={dim}",
            self,
            *CODE,
            replicates=replicates,
            seed=SEED,
            chunk=max(1, 200_000 // (size * dim)),
        )

    def _too_large(self, n: int, dim: int) -> str:
        most = n
        while LEAST_REPLICATES * self._operations(most, dim) > MOST_OPERATIONS:
            most = int(0.99 * most)
        subsample = f"test a random subsample of {most} rows" if most >= self.min_samples(dim) else "use fewer columns"
        other = "" if self.asymptotic_law(n, dim) is None else ", or use method='asymptotic'"
        return (
            f"n={n} rows in dim={dim} are too many to simulate the law of {self.name} in some ten minutes "
            f"(multivariate.base.MOST_OPERATIONS={MOST_OPERATIONS:g}): {subsample}{other}"
        )

    def _operations(self, n: int, dim: int) -> float:
        """About how many operations one value costs, the sample included.

        Dimensions count for more than they cost, so that the first test of wide embeddings takes less than half a
        minute.
        """
        return n**2 * (dim + 6.0) + self._operations_of_a_sample(n, dim)

    def _operations_of_a_sample(self, n: int, dim: int) -> float:
        """Of drawing it, and of whitening it."""
        return 400.0 * n * dim + (4.0 * n * dim**2 if self.standardise else 0.0)


def whiten(x: Tensor) -> Tensor:
    """Centred and whitened samples, (B, N, K): mean 0, covariance (divisor N) I; differentiable.

    Raises:
        ValueError: a covariance that is singular to working precision. Where ``may_read`` forbids to look, such a
            sample becomes NaN instead.
    """
    centred = x - x.mean(-2, keepdim=True)
    factor, info = torch.linalg.cholesky_ex(centred.mT @ centred / x.shape[-2])
    diagonal = factor.diagonal(dim1=-2, dim2=-1)
    singular = (info != 0) | (diagonal.amin(-1) <= _SINGULAR * diagonal.amax(-1))
    if may_read(x) and singular.any():
        raise ValueError(
            "x has a singular covariance, it cannot be standardised; drop constant or dependent columns, or use "
            "standardise=False"
        )
    factor = factor.masked_fill(singular[:, None, None], torch.nan)
    return torch.linalg.solve_triangular(factor, centred.mT, upper=False).mT
