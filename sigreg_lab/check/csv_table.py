"""A table from a .csv file: separator, decimal sign and names are found in its first lines, or asked for.

Every line has as many fields as the first: what is longer or shorter is refused, with its number.
"""

import csv
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TextIO

import numpy as np

from sigreg_lab.check.request import (
    INDEX_NAME,
    LEAST_ROWS,
    Array,
    Index,
    Request,
    Sampler,
    Table,
    check_names,
    column_notes,
    some,
)

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|", "space": " "}
DECIMALS = {"point": ".", "comma": ","}
_HEAD_LINES = 200
_HEAD_CHARACTERS = 2**20
_HEAD_FIELDS = 2**20
_BATCH_FIELDS = 2**18
#: A character of a line takes at most this many bytes once the line is a list of fields.
_BYTES_PER_CHARACTER = 64
_MISSING = {"", "na", "n/a", "<na>", "#na", "#n/a", "nan", "null", "none"}
_TRUTH = {"true": 1.0, "false": 0.0}
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_MAYBE_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_WHOLE = re.compile(r"[+-]?\d+")
_FRACTION = re.compile(r"\d+([eE][+-]?\d+)?")

Record = list[str]


def read_csv(request: Request) -> Table:
    """The columns of numbers; those of text and those that hold an index are left out."""
    try:
        with request.path.open(encoding="utf-8-sig", newline="") as file:
            return _read(_lines(file, request), request)
    except UnicodeError as error:
        raise request.refuse("is no UTF-8 text; save it as UTF-8") from error
    except csv.Error as error:
        raise request.refuse(f"not a readable .csv file ({error})") from error


def _lines(file: TextIO, request: Request) -> Iterator[str]:
    limit = int(request.max_gigabytes * 1e9 / _BYTES_PER_CHARACTER)
    for number in itertools.count(1):
        text = file.readline(limit + 1)
        if not text:
            return
        if len(text) > limit:
            request.allow(_BYTES_PER_CHARACTER * len(text), f"line {number:,} of more than {limit:,} characters")
        if "\0" in text:
            raise request.refuse(f"line {number:,} holds NUL characters; it is no .csv file")
        yield text


