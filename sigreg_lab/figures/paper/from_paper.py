"""Figures and tables of published numbers, ours beside them where there are some."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sigreg_lab.figures.kinds import plain_log, values_of
from sigreg_lab.figures.paper.parts import COLUMN, PUBLISHED, WIDE, Drawing, Table, say_published
from sigreg_lab.figures.paper.published import published, setting
from sigreg_lab.figures.paper.sources import Sources
from sigreg_lab.figures.theme import new_figure, palette

if TYPE_CHECKING:
    import pandas as pd

NAMES = {
    "t_max": "t_max",
    "num_slices": "slices",
    "points": "points",
    "views": "views",
    "global_views": "global",
    "batch_size": "batch size",
    "projector_dim": "projector",
    "embedding_dim": "embedding",
    "register_tokens": "registers",
    "backbone": "backbone",
    "predictor": "predictor",
    "swa": "SWA",
    "projector_layers": "layers",
    "data": "data",
    "lam": "λ",
    "num_samples": "N",
}


def lambda_and_views(sources: Sources) -> Drawing:
    table = published("table-7")
    figure = new_figure(COLUMN, 2.3)
    axis = figure.subplots()
    colours = palette([str(v) for v in values_of(table, "views")])
    for (views, part), marker in zip(table.groupby("views"), "osD", strict=True):
        style = {"marker": marker, "color": colours[str(views)], **PUBLISHED}
        axis.plot(part["lam"], part["value"], **style, label=f"{views} views")
    plain_log(axis.xaxis)
    axis.set_xticks([0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5])
    axis.set(xlabel="λ", ylabel="top-1, %")
    axis.legend(frameon=False, loc="lower center")
    say_published(axis)
    return Drawing(figure, f"Published: {setting('table-7')}.")


def architectures(sources: Sources) -> Drawing:
    table = published("table-5")
    names, data = values_of(table, "backbone"), values_of(table, "data")
    figure = new_figure(WIDE, 1.75)
    axes = figure.subplots(1, len(data), sharey=True)
    colour = palette(["one"])["one"]
    for axis, name in zip(axes, data, strict=True):
        part = table[table["data"] == name].set_index("backbone").loc[names, "value"]
        axis.plot(part, range(len(names)), marker="o", color=colour, **(PUBLISHED | {"ls": ""}))
        axis.margins(x=0.15, y=0.12)
        axis.set_title(name)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    figure.supxlabel("top-1, %, published numbers; axes differ", size="medium", style="italic", color="0.35")
    return Drawing(
        figure,
        f"Published: {setting('table-5')}. Figure 9 has more architectures and prints no numbers; Table 5's stand in.",
    )


def grid(item: str, down: Sequence[str], across: Sequence[str]) -> Any:
    """What draws a published item as a table: ``down`` names its lines, ``across`` its columns of numbers."""

    def draw(sources: Sources) -> Drawing:
        table = published(item)
        columns = list(dict.fromkeys(_places(table, across)))
        named = [", ".join(f"{NAMES[a]} {_plain(v)}" for a, v in zip(across, c, strict=True)) for c in columns]
        header = [*(NAMES[axis] for axis in down), *(named if across else ["top-1, %"])]
        rows = []
        for key, part in table.groupby(list(down), sort=False):
            found = dict(zip(_places(part, across), part["value"], strict=True))
            rows.append([*map(_plain, key), *(f"{found[c]:.2f}" if c in found else "-" for c in columns)])
        return Drawing(Table(header, rows), f"Published: {setting(item)}.")

    return draw


def speed(sources: Sources) -> Drawing:
    """Table 6, the published time beside that of the benchmark on a processor."""
    rows = sources.rows("kernels")
    mine = rows[rows["what"].str.startswith("Table 6") & (rows["contestant"] == "ours: cpu")]
    times = mine.set_index(["num_samples", "num_slices", "n_points"])["median_ms"]
    lines = []
    for n, m, points, value in published("table-6").itertuples(index=False, name=None):
        here = f"{times[(n, m, points)]:.2f}" if (n, m, points) in times.index else "not run"
        lines.append([f"{n:.0f}", f"{m:.0f}", f"{points:.0f}", f"{value:.3f}", here])
    return Drawing(
        Table(["N", "slices", "points", "published: V100, ms", "ours: CPU, ms"], lines),
        f"Published: {setting('table-6')}. Our times are medians, K = {int(mine['dim'].iloc[0])}, on a "
        "processor and not on a GPU: the two columns are no comparison of implementations.",
    )


def _places(table: "pd.DataFrame", axes: Sequence[str]) -> list[tuple[Any, ...]]:
    return [tuple(row[axis] for axis in axes) for row in table.to_dict("records")]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"
