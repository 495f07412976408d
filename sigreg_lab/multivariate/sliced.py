"""The official package's sliced test, under its own names, on this library's parts."""

import hashlib
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.arrays import ArrayLike, NanPolicy, Samples, rows
from sigreg_lab.distributed import agreed_step
from sigreg_lab.kernels.operation import untraced
from sigreg_lab.multivariate.base import CODE
from sigreg_lab.nulls import NullLaw, Tested, TestResult, simulated_law
from sigreg_lab.nulls.law import Array, check_levels
from sigreg_lab.slicing import make_directions, seeded_generator, sliced_statistic
from sigreg_lab.slicing.directions import DIRECTIONS
from sigreg_lab.univariate import UnivariateTest
from sigreg_lab.univariate.base import SEED
from sigreg_lab.validation import check_sample

SAMPLERS = ("gaussian", *DIRECTIONS)
#: Replicates of a simulated law: as many as fit this number of operations, between the two bounds.
SIMULATED_OPERATIONS = 3.4e11
MOST_REPLICATES = 100_000
LEAST_REPLICATES = 2_000
#: A law that costs more, about ten minutes, is simulated only if the number of replicates is handed in.
MOST_OPERATIONS = 6.8e12
_LARGEST_CHUNK = 2**24  # numbers, in the samples and projections that are held at once


