"""Sizes of a two-column page, what a drawing hands back, and how published numbers look."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sigreg_lab.figures.paper.sources import Sources

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN, WIDE = 3.35, 6.9  # inches
#: Published numbers: hollow markers on a dashed line, whatever the colour.
PUBLISHED: dict[str, Any] = {"ls": "--", "lw": 0.9, "ms": 3.5, "mfc": "white", "mew": 0.9}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of texts."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A picture or a table, and what its caption says of the numbers in it."""

    content: "Figure | Table"
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """A figure or table of the paper.

    Attributes:
        key: what the command calls it, and the name of its files.
        paper: its name in the paper.
        title: what it shows.
        draw: makes it from its sources; None where neither published numbers nor ours exist.
        studies: whose results it reads.
        published: items of ``published.json`` that it shows.
        seed: of what it draws itself; None if it draws nothing.
        run: where ours were not run, the command that makes one of our numbers.
    """

    key: str
    paper: str
    title: str
    draw: Callable[[Sources], Drawing] | None
    studies: tuple[str, ...] = ()
    published: tuple[str, ...] = ()
    seed: int | None = None
    run: str = ""


def sized(figure: "Figure", width: float, height: float) -> "Figure":
    """The figure, in inches."""
    figure.set_size_inches(width, height)
    return figure


def say_published(axis: "Axes", text: str = "published numbers") -> None:
    """Write above a panel's right end that its numbers are the paper's."""
    axis.text(1, 1.02, text, transform=axis.transAxes, ha="right", va="bottom", style="italic", color="0.35", size=6.5)
