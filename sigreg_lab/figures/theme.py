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


def log_ticks(axis: "Axes", values: Sequence[float]) -> None:
    """A logarithmic horizontal axis with a tick at each of ``values``, written where there is room beside the last."""
    place = axis.get_subplotspec()
    width = axis.figure.bbox.width / axis.figure.dpi
    across = width / (place.get_gridspec().ncols if place else 1) - 0.5  # inches, about
    unit = across / max(math.log2(max(values) / min(values)), 1.0)
    written: list[float] = []
    for value in sorted(values):
        room = _DIGIT * (len(f"{value:g}") + len(f"{written[-1]:g}") + 1) / 2 if written else 0.0
        if not written or unit * math.log2(value / written[-1]) > room:
            written.append(value)
    axis.set_xscale("log", base=2)
    axis.set_xticks(list(values), [f"{value:g}" if value in written else "" for value in values])
    axis.minorticks_off()


def palette(keys: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """A colour for each of up to eleven keys, told apart by colour-blind eyes too; more share them."""
    import seaborn as sns

    colours = [*sns.color_palette("colorblind"), (0.0, 0.0, 0.0)]
    return dict(zip(keys, itertools.cycle(colours), strict=False))
