"""Descent on the samples themselves: Figures 6, 16 and 7 of the LeJEPA paper, judged by what was not trained on.

N points in R^K, the first two coordinates an 'X' (marginals N(0, 1), covariance I, not Gaussian), the others N(0, 1),
are moved by Adam (lr 0.1, 1520 steps, as printed) so that the mean over M slices of a statistic falls. Directions are
drawn anew at every step (``iid``) or once (``fixed``). Training is ``adam``, as printed; ``adam_cosine``, the same with
step lengths that shrink to 0; ``gradient_descent``, plain; ``none``, samples of N(0, I) left as they are. What the
samples have become is judged by

    infinite         the exact mean of Epps-Pulley over all directions; under N(0, I) sum w (1 - phi^2) in the mean
    plane            the energy statistic of the first two coordinates; under N(0, I) sqrt(pi) in the mean
    covariance       |x'x/N - I|^2, Frobenius; under N(0, I) K (K + 1)/N in the mean
    effective_rank   the exponential of the entropy of the singular values

``moved`` is the root mean square by which a coordinate has moved, ``quarter`` the exact mean after a quarter of the
steps. The three means under N(0, I) are the null cells. Known exactly too: the gradient of slices lies in their span,
so that plain gradient descent on M < K fixed directions never moves the part of a sample outside of it.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import stats

from sigreg_lab import alternatives, univariate
from sigreg_lab.diagnostics import effective_rank
from sigreg_lab.experiment import Study, mean_interval
from sigreg_lab.experiment.study import Cell, Config, Row
from sigreg_lab.figures.tables import markdown_table
from sigreg_lab.figures.theme import error_bars, label, legend_below, log_ticks, new_figure, palette, themed
from sigreg_lab.kernels import gaussian_grid
from sigreg_lab.multivariate.energy import Energy
from sigreg_lab.slicing import iid_directions, seeded_generator, sliced_statistic
from sigreg_lab.slicing.infinite import infinite_slice_epps_pulley

STATISTICS = ["epps_pulley", "anderson_darling", "cramer_von_mises", "extended_jarque_bera", "vcreg", "mean_std"]
TRAINING = ["none", "gradient_descent", "adam", "adam_cosine"]
FEW = 16  # the paper's number of resampled directions
LEARNING_RATE = 0.1
ROUNDING = 1e-5  # of gradients, float32; of plain descent far above what float64 leaves
CONFIDENCE = 0.9999
JUDGES = {
    "infinite": "all slices",
    "plane": "plane",
    "covariance": "covariance error",
    "effective_rank": "effective rank",
}


def null_means(n: int, dim: int) -> dict[str, float]:
    """Exact means under N(0, I) of the judges that have one."""
    ep = univariate.EppsPulley()
    target, weight = gaussian_grid(ep.t_max, ep.n_points, ep.sigma, torch.device("cpu"))
    return {
        "infinite": float((weight * (1 - target**2)).sum()),
        "plane": math.sqrt(math.pi),
        "covariance": dim * (dim + 1) / n,
    }


def judge(x: torch.Tensor) -> dict[str, float]:
    x = x.detach().double()
    moments = x.T @ x / len(x)
    return {
        "infinite": float(infinite_slice_epps_pulley(x)),
        "plane": float(Energy()(x[:, :2])),
        "covariance": float((moments - torch.eye(x.shape[1], dtype=torch.float64)).square().sum()),
        "effective_rank": float(effective_rank(x)),
    }


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    n, dim, training = int(cell["num_samples"]), int(cell["dim"]), str(cell["training"])
    law = alternatives.MULTIVARIATE["null" if training == "none" else "x"](dim)
    rows: list[Row] = []
    for number, child in enumerate(seed.spawn(settings["null_seeds" if training == "none" else "seeds"])):
        start = torch.from_numpy(law.sample(np.random.default_rng(child), n)).float()
        row: Row = {"seed": number}
        if training == "none":
            row |= judge(start)
        else:
            row |= {f"start_{name}": value for name, value in judge(start).items()}
            end, extra = _descend(start, cell, settings, int(child.generate_state(1)[0]))
            row |= judge(end) | extra
            if number == 0 and cell["num_slices"] in settings["column_slices"]:
                row["points"] = _text(end)
                row["start_points"] = _text(start) if cell["statistic"] == STATISTICS[0] else None
        rows.append(row)
    return rows


def _descend(start: torch.Tensor, cell: Cell, settings: Config, base: int) -> tuple[torch.Tensor, Row]:
    """The sample after training, and what happened outside the span of fixed directions."""
    dim, num_slices, steps = int(cell["dim"]), int(cell["num_slices"]), settings["steps"]
    statistic = univariate.REGISTRY[str(cell["statistic"])]()
    plain = cell["training"] == "gradient_descent"  # in float64: what it leaves alone, it leaves alone exactly
    x = (start.double() if plain else start.clone()).requires_grad_()
    optimizer = (
        torch.optim.SGD([x], lr=num_slices / 4) if plain else torch.optim.Adam([x], lr=LEARNING_RATE, fused=True)
    )
    resampled = cell["directions"] == "iid"
    directions = iid_directions(dim, num_slices, generator=seeded_generator(base, 0))
    extra: Row = {"quarter": float("nan")}
    for step in range(steps):
        if resampled and step:
            directions = iid_directions(dim, num_slices, generator=seeded_generator(base, step))
        if cell["training"] == "adam_cosine":
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.zero_grad()
        sliced_statistic(x, statistic, directions).backward()
        optimizer.step()
        if 4 * (step + 1) == steps:
            extra["quarter"] = float(infinite_slice_epps_pulley(x.detach().double()))
    moved = x.detach() - start
    extra["moved"] = float(moved.square().mean().sqrt())
    if not resampled and num_slices < dim and x.grad is not None:
        extra["gradient_outside"] = _share_outside(x.grad, directions)
        extra["motion_outside"] = _share_outside(moved, directions)
    return x.detach(), extra


def _share_outside(moved: torch.Tensor, directions: torch.Tensor) -> float:
    """Norm of the part of the rows outside the span of the directions, as a share of the whole norm."""
    moved = moved.double()
    basis, _ = torch.linalg.qr(directions.double())
    return float((moved - moved @ basis @ basis.T).norm() / moved.norm())


def _text(x: torch.Tensor) -> str:
    return " ".join(f"{value:.2f}" for value in x[:, :2].flatten().tolist())


AXES = ("statistic", "num_samples", "dim", "directions", "training", "num_slices")


def summarize(rows: pd.DataFrame, settings: Config) -> pd.DataFrame:
    """Means over seeds with Student's intervals; differences of paired seeds; the points of one seed as text."""
    estimates = []
    measures = [
        *JUDGES,
        *(f"start_{name}" for name in JUDGES),
        "quarter",
        "moved",
        "gradient_outside",
        "motion_outside",
    ]
    for key, cells in rows.groupby(list(AXES), sort=False):
        where = dict(zip(AXES, key, strict=True))
        for name in measures:
            if name in cells and cells[name].notna().all():
                estimates.append(where | {"measure": name} | _mean(cells[name]))
        for name in ("points", "start_points"):
            if name in cells and isinstance(cells[name].iloc[0], str):
                estimates.append(where | {"measure": name, "text": cells[name].iloc[0]})
    for name, other in (("ahead_few", FEW), ("ahead_equal", None)):
        estimates += _advantages(rows, name, other)
    return pd.DataFrame(estimates)


