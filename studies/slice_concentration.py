"""How near M random slices come to the mean over all directions, for the value and for the gradient of Epps-Pulley.

A sample of N points in R^K is fixed; the mean over all directions of its Epps-Pulley statistic and that mean's gradient
are known exactly (``infinite_slice_epps_pulley``). Each cell draws sets of M directions of one kind and measures

    error of the value     root mean square over sets of (mean over M slices - exact) / exact
    error of the gradient  root mean square over sets of |gradient - exact gradient| / |exact gradient|
    bias of the value      mean over sets of (mean over M slices - exact) / exact

For independent directions the error falls as M^(-1/2) exactly and the bias is 0: known values that the study checks.
"""

import numpy as np
import pandas as pd
import statsmodels.api as sm
import torch
from matplotlib.figure import Figure
from scipy import stats

from sigreg_lab import alternatives
from sigreg_lab.experiment import Study
from sigreg_lab.experiment.study import Cell, Config, Row
from sigreg_lab.figures.tables import markdown_table
from sigreg_lab.figures.theme import label, log_ticks, new_figure, palette, themed
from sigreg_lab.slicing import make_directions, seeded_generator, sliced_statistic
from sigreg_lab.slicing.infinite import infinite_slice_epps_pulley
from sigreg_lab.univariate import EppsPulley

KINDS = ["iid", "orthogonal", "sobol", "hd3"]
STANDARD_ERRORS = 4.5


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    dim, num_slices = int(cell["dim"]), int(cell["num_slices"])
    # The sample is that of the law and the dimension, the same for all kinds and numbers of directions.
    law = alternatives.MULTIVARIATE[str(cell["law"])](dim)
    x = torch.from_numpy(law.sample(np.random.default_rng([settings["sample_seed"], dim]), settings["num_samples"]))
    x.requires_grad_()
    exact = infinite_slice_epps_pulley(x)
    (exact_gradient,) = torch.autograd.grad(exact, x)
    base = int(seed.generate_state(1)[0])
    rows: list[Row] = []
    for draw in range(settings["draws"]):
        directions = make_directions(
            str(cell["directions"]), dim, num_slices, generator=seeded_generator(base, draw), dtype=torch.float64
        )
        value = sliced_statistic(x, EppsPulley(), directions)
        (gradient,) = torch.autograd.grad(value, x)
        rows.append(
            {
                "draw": draw,
                "exact": float(exact.detach()),
                "value_error": float((value - exact).detach() / exact.detach()),
                "gradient_error": float((gradient - exact_gradient).norm() / exact_gradient.norm()),
            }
        )
    return rows


def summarize(rows: pd.DataFrame, settings: Config) -> pd.DataFrame:
    """Errors with 95% intervals: normal on the logarithm of the root mean square, from the spread of the squares."""
    estimates = []
    for key, draws in rows.groupby(["law", "directions", "dim", "num_slices"], sort=False):
        count = len(draws)
        bias_error = draws["value_error"].std(ddof=1) / np.sqrt(count)
        for quantity in ("value", "gradient"):
            square = draws[f"{quantity}_error"] ** 2
            rms = float(np.sqrt(square.mean()))
            relative = float(square.std(ddof=1) / np.sqrt(count) / square.mean() / 2)
            low, high = rms * np.exp(-1.959964 * relative), rms * np.exp(1.959964 * relative)
            bias = draws["value_error"].mean() if quantity == "value" else float("nan")
            estimates.append(
                dict(zip(("law", "directions", "dim", "num_slices"), key, strict=True))
                | {
                    "quantity": quantity,
                    "draws": count,
                    "error": rms,
                    "low": low,
                    "high": high,
                    "relative_standard_error": relative,
                    "bias": bias,
                    "bias_standard_error": bias_error if quantity == "value" else float("nan"),
                }
            )
    return pd.DataFrame(estimates)


def rates(summary: pd.DataFrame) -> pd.DataFrame:
    """Exponent of M in the error, by weighted least squares of log error on log M, where M >= dim."""
    found = []
    for key, cells in summary.groupby(["law", "directions", "dim", "quantity"], sort=False):
        cells = cells[cells["num_slices"] >= cells["dim"]]
        if len(cells) < 2:
            continue
        log_m = np.log(cells["num_slices"].to_numpy(dtype=float))
        # Directions of which there are only a few give every draw the same error: no spread, an exact slope.
        weights = 1 / np.maximum(cells["relative_standard_error"].to_numpy(), 1e-6) ** 2
        fit = sm.WLS(np.log(cells["error"].to_numpy()), sm.add_constant(log_m), weights=weights)
        # The weights are known inverse variances, so the error of the slope is theirs, not that of the residuals.
        slope = float(fit.fit().params[1])
        error = float(np.sqrt(np.linalg.inv((fit.exog * weights[:, None]).T @ fit.exog)[1, 1]))
        law, directions, dim, quantity = key
        found.append(
            {"law": law, "directions": directions, "dim": dim, "quantity": quantity, "slope": slope, "error": error}
        )
    return pd.DataFrame(found)


def verify(summary: pd.DataFrame) -> list[str]:
    """Independent directions: no bias, and the rate -1/2. Orthogonal directions: no bias."""
    complaints = []
    unbiased = summary[summary["directions"].isin(["iid", "orthogonal"]) & (summary["quantity"] == "value")]
    for row in unbiased.itertuples():
        limit = stats.t.ppf(stats.norm.cdf(STANDARD_ERRORS), row.draws - 1) * row.bias_standard_error
        if abs(row.bias) > limit:
            complaints.append(f"{row.directions}, dim {row.dim}, M = {row.num_slices}: bias {row.bias:.5f}")
    fitted = rates(summary)
    for row in fitted[fitted["directions"] == "iid"].itertuples() if len(fitted) else ():
        if abs(row.slope + 0.5) > STANDARD_ERRORS * row.error:
            complaints.append(f"iid, dim {row.dim}, {row.quantity}: rate {row.slope:.3f} ({row.error:.3f}), not -1/2")
    return complaints


