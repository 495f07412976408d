"""The few kinds of picture that studies draw, from estimates with intervals: curves, forests, heat maps, scatters.

Each takes a table of ``experiment.estimates`` and the names of the axes that say where a number goes. Panels stand in a
grid of ``row`` by ``column``. Nothing is computed here.
"""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sigreg_lab.figures.theme import log_ticks, new_figure, palette, panel_inches, plain_number, themed
from sigreg_lab.names import axis_symbol, axis_words, label

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.figure import Figure

    from sigreg_lab.experiment.estimates import Estimates

MARKERS = "osD^vPX*<>ph"
_GAP = "0.88"  # grey of a heat map's empty cells
_LETTERS = 11.0  # an inch of an axis label, about
_WIDEST = 3  # panels in a line, unless a picture says how many
Title = str | Callable[[Any], str]


class Panels:
    """A grid of axes, one for each value of ``row`` and ``column``."""

    def __init__(
        self,
        table: "pd.DataFrame",
        row: str | None,
        column: str | None,
        *,
        size: tuple[float, float],
        margin: tuple[float, float] = (1.2, 1.0),
        titles: Mapping[str, Title] | None = None,
        wrap: int = 0,
        **share: Any,
    ) -> None:
        if table.empty:
            raise LookupError("nothing to draw")
        self.table, self.row, self.column = table, row, column
        rows, columns = (self._values(axis) for axis in (row, column))
        self._keys, self._size = [(r, c) for r in rows for c in columns], size
        down = len(rows) if row else -(-len(columns) // (wrap or _WIDEST))
        across = len(columns) if row else -(-len(columns) // down)  # lines of nearly equal length
        self.figure = new_figure(margin[0] + size[0] * across, margin[1] + size[1] * down)
        self.grid = self.figure.subplots(down, across, squeeze=False, **share)
        self.axes: list[Axes] = list(self.grid.flat)
        for empty in self.axes[len(self._keys) :]:
            empty.set_visible(False)
        self._lines = [self._title(row, r, titles or {}) if row else "" for r in rows]
        for place, (axis, (_, c)) in enumerate(zip(self.axes, self._keys, strict=False)):
            if column and (not row or place < len(columns)):
                axis.set_title(self._within(self._title(column, c, titles or {}), size[0]), fontsize="medium")

    def __iter__(self) -> Any:
        for axis, (r, c) in zip(self.axes, self._keys, strict=False):
            part = self.table
            for name, key in ((self.row, r), (self.column, c)):
                part = part if name is None else part[part[name] == key]
            yield axis, part

    def _values(self, axis: str | None) -> list[Any]:
        return values_of(self.table, axis) if axis else [None]

    @staticmethod
    def _title(name: str, key: Any, titles: Mapping[str, Title]) -> str:
        given = titles.get(name)
        if callable(given):
            return given(key)
        plain = label(key) if isinstance(key, str) else f"{key:g}"
        return given.format(plain) if given else plain if isinstance(key, str) else f"{axis_symbol(name)} = {plain}"

    @staticmethod
    def _within(text: str, inches: float) -> str:
        return textwrap.fill(text, max(8, int(_LETTERS * inches)))

    def outer_labels(self, x: str, y: str) -> None:
        """Labels of the axes, along the left and the lower edge alone; the rows of panels are named to the left."""
        lines = self._lines if self.row else [""] * len(self.grid)
        for axis, line in zip(self.grid[:, 0], lines, strict=True):
            axis.set_ylabel("\n".join(self._within(part, self._size[1]) for part in (line, y) if part))
        self.lower_labels(x)

    def lower_labels(self, x: str) -> None:
        """The label of the horizontal axis, below the lowest panel of each column."""
        for column in self.grid.T:
            lowest = [axis for axis in column if axis.get_visible()][-1]
            lowest.set_xlabel(self._within(x, self._size[0]))
            lowest.tick_params(labelbottom=True)

    def legend(self, columns: int = 3) -> None:
        """One legend below, with every entry of all panels once, in as many columns as there is room for."""
        found: dict[str, Any] = {}
        for axis in self.axes:
            for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
                found.setdefault(name, handle)
        if found:
            room = int(self.figure.get_figwidth() / (0.7 + max(map(len, found)) / _LETTERS))
            self.figure.legend(
                list(found.values()),
                list(found),
                loc="outside lower center",
                ncols=max(1, min(columns, len(found), room)),
                frameon=False,
            )


def values_of(table: "pd.DataFrame", axis: str) -> list[Any]:
    """The values of an axis: numbers in ascending order, texts in that of the table."""
    values = list(dict.fromkeys(table[axis]))
    return values if any(isinstance(value, str) for value in values) else sorted(values)


def _name(key: Any, names: Mapping[Any, str] | None, pattern: str = "{}") -> str:
    if names and key in names:
        return names[key]
    return label(key) if isinstance(key, str) else pattern.format(f"{key:g}")


@themed()
def curves(
    estimates: "Estimates",
    *,
    x: str,
    y_label: str,
    x_label: str = "",
    hue: str | None = None,
    hue_name: str = "",
    row: str | None = None,
    column: str | None = None,
    titles: Mapping[str, Title] | None = None,
    names: Mapping[Any, str] | None = None,
    references: Mapping[str, float] | None = None,
    exact: str = "",
    log_x: bool = True,
    plain_x: bool = False,
    log_y: bool = False,
    limits: tuple[float, float] | None = None,
    share_y: bool | str = True,
    band: bool = False,
    wrap: int = 0,
    size: tuple[float, float] = (2.7, 2.4),
    legend_columns: int = 3,
) -> "Figure":
    """Numbers against one axis, a colour and a marker for each value of ``hue``.

    Args:
        estimates: what to draw.
        x: the axis along which the curves run.
        y_label: what the numbers are.
        x_label: what the axis is, with its unit; that of ``sigreg_lab.names`` if not given.
        hue: the axis of the colours.
        hue_name: a legend entry of a number, with {} for it; N = {} and the like if not given.
        row: the axis of the rows of panels.
        column: the axis of the columns of panels.
        titles: by axis, a panel's title: a text with {} for the value, or a function of it.
        names: legend entries by value.
        references: dashed horizontal lines, by their legend entry.
        exact: legend entry of a thin line through the exact values; none are drawn if empty.
        log_x: logarithmic, with a tick at each value.
        plain_x: logarithmic over many powers of ten, with ticks at some of them.
        log_y: logarithmic.
        limits: ends of the vertical axis.
        share_y: as ``subplots`` takes it.
        band: intervals as a band instead of whiskers.
        wrap: most panels in a line, if there is no ``row``; three if not given.
        size: of a panel, inches.
        legend_columns: of the legend.
    """
    table = estimates.table
    panels = Panels(table, row, column, size=size, titles=titles, wrap=wrap, sharex=True, sharey=share_y)
    keys = values_of(table, hue) if hue else [None]
    colours = palette([str(key) for key in keys])
    for axis, part in panels:
        for key, marker in zip(keys, _cycle(len(keys)), strict=True):
            line = (part if hue is None else part[part[hue] == key]).sort_values(x)
            if line.empty:
                continue
            text = "_" if key is None else _name(key, names, hue_name or f"{axis_symbol(hue or '')} = {{}}")
            whiskers(axis, line[x], line, band, marker=marker, ms=4, lw=1.2, color=colours[str(key)], label=text)
            if exact and line["exact"].notna().any():
                axis.plot(line[x], line["exact"], lw=0.9, ls=":", color="0.25", zorder=5, label=exact)
        for text, level in (references or {}).items():
            axis.axhline(level, color="0.45", lw=1, ls="--", zorder=0, label=text)
        if limits:
            axis.set_ylim(*limits)
        if plain_x:
            plain_log(axis.xaxis)
        elif log_x:
            log_ticks(axis, values_of(table, x))
        if log_y:
            plain_log(axis.yaxis)
    panels.outer_labels(x_label or axis_words(x), y_label)
    panels.legend(legend_columns)
    return panels.figure


@themed()
def forest(
    estimates: "Estimates",
    *,
    y: str,
    x_label: str,
    hue: str | None = None,
    hue_name: str = "",
    column: str | None = None,
    titles: Mapping[str, Title] | None = None,
    names: Mapping[Any, str] | None = None,
    references: Mapping[str, float] | None = None,
    limits: tuple[float, float] | None = None,
    log_x: bool = False,
    share_x: bool = True,
    width: float = 3.1,
    legend_columns: int = 3,
) -> "Figure":
    """Numbers as points with whiskers, one line for each value of ``y``, from top to bottom.

    Args:
        estimates: what to draw, in the order of the lines.
        y: the axis of the lines.
        x_label: what the numbers are.
        hue: the axis of the colours; that of the lines for one colour a line and no legend.
        hue_name: a legend entry of a number, with {} for it; N = {} and the like if not given.
        column: the axis of the panels, side by side.
        titles: by axis, a panel's title: a text with {} for the value, or a function of it.
        names: lines and legend entries by value.
        references: dashed vertical lines, by their legend entry.
        limits: ends of the horizontal axis.
        log_x: logarithmic.
        share_x: whether all panels have the same horizontal axis.
        width: of a panel, inches.
        legend_columns: of the legend.
    """
    from matplotlib.ticker import MaxNLocator

    table = estimates.table
    if table.empty:
        raise LookupError("nothing to draw")
    lines, keys = list(dict.fromkeys(table[y])), values_of(table, hue) if hue else [None]
    own = hue == y  # a colour for each line, which names it
    spread = 0.66 if len(keys) > 1 and not own else 0.0
    offsets = dict(zip(keys, np.linspace(-spread / 2, spread / 2, len(keys)), strict=True))
    colours = palette([str(key) for key in keys])
    height = len(lines) * (0.3 if len(keys) == 1 or own else 0.1 + 0.08 * len(keys))
    panels = Panels(
        table, None, column, size=(width, height), margin=(2.2, 1.1), titles=titles, sharey=True, sharex=share_x
    )
    for axis, part in panels:
        for key in keys:
            rows = part if hue is None else part[part[hue] == key]
            places = [lines.index(item) + offsets[key] for item in rows[y]]
            errors = [rows["estimate"] - rows["low"], rows["high"] - rows["estimate"]]
            style = {
                "fmt": "o",
                "ms": 4 if len(keys) == 1 else 3,
                "lw": 1.6 if len(keys) == 1 else 1.1,
                "color": colours[str(key)],
            }
            axis.errorbar(
                rows["estimate"],
                places,
                xerr=errors,
                label="_" if key is None or own else _name(key, names, hue_name or f"{axis_symbol(hue or '')} = {{}}"),
                **style,
            )
        for text, level in (references or {}).items():
            axis.axvline(level, ls="--", lw=1, color="0.3", zorder=1, label=text)
        axis.set_ylim(len(lines) - 0.5, -0.5)
        axis.grid(axis="y", visible=False)
        for edge in range(1, len(lines)):
            axis.axhline(edge - 0.5, color="0.92", lw=0.8, zorder=0)
        if limits:
            axis.set_xlim(*limits)
        if log_x:
            plain_log(axis.xaxis)
        else:
            axis.xaxis.set_major_locator(MaxNLocator(5))
    panels.lower_labels(x_label)
    panels.grid[0][0].set_yticks(range(len(lines)), [_name(item, names) for item in lines])
    panels.legend(legend_columns)
    return panels.figure


@themed()
def heat_map(
    estimates: "Estimates",
    *,
    x: str,
    y: str,
    value_label: str,
    row: str | None = None,
    column: str | None = None,
    x_label: str = "",
    titles: Mapping[str, Title] | None = None,
    names: Mapping[Any, str] | None = None,
    centre: float | None = None,
    limits: tuple[float, float] | None = None,
    form: str = "{:.2f}",
    log: bool = False,
    gap: str = "not measured",
    wrap: int = 0,
) -> "Figure":
    """Numbers as colours, and written; grey where there is none.

    Args:
        estimates: what to draw.
        x: the axis of the columns of a panel.
        y: the axis of its lines.
        value_label: what the numbers are.
        row: the axis of the rows of panels.
        column: the axis of the columns of panels.
        x_label: what the columns are.
        titles: by axis, a panel's title: a text with {} for the value, or a function of it.
        names: lines and columns by value.
        centre: where two colours meet; one colour if not given.
        limits: numbers of the first and the last colour.
        form: how a number is written.
        log: colours by the logarithm, two of them meeting at 1; numbers beyond ``limits`` have those of the ends.
        gap: what the grey means; below the panels, where there is any.
        wrap: most panels in a line, if there is no ``row``; three if not given.
    """
    import seaborn as sns
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Patch
    from matplotlib.ticker import FuncFormatter

    table = estimates.table
    if table.empty:
        raise LookupError("nothing to draw")
    across, down = values_of(table, x), values_of(table, y)
    columns = [_name(key, names) for key in across]
    tilted = isinstance(across[0], str)
    written = max((len(form.format(value)) for value in table["estimate"] if np.isfinite(value)), default=1)
    size = (0.4 + (0.12 + 0.07 * max(written, 3)) * len(across), max(1.4, 0.6 + 0.26 * len(down)))
    below = 0.6 + (max(map(len, columns)) / _LETTERS if tilted else 0.0)
    panels = Panels(
        table, row, column, size=size, margin=(2.0, below), titles=titles, wrap=wrap, sharex=True, sharey=True
    )
    low, high = limits or (table["estimate"].min(), table["estimate"].max())
    gaps = False
    for axis, part in panels:
        grid = part.pivot_table(index=y, columns=x, values="estimate", sort=False).reindex(index=down, columns=across)
        texts = grid.map(lambda v: "" if np.isnan(v) else "∞" if np.isinf(v) else form.format(v))
        axis.set_facecolor(_GAP)
        axis.grid(False)
        gaps = gaps or bool(grid.isna().any(axis=None))
        style = {"norm": LogNorm(low, high)} if log else {"vmin": low, "vmax": high, "center": centre}
        colours = "vlag" if log or centre is not None else "viridis"
        shown = grid.clip(low, high)
        sns.heatmap(
            shown, ax=axis, annot=texts, fmt="", annot_kws={"fontsize": 6.5}, cmap=colours, cbar=False, linewidths=0.5,
            **style,
        )  # fmt: skip
        axis.set(xlabel="", ylabel="")
        turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if tilted else {"rotation": 0}
        axis.set_xticklabels(columns, **turned)
        axis.set_yticklabels([_name(key, names) for key in down], rotation=0)
    panels.lower_labels(x_label)
    bar = panels.axes[0].collections[0]
    plain = FuncFormatter(lambda value, _: plain_number(value))
    lines = textwrap.fill(value_label, max(12, int(_LETTERS * size[1] * len(panels.grid))))
    scale = panels.figure.colorbar(bar, ax=panels.axes, label=lines, fraction=0.03, pad=0.01, format=plain)
    scale.minorticks_off()
    if log:
        scale.set_ticks([tick for tick in 2.0 ** np.arange(-12, 13) if low <= tick <= high])
    if gaps:
        panels.figure.legend(handles=[Patch(facecolor=_GAP, label=gap)], loc="outside lower left", frameon=False)
    return panels.figure


def clouds(found: "Estimates", order: Sequence[str]) -> "pd.DataFrame":
    """Stored samples as a table for ``scatter``: one point a row, by K and M, and by panel.

    Args:
        found: samples in the plane, their coordinates in the column ``text``; ``start_points`` are those before
            training, whatever the statistic.
        order: of the panels, "before" among them; each is a statistic's.

    Returns:
        Columns K, M, panel, x and y.

    Raises:
        LookupError: no sample.
    """
    import pandas as pd

    parts = [
        pd.DataFrame(np.array(row["text"].split(), dtype=float).reshape(-1, 2), columns=["x", "y"]).assign(
            K=row["dim"], M=row["num_slices"], panel=row["statistic"] if row["quantity"] == "points" else "before"
        )
        for row in found.table.to_dict("records")
    ]
    if not parts:
        raise LookupError("no stored points")
    table = pd.concat(parts, ignore_index=True)
    table = table.assign(place=table["panel"].map([*order].index))
    return table.sort_values(["K", "M", "place"], kind="stable").drop(columns="place")


@themed()
def scatter(
    table: "pd.DataFrame",
    *,
    x: str,
    y: str,
    x_label: str,
    y_label: str,
    hue: str | None = None,
    hue_name: str = "{}",
    marker: str | None = None,
    row: str | None = None,
    column: str | None = None,
    titles: Mapping[str, Title] | None = None,
    names: Mapping[Any, str] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    share: bool | str = True,
    size: tuple[float, float] = (2.8, 2.5),
    area: float = 14,
    legend_columns: int = 4,
) -> "Figure":
    """Pairs of numbers as points.

    Args:
        table: one point a row.
        x: column of the horizontal axis.
        y: column of the vertical axis.
        x_label: what is horizontal.
        y_label: what is vertical.
        hue: column of the colours; of numbers they run from dark to light.
        hue_name: a legend entry of a number, with {} for it.
        marker: column of the markers.
        row: the axis of the rows of panels.
        column: the axis of the columns of panels.
        titles: by axis, a panel's title: a text with {} for the value, or a function of it.
        names: legend entries by value.
        log_x: logarithmic.
        log_y: logarithmic.
        share: whether panels have the same axes.
        size: of a panel, inches.
        area: of a marker, square points.
        legend_columns: of the legend.
    """
    panels = Panels(table, row, column, size=size, titles=titles, sharex=share, sharey=share)
    keys = values_of(table, hue) if hue else [None]
    kinds = values_of(table, marker) if marker else [None]
    colours = palette([str(key) for key in keys], ordered=not any(isinstance(key, str) for key in keys))
    for axis, part in panels:
        for key in keys:
            for kind, symbol in zip(kinds, _cycle(len(kinds)), strict=True):
                rows = part if hue is None else part[part[hue] == key]
                rows = rows if marker is None else rows[rows[marker] == kind]
                if rows.empty:
                    continue
                text = ", ".join(_name(k, names, hue_name if k == key else "{}") for k in (key, kind) if k is not None)
                style = {"s": area, "alpha": 0.7, "linewidths": 0}
                axis.scatter(rows[x], rows[y], marker=symbol, color=colours[str(key)], label=text or None, **style)
        if log_x:
            plain_log(axis.xaxis)
        if log_y:
            plain_log(axis.yaxis)
    panels.outer_labels(x_label, y_label)
    if hue not in (row, column) or marker:  # else the panels name the colours
        panels.legend(legend_columns)
    return panels.figure


def plain_log(axis: "XAxis | YAxis") -> None:
    """A logarithmic axis with plain numbers at powers of ten, and at 2 and 5 times them where there is room.

    Call it when all is drawn that the panel holds; of panels that share an axis the last call decides.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    low, high = sorted(getattr(axis.axes, f"get_{axis.axis_name}lim")())
    inches = panel_inches(axis.axes)[axis.axis_name == "y"] / max(math.log10(high / low), 0.1)  # for a factor of ten
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if inches > (1.0 if axis.axis_name == "x" else 0.7) else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))
    axis.set_minor_locator(NullLocator())


def whiskers(axis: "Axes", places: Any, rows: "pd.DataFrame", band: bool = False, **style: Any) -> None:
    """A line through the estimates, with their intervals as whiskers or as a band."""
    if band:
        axis.plot(places, rows["estimate"], **style)
        axis.fill_between(places, rows["low"], rows["high"], color=style["color"], alpha=0.15, lw=0)
    else:
        errors = [rows["estimate"] - rows["low"], rows["high"] - rows["estimate"]]
        axis.errorbar(places, rows["estimate"], yerr=np.maximum(errors, 0), **style)


def _cycle(count: int) -> Sequence[str]:
    return [MARKERS[i % len(MARKERS)] for i in range(count)]
