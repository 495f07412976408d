"""Embeddings from a file: .npy, .npz, .pt, .parquet or .csv to a float64 sample, with what was left out.

No pickle is ever executed: object arrays are refused, and .pt files are read by PyTorch's restricted loader, which
makes tensors and plain containers alone. A file with more rows than asked for is sampled, uniformly and without
replacement: .npy through a memory map, .parquet and .csv batch by batch, so that memory holds the sample and one batch.
"""

import pickle
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

MAX_ROWS = 4096
#: The default number of rows shrinks for wide samples, to at most this number of values.
MAX_VALUES = 2**23
LEAST_ROWS = 8
#: Squares and fourth powers stay finite up to here.
LARGEST_VALUE = 1e60
_BATCH_VALUES = 2**22


@dataclass(frozen=True)
class Sample:
    """What ``read_sample`` returns.

    Attributes:
        x: shape (N, K), float64, finite.
        features: K names: column names, or the indices "0", "1", ... of an array.
        source: the file's name, without its folder, and the key of the array inside it.
        total_rows: rows in the file.
        notes: one sentence for each thing that was sampled, excluded or converted.
    """

    x: Tensor
    features: tuple[str, ...]
    source: str
    total_rows: int
    notes: tuple[str, ...] = field(default=())


def read_sample(
    path: Path | str,
    *,
    key: str | None = None,
    drop: tuple[str, ...] = (),
    max_rows: int | None = None,
    seed: int = 0,
) -> Sample:
    """Read embeddings, one row a sample, one column a feature.

    Args:
        path: a .npy, .npz, .pt (.pth), .parquet or .csv file. A .csv file has its names in the first line, or no names.
        key: which array of an .npz, which entry of a .pt dictionary, or which column of lists in a .parquet.
        drop: columns of a .parquet or .csv that are no features.
        max_rows: more rows are sampled down to this number; the default is 4,096, or fewer above 2,048 features.
        seed: of that sampling.

    Raises:
        ValueError: whatever keeps the file from being read as a table of numbers, in one line that says what to do.
    """
    path = Path(path)
    if max_rows is not None and max_rows < LEAST_ROWS:
        raise ValueError(f"max_rows must be at least {LEAST_ROWS}, got {max_rows}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    readers = {".npy": _npy, ".npz": _npz, ".pt": _pt, ".pth": _pt, ".parquet": _parquet, ".csv": _csv}
    reader = readers.get(path.suffix.lower())
    if not path.exists():
        raise ValueError(f"{path}: no such file")
    if path.is_dir():
        raise ValueError(f"{path}: is a directory; hand in a file of type {', '.join(readers)}")
    if reader is None:
        raise ValueError(f"{path}: unknown type '{path.suffix}'; use one of {', '.join(readers)}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty")
    tabular = reader in (_parquet, _csv)
    if drop and not tabular:
        raise ValueError(f"--drop names columns of a .parquet or .csv, {path.name} has none")
    if key is not None and reader in (_npy, _csv):
        raise ValueError(f"--key names an array inside a file, {path.name} holds just one table")
    request = _Request(path, key, drop, max_rows, np.random.default_rng(seed))
    try:
        rows, features, total, notes, source = reader(request)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({_line(error)})") from None
    if total > len(rows):
        notes.insert(0, f"sampled {len(rows):,} of {total:,} rows at random, seed {seed} (--max-rows, --seed)")
    return Sample(*_clean(rows, path, notes), tuple(features), source, total, tuple(notes))


@dataclass(frozen=True)
class _Request:
    path: Path
    key: str | None
    drop: tuple[str, ...]
    max_rows: int | None
    rng: np.random.Generator

    def rows(self, dim: int) -> int:
        return self.max_rows or max(LEAST_ROWS, min(MAX_ROWS, MAX_VALUES // max(dim, 1)))


_Read = tuple[Array, list[str], int, list[str], str]


def _clean(rows: Array, path: Path, notes: list[str]) -> tuple[Tensor]:
    """The finite rows; appends to ``notes`` what was excluded."""
    finite = np.isfinite(rows).all(1)
    if not finite.all():
        missing = int(len(rows) - finite.sum())
        notes.append(f"excluded {missing:,} of {len(rows):,} rows that hold NaN, infinite or missing values")
        rows = rows[finite]
    if len(rows) < LEAST_ROWS:
        excluded = f" ({notes[-1]})" if not finite.all() else ""
        usable = "1 usable row" if len(rows) == 1 else f"{len(rows)} usable rows"
        raise ValueError(f"{path}: {usable}{excluded}, at least {LEAST_ROWS} are needed")
    largest = float(np.abs(rows).max())
    if largest > LARGEST_VALUE:
        raise ValueError(f"{path}: holds values up to {largest:.3g}; rescale or drop what exceeds {LARGEST_VALUE:g}")
    distinct = len({row.tobytes() for row in rows})
    if 1 < distinct < len(rows):
        notes.append(
            f"{len(rows) - distinct:,} rows repeat an earlier one exactly; the p-values suppose independent rows"
        )
    return (torch.from_numpy(np.ascontiguousarray(rows)),)


def _npy(request: _Request) -> _Read:
    path = request.path
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: {_numpy_reason(error)}") from None
    return _from_array(array, request, path.name)


def _npz(request: _Request) -> _Read:
    path = request.path
    try:
        with np.load(path, allow_pickle=False) as archive:
            name = _choose(archive.files, request, "array")
            array = archive[name]
    except (zipfile.BadZipFile, EOFError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: not a readable .npz archive ({_line(error)})") from None
    except ValueError as error:
        raise ValueError(
            str(error) if str(error).startswith(str(path)) else f"{path}: {_numpy_reason(error)}"
        ) from None
    return _from_array(array, request, f"{path.name}, array '{name}'")


def _numpy_reason(error: Exception) -> str:
    if any(word in str(error).lower() for word in ("pickle", "object array", "python objects")):
        return "holds pickled objects, or is no .npy file; pickles are never loaded: save a plain array of numbers"
    return f"damaged, or no .npy file ({_line(error)})"


def _pt(request: _Request) -> _Read:
    path = request.path
    refused = (
        f"{path}: holds pickled objects other than tensors, or is damaged; it is not loaded: save the tensor alone, "
        "torch.save(embeddings, ...)"
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols: what they lead to is reported below
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(refused) from None
    source = path.name
    if isinstance(loaded, dict):
        tensors = {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
        name = _choose(list(tensors), request, "tensor")
        loaded, source = tensors[name], f"{path.name}, tensor '{name}'"
    elif request.key is not None:
        raise ValueError(f"--key names an entry of a dictionary, {path.name} holds a {type(loaded).__name__}")
    if not isinstance(loaded, Tensor):
        raise ValueError(f"{path}: holds a {type(loaded).__name__}, not a tensor; save the embeddings as one tensor")
    if loaded.layout != torch.strided or loaded.is_quantized:
        raise ValueError(f"{path}: holds a sparse or quantised tensor; save it dense, as floating point")
    loaded = loaded.detach()
    # NumPy has no bfloat16; float32 holds every bfloat16 exactly.
    return _from_array((loaded.float() if loaded.dtype == torch.bfloat16 else loaded).numpy(), request, source)


def _choose(names: list[str], request: _Request, what: str) -> str:
    """The entry to read: the one asked for, or the only one."""
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    if request.key is not None:
        if request.key not in names:
            raise ValueError(f"{request.path}: has no {what} '{request.key}'; it has {shown or 'none'}")
        return request.key
    if len(names) != 1:
        remedy = f"; choose one with --key: {shown}" if names else ""
        raise ValueError(f"{request.path}: holds {len(names)} {what}s{remedy}")
    return names[0]


def _from_array(array: NDArray[Any], request: _Request, source: str) -> _Read:
    path = request.path
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path}: holds values of type {array.dtype}, not real numbers; save the embeddings as floats")
    notes = []
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise ValueError(
            f"{path}: has shape {tuple(array.shape)}; one row a sample is needed, such as "
            "embeddings.reshape(-1, embeddings.shape[-1])"
        )
    total, dim = array.shape
    if dim == 0 or total == 0:
        raise ValueError(f"{path}: has shape {tuple(array.shape)}, nothing to check")
    limit = request.rows(dim)
    if total > limit:
        array = array[np.sort(request.rng.choice(total, limit, replace=False))]
    if array.dtype.kind in "iub":
        notes.append(f"values are of type {array.dtype}: taken as numbers")
    return np.array(array, dtype=np.float64), [str(i) for i in range(dim)], total, notes, source


def _parquet(request: _Request) -> _Read:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = request.path
    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        lists = [f.name for f in schema if pa.types.is_list(f.type) or pa.types.is_fixed_size_list(f.type)]
        numeric = [f.name for f in schema if _is_number(pa, f.type)]
        _check_drop(request, list(schema.names))
        if request.key is not None or (not numeric and lists):
            return _parquet_lists(request, file, lists)
        kept = [name for name in numeric if name not in request.drop]
        others = [name for name in schema.names if name not in numeric and name not in request.drop]
        if not kept:
            raise ValueError(f"{path}: has no column of numbers; it has {_some(list(schema.names))}")
        if set(lists) - set(request.drop):
            raise ValueError(
                f"{path}: holds lists ({_some(lists)}) beside columns of numbers ({_some(kept)}); choose one column of "
                f"lists with --key {lists[0]}, or the numbers with --drop for each of the lists"
            )
        size = max(1, _BATCH_VALUES // len(kept))
        batches = (_numbers(batch.to_pandas(), kept) for batch in file.iter_batches(size, columns=kept))
        rows, total = _reservoir(batches, request.rows(len(kept)), request.rng)
        whole = [f.name for f in schema if f.name in kept and pa.types.is_integer(f.type)]
    except pa.ArrowException as error:
        raise ValueError(f"{path}: not a readable .parquet file ({_line(error)})") from None
    return rows, kept, total, _column_notes(others, request.drop, whole, len(kept)), path.name


def _parquet_lists(request: _Request, file: Any, lists: list[str]) -> _Read:
    """Embeddings stored as one column of lists of equal length."""
    name = _choose(lists, request, "column of lists")
    rng, dim, limit = request.rng, 0, 0

    def batches() -> Iterator[Array]:
        nonlocal dim
        for batch in file.iter_batches(4096, columns=[name]):
            cells = batch.column(0).to_pylist()
            dim = dim or next((len(cell) for cell in cells if cell is not None), 0)
            if any(cell is not None and len(cell) != dim for cell in cells):
                raise ValueError(f"{request.path}: the lists in column '{name}' differ in length")
            missing = [None] * dim
            yield np.array([missing if cell is None else cell for cell in cells], dtype=np.float64).reshape(-1, dim)

    stream = batches()
    try:
        first = next(stream, np.empty((0, 0)))
        limit = request.rows(dim)
        rows, total = _reservoir(_chain(first, stream), limit, rng)
    except TypeError:
        raise ValueError(f"{request.path}: the lists in column '{name}' hold no plain numbers") from None
    if dim == 0:
        raise ValueError(f"{request.path}: the lists in column '{name}' are empty")
    return rows, [str(i) for i in range(dim)], total, [], f"{request.path.name}, column '{name}'"


def _chain(first: Array, rest: Iterator[Array]) -> Iterator[Array]:
    yield first
    yield from rest


def _csv(request: _Request) -> _Read:
    import pandas as pd

    path = request.path
    try:
        # A file without names: every field of its first line is a number.
        first = pd.read_csv(path, header=None, nrows=1, dtype=str)
        named = bool(pd.to_numeric(first.iloc[0], errors="coerce").isna().any())
        header = 0 if named else None
        head = pd.read_csv(path, header=header, nrows=1000)
        if head.empty:
            raise ValueError(f"{path}: has a line of names and no rows")
        names = [str(name) for name in head.columns]
        _check_drop(request, names)
        head.columns = pd.Index(names)
        text = [name for name in names if _is_text(head[name]) and name not in request.drop]
        kept = [name for name in names if name not in text and name not in request.drop]
        if not kept:
            raise ValueError(f"{path}: has no column of numbers; it has {_some(names)}")
        size = max(256, _BATCH_VALUES // len(names))
        with pd.read_csv(path, header=header, chunksize=size, low_memory=False) as chunks:
            batches = (_numbers(chunk.set_axis(names, axis=1), kept) for chunk in chunks)
            rows, total = _reservoir(batches, request.rows(len(kept)), request.rng)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeError) as error:
        raise ValueError(f"{path}: not a readable .csv file ({_line(error)})") from None
    whole = [name for name in kept if head[name].dtype.kind in "iu"] if named else []
    return rows, kept, total, _column_notes(text, request.drop, whole, len(kept)), path.name


def _is_text(column: "pd.Series") -> bool:
    """Whether most of what stands in the column is no number."""
    import pandas as pd

    present = column.dropna()
    return len(present) > 0 and float(pd.to_numeric(present, errors="coerce").isna().mean()) > 0.5


def _numbers(frame: "pd.DataFrame", columns: list[str]) -> Array:
    """The columns as numbers; a cell that is none becomes NaN."""
    import pandas as pd

    return np.column_stack([pd.to_numeric(frame[c], errors="coerce").to_numpy(np.float64) for c in columns])


def _is_number(pa: Any, kind: Any) -> bool:
    types = pa.types
    return bool(types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind) or types.is_decimal(kind))


def _check_drop(request: _Request, names: list[str]) -> None:
    unknown = [name for name in request.drop if name not in names]
    if unknown:
        raise ValueError(f"{request.path}: --drop {unknown[0]}: no such column; it has {_some(names)}")


def _column_notes(others: list[str], dropped: tuple[str, ...], whole: list[str], kept: int) -> list[str]:
    notes = []
    if others:
        notes.append(f"excluded {len(others)} column(s) that are not numbers: {_some(others)}")
    if dropped:
        notes.append(f"dropped {len(dropped)} column(s) as asked: {_some(list(dropped))}")
    if 0 < len(whole) < kept:
        notes.append(f"column(s) of whole numbers taken as features: {_some(whole)} (--drop NAME for labels or ids)")
    return notes


def _reservoir(batches: Iterator[Array], limit: int, rng: np.random.Generator) -> tuple[Array, int]:
    """A uniform sample of at most ``limit`` rows of a stream, in the stream's order, and the number of its rows.

    Each row gets a random key; those of the smallest keys stay.
    """
    kept: Array | None = None
    keys = np.empty(0)
    total = 0
    for batch in batches:
        total += len(batch)
        kept = batch if kept is None else np.concatenate([kept, batch])
        keys = np.concatenate([keys, rng.random(len(batch))])
        if len(kept) > limit:
            stay = np.sort(np.argpartition(keys, limit)[:limit])
            kept, keys = kept[stay], keys[stay]
    return cast(Array, np.empty((0, 1)) if kept is None else kept), total


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{text[:120]}..." if len(text) > 120 else text or type(error).__name__
