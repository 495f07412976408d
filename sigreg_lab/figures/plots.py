"""Plots that several studies draw."""

from typing import TYPE_CHECKING

import numpy as np

from sigreg_lab.figures.theme import label, new_figure, palette, themed

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@themed()
def grouped_intervals(
    table: "pd.DataFrame",
    *,
    group: str,
    hue: str,
    panel: str,
    panel_title: str,
    value: str,
    value_label: str,
    reference: float | None = None,
    reference_label: str = "",
    limits: tuple[float, float] | None = None,
    share_axis: bool = True,
) -> "Figure":
    """Estimates with intervals as points with whiskers: one row per group, one colour per hue, one panel per ``panel``.

    Args:
        table: one estimate a row, in the order to draw, with the columns named below and ``low`` and ``high``.
        group: column of the rows, from top to bottom.
        hue: column of the colours; the same column as ``group`` for one colour a row and no legend.
        panel: column of the panels, side by side.
        panel_title: a panel's title, with "{}" for its value.
        value: column of the estimates.
        value_label: what the horizontal axis shows, with its unit.
        reference: where to draw a dashed line.
        reference_label: what that line is, for the legend.
        limits: ends of the horizontal axis.
        share_axis: whether all panels have the same horizontal axis.
    """
    from matplotlib.ticker import MaxNLocator

    groups, hues, panels = (list(dict.fromkeys(table[column])) for column in (group, hue, panel))
    colours = palette(hues)
    spread = 0.0 if group == hue else 0.66
    offsets = dict(zip(hues, np.linspace(-spread / 2, spread / 2, len(hues)), strict=True))
    height = 1.1 + len(groups) * (0.42 if group == hue else 0.12 + 0.14 * len(hues))
    figure = new_figure(2.2 + 3.1 * len(panels), height)
    axes = figure.subplots(1, len(panels), sharey=True, sharex=share_axis, squeeze=False)
    for axis, name in zip(axes[0], panels, strict=True):
        part = table[table[panel] == name]
        for key in hues:
            rows = part[part[hue] == key]
            places = [groups.index(item) + (offsets[key] if group != hue else 0.0) for item in rows[group]]
            errors = [rows[value] - rows["low"], rows["high"] - rows[value]]
            axis.errorbar(
                rows[value], places, xerr=errors, fmt="o", ms=4, lw=1.6, color=colours[key], label=label(str(key))
            )
        if reference is not None:
            axis.axvline(reference, ls="--", lw=1, color="0.4", zorder=0, label=reference_label)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.set(title=panel_title.format(name), xlabel=value_label)
        axis.set_ylim(len(groups) - 0.5, -0.5)
        axis.grid(axis="y", visible=False)
        for edge in range(1, len(groups)):
            axis.axhline(edge - 0.5, color="0.92", lw=0.8, zorder=0)
        if limits is not None:
            axis.set_xlim(*limits)
    axes[0][0].set_yticks(range(len(groups)), [label(str(item)) for item in groups])
    handles, names = axes[0][0].get_legend_handles_labels()
    if group == hue:
        pairs = [(h, n) for h, n in zip(handles, names, strict=True) if n == reference_label and reference is not None]
        handles, names = [h for h, _ in pairs], [n for _, n in pairs]
    if handles:
        figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 3), frameon=False)
    return figure
