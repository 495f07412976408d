"""The look that all figures share."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


@contextmanager
def themed(dark: bool = False) -> Iterator[None]:
    """Draw inside this block, or in a function that it decorates, in the house's look; ``dark``: for a dark page."""
    import matplotlib
    import seaborn as sns

    style = {
        **sns.axes_style("whitegrid"),
        **sns.plotting_context("notebook", font_scale=0.85),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "grid.color": "0.92",
        "font.family": "DejaVu Sans",
        **(_DARK | {"axes.facecolor": "none", "figure.facecolor": "none"} if dark else {}),
    }
    with matplotlib.rc_context(style):
        yield


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, inches, that lays itself out and is known to nobody else: no window, nothing to close."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def log_ticks(axis: "Axes", values: Sequence[float]) -> None:
    """A logarithmic horizontal axis with a written tick at each of ``values``."""
    axis.set_xscale("log", base=2)
    axis.set_xticks(list(values), [f"{value:g}" for value in values])
    axis.minorticks_off()


def palette(keys: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """A colour for each of up to eleven keys, told apart by colour-blind eyes too; more share them."""
    import seaborn as sns

    colours = [*sns.color_palette("colorblind"), (0.0, 0.0, 0.0)]
    return dict(zip(keys, itertools.cycle(colours), strict=False))