def _mean(values: "pd.Series") -> Row:
    low, high = mean_interval(values)
    error = values.std(ddof=1) / np.sqrt(len(values))
    return {"mean": values.mean(), "low": low, "high": high, "standard_error": error, "seeds": len(values)}


def _advantages(rows: pd.DataFrame, name: str, num_slices: int | None) -> list[Row]:
    """Exact statistic after fixed directions minus that after ``num_slices`` (or as many) resampled ones, by seeds.

    Above 0 the resampled directions end nearer to N(0, I).
    """
    found: list[Row] = []
    runs = rows[(rows["statistic"] == "epps_pulley") & rows["training"].isin(["adam", "adam_cosine"])]
    keys = ["num_samples", "dim", "training"]
    for key, part in runs.groupby(keys, sort=False):
        ends = part.pivot(index="seed", columns=["directions", "num_slices"], values="infinite")
        for kind, size in ends.columns:
            other = ("iid", num_slices or size)
            if kind == "fixed" and other in ends.columns:
                where = dict(zip(keys, key, strict=True))
                where |= {"statistic": "epps_pulley", "directions": "fixed", "num_slices": size, "measure": name}
                found.append(where | _mean(ends[(kind, size)] - ends[other]))
    return found


def verify(summary: pd.DataFrame) -> list[str]:
    """Exact means of untrained N(0, I); nothing outside the span of fixed directions in gradients and plain descent."""
    complaints = []
    for row in summary[summary["training"] == "none"].itertuples():
        exact = null_means(row.num_samples, row.dim).get(row.measure)
        limit = stats.t.ppf((1 + CONFIDENCE) / 2, row.seeds - 1)
        if exact is not None and abs(row.mean - exact) > limit * row.standard_error:
            complaints.append(f"{row.measure} of N(0, I) in dim {row.dim} is {row.mean:.4f}, not {exact:.4f}")
    outside = summary[
        (summary["measure"] == "gradient_outside")
        | ((summary["measure"] == "motion_outside") & (summary["training"] == "gradient_descent"))
    ]
    for row in outside[~(outside["mean"] < ROUNDING)].itertuples():
        complaints.append(
            f"{row.measure} (dim {row.dim}, M = {row.num_slices}, {row.training}): {row.mean:.1e} lies outside the "
            "span of the directions"
        )
    return complaints


