"""Figures of what studies measured."""

from typing import Any

import numpy as np

from sigreg_lab.experiment.estimates import Estimates
from sigreg_lab.figures.kinds import clouds, curves, plain_log, scatter, values_of, whiskers
from sigreg_lab.figures.paper.from_theory import STATISTICS
from sigreg_lab.figures.paper.parts import PUBLISHED, WIDE, Drawing, say_published, sized
from sigreg_lab.figures.paper.published import published, setting
from sigreg_lab.figures.paper.sources import Sources
from sigreg_lab.figures.theme import new_figure, palette
from sigreg_lab.names import label

SPAN = 3.6  # of the coordinates drawn
DIGITS = "scikit-learn's digits (8x8), small-conv"
TITLES = {
    "before": "before",
    "anderson_darling": "Anderson-\nDarling",
    "cramer_von_mises": "Cramér-\nvon Mises",
    "extended_jarque_bera": "extended\nJarque-Bera",
    "mean_std": "mean² +\n(std - 1)²",
}
LABELS = {"all": "all labels", "1": "1 label per class"}


def descended(sources: Sources) -> Drawing:
    """Figure 6: the largest K, the fewest slices."""
    found = _clouds(sources).table
    e = Estimates(found[(found["dim"] == found["dim"].max()) & (found["num_slices"] == found["num_slices"].min())])
    return _descent(sources, e, 1.5)


def descended_all(sources: Sources) -> Drawing:
    """Figure 16: every K and M of which points are stored."""
    return _descent(sources, _clouds(sources), 6.6)


def _clouds(sources: Sources) -> Estimates:
    return sources.estimates("sample_descent").of(["points", "start_points"], training="adam", directions="iid")


def _descent(sources: Sources, e: Estimates, height: float) -> Drawing:
    order = ["before", *STATISTICS]
    table = clouds(e, order)
    table["row"] = [f"K = {k:.0f}\nM = {m:.0f}" for k, m in zip(table["K"], table["M"], strict=True)]
    beyond = int((table[["x", "y"]].abs().max(axis=1) > SPAN).sum())
    figure = scatter(
        table, x="x", y="y", row="row", column="panel", hue="panel", size=(0.8, 0.9), area=4, x_label="", y_label="",
        titles={"panel": lambda name: TITLES.get(name, label(name))},
    )  # fmt: skip
    for axis in figure.axes:
        axis.set_aspect("equal")
    axis.set(xlim=(-SPAN, SPAN), ylim=(-SPAN, SPAN), xticks=(-2, 0, 2), yticks=(-2, 0, 2))  # shared by all
    for axis, text in zip(figure.axes[:: len(order)], dict.fromkeys(table["row"]), strict=True):
        axis.set_ylabel(text)
    figure.supxlabel("first coordinate (across), second coordinate (up)", size="medium")
    config = sources.config("sample_descent")
    outside = f" {beyond} points lie outside of the panels." if beyond else ""
    return Drawing(
        sized(figure, WIDE, height),
        f"First two coordinates of N = {config['column_samples']} points, one of {config['seeds']} seeds, before and "
        f"after {config['steps']} Adam steps (learning rate 0.1) on each statistic; M directions drawn anew at every "
        f"step.{outside}",
    )


def fixed_or_resampled(sources: Sources) -> Drawing:
    config = sources.config("sample_descent")
    n = config["column_samples"]
    runs = sources.estimates("sample_descent").of(
        "infinite", training=["adam", "adam_cosine"], statistic="epps_pulley", num_samples=n
    )
    steps = {"adam": "constant step length", "adam_cosine": "step length to 0"}
    kinds = {"iid": "resampled", "fixed": "fixed"}
    table = runs.table
    lines = [f"{kinds[d]}, {steps[t]}" for d, t in zip(table["directions"], table["training"], strict=True)]
    figure = curves(
        Estimates(table.assign(line=lines)), x="num_slices", hue="line", column="dim", titles={"dim": "K = {}"},
        x_label="slices M", y_label="Epps-Pulley over all slices,\nat the end", log_y=True, legend_columns=4,
    )  # fmt: skip
    for axis in figure.axes:
        axis.tick_params(axis="x", labelrotation=45)
    return Drawing(
        sized(figure, WIDE, 2.3),
        f"Mean over {config['seeds']} seeds with 95% intervals; N = {n} points, {config['steps']} Adam steps. The "
        "value is the exact mean over all directions.",
    )