class SlicingUnivariateTest(torch.nn.Module):
    """A univariate statistic T on random slices, drawn anew at each call.

        T_m = T({a_m'x_n}),   m = 1 .. M,   a_m unit vectors; the value is their mean, sum or maximum    [1, Def. 2]

    The directions of a call are seeded by the buffer ``global_step`` and by nothing else: whoever writes to it, a
    checkpoint, ``DistributedDataParallel`` or the copy of an average model, sets the sequence. In an initialised
    process group ``forward`` takes the largest step of all ranks, as the official code does, so that all project on the
    same directions; all ranks call together. It then counts on from there. Reading the step waits for the device that
    the buffer lies on; ``regularizers.SIGReg``, to which the caller hands a generator, waits for nothing.

    Null: N(0, I). Law: of each slice that of T; of the reduced value simulated, on directions of the same number and
    kind. Gradient: that of T on each slice ("max": on one slice), 0 for clipped slices. Cost O(N K M) and M times that
    of T.

    Args:
        univariate_test: the statistic.
        num_slices: M, directions per call; the number of columns if ``sampler`` is a tensor.
        reduction: over the slices: "mean", "sum", "max" or None (one value per slice). ``forward`` then takes "mean"
            and "sum" over the batch dimensions too, as the official code does, and the mean of the "max".
        sampler: kind of directions: "gaussian" (or "iid"), "orthogonal", "sobol", "hd3", "fixed"; or the directions
            themselves, shape (K, M).
        clip_value: values of a slice below it count as 0.

    Raises:
        ValueError: an unknown ``reduction`` or ``sampler``, ``num_slices`` below 1.

    [1] Balestriero & LeCun (2025), arXiv:2511.08544; official code, ``SlicingUnivariateTest``.
    """

    global_step: Tensor
    injected: Tensor | None

    def __init__(
        self,
        univariate_test: UnivariateTest,
        num_slices: int,
        reduction: Literal["mean", "sum", "max"] | None = "mean",
        sampler: str | Tensor = "gaussian",
        clip_value: float | None = None,
    ) -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "max", None):
            raise ValueError(f"reduction must be 'mean', 'sum', 'max' or None, got {reduction!r}")
        if isinstance(sampler, Tensor):
            if sampler.ndim != 2 or sampler.shape[1] != num_slices:
                raise ValueError(
                    f"sampler, if a tensor, must hold directions of shape (K, num_slices={num_slices}), "
                    f"got {tuple(sampler.shape)}"
                )
        elif sampler not in SAMPLERS:
            raise ValueError(
                f"sampler must be one of {', '.join(SAMPLERS)}, or a tensor of directions; got {sampler!r}"
            )
        if num_slices < 1:
            raise ValueError(f"num_slices must be at least 1, got {num_slices}")
        self.univariate_test = univariate_test
        self.num_slices = num_slices
        self.reduction = reduction
        self.sampler = sampler if isinstance(sampler, str) else "injected"
        self.clip_value = clip_value
        self.register_buffer("global_step", torch.zeros((), dtype=torch.long))
        self.register_buffer("injected", sampler if isinstance(sampler, Tensor) else None, persistent=False)

    def extra_repr(self) -> str:
        return (
            f"num_slices={self.num_slices}, reduction={self.reduction!r}, sampler={self.sampler!r}, "
            f"clip_value={self.clip_value!r}"
        )

    def directions(self, dim: int, generator: torch.Generator) -> Tensor:
        """Directions of this test's kind, shape (K, M), float32 unless injected."""
        if self.injected is not None:
            return self.injected
        kind = "iid" if self.sampler == "gaussian" else self.sampler
        return make_directions(kind, dim, self.num_slices, generator=generator)

    def forward(self, x: ArrayLike, *, axis: int = -2, nan_policy: NanPolicy = "raise") -> Any:
        """The reduced statistic of ``x``.

        Args:
            x: samples, shape (..., N, K): a floating-point tensor, or an array, list or DataFrame of numbers
                (``sigreg_lab.arrays``).
            axis: along which the rows lie; the last other one holds the K coordinates.
            nan_policy: of rows that hold a NaN: "raise" refuses them, "omit" leaves them out, and "propagate" gives NaN
                for a sample that has one. Infinite values are always refused.

        Returns:
            A scalar, or (..., M) for ``reduction=None``: a tensor for a tensor, else a float or an array.

        Raises:
            ValueError: ``x`` is no floating-point tensor and no array of numbers of that shape, is empty, has NaN or
                infinite values, or too few samples; an ``axis`` or a ``nan_policy`` that there is not.
        """
        if isinstance(x, Tensor) and axis == -2 and nan_policy == "raise":
            self._check(x)
            return self._over_batch(self._reduced(x, self._next_directions(x)))
        samples = self._samples(x, axis, nan_policy)
        for part in samples.parts:
            self._check(part)
        directions = self._next_directions(samples.whole)
        values = [self._reduced(part, directions) for part in samples.parts]
        return samples.kind.give(self._over_batch(samples.joined(values, self._tail())))

    def _over_batch(self, value: Tensor) -> Tensor:
        if self.reduction is None:
            return value
        return value.sum() if self.reduction == "sum" else value.mean()

    def _check(self, x: Tensor) -> None:
        check_sample(x, "x", ndim=2, min_samples=self.univariate_test.min_samples, can_omit=True)

    def _samples(self, x: ArrayLike, axis: int, nan_policy: NanPolicy) -> Samples:
        return rows(x, axis, nan_policy, lambda dim: self.univariate_test.min_samples)

    def _tail(self) -> tuple[int, ...]:
        """The shape of one sample's result."""
        return (self.num_slices,) if self.reduction is None else ()

    def test(
        self, x: ArrayLike, *, replicates: int | None = None, axis: int = -2, nan_policy: NanPolicy = "raise"
    ) -> TestResult:
        """Statistic and p-value of each sample, for independent rows of N(0, I).

        Rows that depend in groups, such as views of one picture, are tested one view at a time: V samples of shape
        (V, N, K) get V p-values. See ``nulls.split_groups`` and ``nulls.combine_pvalues``.

        The directions are those of this rank's ``global_step``, which does not move; nothing is sent. With
        ``reduction=None`` each slice is tested by itself, by the univariate statistic's law: M p-values, not corrected
        for their number. Otherwise the reduced value is ranked among those of simulated samples of N(0, I) on
        directions of the same number and kind, drawn anew (for directions handed in, on those): the maximum is
        calibrated as a maximum.

        Args:
            x: as for ``forward``.
            replicates: simulated samples, at least 100; if not given 2,000 to 100,000 by their cost. The least p-value
                is 1/(replicates + 1). The law is read from the cache if it is there.
            axis: as for ``forward``.
            nan_policy: as for ``forward``; "omit" takes a law for each number of rows that is left.

        Returns:
            ``TestResult``, which unpacks as ``statistic, pvalue``, float64, shape (...), or (..., M) for
            ``reduction=None``, in the caller's kind and without gradient; it knows the law, its error, decisions and
            critical values.

        Raises:
            ValueError: as ``forward``; ``clip_value`` with ``reduction=None``, where a clipped slice has no law.
        """
        if self.reduction is None and self.clip_value is not None:
            raise ValueError("clip_value must be None to test each slice; choose a reduction, or do not clip")
        samples = self._samples(x, axis, nan_policy)
        tested = [self._tested(part, replicates) for part in samples.parts]
        null = "independent rows of N(0, I)"
        return TestResult.of(samples, tested, test=str(self), null_hypothesis=null, tail=self._tail())

    def _tested(self, x: Tensor, replicates: int | None) -> Tested:
        self._check(x)
        n, dim = x.shape[-2:]
        law = self.null_law(n, dim, replicates=replicates)
        with torch.no_grad():
            statistic = self._reduced(x.double(), self.directions(dim, seeded_generator(int(self.global_step))))
        # A reduced value's law is simulated in float32, which is as near as its atoms come to those of the statistic.
        return Tested(statistic, law.pvalue(statistic if self.reduction is None else statistic.float()), law)

    def critical_value(self, alpha: ArrayLike, n: int, dim: int, *, replicates: int | None = None) -> Any:
        """The threshold that the reduced statistic of ``n`` samples exceeds with probability ``alpha`` under N(0, I).

        Args:
            alpha: a level, or several.
            n: the number of rows.
            dim: K, the number of coordinates.
            replicates: as for ``test``.

        Returns:
            A float; for several levels a value for each, in the kind of ``alpha``.

        Raises:
            ValueError: ``alpha`` outside (0, 1) or too small for the replicates; ``n`` or ``dim`` too small.
        """
        check_levels(alpha)  # before the law is simulated
        return self.null_law(n, dim, replicates=replicates).critical_value(alpha)

    def null_law(self, n: int, dim: int, *, replicates: int | None = None) -> NullLaw:
        """Law of the reduced statistic of ``n`` samples of N(0, I) in ``dim`` dimensions; see ``test``.

        Raises:
            ValueError: ``n`` or ``dim`` too small, or too large to simulate unasked; fewer than 100 ``replicates``.
        """
        if dim < 1 or n < self.univariate_test.min_samples:
            least = self.univariate_test.min_samples
            raise ValueError(f"dim must be at least 1 and n at least {least}, got dim={dim}, n={n}")
        if self.reduction is None:
            return self.univariate_test.null_law(n)
        if replicates is None:
            cost = n * self.num_slices * (0.5 * dim + 50.0)
            if LEAST_REPLICATES * cost > MOST_OPERATIONS:
                raise ValueError(
                    f"n={n} rows in dim={dim} are too many to simulate the law over {self.num_slices} slices in some "
                    f"ten minutes (multivariate.sliced.MOST_OPERATIONS={MOST_OPERATIONS:g}): hand in replicates, at "
                    f"least 100, use fewer slices, or test a random subsample"
                )
            replicates = int(min(MOST_REPLICATES, max(LEAST_REPLICATES, SIMULATED_OPERATIONS / cost)))
        name = f"{type(self).__module__}.{self}|n={n}|dim={dim}"
        if self.injected is not None:
            content = self.injected.detach().double().cpu().contiguous().numpy().tobytes()
            name += f"|directions={hashlib.sha256(content).hexdigest()}"
        return simulated_law(
            lambda rng, count: self._simulate(rng, count, n, dim),
            name,
            type(self),  # not self, whose step is another at each call
            self.univariate_test,
            *CODE,
            replicates=replicates,
            seed=SEED,
            chunk=min(8, max(1, _LARGEST_CHUNK // (n * (dim + self.num_slices)))),
        )

    @untraced("it reads a tensor and draws from a generator, neither of which can be traced")
    def _next_directions(self, x: Tensor) -> Tensor:
        """Directions for ``x`` at the largest step of all ranks; all of them count on from it."""
        step = agreed_step(self.global_step, x.device)
        self.global_step.fill_(step + 1)
        return self.directions(x.shape[-1], seeded_generator(step))

    def _reduced(self, x: Tensor, directions: Tensor) -> Tensor:
        reduction = "none" if self.reduction is None else self.reduction
        return sliced_statistic(x, self.univariate_test, directions, reduction, clip=self.clip_value)

    def _simulate(self, rng: np.random.Generator, replicates: int, n: int, dim: int) -> Array:
        """Reduced values of samples of N(0, I), one draw of directions for each few samples."""
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        directions = self.directions(dim, generator)
        x = torch.from_numpy(rng.standard_normal((replicates, n, dim), dtype=np.float32))
        with torch.no_grad():
            return self._reduced(x, directions.cpu()).double().numpy()
