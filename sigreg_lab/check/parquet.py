"""Columns of numbers, or one column of lists, from a .parquet file, batch by batch."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from sigreg_lab.check.request import (
    INDEX_NAME,
    Array,
    Index,
    Request,
    Sampler,
    Table,
    check_names,
    column_notes,
    line,
    some,
)

_BATCH_VALUES = 2**22
_FIRST_ROWS = 8


def read_parquet(request: Request) -> Table:
    """A table of numbers. Columns that hold the index of a DataFrame are no features."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(request.path, page_checksum_verification=True, pre_buffer=False) as file:
            return _table(file, request)
    except pa.ArrowException as error:
        raise request.refuse(f"not a readable .parquet file ({line(error)})") from error


def _table(file: Any, request: Request) -> Table:
    schema = file.schema_arrow
    index = [name for name in _index_columns(schema) if name not in request.drop]
    check_names(request, schema.names, index)
    apart = {*index, *request.drop, request.group}
    fields = [field for field in schema if field.name not in apart]
    lists = [field.name for field in fields if _is_list(field.type)]
    numbers = [field.name for field in fields if _is_number(field.type)]
    if request.key is not None or (not numbers and lists):
        return _lists(file, request, lists)
    if not numbers:
        raise request.refuse(f"has no column of numbers; it has {some(schema.names)}")
    if lists:
        raise request.refuse(
            f"holds lists ({some(lists)}) beside columns of numbers ({some(numbers)}); choose one column of lists with "
            f"--key {lists[0]}, or the numbers with --drop for each of the lists"
        )
    sampler = Sampler(request, len(numbers))
    for batch, labels in _batches(file, request, numbers, len(numbers)):
        sampler.add(batch.num_rows, partial(_rows_of_columns, batch, numbers), labels)
    others = [field.name for field in fields if field.name not in numbers]
    notes = column_notes(request, others, index)
    return sampler.table(numbers, notes, request.path.name, columns=True)


def _batches(file: Any, request: Request, columns: list[str], width: int) -> Iterator[tuple[Any, list[Any] | None]]:
    """Batches of ``columns``, and the groups of their rows."""
    read = [*columns, *([request.group] if request.group else [])]
    for batch in file.iter_batches(max(1, _BATCH_VALUES // max(width, 1)), columns=read):
        yield batch, batch.column(request.group).to_pylist() if request.group else None


def _lists(file: Any, request: Request, lists: list[str]) -> Table:
    """Embeddings stored as one column of lists of equal length."""
    import pyarrow.compute as pc

    name = request.key or (lists[0] if len(lists) == 1 else "")
    if name not in lists:
        remedy = "has no column of lists '{}'; it has {}" if request.key else "choose a column of lists with --key: {1}"
        raise request.refuse(remedy.format(name, some(lists) or "none"))
    kind = file.schema_arrow.field(name).type.value_type
    if not _is_number(kind):
        raise request.refuse(f"the lists in column '{name}' hold {kind}; one list of numbers a row is needed")
    dim = _length(file, name)
    if dim == 0:
        raise request.refuse(f"the lists in column '{name}' are empty, or the first of them is")
    sampler = Sampler(request, dim)
    for batch, labels in _batches(file, request, [name], dim):
        column = batch.column(name)
        if any(length != dim for length in pc.unique(pc.drop_null(pc.list_value_length(column))).to_pylist()):
            raise request.refuse(f"the lists in column '{name}' differ in length")
        sampler.add(len(column), partial(_rows_of_lists, column, dim), labels)
    return sampler.table([str(i) for i in range(dim)], [], f"{request.path.name}, column '{name}'")


def _length(file: Any, name: str) -> int:
    """The length of the first list that is not missing. (PyArrow's metadata of a column would end the process where
    they are damaged.)"""
    import pyarrow.compute as pc

    for batch in file.iter_batches(_FIRST_ROWS, columns=[name]):
        lengths = pc.drop_null(pc.list_value_length(batch.column(name)))
        if len(lengths):
            return int(lengths[0].as_py())
    return 0


def _rows_of_lists(column: Any, dim: int, index: Index) -> Array:
    """Rows of a column of lists; a missing list is a row of NaN."""
    import pyarrow as pa

    part = column.take(pa.array(index))
    rows = np.full((len(part), dim), np.nan)
    rows[part.is_valid().to_numpy(zero_copy_only=False)] = _floats(part.flatten()).reshape(-1, dim)
    return rows


def _rows_of_columns(batch: Any, columns: list[str], index: Index) -> Array:
    import pyarrow as pa

    part = batch.take(pa.array(index))
    return np.column_stack([_floats(part.column(name)) for name in columns])


def _floats(column: Any) -> Array:
    """Numbers as float64, missing ones as NaN."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values: Array = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values


def _index_columns(schema: Any) -> list[str]:
    """Columns that pandas made of an index, by the file's own account, or by the names that pandas gives them."""
    stored = (schema.pandas_metadata or {}).get("index_columns", [])
    told = {name for name in stored if isinstance(name, str)}
    return [name for name in schema.names if name in told or INDEX_NAME.fullmatch(name)]


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    types = pa.types
    return bool(types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind) or types.is_decimal(kind))


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    types = pa.types
    kinds = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view, types.is_large_list_view)
    return any(test(kind) for test in kinds)
