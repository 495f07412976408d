"""The contract of a univariate statistic: a sample goes in, a number comes out.

A statistic measures how far a sample is from N(0, 1), both parameters known ("case 0"), over dimension -2: shape
(..., N, M) gives (..., M), and (N,) gives a scalar. It is differentiable; larger means further away. A statistic whose
``null_hypothesis`` is "composite" does not see location and scale: it measures how far a sample is from any normal law.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from sigreg_lab import kernels
from sigreg_lab.arrays import ArrayLike, NanPolicy, columns
from sigreg_lab.kernels import sort_samples
from sigreg_lab.nulls import MonteCarlo, NullLaw, Tested, TestResult, simulated_law
from sigreg_lab.nulls.law import Array, check_levels
from sigreg_lab.univariate.sums import Nodes, SumForm
from sigreg_lab.validation import at_least_float32, check_sample

if TYPE_CHECKING:
    from sigreg_lab.univariate.evaluate import SharedSample

METHODS = ("auto", "asymptotic", "monte-carlo")
Method = Literal["auto", "asymptotic", "monte-carlo"]

#: Replicates of a Monte-Carlo law: as many as fit this number of simulated values, at most half a minute on one core.
#: A sample size for which not even the least number of replicates fits is refused.
SIMULATED_VALUES = 400_000_000
MOST_REPLICATES = 1_000_000
LEAST_REPLICATES = 1_000
SEED = 20_251_111
VALUES_PER_CHUNK = 100_000  # what stays in the processor's cache
#: What lies under the statistics: a change of it makes simulated laws anew, as one of the statistic does.
CODE = tuple(
    Path(kernels.__file__).with_name(name)
    for name in ("characteristic_function.py", "characteristic_function.c", "vectors.h", "eager.py", "sorting.py")
)


NULL_HYPOTHESES = {
    "simple": "independent values of N(0, 1)",
    "composite": "independent values of a normal law of any mean and variance",
}


class UnivariateTest(torch.nn.Module):
    """Base of all univariate statistics.

    A subclass sets the class attributes and writes ``_statistic``, the formula alone: it receives (..., N, M) in
    float32 or float64, sorted along dimension -2 if ``uses_order`` is set, and returns (..., M). It declares its null
    law by ``asymptotic_law`` and ``asymptotic_from``; without them the law is simulated, once for each class, value of
    its parameters (the attributes that ``__init__`` sets) and N. ``sigreg_lab.univariate.REGISTRY`` need not know it.

    Where there is a faster way to the same number, it declares that too: ``sum_form`` for several processes and for
    slices of embeddings, ``bulk`` for many statistics on one sample, ``nodes`` for those who reckon with them. A
    subclass that writes another ``_statistic`` inherits none of the three.

    Attributes:
        name: the name in registries, rows and tables.
        sensitive_to: which departures from N(0, 1) it reacts to, in a few words.
        null_hypothesis: "simple", N(0, 1) itself, or "composite", any normal law.
        min_samples: the least N for which it is defined.
        uses_order: whether the formula needs the sorted sample.
        suitable_as_loss: whether its gradient moves more than a few samples at a time.
        asymptotic_from: the least N at which ``method="auto"`` trusts the asymptotic law (measured: see
            docs/statistics.md); None if it never does.
    """

    name: ClassVar[str]
    sensitive_to: ClassVar[str]
    null_hypothesis: ClassVar[Literal["simple", "composite"]] = "simple"
    uses_order: ClassVar[bool] = False
    suitable_as_loss: ClassVar[bool] = True
    min_samples: int = 2
    asymptotic_from: int | None = None

    def __init__(self, eps: float = 1e-5, sorted: bool = False) -> None:
        """``sorted`` says that samples come sorted along the sample dimension. ``eps`` is taken for the sake of callers
        of the official classes; a statistic that uses it says so."""
        super().__init__()
        self.sorted = sorted

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("sum_form", "bulk", "nodes"):
            if "_statistic" in vars(cls) and name not in vars(cls):  # another formula than the base's
                setattr(cls, name, getattr(UnivariateTest, name))

    def forward(self, x: ArrayLike, *, axis: int | None = -2, nan_policy: NanPolicy = "raise") -> Any:
        """The statistic of each column.

        Args:
            x: samples, shape (..., N, M) or (N,): a floating-point tensor, or an array, list, Series or DataFrame of
                numbers (``sigreg_lab.arrays``). bfloat16 and float16 are lifted to float32; autocast is switched off
                inside; float64 stays float64. A gradient beyond 65504 is infinite in float16.
            axis: along which the samples lie, as in SciPy; None takes all values as one sample.
            nan_policy: of NaN, as in SciPy: "raise" refuses them, "omit" leaves them out, column by column, and
                "propagate" gives NaN for a column that holds one. Infinite values are always refused.

        Returns:
            Shape (..., M), or a scalar for (N,); float32, or float64 for float64 input. A tensor for a tensor; else a
            float or an array, and for a DataFrame a Series.

        Raises:
            ValueError: ``x`` is no floating-point tensor and no array of numbers, is empty, has NaN or infinite values,
                or fewer than ``min_samples`` samples; an ``axis`` or a ``nan_policy`` that there is not.
        """
        if isinstance(x, Tensor) and axis == -2 and nan_policy == "raise":
            self._check(x)
            return self.unchecked(x)
        samples = columns(x, axis, nan_policy, self.min_samples)
        return samples.back([self.forward(part) for part in samples.parts], self.name)

    def _check(self, x: Tensor) -> None:
        sample_dim = -1 if x.ndim == 1 else -2
        check_sample(x, "x", ndim=1, min_samples=self.min_samples, sample_dim=sample_dim, can_omit=True)

    def unchecked(self, x: Tensor, *, presorted: bool = False) -> Tensor:
        """``forward`` without its checks, for callers that have checked already.

        Args:
            x: as for ``forward``.
            presorted: ``x`` is sorted along dimension -2 already, as when several statistics share one sort.
        """
        with torch.autocast(device_type=x.device.type, enabled=False):
            x = at_least_float32(x)
            columns = x.unsqueeze(-1) if x.ndim == 1 else x
            if self.uses_order and not (presorted or self.sorted):
                columns = sort_samples(columns)
            value = self._statistic(columns)
        return value.squeeze(-1) if x.ndim == 1 else value

    def _statistic(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def sum_form(self) -> SumForm | None:
        """The statistic as a function of sample means; None if it is none. See ``SumForm``, ``characteristic_sums``."""
        return None

    def bulk(self, sample: "SharedSample") -> Tensor:
        """The statistic of each column of a sample that ``evaluate`` hands to several statistics, shape (M,)."""
        return self.unchecked(sample.ordered if self.uses_order else sample.x, presorted=True)

    def nodes(self) -> Nodes | None:
        """Nodes of a statistic that compares characteristic functions on a grid; None for all others."""
        return None

    def test(
        self, x: ArrayLike, method: Method = "auto", *, axis: int | None = -2, nan_policy: NanPolicy = "raise"
    ) -> TestResult:
        """Statistic and p-value of each column, for independent samples under the null hypothesis.

        Samples that depend in groups, such as views of one picture, are tested one view at a time, a p-value each:
        ``nulls.split_groups`` and ``nulls.combine_pvalues``.

        Args:
            x: as for ``forward``; lifted to float64.
            method: "asymptotic", the limit law; "monte-carlo", the simulated law at this N; "auto", the first where it
                has been measured to keep its level, else the second. A simulated law is computed once (seconds to half
                a minute) and then read from the cache; its p-values are no smaller than 1/(replicates + 1).
            axis: as for ``forward``.
            nan_policy: as for ``forward``; "omit" takes a law for each number of values that is left.

        Returns:
            ``TestResult``, which unpacks as ``statistic, pvalue``, both float64, of the shape and kind of ``forward``'s
            result, and without gradient; it knows the law, its error, decisions and critical values.

        Raises:
            ValueError: as ``forward``; an unknown ``method``; "asymptotic" where no limit law is known; a sample too
                large to simulate its law.
        """
        samples = columns(x, axis, nan_policy, self.min_samples)
        tested = [self._tested(part, method) for part in samples.parts]
        return TestResult.of(samples, tested, test=str(self), null_hypothesis=NULL_HYPOTHESES[self.null_hypothesis])

    def _tested(self, x: Tensor, method: Method) -> Tested:
        self._check(x)
        law = self.null_law(x.shape[-1] if x.ndim == 1 else x.shape[-2], method)
        with torch.no_grad():
            statistic = self.unchecked(x.double())
        return Tested(statistic, law.pvalue(statistic), law)

    def critical_value(self, alpha: ArrayLike, n: int, method: Method = "auto") -> Any:
        """The threshold that the statistic of ``n`` samples exceeds with probability ``alpha`` under the null.

        Args:
            alpha: a level, or several.
            n: the number of samples.
            method: as for ``test``.

        Returns:
            A float; for several levels a value for each, in the kind of ``alpha``.

        Raises:
            ValueError: ``alpha`` outside (0, 1) or too small for a simulated law; as ``null_law``.
        """
        check_levels(alpha)  # before the law is simulated
        return self.null_law(n, method).critical_value(alpha)

    def null_law(self, n: int, method: Method = "auto") -> NullLaw:
        """Law of the statistic of ``n`` samples under its null hypothesis.

        Raises:
            ValueError: ``n`` below ``min_samples``; an unknown ``method``; "asymptotic" where no limit law is known;
                an ``n`` too large to simulate.
        """
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        if n < self.min_samples:
            raise ValueError(f"n must be at least {self.min_samples} for {self.name}, got {n}")
        if method == "asymptotic" or (
            method == "auto" and self.asymptotic_from is not None and n >= self.asymptotic_from
        ):
            law = self.asymptotic_law(n)
            if law is None:
                raise ValueError(f"{self.name} has no asymptotic law here; use method='monte-carlo'")
            return law
        return self._simulated_law(n)

    def asymptotic_law(self, n: int) -> NullLaw | None:
        """The law for large ``n``, or an exact one; None if none is known."""
        return None

    def simulate(self, rng: np.random.Generator, replicates: int, n: int) -> Array:
        """Values of the statistic on independent samples of ``n`` standard normal numbers, float64."""
        size = max(1, VALUES_PER_CHUNK // n)
        values = []
        for start in range(0, replicates, size):
            rows = rng.standard_normal((min(size, replicates - start), n))
            if self.uses_order:
                rows.sort(axis=1)
            with torch.no_grad():
                values.append(self.unchecked(torch.from_numpy(rows).T, presorted=True).numpy())
        return np.concatenate(values)

    def _simulated_law(self, n: int) -> MonteCarlo:
        if LEAST_REPLICATES * n > SIMULATED_VALUES:
            most = SIMULATED_VALUES // LEAST_REPLICATES
            other = "" if self.asymptotic_law(n) is None else ", or use method='asymptotic'"
            raise ValueError(
                f"n={n} samples are too many to simulate the law of {self.name}, possible up to n={most} "
                f"(univariate.base.SIMULATED_VALUES={SIMULATED_VALUES}): test a random subsample{other}"
            )
        replicates = min(MOST_REPLICATES, max(LEAST_REPLICATES, SIMULATED_VALUES // n))
        return simulated_law(
            lambda rng, count: self.simulate(rng, count, n),
            f"{type(self).__module__}.{self}|n={n}",
            self,
            *CODE,
            replicates=replicates,
            seed=SEED,
            chunk=4 * VALUES_PER_CHUNK // n + 1,
        )


def in_own_units(x: Tensor) -> Tensor:
    """``x`` in float64, in units of the power of two at its range over dimension -2.

    For statistics that scale does not change: their powers neither overflow nor vanish, and floors under variances are
    for collapsed samples, not for samples of small numbers. A power of two rounds nothing; it carries no gradient, for
    that in the scale is 0. A sample that is constant to rounding stays as it is.
    """
    y = x.double()
    with torch.no_grad():
        least, largest = y.amin(-2, keepdim=True), y.amax(-2, keepdim=True)
        spread = largest - least
        exponent = torch.log2(spread).ceil().clamp(-1000, 1000)
        rounding = 4 * torch.finfo(torch.float64).eps * torch.maximum(-least, largest)
        unit = torch.where(spread > rounding, torch.pow(2.0, -exponent), 1.0)
    return y * unit
