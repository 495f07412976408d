"""A collapsed subspace seen through slices: how the mean over slices dilutes it, and whether the maximum finds it.

Samples of N(0, I) in R^K, of which k coordinates are then set to 0. A slice sees N(0, s^2) with s^2 = 1 - B, where
B ~ Beta(k/2, (K - k)/2) is the share of its direction that lies in the lost subspace. The mean over slices of
Epps-Pulley (V-statistic, factor N, as implemented) has, for every number of slices, the expectation

    E T = N sum_j w_j (P_2(t_j) - 2 phi(t_j) P_1(t_j) + phi(t_j)^2) + sum_j w_j (1 - P_2(t_j)),   phi(t) = exp(-t^2/2),
    P_1(t) = E exp(-s^2 t^2/2) = phi(t) 1F1(k/2; K/2; t^2/2),   P_2(t) = E exp(-s^2 t^2) = phi(t)^2 1F1(k/2; K/2; t^2),

with which the measured means are compared. The first sum, the distance, grows with N; the second, the bias of the
V-statistic, is smaller than under N(0, I), because a smaller variance makes a smaller bias. Below a break-even N the
second wins: a sample with lost dimensions then has the smaller loss in the mean.

Each replicate has directions of its own; its first M of them serve for every M. The same sample, with k coordinates
dropped, serves for every k. Thresholds at 5% are quantiles of the same statistic under N(0, I).
"""

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import integrate, special, stats

from sigreg_lab.experiment import Study, rate_interval
from sigreg_lab.experiment.study import Cell, Config, Row
from sigreg_lab.figures.tables import markdown_table
from sigreg_lab.figures.theme import error_bars, legend_below, log_ticks, new_figure, palette, themed
from sigreg_lab.kernels import gaussian_grid
from sigreg_lab.slicing import iid_directions, project
from sigreg_lab.univariate import EppsPulley

ALPHA = 0.05
REDUCTIONS = ("mean", "max")
STANDARD_ERRORS = 4.5
Z95 = 1.959964


def expected_mean(n: int, dim: int, defect: int) -> tuple[float, float]:
    """Distance part (which carries N) and bias part of E T, on the default grid."""
    ep = EppsPulley()
    target, weight = (a.numpy() for a in gaussian_grid(ep.t_max, ep.n_points, ep.sigma, torch.device("cpu")))
    t2 = (ep.t_max / (ep.n_points - 1) * np.arange(1, ep.n_points)) ** 2
    first = target * special.hyp1f1(defect / 2, dim / 2, t2 / 2)
    second = target**2 * special.hyp1f1(defect / 2, dim / 2, t2)
    return n * float((weight * (second - 2 * target * first + target**2)).sum()), float((weight * (1 - second)).sum())


def break_even(dim: int, defect: int) -> float:
    """The N at which a defect leaves the expectation as it is under N(0, I)."""
    distance, bias = expected_mean(1, dim, defect)
    return (expected_mean(1, dim, 0)[1] - bias) / distance