def plane_of_losses(sources: Sources) -> Drawing:
    runs = sources.estimates("loss_and_accuracy").of("run", labels="all").table
    names = values_of(runs, "regularizer")
    figure = new_figure(WIDE, 2.1)
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    ends = runs["estimate"].min(), runs["estimate"].max()
    for axis, name in zip(axes, names, strict=True):
        part = runs[runs["regularizer"] == name]
        style: dict[str, Any] = {"vmin": ends[0], "vmax": ends[1], "cmap": "viridis", "s": 8, "lw": 0}
        points = axis.scatter(part["penalty"], part["prediction"], c=part["estimate"], **style)
        plain_log(axis.xaxis)
        plain_log(axis.yaxis)
        axis.set_title(label(name))
        axis.set_xlabel("regulariser")
    axes[0].set_ylabel("prediction loss")
    figure.colorbar(points, ax=axes, label="test accuracy", fraction=0.02, pad=0.01)
    return Drawing(
        figure,
        f"One point a run, {len(runs) // len(names)} runs a regulariser over lambda, learning rate, weight "
        f"decay, steps and seeds; colour: accuracy of the frozen linear probe. {DIGITS}.",
    )


def spearman_over_alpha(sources: Sources) -> Drawing:
    found = sources.estimates("loss_and_accuracy").of("C(alpha)", alpha=lambda alpha: abs(alpha) < 10)
    figure = curves(
        found, x="alpha", hue="scope", names={"all": "ours, all runs", "fixed steps": "ours, equal number of steps"},
        row="labels", column="regularizer", titles={"labels": LABELS.__getitem__}, x_label="α",
        y_label="rank correlation", references={"no correlation": 0.0}, log_x=False, band=True, limits=(-1.05, 1.05),
        legend_columns=4,
    )  # fmt: skip
    for axis in figure.axes:
        for line in axis.get_lines():
            line.set_markersize(2)
    theirs = published("spearman")
    same = figure.axes[values_of(found.table, "regularizer").index("sigreg-ep")]  # the first row: all labels
    same.plot(theirs["alpha"], theirs["value"], "D", color="0.15", **(PUBLISHED | {"ls": ""}), label="published")
    handles = {name: line for axis in figure.axes for line, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legends.clear()
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, frameon=False)
    runs = sources.config("loss_and_accuracy")
    return Drawing(
        sized(figure, WIDE, 3.6),
        f"Rank correlation of -loss / λ^α with accuracy, with 95% bands; {DIGITS}, steps {_listed(runs['steps'])}, "
        f"lambda {min(runs['lam'])} to {max(runs['lam'])}. Diamonds: {setting('spearman')}.",
    )


#: Of the atlas, in the figure of few labels: the paper's statistics and both controls.
FEW_LABELS = ["sigreg-ep", "sigreg-ad", "sigreg-ejb", "sigreg-vcreg", "none", "untrained"]
#: Probes of the backbone, and the labels per class that each is given.
SHOTS = {"backbone_few-shot_1": "1", "backbone_few-shot_10": "10", "backbone_linear_all": "all"}


