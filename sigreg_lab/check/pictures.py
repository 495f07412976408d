"""The figures of a check page, drawn from findings alone."""

import base64
import io
import warnings
from typing import TYPE_CHECKING

import numpy as np

from sigreg_lab.check.findings import DirectionFinding, Findings
from sigreg_lab.check.plain import plain
from sigreg_lab.figures.theme import new_figure, themed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DATA, MODEL, MARK = "#0173b2", "0.35", "#d55e00"
#: Inches of a figure beside text of its own size on a desk, and on a telephone.
WIDE, NARROW = 8.4, 4.2
_LONGEST_LABEL = 36


@themed()
def spectrum_figure(f: Findings, width: float = WIDE) -> "Figure":
    """Variances along the principal axes beside those to expect of N(0, I)."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(width, max(0.4 * width, 2.9))
    axis = figure.subplots()
    seen = min(f.num_rows - 1, f.num_features)
    place = np.arange(1, seen + 1)
    values, expected = np.array(f.spectrum[:seen]), np.array(f.expected_spectrum[:seen])
    floor = max(values.max(), 1.0) * 1e-12
    style = {"marker": "o", "ms": 3.5} if seen <= 64 else {}
    axis.plot(place, expected, color=MODEL, ls="--", lw=1.4, label="N(0, I) at this size")
    axis.plot(place, values.clip(floor), color=DATA, lw=1.6, label="sample", **style)  # type: ignore[arg-type]
    ratio = values.max() / max(values.min(), floor)
    if ratio > 30:
        axis.set_yscale("log")
    else:
        axis.set_ylim(0, 1.08 * max(values.max(), expected.max()))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set(xlabel="principal axis", ylabel="variance")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


@themed()
def slices_figure(f: Findings, width: float = WIDE) -> "Figure":
    """The statistic of each slice, in ascending order, with its two thresholds."""
    figure = new_figure(width, max(0.4 * width, 2.9))
    axis = figure.subplots()
    values = np.sort(np.array(f.slice_statistics))
    place = (np.arange(len(values)) + 0.5) / len(values) * 100
    axis.plot(place, values, ".", color=DATA, ms=4, label=f"{len(values)} slices")
    level = f"{f.alpha:.0%}"
    axis.axhline(f.slice_threshold, color=MODEL, ls="--", lw=1.2, label=f"one slice of N(0, 1) exceeds it in {level}")
    axis.axhline(
        f.max_threshold, color=MARK, ls="--", lw=1.2, label=f"the largest slice of N(0, I) exceeds it in {level}"
    )
    if values.max() > 30 * f.max_threshold:
        axis.set_yscale("log")
    else:
        axis.set_ylim(0, None)
    axis.set(xlabel="slices, % (ascending)", ylabel="Epps-Pulley")
    figure.legend(loc="outside lower center", ncols=3 if width > NARROW else 1, frameon=False)
    return figure


@themed()
def projections_figure(f: Findings, width: float = WIDE) -> "Figure":
    """Histograms of the projections on the worst directions and a typical one, against N(0, 1)."""
    shown = (*f.worst, f.typical)
    columns = min(3 if width > NARROW else 2, len(shown))
    rows = -(-len(shown) // columns)
    figure = new_figure(width, 2.35 * rows + 0.3)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for axis, direction in zip(axes.flat, shown, strict=False):
        _histogram(axis, direction, _LONGEST_LABEL if width > NARROW else _LONGEST_LABEL // 2 + 4)
    handles, names = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _histogram(axis: "Axes", direction: DirectionFinding, longest: int) -> None:
    x = direction.projection.numpy()
    low, high = np.quantile(x, [0.002, 0.998])
    low, high = min(low, -3.6), max(high, 3.6)
    z = np.linspace(low, high, 400)
    inside = x[(x >= low) & (x <= high)]
    bins = int(np.clip(0.7 * np.sqrt(len(inside)), 12, 40))
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    axis.hist(inside, bins=bins, range=(low, high), density=True, color=DATA, alpha=0.55, label="sample")
    axis.plot(z, density, color=MODEL, lw=1.4, label="N(0, 1)")
    heights, _ = np.histogram(inside, bins=bins, range=(low, high), density=True)
    axis.set_ylim(0, min(1.1 * max(heights.max(), density.max()), 2.2))  # a spike would hide everything else
    axis.set_title(_words(direction.label, longest), fontsize=9, parse_math=False)
    axis.set_xlabel(f"mean {direction.mean:.2g}, std {direction.std:.2g}", fontsize=8)
    axis.set_yticks([])
    axis.grid(visible=False)


@themed()
def pair_figure(f: Findings) -> "Figure":
    """The pair of features whose squares correlate most, whitened."""
    if f.pair_points is None:
        raise ValueError("findings hold no pair of features")
    figure = new_figure(4.0, 4.0)
    axis = figure.subplots()
    x, y = f.pair_points[:2000].T.numpy()
    axis.plot(x, y, ".", color=DATA, ms=3, alpha=0.5)
    first, second, _ = f.pairs[0]
    axis.set_xlabel(_words(f"feature {first}, whitened"), parse_math=False)
    axis.set_ylabel(_words(f"feature {second}, whitened"), parse_math=False)
    axis.set_aspect("equal")
    return figure


def _words(label: str, longest: int = _LONGEST_LABEL) -> str:
    """A label with names from a file, as it is but no longer than a picture has room for."""
    label = plain(label)
    return label if len(label) <= longest else f"{label[: longest - 3]}..."


def as_svg(figure: "Figure") -> str:
    """The figure as the address of an inline picture, the same bytes for the same figure."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "sigreg-lab"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # names in any script: boxes then
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
