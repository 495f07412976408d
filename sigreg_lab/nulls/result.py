"""The result of a test: statistic and p-value, with what they rest on."""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.arrays import ArrayLike, Kind, Samples, as_levels, as_tensor
from sigreg_lab.nulls.law import NullLaw, check_alpha

_SHOWN = 20  # results that are printed, of many
_USUAL_LEVELS = (0.1, 0.05, 0.01)


class Tested(NamedTuple):
    """Samples of one size, tested: tensors, the law of the p-values, and what there is to add to its kind."""

    statistic: Tensor
    pvalue: Tensor
    law: NullLaw
    remark: str = ""


class _Pair(NamedTuple):
    statistic: Any
    pvalue: Any


class TestResult(_Pair):
    """Statistic and p-value, float64 and of the caller's kind; unpacks as ``statistic, pvalue = result``.

    Attributes:
        statistic: a number for each sample: a tensor, a float or array, or a Series.
        pvalue: of the same shape; NaN where the statistic is.
        n: the number of samples; with ``nan_policy="omit"`` one for each result, of the same kind.
        test: the statistic and its parameters.
        null_hypothesis: in words.
        law: where the p-values are from: "simulated", "asymptotic" or "exact", and what there is to add.
        replicates: of the simulation, the least where sizes differ; None if nothing was simulated.
    """

    __test__ = False  # no class of pytest's

    n: Any = None
    test: str = ""
    null_hypothesis: str = ""
    law: str = ""
    replicates: int | None = None
    _laws: Mapping[int, NullLaw] = MappingProxyType({})  # by the number of samples
    _kind: Kind = Kind()

    @classmethod
    def of(
        cls,
        samples: Samples,
        parts: Sequence[Tested],
        *,
        test: str,
        null_hypothesis: str,
        tail: tuple[int, ...] = (),
    ) -> "TestResult":
        """The result for ``samples``, in their caller's kind.

        Args:
            samples: what was tested.
            parts: each of their parts, tested.
            test: the statistic.
            null_hypothesis: in words.
            tail: the shape of one sample's result.
        """
        result = cls(
            samples.back([part.statistic for part in parts], "statistic", tail),
            samples.back([part.pvalue for part in parts], "pvalue", tail),
        )
        laws = {size: part.law for size, part in zip(samples.sizes, parts, strict=True)}
        result.n = samples.kind.give(samples.n, "n") if isinstance(samples.n, Tensor) else samples.n
        result.test, result.null_hypothesis = " ".join(test.split()), null_hypothesis
        result.law = ", ".join(dict.fromkeys(part.law.kind + part.remark for part in parts))
        result.replicates = min((law.replicates for law in laws.values() if law.replicates), default=None)
        result._laws, result._kind = laws, samples.kind
        return result

    @property
    def pvalue_error(self) -> Any:
        """Standard error of each p-value that comes from the simulation of its law; 0 where nothing was simulated."""
        p = as_tensor(self.pvalue)[0]
        replicates = self._of_laws(lambda law: float(law.replicates or math.inf)).to(p.device)
        return self._kind.give((p * (1 - p) / replicates).sqrt(), "pvalue_error")

    def reject(self, alpha: ArrayLike = 0.05) -> Any:
        """Whether the null hypothesis is rejected at level ``alpha``: the p-value is ``alpha`` or less.

        Args:
            alpha: a level, or several.

        Returns:
            Booleans of the shape and kind of ``pvalue``; for several levels one dimension more, the first, and of the
            columns of a DataFrame a DataFrame with a row for each level.

        Raises:
            ValueError: a level outside (0, 1).
        """
        levels, p = as_levels(alpha, check_alpha)[0], as_tensor(self.pvalue)[0]
        decisions = [p <= level for level in levels]
        if np.ndim(alpha) == 0:
            return self._kind.give(decisions[0], "reject")
        return self._kind.give(torch.stack(decisions), index=levels)

    def critical_value(self, alpha: ArrayLike = 0.05) -> Any:
        """The threshold that the statistic exceeds with probability ``alpha`` under the null hypothesis.

        Args:
            alpha: a level, or several.

        Returns:
            A float; for several levels an array, or a tensor. With ``nan_policy="omit"`` of the shape and kind of
            ``reject``, since the law follows the number of samples.

        Raises:
            ValueError: a level outside (0, 1), or too small for a simulated law; no sample was tested.
        """
        levels = as_levels(alpha, check_alpha)[0]
        if not self._laws:
            raise ValueError("critical_value needs a law, and this result has none: no sample was tested")
        values = [self._of_laws(lambda law, level=level: law.threshold(level)) for level in levels]  # type: ignore[misc]
        kind = Kind(self._kind.tensor) if isinstance(self.n, int) else self._kind
        if np.ndim(alpha) == 0:
            return float(values[0]) if isinstance(self.n, int) else kind.give(values[0], "critical_value")
        return kind.give(torch.stack(values), index=levels)

    def _of_laws(self, number: Callable[[NullLaw], float]) -> Tensor:
        """A number for the law of all results, or for that of each; NaN for a sample too small to be tested."""
        known = {size: number(law) for size, law in self._laws.items()}
        sizes = as_tensor(self.n)[0]
        found = [known.get(int(size), math.nan) for size in sizes.flatten().tolist()]
        return torch.tensor(found, dtype=torch.float64).reshape(sizes.shape)

    def __repr__(self) -> str:
        return f"TestResult(statistic={self.statistic!r}, pvalue={self.pvalue!r}, n={self.n!r}, law={self.law!r})"

    def __str__(self) -> str:
        law = self.law + (f", {self.replicates:,} replicates" if self.replicates else "")
        facts = {"null hypothesis": self.null_hypothesis, "law": law, "critical values": self._thresholds_in_words()}
        if isinstance(self.n, int):
            facts["n"] = f"{self.n:,}"
        statistic, pvalue = (as_tensor(value)[0].detach().flatten().tolist() for value in self)
        if np.ndim(self.pvalue) == 0:
            error = f", standard error {self.pvalue_error:.1g}" if self.replicates else ""
            facts |= {"statistic": f"{statistic[0]:.6g}", "p-value": f"{pvalue[0]:.4g}{error}"}
        lines = [self.test] + [f"  {name}: {fact}" for name, fact in facts.items() if fact]
        if np.ndim(self.pvalue) == 0:
            return "\n".join(lines).lstrip("\n")
        labels = self._kind.labels
        places = [", ".join(map(str, place)) for place in np.ndindex(*np.shape(self.pvalue))]
        names = places if labels is None else list(map(str, labels))
        table = [
            ["", *names],
            ["statistic", *(f"{value:.6g}" for value in statistic)],
            ["p-value", *(f"{value:.4g}" for value in pvalue)],
        ]
        if not isinstance(self.n, int):
            table.append(["n", *(f"{int(size):,}" for size in as_tensor(self.n)[0].flatten().tolist())])
        table = [column[: _SHOWN + 1] for column in table]
        widths = [max(map(len, column)) for column in table]
        for row in zip(*table, strict=True):
            lines.append("  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
        if len(names) > _SHOWN:
            lines.append(f"  and {len(names) - _SHOWN:,} more")
        if len(names) > 1:
            lines.append(f"  {len(names):,} p-values, each by itself: not corrected for their number")
        return "\n".join(lines)

    def _thresholds_in_words(self) -> str:
        """At the usual levels, as far as the law knows them; of one law only."""
        found = []
        for level in _USUAL_LEVELS if len(self._laws) == 1 else ():
            try:
                found.append(f"{next(iter(self._laws.values())).threshold(level):.4g} at {level:g}")
            except ValueError:  # too few replicates
                break
        return ", ".join(found)
