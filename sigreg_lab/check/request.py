"""What the readers of all formats share: the request with its limits, the sampling of rows, refusals in one line."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sigreg_lab.check.plain import plain

Array = NDArray[np.float64]
Index = NDArray[np.int64]

MAX_ROWS = 4096
#: The default number of rows shrinks for wide samples, to at most this number of values.
MAX_VALUES = 2**23
LEAST_ROWS = 8
MAX_GIGABYTES = 2.0
#: The names that pandas gives to an index without a name, in a .parquet and when it reads a .csv.
INDEX_NAME = re.compile(r"__index_level_\d+__|Unnamed: \d+(_level_\d+)?|")


class ReadError(ValueError):
    """A file that is not read, in one line that names it and says what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(plain(message))


@dataclass(frozen=True)
class Request:
    """What was asked of ``read_sample``; see there."""

    path: Path
    key: str | None
    group: str | None
    drop: tuple[str, ...]
    separator: str | None
    decimal: str | None
    header: bool | None
    max_rows: int | None
    max_gigabytes: float
    rng: np.random.Generator

    def rows(self, dim: int) -> int:
        """How many rows of ``dim`` features to keep."""
        return self.max_rows or max(LEAST_ROWS, min(MAX_ROWS, MAX_VALUES // max(dim, 1)))

    def refuse(self, reason: str) -> ReadError:
        """The error that says why the file is not read."""
        return ReadError(f"{self.path}: {reason}")

    def allow(self, size: float, what: str) -> None:
        """Raise ``ReadError`` if ``what`` takes more bytes than allowed; asked before they are read."""
        if size > self.max_gigabytes * 1e9:
            taken = f"{size / 1e9:,.2f} GB" if size < 1e15 else f"{size / 1e9:.1e} GB"
            raise self.refuse(f"{what} takes {taken}, the limit is {self.max_gigabytes:g} GB (--max-gb)")

    def allow_rows(self, count: int, dim: int) -> None:
        """``allow`` for a sample."""
        self.allow(8.0 * count * dim, f"a sample of {count:,} rows x {dim:,} features")


@dataclass(frozen=True)
class Table:
    """What a reader returns: rows (N, K) of ``total``, names of the features, groups (N,) as integers if asked for.

    ``columns`` says whether the features are columns of the file, which --drop takes by these names.
    """

    rows: Array
    features: list[str]
    total: int
    notes: list[str]
    source: str
    groups: Index | None = field(default=None)
    columns: bool = field(default=False)


class Sampler:
    """A uniform sample of at most ``request.rows(dim)`` rows of a stream, in the stream's order.

    Each row gets a random key, and those of the smallest keys stay. With groups, all rows of a group have the key of
    the group: whole groups stay.
    """

    def __init__(self, request: Request, dim: int) -> None:
        self.request, self.dim = request, dim
        self.limit = request.rows(dim)
        request.allow_rows(LEAST_ROWS, dim)
        self.total = 0
        self._rows: Array = np.empty((0, dim))
        self._keys = np.empty(0)
        self._codes: Index = np.empty(0, dtype=np.int64)
        self._bound = np.inf  # keys from here on have been left out before
        self._code_of: dict[str, int] = {}
        self._key_of_code = np.empty(0)

    def add(self, count: int, take: Callable[[Index], Array], labels: Sequence[Any] | None = None) -> None:
        """``count`` rows more; ``take(index)`` reads those that may stay; ``labels`` are their groups."""
        codes: Index = np.zeros(count, dtype=np.int64) if labels is None else self._codes_of(labels)
        keys = self.request.rng.random(count) if labels is None else self._key_of_code[codes]
        self.total += count
        keys = np.where(keys < self._bound, keys, np.inf)
        both = np.concatenate([self._keys, keys[keys < np.inf]])
        if len(both) > self.limit:
            self._bound = float(np.partition(both, self.limit)[self.limit])
        stay, enter = self._keys < self._bound, np.flatnonzero(keys < self._bound)
        self.request.allow_rows(int(stay.sum()) + len(enter), self.dim)
        self._rows = np.concatenate([self._rows[stay], take(enter)])
        self._keys = np.concatenate([self._keys[stay], keys[enter]])
        self._codes = np.concatenate([self._codes[stay], codes[enter]])

    def _codes_of(self, labels: Sequence[Any]) -> Index:
        """Groups numbered in the order in which they appear; a new one gets its key."""
        codes = np.empty(len(labels), dtype=np.int64)
        for i, label in enumerate(labels):
            name = "" if label is None or label != label else str(label).strip()
            if not name:
                raise self.request.refuse(f"row {self.total + i + 1:,} has no group in '{self.request.group}'")
            codes[i] = self._code_of.setdefault(name, len(self._code_of))
        fresh = len(self._code_of) - len(self._key_of_code)
        self._key_of_code = np.concatenate([self._key_of_code, self.request.rng.random(fresh)])
        return codes

    def table(self, features: list[str], notes: list[str], source: str, *, columns: bool = False) -> Table:
        """The sample, once the stream has ended."""
        grouped = self.request.group is not None
        if grouped and self.total and not len(self._rows):
            raise self.request.refuse(
                f"no group of '{self.request.group}' fits into {self.limit:,} rows; raise --max-rows"
            )
        return Table(self._rows, features, self.total, notes, source, self._codes if grouped else None, columns)


def choose(names: Iterable[str], request: Request, what: str) -> str:
    """The entry to read: the one asked for, or the only one that is not the column of groups."""
    names = [name for name in names if name != request.group]
    if request.key is not None:
        if request.key not in names:
            raise request.refuse(f"has no {what} '{request.key}'; it has {some(names) or 'none'}")
        return request.key
    if len(names) != 1:
        remedy = f"; choose one with --key: {some(names)}" if names else ""
        raise request.refuse(f"holds {len(names)} {what}s{remedy}")
    return names[0]


def check_names(request: Request, names: Sequence[str], index: Sequence[str]) -> None:
    """Raise ``ReadError`` if --drop or --group name no column, or two features (not of ``index``) share a name."""
    for option, wanted in (("--drop", request.drop), ("--group", (request.group,) if request.group else ())):
        for name in wanted:
            if name not in names:
                raise request.refuse(f"{option} {name}: no such column; it has {some(names)}")
    left_out = (*request.drop, *index, "")
    twice = [name for name, count in Counter(names).items() if count > 1 and name not in left_out]
    if twice:
        raise request.refuse(
            f"has {Counter(names)[twice[0]]} columns of the name '{twice[0]}'; rename them, or leave them out with "
            f"--drop {twice[0]}"
        )


def column_notes(request: Request, others: list[str], index: list[str]) -> list[str]:
    """What was done with columns that are no features."""
    notes = []
    if index:
        named = f": {some(index)}" if any(index) else ""
        notes.append(f"left out {len(index)} column(s) that hold an index, as pandas writes it{named}")
    if others:
        notes.append(f"excluded {len(others)} column(s) that are not numbers: {some(others)}")
    if request.drop:
        notes.append(f"dropped {len(request.drop)} column(s) as asked: {some(request.drop)}")
    return notes


def some(names: Sequence[str], between: str = ", ") -> str:
    """The first of many names."""
    return between.join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def note_on_shape(rows: int, dim: int) -> tuple[str, ...]:
    """A hint where a table has more columns than rows."""
    if rows >= dim:
        return ()
    return (
        f"more columns ({dim:,}) than rows ({rows:,}): is the table transposed? Each row is taken as a sample, each "
        "column as a feature",
    )


def line(error: Exception) -> str:
    """An error's text in one line."""
    text = " ".join(str(error).split())
    return f"{text[:120]}..." if len(text) > 120 else text or type(error).__name__


def empty_features(missing: NDArray[np.bool_], features: Sequence[str]) -> list[str]:
    """Features with too few values for a check, whatever rows are left out; ``missing`` has shape (N, K)."""
    counts = (~missing).sum(0).tolist()
    return [name for name, count in zip(features, counts, strict=True) if count < LEAST_ROWS]


def one_row_a_sample(ndim: int, name: str, option: str) -> str:
    """What to do with an array that is no table; ``option`` takes the groups."""
    if ndim < 3:
        return "one row a sample is needed, shape (N, K)"
    return (
        f"one row a sample is needed. Of views of the same samples check one at a time, {name}[0]; or make rows of "
        f"them all, {name}.reshape(-1, {name}.shape[-1]), and name the sample of each row with {option}: rows of one "
        "sample are not independent"
    )
