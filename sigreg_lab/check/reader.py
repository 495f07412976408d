"""Embeddings from a file: .npy, .npz, .pt, .parquet or .csv to a float64 sample, with what was left out.

No pickle is ever executed: object arrays are refused, and .pt files are read by PyTorch's restricted loader, which
makes tensors and plain containers alone. Sizes are read from headers first, and what exceeds the limit is not loaded.
A file with more rows than asked for is sampled, uniformly and without replacement: .npy through a memory map, .parquet
and .csv batch by batch, so that memory holds the sample and one batch.
"""

import math
import shlex
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.check.arrays import read_npy, read_npz, read_pt
from sigreg_lab.check.csv_table import DECIMALS, SEPARATORS, read_csv
from sigreg_lab.check.parquet import read_parquet
from sigreg_lab.check.request import (
    LEAST_ROWS,
    MAX_GIGABYTES,
    ReadError,
    Request,
    Table,
    empty_features,
    line,
    note_on_shape,
    some,
)

#: Squares and fourth powers stay finite up to here.
LARGEST_VALUE = 1e60
READERS = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".pt": read_pt,
    ".pth": read_pt,
    ".parquet": read_parquet,
    ".csv": read_csv,
}


@dataclass(frozen=True)
class Sample:
    """What ``read_sample`` returns.

    Attributes:
        x: shape (N, K), float64, finite.
        features: K names: column names, or the indices "0", "1", ... of an array.
        source: the file's name, without its folder, and the key of the array inside it.
        total_rows: rows in the file.
        notes: one sentence for each thing that was sampled, excluded or converted.
        groups: shape (N,), integers: rows of equal number depend on each other; None if all are independent.
    """

    x: Tensor
    features: tuple[str, ...]
    source: str
    total_rows: int
    notes: tuple[str, ...] = field(default=())
    groups: Tensor | None = field(default=None)


