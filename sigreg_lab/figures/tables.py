"""Tables for reports."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, the first column to the left, the others to the right."""
    lines = [list(header), ["---", *["---:"] * (len(header) - 1)], *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def span(row: "pd.Series", digits: int = 2, value: str = "estimate") -> str:
    """The column ``value`` of a row and, in brackets, ``low`` and ``high``, such as 0.85 (0.83, 0.87)."""
    number, low, high = (f"{row[column] + 0.0:.{digits}f}" for column in (value, "low", "high"))  # + 0.0: -0.0 is 0
    return f"{number} ({low}, {high})"
