"""Estimates with intervals: one tidy table for every study, and what is derived from it.

A row of the table is one number: its place on the study's axes, and

    quantity        what was estimated
    estimate        the number
    low, high       its 95% interval; a point if the number is exact
    standard_error  of the estimate; 0 if it is exact. Of a rate whose exact value is known: under that value
    replicates      independent values behind it (Student's degrees of freedom are one less); 0: normal, or exact
    exact           what is known exactly; NaN where nothing is
    tolerance       what may separate the two beside the standard error: rounding, or a bound that was fixed beforehand

``contradictions`` holds every estimate against what is known exactly, all at once.
"""

import functools
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from sigreg_lab.experiment.cells import Row
from sigreg_lab.experiment.intervals import mean_interval, rate_interval

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("quantity", "estimate", "low", "high", "standard_error", "replicates", "exact", "tolerance")
#: Probability that chance alone stops a right study: two-sided, over all its comparisons with exact values.
FAMILY = 0.001
#: Relative difference of an exact estimate and its exact value that is rounding.
ROUNDING = 1e-9
LEVEL = 0.95


# Rows


def mean(quantity: str, values: ArrayLike, exact: float = math.nan, **axes: Any) -> Row:
    """The mean of independent values, with Student's interval."""
    array = np.asarray(values, dtype=float)
    low, high = mean_interval(array)
    error = float(array.std(ddof=1) / math.sqrt(len(array))) if len(array) > 1 else math.inf
    return axes | _row(quantity, float(array.mean()), low, high, error, len(array), exact)


def about(quantity: str, value: float, error: float, replicates: int = 0, exact: float = math.nan, **axes: Any) -> Row:
    """A number with its standard error: a normal interval, or Student's if ``replicates`` are given."""
    half = _quantile(LEVEL, replicates) * error
    return axes | _row(quantity, value, value - half, value + half, error, replicates, exact)


def rate(quantity: str, count: float, total: int, exact: float = math.nan, error: float = 0.0, **axes: Any) -> Row:
    """A rate with Wilson's interval; ``error`` is that of the exact value's own making, such as a threshold's.

    Of ``total`` independent units: what one unit holds alike is counted once, by its share.
    """
    low, high = rate_interval(count, total)
    share = count / total
    low, high = min(low, share), max(high, share)  # at 0 and at 1 rounding moves an end past the rate
    at = exact if math.isfinite(exact) else share
    return axes | _row(quantity, share, low, high, math.hypot(math.sqrt(at * (1 - at) / total), error), 0, exact)


def exactly(quantity: str, value: float, exact: float = math.nan, tolerance: float = 0.0, **axes: Any) -> Row:
    """A number without error: computed, not sampled; or the worst of several, held against a bound."""
    return axes | _row(quantity, value, value, value, 0.0, 0, exact, tolerance)


def interval(quantity: str, value: float, low: float, high: float, replicates: int = 0, **axes: Any) -> Row:
    """A number whose interval comes from elsewhere: a bootstrap, a joint interval."""
    error = (high - low) / (2 * _quantile(LEVEL, replicates))
    return axes | _row(quantity, value, low, high, error, replicates, math.nan)


def mapped(row: Row, quantity: str, function: Callable[[float], float], **axes: Any) -> Row:
    """An increasing function of an estimate, such as the root of a mean square: of the number, of both ends of its
    interval and of its exact value."""
    value, low, high = (function(float(row[end])) for end in ("estimate", "low", "high"))
    error = (high - low) / (2 * _quantile(LEVEL, row["replicates"]))
    exact = function(row["exact"]) if math.isfinite(row["exact"]) else math.nan
    return row | axes | _row(quantity, value, low, high, error, row["replicates"], exact)


def root(number: float) -> float:
    """Of a mean square; of one that noise makes negative 0."""
    return math.sqrt(max(number, 0.0))


def _row(
    quantity: str,
    value: float,
    low: float,
    high: float,
    error: float,
    replicates: int,
    exact: float,
    tolerance: float = 0.0,
) -> Row:
    numbers = (quantity, float(value), float(low), float(high), float(error), int(replicates), float(exact), tolerance)
    return dict(zip(COLUMNS, numbers, strict=True))


@functools.cache
def _quantile(level: float, replicates: int) -> float:
    """Of Student's law, two-sided; the normal's if ``replicates`` is 0."""
    from scipy import stats

    upper = (1 + level) / 2
    return float(stats.t.ppf(upper, replicates - 1) if replicates > 1 else stats.norm.ppf(upper))


# One estimate