def few_shots(sources: Sources) -> Drawing:
    found = sources.estimates("atlas").of("accuracy", data="digits", contender=FEW_LABELS, probe=list(SHOTS))
    figure = new_figure(WIDE, 2.7)
    ours, theirs = figure.subplots(1, 2)
    names = found.axis("contender")
    colours = palette(names)
    for place, (name, marker) in enumerate(zip(names, "osD^vP", strict=False)):
        rows = found.of("accuracy", contender=name).table.set_index("probe").loc[list(SHOTS)]
        rows = rows.assign(**{c: 100 * rows[c] for c in ("estimate", "low", "high")})
        places = np.arange(len(SHOTS)) + 0.04 * (place - (len(names) - 1) / 2)
        whiskers(ours, places, rows, color=colours[name], marker=marker, ms=3, lw=1, label=label(name))
    ours.set_xticks(range(len(SHOTS)), list(SHOTS.values()))
    ours.set(xlabel="labels per class", ylabel="accuracy, %", title="ours: digits")
    ours.legend(frameon=False, loc="lower right")
    table = published("transfer")
    table = table[table["model"] == "LeJEPA ViT-L"]
    order = values_of(table, "shots")
    shades = palette(values_of(table, "data"))
    for (name, part), marker in zip(table.groupby("data", sort=False), "osD^vPX*", strict=True):
        line = part.set_index("shots").loc[order, "value"]
        theirs.plot(range(len(order)), line, marker=marker, color=shades[str(name)], **PUBLISHED, label=name)
    theirs.set_xticks(range(len(order)), order)
    theirs.set(xlabel="labels per class", title="LeJEPA ViT-L")
    theirs.set_xlim(-0.15, 3.15)
    theirs.legend(frameon=False, loc="center right")
    say_published(theirs)
    return Drawing(
        figure,
        f"Left: {DIGITS}, lambda tuned for each, mean over {sources.config('atlas')['seeds']} seeds with 95% "
        f"intervals. Right: {setting('transfer')}. The two panels differ in data and scale; only their shapes compare.",
    )


def ridge_bias(sources: Sources) -> Drawing:
    names = {f"ridge bias of {what}, mean task": what for what in ("weights", "predictions")}
    figure = curves(
        sources.estimates("probe_risk").of(list(names)), x="at", hue="law", row="quantity", column="dim",
        titles={"quantity": names.__getitem__, "dim": "K = {}"}, x_label="ridge / mean variance",
        y_label="bias / isotropic one's", references={"isotropic": 1.0}, log_y=True, share_y="row",
        legend_columns=5,
    )  # fmt: skip
    return Drawing(
        sized(figure, WIDE, 3.3),
        "Squared bias of ridge regression on a Gaussian embedding over that on the isotropic one of the same total "
        "variance, mean over all tasks of one length (exact).",
    )


def loss_against_accuracy(sources: Sources) -> Drawing:
    runs = sources.estimates("loss_and_accuracy").of("run", labels="all").table
    figure = scatter(
        runs.rename(columns={"estimate": "accuracy"}), x="loss", y="accuracy", hue="lam", hue_name="λ = {}",
        column="regularizer", x_label="final training loss", y_label="test accuracy", log_x=True, share="row", area=8,
        legend_columns=6,
    )  # fmt: skip
    return Drawing(
        sized(figure, WIDE, 2.3),
        f"One point a run: final training loss and accuracy of the frozen linear probe, all labels. {DIGITS}.",
    )


def integration(sources: Sources) -> Drawing:
    e = sources.estimates("quadrature").of("gradient error", sigma2=2.0)
    n = min(e.axis("n"), key=lambda n: abs(n - 256))
    figure = curves(
        e.of(n=n), x="points", hue="law", column="t_max", titles={"t_max": "range [0, {}], doubled"},
        x_label="points on the half line", y_label="relative error of the gradient", log_y=True, legend_columns=4,
    )  # fmt: skip
    for axis in figure.axes:
        axis.set_xticks([3, 5, 9, 17, 33, 65], ["3", "5", "9", "17", "33", "65"])
    return Drawing(
        sized(figure, WIDE, 2.6),
        f"Error of the trapezoid sum's gradient over the norm of that of the whole line's integral, N = {n}, weight "
        "exp(-t²/2), with 95% intervals, for samples of each law. What is left at many points is the cut at the range.",
    )


def _listed(numbers: list[int]) -> str:
    return " and ".join(str(number) for number in numbers)