def _read(lines: Iterator[str], request: Request) -> Table:
    opening = _opening(lines)
    separator = request.separator or _separator(opening)
    records = _records(itertools.chain(opening, lines), separator)
    number, first = next(records, (0, []))
    if not first:
        raise request.refuse("holds nothing but blank lines")
    head = list(itertools.islice(records, min(1000, max(LEAST_ROWS, _HEAD_FIELDS // len(first)))))
    body = [fields for _, fields in head]
    if request.separator is None and separator == ",":
        _refuse_split_decimals([first, *body], request)
    decimal = request.decimal or _decimal(body, request)
    found = _names(first, body, decimal, request)
    if found is None:
        head = [(number, first), *head]
        body = [first, *body]
    names = found or [str(i) for i in range(len(first))]
    rows = _equally_long(itertools.chain(head, records), names, request)

    index = list(itertools.takewhile(INDEX_NAME.fullmatch, names)) if found else []
    index = index if len(index) < len(names) else []
    check_names(request, names, index)
    features = [i for i in range(len(index), len(names)) if names[i] not in (*request.drop, request.group)]
    cells = {i: [fields[i].strip() for fields in body if i < len(fields)] for i in features}
    present = {i: [cell for cell in cells[i] if cell.lower() not in _MISSING] for i in features}
    empty = [i for i in features if not names[i] and not present[i]]
    text = [i for i in features if _is_text(present[i], decimal)]
    kept = [i for i in features if i not in (*empty, *text)]
    if not kept:
        raise request.refuse(f"has no column of numbers; it has {some(names)}" if body else "has names and no rows")
    sampler = Sampler(request, len(kept))
    group = names.index(request.group) if request.group is not None else None
    while batch := list(itertools.islice(rows, max(1, _BATCH_FIELDS // len(names)))):
        labels = None if group is None else [fields[group] for fields in batch]
        sampler.add(len(batch), partial(_floats, batch, kept, decimal), labels)
    if not sampler.total:
        raise request.refuse("has a line of names and no rows")

    shown = [name or f"column {i + 1}" for i, name in enumerate(names)]
    notes = column_notes(request, [shown[i] for i in text], index)
    if empty:
        notes.append(f"left out {len(empty)} column(s) without name and values")
    if found and all(_WHOLE.fullmatch(names[i]) for i in kept):
        notes.append(f"the first line is taken as names: {some([names[i] for i in kept])}")
    if (separator, decimal) != (",", "."):
        sign = {value: name for name, value in SEPARATORS.items()}[separator]
        notes.append(f"read with {sign} as separator and decimal {'comma' if decimal == ',' else 'point'}")
    return sampler.table([shown[i] for i in kept], notes, request.path.name, columns=all(names[i] for i in kept))


def _opening(lines: Iterator[str]) -> list[str]:
    """The first lines, two of them whatever their length."""
    found: list[str] = []
    size = 0
    while (len(found) < 2 or size < _HEAD_CHARACTERS) and len(found) < _HEAD_LINES:
        text = next(lines, None)
        if text is None:
            break
        found.append(text)
        size += len(text)
    return found


def _records(lines: Iterable[str], separator: str) -> Iterator[tuple[int, Record]]:
    """The number of its last line, and the fields, of each record that is not blank."""
    if separator == " ":
        lines = (" ".join(text.split()) for text in lines)
    reader = csv.reader(lines, delimiter=separator)
    for fields in reader:
        if len(fields) > 1 or (fields and fields[0].strip()):
            yield reader.line_num, fields


def _separator(opening: Sequence[str]) -> str:
    """The separator that cuts most lines into equally many fields, most of them numbers; a comma if none does."""
    best, most = ",", 0.0
    for separator in SEPARATORS.values():
        try:
            records = [fields for _, fields in _records(opening, separator)]
        except csv.Error:
            continue
        body = records[1:] or records
        width = Counter(map(len, body)).most_common(1)[0][0] if body else 0
        if width < 2:
            continue
        cells = [cell for fields in body if len(fields) == width for cell in fields if cell.strip()]
        numbers = sum(_is_number(cell, ".") or _is_number(cell, ",") for cell in cells) / max(len(cells), 1)
        score = (0.01 + numbers) * sum(len(fields) == width for fields in records) / len(records)
        if score > most:
            best, most = separator, score
    return best


def _refuse_split_decimals(records: Sequence[Record], request: Request) -> None:
    """Raise ``ReadError`` where commas seem to be decimal signs and separators both: "-0,07" read as -0 and 7."""
    signs = [re.compile(_WHOLE), _FRACTION]
    marks = False
    for fields in records:
        fields = [cell.strip() for cell in fields]
        if len(fields) % 2 or not all(signs[i % 2].fullmatch(cell) for i, cell in enumerate(fields)):
            return
        marks = marks or "-0" in fields[::2] or any(cell[0] == "0" and len(cell) > 1 for cell in fields[1::2])
    if marks:
        raise request.refuse(
            "its commas may be decimal signs; if they are, write another separator and name it with --separator, and "
            "--decimal comma; if not, use --separator comma"
        )


def _decimal(body: Sequence[Record], request: Request) -> str:
    cells = [cell.strip() for fields in body for cell in fields]
    commas = [cell for cell in cells if _DECIMAL_COMMA.fullmatch(cell)]
    if not commas:
        return "."
    if any("." in cell and _is_number(cell, ".") for cell in cells) or all(map(_MAYBE_THOUSANDS.fullmatch, commas)):
        raise request.refuse(f"'{commas[0]}' may have a decimal comma or not; say which with --decimal comma or point")
    return ","


def _names(first: Record, body: Sequence[Record], decimal: str, request: Request) -> Record | None:
    """The names in the first line, or None if it holds numbers. ``DataFrame(x).to_csv()`` writes 0, 1, ... as names."""
    cells = [cell.strip() for cell in first]
    width = Counter(map(len, body)).most_common(1)[0][0] if body else len(cells)
    if cells[0].startswith("#"):  # as numpy.savetxt writes them
        name = cells[0][1:].strip()
        cells = [name, *cells[1:]] if name or len(cells) == width else cells[1:]
    if request.header is not None:
        return cells if request.header else None
    lead = sum(1 for _ in itertools.takewhile(lambda cell: not cell, cells))
    own = cells[lead:]
    if not all(_is_number(cell, decimal) or cell.lower() in _MISSING for cell in own):
        return cells
    if not own or len(set(own)) < len(own) or not all(map(str.isdecimal, own)):
        return None
    in_order = own == [str(i) for i in range(len(own))]
    alike = any(all(_WHOLE.fullmatch(cell.strip()) for cell in fields[lead:]) for fields in body)
    if in_order and (lead or not alike):
        return cells
    if alike and not in_order:
        return None
    raise request.refuse(f"its first line ({some(own)}) may be names or numbers; say which: --header or --no-header")


def _equally_long(records: Iterable[tuple[int, Record]], names: Record, request: Request) -> Iterator[Record]:
    for number, fields in records:
        if len(fields) != len(names):
            raise request.refuse(
                f"line {number:,} has {len(fields):,} field(s), the first line has {len(names):,} ({some(names)}); "
                "mend the line, or give the file's separator and decimal sign, such as --separator semicolon "
                "--decimal comma"
            )
        yield fields


def _is_text(present: Sequence[str], decimal: str) -> bool:
    """Whether most of what stands in the column is no number."""
    return sum(not _is_number(cell, decimal) for cell in present) > 0.5 * len(present)


def _is_number(cell: str, decimal: str) -> bool:
    return not math.isnan(_number(cell, decimal))


def _number(cell: str, decimal: str) -> float:
    """The number in a field; NaN if it is none."""
    text = cell.strip()
    if decimal == ",":
        text = "" if "." in text else text.replace(",", ".")
    try:
        return math.nan if "_" in text else float(text)  # Python reads 1_000, which no table means
    except ValueError:
        return _TRUTH.get(text.lower(), math.nan)


def _floats(batch: Sequence[Record], columns: Sequence[int], decimal: str, index: Index) -> Array:
    rows = [[_number(batch[i][column], decimal) for column in columns] for i in index.tolist()]
    return np.array(rows, dtype=np.float64).reshape(-1, len(columns))