@themed()
def figures(summary: pd.DataFrame) -> dict[str, Figure]:
    drawn = {"fixed_or_resampled": _curves(summary)}
    if (summary["measure"] == "points").any():
        drawn["samples"] = _scatter(summary)
    return drawn


def _scatter(summary: pd.DataFrame) -> Figure:
    """The first two coordinates of one seed: a row per K and M, before and after, one column a statistic."""
    part = summary[(summary["training"] == "adam") & (summary["directions"] == "iid")]
    ends, starts = part[part["measure"] == "points"], part[part["measure"] == "start_points"]
    names = list(dict.fromkeys(ends["statistic"]))
    shown = list(ends.groupby(["dim", "num_slices"]).groups)
    colours = palette(["before", *names])
    figure = new_figure(0.5 + 1.4 * (1 + len(names)), 0.4 + 1.42 * len(shown))
    axes = figure.subplots(len(shown), 1 + len(names), sharex=True, sharey=True, squeeze=False)
    drawn, outside = 0, 0
    for line, (dim, size) in zip(axes, shown, strict=True):
        here = (ends["dim"] == dim) & (ends["num_slices"] == size)
        texts = {"before": starts[(starts["dim"] == dim)]["text"].iloc[0]}
        texts |= dict(zip(ends[here]["statistic"], ends[here]["text"], strict=True))
        for axis, (name, text) in zip(line, texts.items(), strict=False):
            points = np.array(text.split(), dtype=float).reshape(-1, 2)
            axis.scatter(*points.T, s=5, color=colours[name], lw=0)
            drawn, outside = drawn + len(points), outside + int((np.abs(points) > 3.6).any(axis=1).sum())
            axis.set(xlim=(-3.6, 3.6), ylim=(-3.6, 3.6), aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
        line[0].set_ylabel(f"K = {dim}, M = {size}\nsecond coord.", fontsize=8)
    for axis, name in zip(axes[0], ["before", *names], strict=True):
        axis.set_title(label(name), fontsize=7.5)
    for axis in axes[-1]:
        axis.set_xlabel("first coordinate", fontsize=8)
    if outside:
        figure.supxlabel(f"{outside} of {drawn} points lie outside", x=0.01, ha="left", fontsize=8)
    return figure


def _curves(summary: pd.DataFrame) -> Figure:
    """The exact statistic at the end against M: fixed and resampled directions, steps of one length or shrinking."""
    runs = summary[summary["training"].isin(["adam", "adam_cosine"]) & (summary["statistic"] == "epps_pulley")]
    runs = runs[runs["num_samples"] == _first_size(runs)]
    ends, starts = runs[runs["measure"] == "infinite"], runs[runs["measure"] == "start_infinite"]
    dims = sorted(ends["dim"].unique())
    kinds = {"fixed": "fixed directions", "iid": "directions drawn anew"}
    colours = palette(list(kinds))
    figure = new_figure(2.0 + 2.8 * len(dims), 3.9)
    axes = figure.subplots(1, len(dims), sharey=True, squeeze=False)[0]
    for axis, dim in zip(axes, dims, strict=True):
        for kind, text in kinds.items():
            for training, style in (("adam", "-"), ("adam_cosine", ":")):
                cells = ends[(ends["dim"] == dim) & (ends["directions"] == kind) & (ends["training"] == training)]
                cells = cells.sort_values("num_slices")
                words = f"{text}, {'steps of 0.1' if training == 'adam' else 'steps shrinking to 0'}"
                error_bars(
                    axis, cells["num_slices"], cells, "mean", marker="o", ms=3.5, lw=1.4, ls=style,
                    color=colours[kind], label=words,
                )  # fmt: skip
        axis.axhline(starts[starts["dim"] == dim]["mean"].mean(), color="0.4", lw=1, ls="--", label="before")
        log_ticks(axis, sorted(ends[ends["directions"] == "fixed"]["num_slices"].unique()))
        axis.set(title=f"K = {dim}", xlabel="slices M", yscale="log")
    axes[0].set_ylabel("Epps-Pulley over all slices\nat the end (95% interval)")
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10) if ends["low"].min() / 1.5 < t < ends["mean"].max() * 1.5]
    axes[0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[0].minorticks_off()
    axes[0].set_ylim(0.85 * ends["mean"].min(), 1.2 * ends["mean"].max())
    legend_below(figure, axes[0], 3, fontsize=8)
    return figure


def _first_size(table: pd.DataFrame) -> int:
    return int(table["num_samples"].iloc[0])


def report(summary: pd.DataFrame) -> str:
    return (
        "\n".join([*_claim_lines(summary), *_floor_lines(summary), *_plane_lines(summary), *_span_lines(summary)])
        + "\n\n"
        + _column_table(summary)
    )


def _claim_lines(summary: pd.DataFrame) -> list[str]:
    """Figure 7's claim, for each dimension, number of samples and kind of training; then at equal M."""
    words = {"adam": "steps of one length, as printed", "adam_cosine": "steps that shrink to 0"}
    few, equal = (summary[summary["measure"] == name] for name in ("ahead_few", "ahead_equal"))
    lines, counts = [], []
    for training, text in words.items():
        part = few[few["training"] == training]
        part = part[part["num_slices"] == part.groupby(["num_samples", "dim"])["num_slices"].transform("max")]
        if len(part):
            counts.append(f"in {(part['low'] > 0).sum()} of {len(part)} settings with {text}")
            holds, fails = part[part["low"] > 0], part[part["high"] < 0]
            cases = "; ".join(_case(summary, row) for row in part.itertuples())
            lines.append(
                f"- With {text}, {FEW} directions drawn anew end nearer to N(0, I) than the largest fixed set in "
                f"{len(holds)} of {len(part)} settings, further away in {len(fails)}: {cases}."
            )
    if counts:
        lines.insert(
            0,
            f"- {FEW} directions drawn anew end nearer to N(0, I) than the largest fixed set {', and '.join(counts)}.",
        )
    for training, text in words.items():
        part = equal[equal["training"] == training]
        if len(part):
            worse = part[part["high"] < 0]
            where = ", ".join(f"K = {r.dim}, N = {r.num_samples}, M = {r.num_slices}" for r in worse.itertuples())
            lines.append(
                f"- At equal M, with {text}, directions drawn anew end nearer in {(part['low'] > 0).sum()} of "
                f"{len(part)} comparisons, fixed ones in {len(worse)}{f' ({where})' if len(worse) else ''}."
            )
    return lines


def _case(summary: pd.DataFrame, row: Any) -> str:
    """The exact statistic of few resampled and of many fixed directions, of one setting."""
    ends = summary[(summary["measure"] == "infinite") & (summary["statistic"] == "epps_pulley")]
    ends = ends[(ends["num_samples"] == row.num_samples) & (ends["dim"] == row.dim)]
    ends = ends[ends["training"] == row.training]
    new = ends[(ends["directions"] == "iid") & (ends["num_slices"] == FEW)].iloc[0]
    old = ends[(ends["directions"] == "fixed") & (ends["num_slices"] == row.num_slices)].iloc[0]
    return (
        f"K = {row.dim}, N = {row.num_samples}: {new['mean']:.3f} ({new['low']:.3f}, {new['high']:.3f}) against "
        f"{old['mean']:.3f} ({old['low']:.3f}, {old['high']:.3f}) for {row.num_slices} fixed"
    )


def _plane_lines(summary: pd.DataFrame) -> list[str]:
    """Which statistics undo the 'X', trained as printed on the most slices of the columns; how far points moved."""
    part = _columns(summary)
    sees, blind = "epps_pulley", "vcreg"
    lines = []
    for dim in sorted(part["dim"].unique()):
        at = part[part["dim"] == dim].set_index(["statistic", "measure"])
        if (blind, "plane") not in at.index or (sees, "plane") not in at.index:
            continue
        before = at.loc[(sees, "start_plane")]
        lines.append(
            f"in K = {dim} {_cell(before)} before, {_cell(at.loc[(sees, 'plane')])} after {label(sees)}, "
            f"{_cell(at.loc[(blind, 'plane')])} after {label(blind)} (coordinates moved by "
            f"{_cell(at.loc[(blind, 'moved')])})"
        )
    if not lines:
        return []
    return [
        f"- The 'X' on {part['num_slices'].iloc[0]} slices, by the energy statistic of its plane "
        f"({math.sqrt(math.pi):.2f} in the mean for N(0, I)): {'; '.join(lines)}. {label(blind)} sees mean and "
        "variance alone: where it undoes the 'X', it is by the noise of its steps."
    ]


def _columns(summary: pd.DataFrame) -> pd.DataFrame:
    """Trained as printed, on the most slices of which points are shown."""
    part = summary[(summary["training"] == "adam") & (summary["directions"] == "iid")]
    part = part[part["num_samples"] == _first_size(part)]
    return part[part["num_slices"] == part[part["measure"] == "points"]["num_slices"].max()]


def _floor_lines(summary: pd.DataFrame) -> list[str]:
    """Steps of one length: what the last three quarters of them bring."""
    part = summary[(summary["statistic"] == "epps_pulley") & (summary["num_slices"] == FEW)]
    part = part[(part["directions"] == "iid") & (part["training"] == "adam")]
    at = part.set_index(["num_samples", "dim", "measure"])
    cases = [
        f"{_cell(at.loc[(n, dim, 'quarter')])} after a quarter of the steps and {_cell(at.loc[(n, dim, 'infinite')])} "
        f"at the end in K = {dim}, N = {n}"
        for n, dim, measure in at.index
        if measure == "quarter"
    ]
    if not cases:
        return []
    return [f"- {FEW} directions drawn anew, steps of one length: the exact statistic is {'; '.join(cases)}."]


def _span_lines(summary: pd.DataFrame) -> list[str]:
    motion = summary[summary["measure"] == "motion_outside"]
    adam = motion[motion["training"].isin(["adam", "adam_cosine"])]
    plain = motion[motion["training"] == "gradient_descent"]
    if not len(adam) or not len(plain):
        return []
    row, none = adam.loc[adam["mean"].idxmax()], plain.loc[plain["mean"].idxmax()]
    return [
        f"- Fixed directions fewer than K say nothing of the rest of the space, and plain gradient descent leaves it "
        f"alone (share of the motion outside their span {none['mean']:.1e}, rounding). Adam does not: it divides each "
        f"coordinate by its own scale, and {row['mean']:.0%} ({row['low']:.0%}, {row['high']:.0%}) of its motion's "
        f"norm is outside the span (K = {row['dim']}, M = {row['num_slices']}), unasked for by the loss."
    ]


def _column_table(summary: pd.DataFrame) -> str:
    """Figs 6 and 16 in numbers, beside the samples before training and untrained samples of N(0, I)."""
    part = _columns(summary)
    dims, names = sorted(part["dim"].unique()), list(dict.fromkeys(part["statistic"]))
    judges = ("infinite", "plane", "effective_rank")
    at = part.set_index(["statistic", "dim", "measure"])
    null = summary[summary["training"] == "none"].set_index(["dim", "measure"])
    columns = [(dim, name) for dim in dims for name in judges]
    rows = [
        ["samples of N(0, I)", *(_cell(null.loc[column]) for column in columns)],
        ["before training", *(_cell(at.loc[(names[0], dim, f"start_{name}")]) for dim, name in columns)],
        *([label(str(s)), *(_cell(at.loc[(s, *column)]) for column in columns)] for s in names),
    ]
    header = ["", *(f"{JUDGES[name]}, K = {dim}" for dim, name in columns)]
    return (
        f"The samples after training as printed (M = {part['num_slices'].iloc[0]}, directions drawn anew), judged by "
        f"what was not trained on (mean over seeds, 95% interval):\n\n{markdown_table(header, rows)}"
    )


def _cell(row: "pd.Series") -> str:
    digits = 1 if row["mean"] >= 10 else 2
    return f"{row['mean']:.{digits}f} ({row['low']:.{digits}f}, {row['high']:.{digits}f})"


def keep(cell: Cell, settings: Config) -> bool:
    """The columns of Fig. 6 for every statistic; the curves of Fig. 7, plain descent and the null for Epps-Pulley."""
    n, dim, num_slices = int(cell["num_samples"]), int(cell["dim"]), int(cell["num_slices"])
    first, least = n == settings["column_samples"], min(settings["curve_slices"])
    in_column = num_slices in settings["column_slices"] and dim in settings["column_dims"] and first
    if cell["training"] == "adam" and cell["directions"] == "iid" and in_column:
        return True
    if cell["statistic"] != "epps_pulley" or num_slices not in settings["curve_slices"]:
        return False
    if cell["training"] == "none":
        return first and cell["directions"] == "iid" and num_slices == least
    if cell["training"] == "gradient_descent":
        return first and cell["directions"] == "fixed" and num_slices == least and least < dim
    if not first:  # what Figure 7's claim compares
        compared = FEW if cell["directions"] == "iid" else settings["other_fixed"]
        return dim in settings["other_dims"] and num_slices == compared
    return dim * num_slices <= settings["most_coordinates"] and num_slices <= 128 * dim


def _preset(
    num_samples: list[int],
    dim: list[int],
    slices: tuple[list[int], list[int]],
    steps: int,
    seeds: int,
    null_seeds: int,
    most_coordinates: int,
    statistics: list[str] = STATISTICS,
) -> Config:
    columns, curve = slices
    return {
        "statistic": statistics,
        "num_samples": num_samples,
        "dim": dim,
        "directions": ["fixed", "iid"],
        "training": TRAINING,
        "num_slices": sorted({*columns, *curve}),
        "column_samples": num_samples[0],
        "column_dims": dim,
        "column_slices": columns,
        "curve_slices": curve,
        "most_coordinates": most_coordinates,
        "other_dims": [128],
        "other_fixed": 2048,
        "steps": steps,
        "seeds": seeds,
        "null_seeds": null_seeds,
    }


STUDY = Study(
    name="sample_descent",
    title="Descent on samples: fixed or resampled directions",
    question="Which statistic, on how many slices, turns an 'X' hidden in many dimensions into a Gaussian; and do few "
    "directions drawn anew at every step beat many fixed ones?",
    expectation="16 directions drawn anew beat fixed sets smaller than K; sets of several K close the gap. With steps "
    "of one length few slices leave a floor of noise. Statistics of moments leave the 'X' as it is.",
    seed=20251122,
    axes=AXES,
    paired=("statistic", "directions", "training", "num_slices"),
    keep=keep,
    presets={
        "smoke": _preset([32], [8], ([10], [4, 16]), 60, 2, 20, 2**19, ["epps_pulley", "vcreg"]),
        "quick": _preset([100], [16, 128], ([10, 100], [16, 256]), 380, 2, 40, 2**17),
        "standard": _preset([100, 400], [16, 128, 1024], ([10, 100], [16, 256, 2048]), 1520, 3, 60, 2**18),
        "paper": _preset(
            [100, 400, 1600], [16, 128, 1024], ([10, 100], [4, 16, 64, 256, 2048, 16384]), 1520, 20, 1000, 2**24
        ),
    },
    measure=measure,
    summarize=summarize,
    verify=verify,
    figures=figures,
    report=report,
)