def largest_loss(num_slices: int, dim: int, defect: int) -> float:
    """Expected largest share of variance lost among independent slices: the best that a maximum can look at."""
    law = stats.beta(defect / 2, (dim - defect) / 2)
    return float(integrate.quad(lambda b: -np.expm1(num_slices * law.logcdf(b)), 0, 1, limit=200)[0])


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    n, dim = int(cell["n"]), int(cell["dim"])
    defects = [k for k in settings["defects"] if k <= dim // 2]
    sizes = settings["num_slices"]
    most = max(sizes)
    nanoseconds = n * most * (dim / 64 + 4 * (1 + len(defects))) + 5 * dim * most  # of a replicate, about
    replicates = int(np.clip(1e9 * settings["seconds"] // nanoseconds, 100, settings["replicates"]))
    generator = torch.Generator().manual_seed(int(seed.generate_state(1)[0]))
    statistic = EppsPulley()
    found = np.empty((replicates, 1 + len(defects), len(sizes), len(REDUCTIONS)))
    for values in found:
        directions = iid_directions(dim, most, generator=generator)
        x = torch.randn(n, dim, generator=generator)
        whole = project(x, directions)
        # What the last k coordinates add to each projection is taken away: a projection of the collapsed sample.
        lost = [project(x[:, dim - k :], directions[dim - k :]) for k in defects]
        slices = statistic.unchecked(torch.stack([whole, *(whole - part for part in lost)])).double().numpy()
        for i, size in enumerate(sizes):
            values[:, i, 0] = slices[:, :size].mean(1)
            values[:, i, 1] = slices[:, :size].max(1)
    return [
        {"num_slices": size, "reduction": reduction, **row}
        for i, size in enumerate(sizes)
        for j, reduction in enumerate(REDUCTIONS)
        for row in _rows(found[:, :, i, j], defects)
    ]


def _rows(values: np.ndarray, defects: list[int]) -> list[Row]:
    """One row for N(0, I), of which one half gives the threshold for the other, and one for each defect.

    Rejections are counted at the threshold and at both ends of its 95% interval.
    """
    null, replicates = values[:, 0], len(values)
    half = replicates // 2
    error = Z95 * np.sqrt(ALPHA * (1 - ALPHA) / replicates)
    levels = [ALPHA, max(ALPHA - error, 1 / replicates), ALPHA + error]
    thresholds = np.quantile(null, [1 - level for level in levels])
    size = int((null[half:] > np.quantile(null[:half], 1 - ALPHA)).sum())
    rows: list[Row] = []
    for k, column in zip([0, *defects], values.T, strict=True):
        shift = column - null
        counts = [size] * 3 if k == 0 else [int((column > threshold).sum()) for threshold in thresholds]
        rows.append(
            {
                "defect": k,
                "replicates": replicates - half if k == 0 else replicates,
                "mean": column.mean(),
                "mean_error": column.std(ddof=1) / np.sqrt(replicates),
                "shift": shift.mean(),
                "shift_error": shift.std(ddof=1) / np.sqrt(replicates),
                "null_spread": null.std(ddof=1),
                "rejections": counts[0],
                "rejections_strict": counts[1],
                "rejections_lax": counts[2],
            }
        )
    return rows


def summarize(rows: pd.DataFrame, settings: Config) -> pd.DataFrame:
    """Power with Wilson's interval, widened by what the threshold's own interval adds; shifts in null deviations."""
    estimates = []
    for row in rows.to_dict("records"):
        n, dim, k, total = row["n"], row["dim"], row["defect"], row["replicates"]
        rate = row["rejections"] / total
        low, high = rate_interval(row["rejections"], total)
        strict, lax = row["rejections_strict"] / total, row["rejections_lax"] / total
        half = Z95 * row["shift_error"]
        exact = sum(expected_mean(n, dim, k))
        estimates.append(
            {key: row[key] for key in ("dim", "n", "defect", "num_slices", "reduction", "replicates")}
            | {
                "power": rate,
                "low": max(0.0, rate - np.hypot(rate - low, rate - strict)),
                "high": min(1.0, rate + np.hypot(high - rate, lax - rate)),
                "z": row["shift"] / row["null_spread"],
                "z_low": (row["shift"] - half) / row["null_spread"],
                "z_high": (row["shift"] + half) / row["null_spread"],
                "shift": row["shift"],
                "shift_low": row["shift"] - half,
                "shift_high": row["shift"] + half,
                "exact_shift": exact - expected_mean(n, dim, 0)[1] if row["reduction"] == "mean" else float("nan"),
                "deviation": (row["mean"] - exact) / row["mean_error"] if row["reduction"] == "mean" else float("nan"),
                "break_even": break_even(dim, k) if k else float("nan"),
                "largest_loss": largest_loss(row["num_slices"], dim, k) if k else 0.0,
            }
        )
    return pd.DataFrame(estimates)


def verify(summary: pd.DataFrame) -> list[str]:
    """Means over slices at their exact expectations; tests of N(0, I) at their level."""
    complaints = [
        f"mean over {row.num_slices} slices (dim {row.dim}, n = {row.n}, defect {row.defect}) is off its exact "
        f"expectation by {row.deviation:+.1f} standard errors"
        for row in summary[summary["deviation"].abs() > STANDARD_ERRORS].itertuples()
    ]
    null = summary[summary["defect"] == 0]
    error = np.sqrt(2 * ALPHA * (1 - ALPHA) / null["replicates"])  # of the rate and, from as many, of the threshold
    wrong = (null["power"] - ALPHA).abs() > STANDARD_ERRORS * error
    return complaints + [
        f"{row.reduction} over {row.num_slices} slices (dim {row.dim}, n = {row.n}) rejects N(0, I) at a rate of "
        f"{row.power:.3f}"
        for row in null[wrong].itertuples()
    ]


@themed()
def figures(summary: pd.DataFrame) -> dict[str, Figure]:
    return {"rank_defect_power": _power(summary), "rank_defect_shift": _shift(summary)}


def _power(summary: pd.DataFrame) -> Figure:
    dims, sizes = sorted(summary["dim"].unique()), sorted(summary["n"].unique())
    defects = sorted(set(summary["defect"]) - {0})
    colours = palette([str(k) for k in defects])
    figure = new_figure(1.6 + 2.7 * len(dims), 1.6 + 2.0 * len(sizes))
    axes = figure.subplots(len(sizes), len(dims), sharex=True, sharey=True, squeeze=False)
    for line, n in zip(axes, sizes, strict=True):
        for axis, dim in zip(line, dims, strict=True):
            part = summary[(summary["dim"] == dim) & (summary["n"] == n) & (summary["defect"] > 0)]
            for (k, reduction), cells in part.groupby(["defect", "reduction"]):
                style = "-" if reduction == "mean" else ":"
                error_bars(
                    axis, cells["num_slices"], cells, "power", ls=style, marker="o", ms=3, lw=1.3,
                    color=colours[str(k)],
                )  # fmt: skip
            axis.axhline(ALPHA, color="0.5", lw=0.8, ls="--")
            log_ticks(axis, sorted(summary["num_slices"].unique())[::2])
            axis.set_ylim(-0.03, 1.03)
            axis.set_title(f"K = {dim}, N = {n}")
        line[0].set_ylabel("power at level 5%\n(95% interval)")
    for axis in axes[-1]:
        axis.set_xlabel("slices M")
    for k in defects:
        axes[0][0].plot([], [], color=colours[str(k)], lw=1.5, label=f"{k} lost")
    for reduction, style in zip(REDUCTIONS, ("-", ":"), strict=True):
        axes[0][0].plot([], [], color="0.3", ls=style, lw=1.5, label=f"{reduction} over slices")
    legend_below(figure, axes[0][0], 4)
    return figure


def _shift(summary: pd.DataFrame) -> Figure:
    """Shift of the mean's expectation against N: exact lines, measured points; below 0 the loss welcomes the defect."""
    part = summary[(summary["reduction"] == "mean") & (summary["num_slices"] == summary["num_slices"].max())]
    dims, defects = sorted(part["dim"].unique()), sorted(set(part["defect"]) - {0})
    colours = palette([str(k) for k in defects])
    figure = new_figure(1.6 + 2.7 * len(dims), 3.6)
    axes = figure.subplots(1, len(dims), squeeze=False)[0]
    sizes = np.geomspace(8, 4096, 60)
    for axis, dim in zip(axes, dims, strict=True):
        null = expected_mean(1, dim, 0)[1]
        for k in defects:
            cells = part[(part["dim"] == dim) & (part["defect"] == k)]
            if len(cells):
                distance, bias = expected_mean(1, dim, k)
                axis.plot(sizes, (sizes * distance + bias - null) / null, color=colours[str(k)], lw=1.2)
                errors = [cells["shift"] - cells["shift_low"], cells["shift_high"] - cells["shift"]]
                axis.errorbar(
                    cells["n"], cells["shift"] / null, yerr=np.array(errors) / null, fmt="o", ms=4,
                    color=colours[str(k)],
                )  # fmt: skip
        axis.axhline(0, color="0.4", lw=1, ls="--")
        axis.set_ylim(-0.12, 0.4)
        log_ticks(axis, [8, 32, 128, 512, 2048])
        axis.set(title=f"K = {dim}", xlabel="batch size N")
    axes[0].set_ylabel("relative change of the mean loss\n(95% interval; lines: exact)")
    for k in defects:
        axes[0].plot([], [], color=colours[str(k)], lw=1.5, marker="o", ms=4, label=f"{k} lost")
    legend_below(figure, axes[0], len(defects))
    return figure


def report(summary: pd.DataFrame) -> str:
    most = summary[(summary["num_slices"] == summary["num_slices"].max()) & (summary["defect"] > 0)]
    mean, largest = most[most["reduction"] == "mean"], most[most["reduction"] == "max"]
    welcome = mean[mean["shift_high"] < 0]
    lines = []
    if len(welcome):
        worst = welcome.loc[welcome["z"].idxmin()]
        even = mean.drop_duplicates(["dim", "defect"])
        even = even[even["defect"] == even["defect"].min()]
        lines.append(
            f"- In small batches the mean over slices rewards collapse: lost dimensions make it smaller in "
            f"{len(welcome)} of {len(mean)} cells, by up to {-worst['z']:.2f} ({-worst['z_high']:.2f}, "
            f"{-worst['z_low']:.2f}) null standard deviations ({worst['defect']} of {worst['dim']} lost, N = "
            f"{worst['n']})."
        )
        lines.append(
            "- The distance of a sample with lost dimensions grows with N, the V-statistic's bias shrinks with the "
            "variance; they break even near N = 4 (K + 2)/(k + 2): "
            + ", ".join(f"N = {r.break_even:.0f} for {r.defect} of {r.dim}" for r in even.itertuples())
            + " (exact; the U-statistic has the distance alone)."
        )
    best = largest.merge(mean, on=["dim", "n", "defect"], suffixes=("", "_mean"))
    ahead, behind = best[best["low"] > best["high_mean"]], best[best["high"] < best["low_mean"]]
    lines.append(
        f"- Over {most['num_slices'].iloc[0]} slices the maximum finds a defect better than the mean in {len(ahead)} "
        f"of {len(best)} cells, the mean better in {len(behind)} (intervals apart)."
    )
    blind = best[best["high"] < ALPHA]
    if len(blind):
        least = blind.loc[blind["power"].idxmin()]
        lines.append(
            f"- The test on the maximum is biased in small batches: in {len(blind)} of {len(best)} cells it rejects "
            f"less often than under N(0, I), least with {least['defect']} of {least['dim']} lost at N = {least['n']}: "
            f"{least['power']:.3f} ({least['low']:.3f}, {least['high']:.3f}) at level {ALPHA:g}."
        )
    one = best[(best["defect"] == 1) & (best["n"] == best["n"].max())].sort_values("dim")
    lines.append(
        f"- One lost dimension, N = {one['n'].iloc[0]}: the mean rejects in "
        + ", ".join(
            f"{r.power_mean:.0%} ({r.low_mean:.0%}, {r.high_mean:.0%}) in K = {r.dim}" for r in one.itertuples()
        )
        + "; the maximum in "
        + ", ".join(f"{r.power:.0%} ({r.low:.0%}, {r.high:.0%})" for r in one.itertuples())
        + f". The most telling of {most['num_slices'].iloc[0]} slices has lost "
        + ", ".join(f"{r.largest_loss:.0%}" for r in one.itertuples())
        + " of its variance (exact expectation)."
    )
    checked = summary["deviation"].notna()
    lines.append(
        f"- All {checked.sum()} means over slices lie at their exact expectations (largest deviation "
        f"{summary['deviation'].abs().max():.1f} standard errors)."
    )
    sizes = sorted(most["n"].unique())
    rows = []
    for (dim, k), cells in best.groupby(["dim", "defect"], sort=False):
        at = cells.set_index("n")
        row = [f"{k} of {dim}", f"{cells['break_even'].iloc[0]:.0f}"]
        for n in sizes:
            r = at.loc[n]
            row += [
                f"{r['z_mean']:+.2f} ({r['z_low_mean']:+.2f}, {r['z_high_mean']:+.2f})",
                f"{r['power_mean']:.2f} ({r['low_mean']:.2f}, {r['high_mean']:.2f})",
                f"{r['power']:.2f} ({r['low']:.2f}, {r['high']:.2f})",
            ]
        rows.append(row)
    header = ["lost", "break-even N", *(f"{what}, N = {n}" for n in sizes for what in ("z", "mean", "max"))]
    return (
        "\n".join(lines)
        + f"\n\nM = {most['num_slices'].iloc[0]} slices: z is the shift of the mean over slices in null standard "
        f"deviations, then the power at level 5% of the mean and of the maximum (95% intervals; the level itself is "
        f"0.05):\n\n{markdown_table(header, rows)}"
    )


def _preset(
    dim: list[int], n: list[int], num_slices: list[int], defects: list[int], replicates: int, seconds: float
) -> Config:
    """``seconds``, about, of one core for a cell: a cell whose ``replicates`` would take longer takes fewer."""
    return {
        "dim": dim,
        "n": n,
        "num_slices": num_slices,
        "defects": defects,
        "replicates": replicates,
        "seconds": seconds,
    }


SLICES = [1, 4, 16, 64, 256, 1024, 4096]

STUDY = Study(
    name="rank_defect",
    title="A collapsed subspace: diluted by the mean over slices, found by the maximum?",
    question="How far do k lost dimensions of K move the mean and the maximum of Epps-Pulley over M slices, and how "
    "often do tests on them notice?",
    expectation="The mean dilutes the defect by about (k/K)^2 and more slices do not help it; the maximum finds it "
    "with enough slices, which grow exponentially with K.",
    seed=20251121,
    axes=("dim", "n"),
    presets={
        "smoke": _preset([16], [32, 128], [1, 16, 64], [1, 4], 400, 1.0),
        "quick": _preset([16, 128], [32, 128], [1, 16, 256, 1024], [1, 4, 32], 1000, 5.0),
        "standard": _preset([16, 128, 512], [32, 128, 512], SLICES, [1, 4, 8, 32, 128], 2000, 20.0),
        "paper": _preset([16, 128, 512, 2048], [32, 128, 512, 2048], SLICES, [1, 4, 8, 32, 128, 512], 20000, 1e4),
    },
    measure=measure,
    summarize=summarize,
    verify=verify,
    figures=figures,
    report=report,
)
