"""The figures of a comparison's page, drawn from its findings; each is narrow enough for a telephone."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sigreg_lab.check.pictures import as_svg
from sigreg_lab.check.plain import plain
from sigreg_lab.compare.estimates import ONE_POINT, Estimate
from sigreg_lab.compare.protocol import Plan, lam_of, score
from sigreg_lab.compare.tables import Findings, Line, interval
from sigreg_lab.figures.theme import new_figure, themed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 4.6
_LONGEST_LABEL = 24


class Colours(NamedTuple):
    """Of data, of a second kind of data, of what is marked, of what lies behind."""

    data: str
    second: str
    mark: str
    behind: str


LIGHT = Colours("#0173b2", "#de8f05", "#d55e00", "0.6")
DARK = Colours("#56b4e9", "#f0b440", "#ff8c42", "0.55")


class Picture(NamedTuple):
    """A figure for a page: its addresses for light and dark pages, what it shows in words, its caption."""

    light: str
    dark: str
    alt: str
    caption: str


def picture(draw: "Callable[[Colours], Figure]", alt: str, caption: str = "") -> Picture:
    """Draw a figure for light and for dark pages."""
    with themed():
        light = as_svg(draw(LIGHT))
    with themed(dark=True):
        dark = as_svg(draw(DARK))
    return Picture(light, dark, alt, caption)


def accuracies(found: Findings) -> Picture | None:
    """Test accuracy of each, the best on top: a thick bar over seeds, a thin one over all sources of error."""
    lines = [line for line in found.lines if not math.isnan(line.accuracy.value)]
    if not lines:
        return None

    def draw(colours: Colours) -> "Figure":
        figure, axis = _rows([line.name for line in lines])
        for place, line in enumerate(lines):
            _bar(axis, place, line.accuracy, colours.data, 1.4)
            _bar(axis, place, line.over_seeds, colours.data, 4.0)
            axis.plot(line.accuracy.value, place, "o", ms=5, color=colours.data)
        axis.set_xlabel("test accuracy (95%)")
        return figure

    alt = "Test accuracy: " + "; ".join(f"{line.name} {interval(line.accuracy)}" for line in lines)
    return picture(draw, alt, "Thick: 95% over seeds alone. Thin: over all that the table counts.")


def differences(found: Findings) -> Picture | None:
    """Difference of each to the first regulariser."""
    lines = [line for line in found.lines if math.isfinite(line.less_first.low)]
    if not lines:
        return None

    def draw(colours: Colours) -> "Figure":
        figure, axis = _rows([line.name for line in lines])
        axis.axvline(0, ls="--", lw=1.2, color=colours.behind)
        for place, line in enumerate(lines):
            colour = colours.mark if line.less_first.pvalue < 0.05 else colours.data
            _bar(axis, place, line.less_first, colour, 1.6)
            axis.plot(line.less_first.value, place, "o", ms=5, color=colour)
        axis.set_xlabel(f"difference to {_short(found.first)} (95%)", parse_math=False)
        return figure

    alt = f"Difference to {found.first}: " + "; ".join(f"{line.name} {interval(line.less_first)}" for line in lines)
    return picture(draw, alt, "Orange: differs from 0 after Holm's correction.")


def tuning(found: Findings, line: Line) -> Picture | None:
    """Validation accuracy against lambda: each tuning run, their means, the lambda that was chosen."""
    plan = _plan(found, line)
    form, name = found.settings.base.form, f"validation_{found.settings.protocol.criterion}"
    runs = [
        (lam_of(weight, form), value)
        for weight, rows in sorted(plan.tried.items())
        for row in rows.values()
        if (value := score(row, name)) is not None
    ]
    if not runs:
        return None
    means = [(lam_of(weight, form), plan.value(weight)) for weight in sorted(plan.tried)]
    means = [(lam, value) for lam, value in means if math.isfinite(value)]

    def draw(colours: Colours) -> "Figure":
        figure = new_figure(_WIDTH, 2.7)
        axis = figure.subplots()
        axis.plot(*zip(*runs, strict=True), "o", ms=3.5, alpha=0.5, color=colours.data, label="run")
        axis.plot(*zip(*means, strict=True), lw=1.6, color=colours.data, label="mean")
        if plan.chosen is not None:
            best = plan.value(plan.chosen)
            axis.axhspan(best - ONE_POINT, best, color=colours.data, alpha=0.15, lw=0, label="one point")
            axis.axvline(lam_of(plan.chosen, form), ls="--", lw=1.2, color=colours.mark, label="chosen")
        axis.set_xscale("log")
        axis.set(xlabel="lambda", ylabel="validation accuracy")
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
        return figure

    told = "no lambda chosen yet" if line.lam is None else f"chosen lambda {line.lam:.3g}"
    alt = f"{line.name}: validation accuracy from {min(v for _, v in runs):.3f} to {max(v for _, v in runs):.3f} over "
    return picture(draw, f"{alt}lambda {runs[0][0]:.2g} to {runs[-1][0]:.2g}; {told}")


def curves(found: Findings, line: Line) -> Picture | None:
    """Both loss terms along the reported runs, one thin line a seed."""
    rows = [row for row in _plan(found, line).reported.values() if len(row.get("curve") or ()) > 1]
    if not rows:
        return None
    parts = (
        ("prediction", "regularizer") if any(point[3] for row in rows for point in row["curve"]) else ("prediction",)
    )

    def draw(colours: Colours) -> "Figure":
        figure = new_figure(_WIDTH, 2.7)
        axis = figure.subplots()
        lowest = math.inf
        for part, colour, index in zip(parts, (colours.data, colours.second), (2, 3), strict=False):
            for i, row in enumerate(rows):
                steps, values = np.array(row["curve"]).T[[0, index]]
                lowest = min(lowest, float(values.min()))
                words = part.replace("regularizer", "regulariser")
                axis.plot(steps, values, lw=1.1, alpha=0.75, color=colour, label=words if not i else None)
        axis.set_yscale("log" if lowest > 0 else "linear")
        axis.set(xlabel="training step", ylabel="loss term")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        return figure

    ends = [
        f"{part} from {np.mean([row['curve'][0][i] for row in rows]):.3g} to "
        f"{np.mean([row['curve'][-1][i] for row in rows]):.3g}"
        for part, i in zip(parts, (2, 3), strict=False)
    ]
    return picture(draw, f"{line.name}: loss terms over training steps, {len(rows)} runs: mean {', '.join(ends)}")


def _rows(names: list[str]) -> "tuple[Figure, Axes]":
    figure = new_figure(_WIDTH, 0.9 + 0.3 * len(names))
    axis = figure.subplots()
    axis.set_yticks(range(len(names)), [_short(name) for name in names], parse_math=False)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    return figure, axis


def _bar(axis: "Axes", place: int, estimate: Estimate, colour: str, width: float) -> None:
    if math.isfinite(estimate.low):
        axis.plot([estimate.low, estimate.high], [place, place], lw=width, color=colour, solid_capstyle="butt")


def _plan(found: Findings, line: Line) -> Plan:
    return next(plan for plan in found.outcome.plans if plan.name == line.name)


def _short(name: str) -> str:
    """A name as it is but no longer than a figure has room for."""
    name = plain(name)
    return name if len(name) <= _LONGEST_LABEL else f"{name[: _LONGEST_LABEL - 3]}..."