def read_sample(
    path: Path | str,
    *,
    key: str | None = None,
    group: str | None = None,
    drop: tuple[str, ...] = (),
    separator: str | None = None,
    decimal: str | None = None,
    header: bool | None = None,
    max_rows: int | None = None,
    max_gigabytes: float = MAX_GIGABYTES,
    seed: int = 0,
) -> Sample:
    """Read embeddings, one row a sample, one column a feature.

    Args:
        path: a .npy, .npz, .pt (.pth), .parquet or .csv file.
        key: which array of an .npz, which entry of a .pt dictionary, or which column of lists in a .parquet.
        group: the column, array or tensor that says which rows depend on each other: those of equal value, such as the
            views of one image. Whole groups are sampled.
        drop: columns of a .parquet or .csv that are no features.
        separator: of a .csv: "comma", "semicolon", "tab", "bar" or "space"; found in its first lines if not given.
        decimal: of a .csv: "point" or "comma"; found if not given.
        header: whether the first line of a .csv holds names; found if not given.
        max_rows: more rows are sampled down to this number; the default is 4,096, or fewer above 2,048 features.
        max_gigabytes: what the sample, an array of an .npz or the content of a .pt may take.
        seed: of that sampling.

    Raises:
        ValueError: whatever keeps the file from being read as a table of numbers, in one line that says what to do.
        MemoryError: less memory than that is there.
    """
    path = Path(path)
    if max_rows is not None and max_rows < LEAST_ROWS:
        raise ValueError(f"max_rows must be at least {LEAST_ROWS}, got {max_rows}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    if not 0 < max_gigabytes < math.inf:
        raise ValueError(f"max_gigabytes must be positive and finite, got {max_gigabytes} (--max-gb)")
    reader = _reader(path)
    if drop and reader not in (read_parquet, read_csv):
        raise ReadError(f"--drop names columns of a .parquet or .csv, {path.name} has none")
    if group is not None and reader is read_npy:
        raise ReadError(f"--group names a column or array, {path.name} has none; save both as an .npz")
    if key is not None and reader in (read_npy, read_csv):
        raise ReadError(f"--key names an array inside a file, {path.name} holds just one table")
    if reader is not read_csv and (separator, decimal, header) != (None, None, None):
        raise ReadError(f"--separator, --decimal and --header tell how a .csv is written, {path.name} is none")
    request = Request(
        path, key, group, drop, _sign("separator", separator, SEPARATORS), _sign("decimal", decimal, DECIMALS), header,
        max_rows, max_gigabytes, np.random.default_rng(seed),
    )  # fmt: skip
    try:
        table = reader(request)
    except ReadError:
        raise
    except MemoryError as error:
        raise MemoryError(f"{path}: not enough memory to read it; lower --max-rows") from error
    except Exception as error:  # on bytes of any kind the libraries raise errors of any kind
        raise request.refuse(f"cannot be read, it may be damaged ({line(error)})") from error
    return checked_sample(table, path, seed)


def _reader(path: Path) -> Callable[[Request], Table]:
    """The reader by the file's type; ``ReadError`` unless it is a regular file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise ReadError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ReadError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    types = ", ".join(READERS)
    if stat.S_ISDIR(status.st_mode):
        raise ReadError(f"{path}: is a directory; hand in a file of type {types}")
    if not stat.S_ISREG(status.st_mode):
        raise ReadError(f"{path}: is a device, pipe or socket; hand in a regular file of type {types}")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ReadError(f"{path}: unknown type '{path.suffix}'; use one of {types}")
    if status.st_size == 0:
        raise ReadError(f"{path}: the file is empty")
    return reader


def _sign(name: str, value: str | None, known: dict[str, str]) -> str | None:
    """A separator or decimal sign, given by its name or as it is."""
    if value is None or value in known.values():
        return value
    if value not in known:
        raise ReadError(f"{name} must be one of {', '.join(known)}, got '{value}' (--{name})")
    return known[value]


def checked_sample(table: Table, path: Path | str, seed: int, *, may_be_transposed: bool = True) -> Sample:
    """The finite rows of a table, with notes on what was sampled and excluded, and on a table that may be transposed.

    Raises:
        ReadError: fewer than 8 rows are left, or values are too large; it names ``path``.
    """
    rows, groups = table.rows, table.groups
    hints = note_on_shape(table.total, len(table.features)) if may_be_transposed else ()
    notes = [*hints, *table.notes]
    if table.total > len(rows):
        whole = "" if groups is None else ", whole groups"
        notes.insert(
            0, f"sampled {len(rows):,} of {table.total:,} rows{whole} at random, seed {seed} (--max-rows, --seed)"
        )
    missing = ~np.isfinite(rows)
    finite = ~missing.any(1)
    excluded = remedy = ""
    if not finite.all():
        excluded = f"excluded {int((~finite).sum()):,} of {len(rows):,} rows that hold NaN, infinite or missing values"
        notes.append(excluded)
        worst = table.features[int(missing.sum(0).argmax())]
        excluded = f" ({excluded}, most of them in feature '{worst}')"
        empty = empty_features(missing, table.features)
        if empty and len(empty) < len(table.features):
            options = some([f"--drop {shlex.quote(name)}" for name in empty], " ")
            them = "it" if len(empty) == 1 else "them"
            remedy = f"; leave {them} out: {options}" if table.columns else f"; leave {them} out of the array"
        rows, groups = rows[finite], None if groups is None else groups[finite]
    if len(rows) < LEAST_ROWS:
        remedy = remedy or "".join(f"; {hint}" for hint in hints)
        usable = "1 usable row" if len(rows) == 1 else f"{len(rows)} usable rows"
        raise ReadError(f"{path}: {usable}{excluded}, at least {LEAST_ROWS} are needed{remedy}")
    largest = float(np.abs(rows).max())
    if largest > LARGEST_VALUE:
        raise ReadError(
            f"{path}: holds values up to {largest:.3g}, which no sample of N(0, I) does; mend what wrote "
            f"them, or drop rows beyond {LARGEST_VALUE:g}"
        )
    distinct = len({row.tobytes() for row in rows})
    if 1 < distinct < len(rows):
        again = len(rows) - distinct
        notes.append(
            f"{again:,} {'row repeats' if again == 1 else 'rows repeat'} an earlier one exactly; the p-values suppose "
            "independent rows"
        )
    x = torch.from_numpy(np.ascontiguousarray(rows))
    codes = None if groups is None else torch.from_numpy(groups)
    return Sample(x, tuple(table.features), table.source, table.total, tuple(notes), codes)
