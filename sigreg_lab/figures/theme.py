"""The look that all figures share."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

#: Readable names of registry keys, for axes and legends.
LABELS = {
    "epps_pulley": "Epps-Pulley",
    "epps_pulley_paper_grid": "Epps-Pulley, paper grid",
    "epps_pulley_full_line": "Epps-Pulley, full line",
    "epps_pulley_full_line_sigma_1": "Epps-Pulley, full line, σ = 1",
    "anderson_darling": "Anderson-Darling",
    "extended_jarque_bera": "extended Jarque-Bera",
    "cramer_von_mises": "Cramér-von Mises",
    "watson": "Watson",
    "kolmogorov_smirnov": "Kolmogorov-Smirnov",
    "shapiro_wilk": "Shapiro-Wilk",
    "shapiro_francia": "Shapiro-Francia",
    "jarque_bera": "Jarque-Bera",
    "dagostino_k2": "D'Agostino K²",
    "vcreg": "VCReg",
    "mean_std": "mean² + (std - 1)²",
    "entropy": "Vasicek entropy",
    "nll": "order-statistic NLL",
    "wasserstein": "Wasserstein",
    "infinite_slice_epps_pulley": "Epps-Pulley, all slices",
    "epps_pulley_mean_of_slices": "Epps-Pulley, mean of slices",
    "epps_pulley_max_of_slices": "Epps-Pulley, max of slices",
    "bhep": "BHEP",
    "bhep_m": "BHEP, moment generating",
    "henze_zirkler": "Henze-Zirkler",
    "comb": "product statistic",
    "hv": "HV",
    "mardia_skewness": "Mardia skewness",
    "mardia_kurtosis": "Mardia kurtosis",
    "sigreg-ep": "SIGReg, Epps-Pulley",
    "sigreg-ad": "SIGReg, Anderson-Darling",
    "sigreg-ejb": "SIGReg, ext. Jarque-Bera",
    "sigreg-vcreg": "SIGReg, VCReg",
    "none": "no regulariser",
    "null": "null: N(0, 1)",
    "location_0.3": "N(0.3, 1)",
    "scale_1.25": "N(0, 1.25²)",
    "scale_0.8": "N(0, 0.8²)",
    "laplace": "Laplace",
    "t5": "Student t5",
    "beta_2": "beta(2, 2)",
    "chi_squared_2": "exponential",
    "chi_squared_5": "chi-squared(5)",
    "skew_normal_4": "skew-normal",
    "gauss_hermite_2": "Gauss-Hermite, 2 atoms",
    "gauss_hermite_3": "Gauss-Hermite, 3 atoms",
    "gauss_hermite_5": "Gauss-Hermite, 5 atoms",
    "gauss_hermite_10": "Gauss-Hermite, 10 atoms",
}


def label(key: str) -> str:
    """A registry key as a reader would write it."""
    plain = key.removesuffix("_standardised")
    return LABELS.get(plain, plain.replace("_", " ")) + (", standardised" if plain != key else "")


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


def error_bars(axis: "Axes", places: "ArrayLike", rows: "pd.DataFrame", value: str, **style: Any) -> None:
    """Points at the column ``value`` with whiskers from ``low`` to ``high``; ``style`` as ``errorbar`` takes it."""
    axis.errorbar(places, rows[value], yerr=[rows[value] - rows["low"], rows["high"] - rows[value]], **style)


def legend_below(figure: "Figure", axis: "Axes", columns: int, fontsize: float | None = None) -> None:
    """One legend for all panels, below them, with the entries of one."""
    handles, names = axis.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=fontsize)


def palette(keys: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """A colour for each of up to eleven keys, told apart by colour-blind eyes too; more share them."""
    import seaborn as sns

    colours = [*sns.color_palette("colorblind"), (0.0, 0.0, 0.0)]
    return dict(zip(keys, itertools.cycle(colours), strict=False))
