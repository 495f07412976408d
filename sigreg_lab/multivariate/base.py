"""The contract of a multivariate statistic: a sample goes in, a number comes out.

A statistic measures how far a sample is from N(0, I) over dimension -2: shape (..., N, K) gives (...). It is
differentiable; larger means further away. With ``standardise=True`` the sample is first centred and whitened,

    y_j = L^-1 (x_j - mean),   L L' = S = 1/N sum_j (x_j - mean)(x_j - mean)',

so that it measures the distance to *any* normal law (the classical tests of normality). The statistics depend on y
through inner products alone, so any square root of S gives the same number.
"""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sigreg_lab import kernels
from sigreg_lab.nulls import NullLaw, simulated_law
from sigreg_lab.nulls.law import Array, check_alpha
from sigreg_lab.slicing import directions, estimators, infinite, pairwise
from sigreg_lab.univariate import base as univariate
from sigreg_lab.univariate.base import METHODS, SEED, Method, TestResult
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
        return f"standardise={self.standardise}"

    def min_samples(self, dim: int) -> int:
        """The least N for which it is defined in dimension ``dim``: 2, or K + 1 to whiten."""
        return max(2, dim + 1) if self.standardise else 2

    def forward(self, x: Tensor) -> Tensor:
        """The statistic of each sample.

        Args:
            x: samples, shape (..., N, K), floating point. A gradient beyond 65504 is infinite in float16.

        Returns:
            Shape (...). The arithmetic is in float64 under any autocast; the result has the dtype of ``x``, float32
            for bfloat16 and float16.

        Raises:
            ValueError: ``x`` is no floating-point tensor of that shape, is empty, has NaN or infinite values, too few
                samples, or, to whiten, a singular covariance.
        """
        return self._value(x).to(at_least_float32(x).dtype)

    def _check(self, x: Tensor) -> None:
        check_sample(x, "x", ndim=2, min_samples=2)
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

    def test(self, x: Tensor, method: Method = "auto") -> TestResult:
        """Statistic and p-value of each sample, for independent rows under the null hypothesis.

        Rows that depend in groups, such as views of one picture, are tested one view at a time: V samples of shape
        (V, N, K) get V p-values. See ``nulls.split_groups`` and ``nulls.combine_pvalues``.

        Args:
            x: as for ``forward``; lifted to float64.
            method: "asymptotic", the limit law; "monte-carlo", the simulated law; "auto", the first where it is
                trusted (``asymptotic_from``), else the second. A simulated law is computed once, in seconds to
                minutes, and then read from the cache; for large N see ``limit_at``.

        Returns:
            ``TestResult(statistic, pvalue)``, both float64 and of the shape of ``forward``'s result.

        Raises:
            ValueError: as ``forward``; an unknown ``method``; "asymptotic" where no limit law is known; a sample too
                large to simulate its law.
        """
        self._check(x)
        n, dim = x.shape[-2:]
        law = self._known_law(n, dim, method)
        with torch.no_grad():
            statistic = self._value(x)
        law = law or self._simulated_law(n, dim)
        return TestResult(statistic, law.pvalue(self._extremeness(statistic)))

    def critical_value(self, alpha: float, n: int, dim: int, method: Method = "auto") -> float:
        """The threshold that the statistic of ``n`` samples in ``dim`` dimensions exceeds with probability ``alpha``.

        Raises:
            ValueError: ``alpha`` outside (0, 1) or too small for a simulated law; as ``null_law``.
        """
        alpha = check_alpha(alpha)  # before the law is simulated
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