@themed()
def figures(summary: pd.DataFrame) -> dict[str, Figure]:
    dims, kinds = sorted(summary["dim"].unique()), list(dict.fromkeys(summary["directions"]))
    colours = palette(kinds)
    drawn = {}
    for law, part in summary.groupby("law", sort=False):
        figure = new_figure(2.0 + 2.4 * len(dims), 5.6)
        axes = figure.subplots(2, len(dims), sharex=True, sharey="row", squeeze=False)
        for line, quantity in zip(axes, ("value", "gradient"), strict=True):
            for axis, dim in zip(line, dims, strict=True):
                for kind in kinds:
                    row = part[(part["dim"] == dim) & (part["directions"] == kind) & (part["quantity"] == quantity)]
                    errors = [row["error"] - row["low"], row["high"] - row["error"]]
                    axis.errorbar(
                        row["num_slices"],
                        row["error"],
                        yerr=errors,
                        marker="o",
                        ms=3,
                        lw=1.2,
                        color=colours[kind],
                        label=kind,
                    )
                log_ticks(axis, sorted(part["num_slices"].unique()))
                axis.set_yscale("log")
            line[0].set_ylabel(f"relative error, {quantity}\n(rms, 95% interval)")
        for axis, dim in zip(axes[0], dims, strict=True):
            axis.set_title(f"K = {dim}")
        for axis in axes[1]:
            axis.set_xlabel("slices M")
        handles, names = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(kinds), frameon=False)
        drawn[f"slice_concentration_{law}"] = figure
    return drawn


def report(summary: pd.DataFrame) -> str:
    fitted = rates(summary)
    lines = []
    largest = summary["num_slices"].max()
    most = summary[(summary["num_slices"] == largest) & (summary["quantity"] == "gradient")]
    iid = most[most["directions"] == "iid"]
    lines.append(
        f"- The gradient of the mean over M = {largest} independent slices is off by "
        + ", ".join(
            f"{r.error:.1%} ({r.low:.1%}, {r.high:.1%}) in K = {r.dim} ({label(r.law)})" for r in iid.itertuples()
        )
        + "."
    )
    ratios = most.pivot(index=["law", "dim"], columns="directions", values="error")
    best = ratios.drop(columns="iid").div(ratios["iid"], axis=0)
    place = best.index[int(best.min(axis=1).argmin())]
    winner = best.loc[place].idxmin()
    lines.append(
        f"- At M = {largest}, directions that spread help the gradient most for {label(place[0])} in K = {place[1]}: "
        f"{winner} has {best.loc[place, winner]:.2f} times the error of independent ones."
    )
    value = summary[summary["quantity"] == "value"].set_index(["law", "directions", "dim", "num_slices"])["error"]
    for (law, kind, dim), errors in value.groupby(["law", "directions", "dim"], sort=False):
        first, last = errors.iloc[0], errors.iloc[-1]
        if last > 0.8 * first and len(errors) > 1:
            lines.append(
                f"- {kind} directions in K = {dim} do not converge ({label(law)}): the value is off by {last:.0%} at "
                f"M = {largest} as at M = {errors.index[0][-1]}."
            )
    text = "\n".join(lines)
    if len(fitted):
        table = markdown_table(
            ["law", "directions", "K", "value", "gradient"],
            [
                [label(str(law)), str(kind), str(dim), *(_rate(group, q) for q in ("value", "gradient"))]
                for (law, kind, dim), group in fitted.groupby(["law", "directions", "dim"], sort=False)
            ],
        )
        heading = "Exponent of M in the error, fitted over M >= K (95% interval; -0.5 is the Monte-Carlo rate):"
        text += f"\n\n{heading}\n\n{table}"
    return text


def _rate(group: pd.DataFrame, quantity: str) -> str:
    row = group[group["quantity"] == quantity].iloc[0]
    half = 1.959964 * row["error"]
    return f"{row['slope']:.2f} ({row['slope'] - half:.2f}, {row['slope'] + half:.2f})"


def _preset(law: list[str], dim: list[int], num_slices: list[int], draws: int, directions: list[str] = KINDS) -> Config:
    return {
        "law": law,
        "directions": directions,
        "dim": dim,
        "num_slices": num_slices,
        "draws": draws,
        "num_samples": 128,
        "sample_seed": 1,
    }


STUDY = Study(
    name="slice_concentration",
    title="How many slices: concentration on the infinite-slice value",
    question="How far is the mean over M slices, and its gradient, from the mean over all directions?",
    expectation="M^(-1/2) for independent directions in any dimension; orthogonal blocks better by a constant, "
    "low-discrepancy directions by a rate in low dimension only.",
    seed=20251116,
    axes=("law", "directions", "dim", "num_slices"),
    presets={
        "smoke": _preset(["null"], [2, 16], [16, 64], 10, ["iid", "orthogonal"]),
        "quick": _preset(["null"], [2, 16, 128], [16, 64, 256], 50),
        "standard": _preset(["null", "rank_defect_1"], [2, 16, 128, 512], [16, 64, 256, 1024], 200),
        "paper": _preset(
            ["null", "x", "rank_defect_1", "rank_defect_4"], [2, 16, 128, 512, 2048], [16, 64, 256, 1024, 4096], 500
        ),
    },
    measure=measure,
    summarize=summarize,
    verify=verify,
    figures=figures,
    report=report,
)