class Estimate:
    """One number of the table. Its place on the axes is read as attributes: ``estimate.n``."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.value, self.low, self.high = (float(row[name]) for name in ("estimate", "low", "high"))
        self.standard_error, self.exact = float(row["standard_error"]), float(row["exact"])
        self.replicates = int(row["replicates"])

    def __getattr__(self, axis: str) -> Any:
        if axis.startswith("_") or axis not in self.__dict__.get("row", ()):
            raise AttributeError(f"no column {axis!r} in this estimate")
        return _whole(self.row[axis])

    def __repr__(self) -> str:
        place = ", ".join(f"{k}={_whole(v)}" for k, v in self.row.items() if k not in COLUMNS)
        return f"{self.row['quantity']} ({place}): {self}"

    def __str__(self) -> str:
        return self.span()

    @property
    def is_exact(self) -> bool:
        """Whether the number has no error."""
        return self.low == self.value == self.high

    def span(self, digits: int | None = None, percent: bool = False) -> str:
        """The number and, in brackets, its interval, such as 0.845 (0.841, 0.849), to the digits that are known."""
        scale, unit = (100.0, "%") if percent else (1.0, "")
        numbers = [scale * number for number in (self.value, self.low, self.high)]
        half = max(numbers[2] - numbers[0], numbers[0] - numbers[1])
        if digits is None and 0 < max(map(abs, numbers)) < 1e-3:
            texts = [f"{number:.1e}" for number in numbers]
        elif digits is None and not 0 < half < math.inf:
            texts = [f"{number:,.4g}" for number in numbers]
        else:
            decimals = min(max(0, -math.floor(math.log10(half))), 9) if digits is None else digits
            texts = [f"{number + 0.0:,.{decimals}f}" for number in numbers]
            texts = [text.lstrip("-") if float(text.replace(",", "")) == 0 else text for text in texts]  # no -0.00
        value, low, high = (text + unit for text in texts)
        return value if self.is_exact else f"{value} ({low}, {high})"

    def pvalue(self, bound: float) -> float:
        """Two-sided, of the hypothesis that the number is ``bound``, from the half of the interval on that side."""
        from scipy import stats

        half = self.value - self.low if self.value > bound else self.high - self.value
        if half == 0 or math.isnan(self.value):
            return 1.0 if self.value == bound or math.isnan(self.value) else 0.0
        size = abs(self.value - bound) / half * _quantile(LEVEL, self.replicates)
        return float(2 * (stats.t.sf(size, self.replicates - 1) if self.replicates > 1 else stats.norm.sf(size)))

    def at_level(self, level: float) -> "Estimate":
        """The same number with another interval: each half stretched as a normal's or Student's would be.

        An end at -1, 0 or 1 stays: it was cut there, as those of rates, correlations and losses are.
        """
        stretch = _quantile(level, self.replicates) / _quantile(LEVEL, self.replicates)
        low, high = (
            end if end in (-1, 0, 1) else self.value + stretch * (end - self.value) for end in (self.low, self.high)
        )
        return Estimate(self.row | {"low": low, "high": high})


class Estimates:
    """The table of a study, to be looked up.

    Args:
        table: one estimate a row, with the columns above and the study's axes.
    """

    def __init__(self, table: "pd.DataFrame") -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[Estimate]:
        return (Estimate({str(k): v for k, v in row.items()}) for row in self.table.to_dict("records"))

    def of(self, quantity: str | Collection[str] | None = None, **where: Any) -> "Estimates":
        """The rows of a quantity, or several, at a place: a value of each axis, several, or a function of it."""
        table = self.table
        chosen = where if quantity is None else {"quantity": quantity, **where}
        for axis, wanted in chosen.items():
            if axis not in table:
                raise LookupError(f"no axis {axis!r}; there are {', '.join(map(str, table))}")
            column = table[axis]
            if callable(wanted):
                keep = column.map(wanted).astype(bool)
            elif isinstance(wanted, str) or not isinstance(wanted, Collection):
                keep = column == wanted
            else:
                keep = column.isin([*wanted])
            table = table[keep]
        return Estimates(table)

    def at(self, quantity: str, **where: Any) -> Estimate:
        """The one estimate of a quantity at a place.

        Raises:
            LookupError: there is none, or more than one.
        """
        found = self.of(quantity, **where)
        if len(found) != 1:
            place = ", ".join(f"{axis}={value}" for axis, value in where.items())
            raise LookupError(f"{len(found)} estimates of {quantity!r} at {place}; one is needed")
        return next(iter(found))

    def axis(self, name: str) -> list[Any]:
        """The values of an axis: numbers in ascending order, texts in that of the table."""
        values = [_whole(v) for v in dict.fromkeys(self.table[name].dropna())] if name in self.table else []
        return values if any(isinstance(value, str) for value in values) else sorted(values)

    def first(self, axis: str) -> Any:
        """The least value of an axis; ``LookupError`` if it has none."""
        return self._end(axis, 0)

    def last(self, axis: str) -> Any:
        """The largest value of an axis; ``LookupError`` if it has none."""
        return self._end(axis, -1)

    def _end(self, axis: str, place: int) -> Any:
        values = self.axis(axis)
        if not values:
            raise LookupError(f"no estimates with a value of {axis!r}")
        return values[place]

    def least(self) -> Estimate:
        """The row with the least number.

        Raises:
            LookupError: there is none.
        """
        return min(self._numbers(), key=lambda estimate: estimate.value)

    def largest(self) -> Estimate:
        """The row with the largest number.

        Raises:
            LookupError: there is none.
        """
        return max(self._numbers(), key=lambda estimate: estimate.value)

    def _numbers(self) -> list[Estimate]:
        found = [estimate for estimate in self if not math.isnan(estimate.value)]
        if not found:
            raise LookupError("no estimates to choose from")
        return found


def _whole(value: Any) -> Any:
    """A whole number as one: a column with gaps holds it as a float."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def tabulate(rows: Sequence[Row]) -> "pd.DataFrame":
    """Rows as the table: axes first, in the order in which they come, then the columns above."""
    import pandas as pd

    table = pd.DataFrame(list(rows), columns=None if rows else COLUMNS)
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise ValueError(
            f"estimates lack the column {missing[0]!r}; make them with estimates.mean, rate, about, exactly"
        )
    return table[[*(name for name in table if name not in COLUMNS), *COLUMNS]]


