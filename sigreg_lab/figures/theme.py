"""The look that all figures share."""

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


#: What a figure on a dark page has other colours for.
_DARK = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), "0.88"),
    **dict.fromkeys(("axes.edgecolor", "xtick.labelcolor", "ytick.labelcolor"), "0.75"),
    "grid.color": "0.28",
}


#: What a printed page has other settings for: letters as type, not as curves.
_PRINT = {"axes.linewidth": 0.6, "grid.linewidth": 0.5, "pdf.fonttype": 42, "axes.titlesize": 7.2, "axes.labelpad": 2.0}
_CHOSEN: ContextVar[bool] = ContextVar("_CHOSEN", default=False)
_DIGIT = 0.085  # inches that a character of a tick takes, and a little air
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@contextmanager
def themed(dark: bool = False, paper: bool = False) -> Iterator[None]:
    """Draw inside this block, or in a function that it decorates, in the house's look; the outermost block decides.

    Args:
        dark: for a dark page.
        paper: for a column or the width of a printed page, letters of 7 points.
    """
    import matplotlib
    import seaborn as sns

    if _CHOSEN.get():
        yield
        return
    style = {
        **sns.axes_style("whitegrid"),
        **(sns.plotting_context("paper", font_scale=0.75) if paper else sns.plotting_context("notebook", 0.85)),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "grid.color": "0.92",
        "font.family": "DejaVu Sans",
        **(_DARK | {"axes.facecolor": "none", "figure.facecolor": "none"} if dark else {}),
        **(_PRINT if paper else {}),
    }
    token = _CHOSEN.set(True)
    try:
        with matplotlib.rc_context(style):
            yield
    finally:
        _CHOSEN.reset(token)


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, inches, that lays itself out and is known to nobody else: no window, nothing to close."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def plain_number(value: float) -> str:
    """A number on an axis: 0.001, 100000, 10⁶, 2·10⁻⁵."""
    digits, _, power = f"{value:g}".partition("e")
    raised = "10" + str(int(power)).translate(_RAISED) if power else ""
    return raised if raised and digits == "1" else f"{digits}·{raised}" if raised else digits


def panel_inches(axis: "Axes") -> tuple[float, float]:
    """Width and height of one panel of a figure, about: before layout nothing more is known."""
    place, box = axis.get_subplotspec(), axis.figure.bbox
    across, down = (place.get_gridspec().ncols, place.get_gridspec().nrows) if place else (1, 1)
    return box.width / axis.figure.dpi / across - 0.5, box.height / axis.figure.dpi / down - 0.5


def log_ticks(axis: "Axes", values: Sequence[float]) -> None:
    """A logarithmic horizontal axis with a tick at each of ``values``, written where there is room beside the last."""
    unit = panel_inches(axis)[0] / max(math.log2(max(values) / min(values)), 1.0)
    written: list[float] = []
    for value in sorted(values):
        room = _DIGIT * (len(plain_number(value)) + len(plain_number(written[-1])) + 1) / 2 if written else 0.0
        if not written or unit * math.log2(value / written[-1]) > room:
            written.append(value)
    axis.set_xscale("log", base=2)
    axis.set_xticks(list(values), [plain_number(value) if value in written else "" for value in values])
    axis.minorticks_off()


def palette(keys: Sequence[str], ordered: bool = False) -> dict[str, tuple[float, float, float]]:
    """A colour for each of up to eleven keys, which colour-blind readers can distinguish; more share them.

    Args:
        keys: what has a colour.
        ordered: colours from dark to light in the order of the keys.
    """
    import seaborn as sns

    if ordered:
        return dict(zip(keys, sns.color_palette("viridis", len(keys) + 1), strict=False))  # the last is too light
    colours = [*sns.color_palette("colorblind"), (0.0, 0.0, 0.0)]
    return dict(zip(keys, itertools.cycle(colours), strict=False))