# Against what is known exactly


def contradictions(estimates: Estimates) -> list[str]:
    """Where estimates contradict exact values: none if all are right, but for once in 1,000 studies.

    An estimate may be off by its tolerance and as many standard errors as all estimates of a right study together stay
    within with probability 99.9% (Bonferroni; Student's law where replicates are given). An exact value without an
    estimate is a contradiction too.
    """
    known = [estimate for estimate in estimates if not math.isnan(estimate.exact)]
    level = 1 - FAMILY / max(1, len(known))
    found = []
    for estimate in known:
        if math.isinf(estimate.exact):  # as of an exponent: faster than any power
            if estimate.value != estimate.exact:
                found.append(f"{estimate!r}, not {estimate.exact}")
            continue
        allowed = estimate.row["tolerance"] + ROUNDING * max(1.0, abs(estimate.exact))
        if estimate.standard_error > 0:
            allowed += _quantile(level, estimate.replicates) * estimate.standard_error
        if not abs(estimate.value - estimate.exact) <= allowed:
            found.append(f"{estimate!r}, not {estimate.exact:.6g} (within {allowed:.2g})")
    return found


# Derived from estimates


def difference(one: Estimate, other: Estimate) -> Estimate:
    """``one`` less ``other``, of independent errors: halves of the intervals are squared and added.

    [Zou & Donner (2008), Statistics in Medicine 27, 1693-1702]
    """
    value = one.value - other.value
    low = value - math.hypot(one.value - one.low, other.high - other.value)
    high = value + math.hypot(one.high - one.value, other.value - other.low)
    replicates = min((e.replicates for e in (one, other) if e.replicates > 1), default=0)
    row = one.row | interval(f"{one.row['quantity']}, difference", value, low, high, replicates)
    return Estimate(row)


def ratio(one: Estimate, other: Estimate) -> Estimate:
    """``one`` over ``other``, both positive and of independent errors: the difference of their logarithms."""
    logs = [
        Estimate(e.row | dict(zip(("estimate", "low", "high"), map(_log, (e.value, e.low, e.high)), strict=True)))
        for e in (one, other)
    ]
    found = difference(*logs)
    value, low, high = (math.exp(number) for number in (found.value, found.low, found.high))
    return Estimate(one.row | interval(f"{one.row['quantity']}, ratio", value, low, high, found.replicates))


def _log(number: float) -> float:
    return math.log(number) if number > 0 else -math.inf


def ranks(estimates: Estimates, largest_first: bool = True) -> list[tuple[int, int]]:
    """First and last place that each may hold; places that intervals do not part are shared.

    Two are parted if the interval of their difference excludes 0 at the level of 95% for all pairs together
    (Bonferroni); their errors are taken for independent.

    Args:
        estimates: what is ranked.
        largest_first: whether 1 is the place of the largest.
    """
    rows = list(estimates)
    level = 1 - (1 - LEVEL) / max(1, len(rows) * (len(rows) - 1) // 2)
    places = []
    for one in rows:
        gaps = [difference(one, other).at_level(level) for other in rows if other is not one]
        larger, smaller = sum(gap.high < 0 for gap in gaps), sum(gap.low > 0 for gap in gaps)
        before, after = (larger, smaller) if largest_first else (smaller, larger)
        places.append((1 + before, len(rows) - after))
    return places
