"""How near M random slices come to the mean over all directions, for the value and for the gradient of Epps-Pulley.

A sample of N points in R^K is fixed; the mean over all directions of its Epps-Pulley statistic and that mean's gradient
are known exactly (``infinite_slice_epps_pulley``). Each cell draws sets of M directions of one kind and measures

    error of the value      root mean square over sets of (mean over M slices - exact) / exact
    error of the gradient   root mean square over sets of |gradient - exact gradient| / |exact gradient|
    persistent error        |mean over sets of (gradient - exact gradient)| / |exact gradient|, estimated without bias:
                            what is left of the gradient's error when many steps, each with a set of its own, are
                            averaged. ``fixed`` directions are the same set at every step: all their error persists.

Known exactly, and checked: kinds whose every direction is uniform on the sphere have no bias and no persistent error;
the error of independent directions falls as M^(-1/2); a fixed set's error persists whole; in the plane the errors of
independent and of orthogonal directions are integrals over the circle.

The cost of a direction is that of drawing it and of projecting N rows on it, forward and backward. It is counted, in
operations that were timed once on one core in float32 (``NANOSECONDS``), so that it is the same wherever the study
runs; below K = 128 other costs prevail and none is given. The statistic itself costs every kind the same and is left
out.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from sigreg_lab import alternatives
from sigreg_lab.experiment import Study
from sigreg_lab.experiment.intervals import squared_norm_of_mean
from sigreg_lab.experiment.power_laws import weighted_line
from sigreg_lab.experiment.study import Cell, Config, Row
from sigreg_lab.figures.tables import markdown_table
from sigreg_lab.figures.theme import error_bars, label, legend_below, log_ticks, new_figure, palette, themed
from sigreg_lab.slicing import make_directions, seeded_generator, sliced_statistic
from sigreg_lab.slicing.infinite import infinite_slice_epps_pulley
from sigreg_lab.univariate import EppsPulley

KINDS = ["iid", "orthogonal", "sobol", "hd3", "fixed"]
UNIFORM = ("iid", "orthogonal", "sobol")  # every direction is uniform on the sphere
TARGETS = (1.0, 0.3, 0.1)  # of the gradient's norm
GROUPS = 12
LEAST_DRAWS = 24  # Student's interval on the logarithm then covers 92.7% at the least (``test_slice_concentration``)
COST_FROM = 128  # dimensions
REFERENCE = 1024  # independent slices whose cost is compared at
ANGLES = 1024
STANDARD_ERRORS = 4.5
JACKKNIFE_ERRORS = 5.0  # 180,000 simulated squared norms of vectors of mean 0, in 1 to 50 dimensions, stayed below 4.6
Z95 = 1.959964
#: Of one operation, on one core of an AMD EPYC, float32, samples of 128, dimensions 128 to 2048.
NANOSECONDS = {
    "normal": 5.0,  # a normal number, normalised
    "sobol": 18.0,  # a scrambled Sobol coordinate, through the normal quantile
    "rotation": 10.0,  # per entry of a block, beside the multiplications of its QR
    "multiplication": 0.0075,  # multiply or add in a matrix product
    "factorisation": 0.0125,  # the same in a QR
    "addition": 0.045,  # in a fast Hadamard transform
}


def direction_cost(kind: str, dim: int, num_samples: int) -> float:
    """Nanoseconds to draw one direction and to project the sample on it, forward and backward."""
    ns = NANOSECONDS
    if kind == "hd3":  # three transforms of length n give n projections of a row; 3 n random bits serve all rows
        return 2 * num_samples * 3 * math.ceil(math.log2(dim)) * ns["addition"]
    product = 4 * num_samples * dim * ns["multiplication"]
    if kind == "fixed":  # drawn once
        return product
    if kind == "sobol":
        return product + dim * ns["sobol"]
    if kind == "orthogonal":  # Householder QR and its Q: 8/3 K^3 for K directions
        return product + dim * (ns["normal"] + ns["rotation"] + 8 / 3 * dim * ns["factorisation"])
    return product + dim * ns["normal"]


def exact_mean_squares(x: torch.Tensor, kind: str, num_slices: int) -> tuple[float, float]:
    """Mean squared errors of value and gradient in the plane, relative, by quadrature over the circle; NaN elsewhere.

    Independent directions: the variance over the circle, by M. Orthogonal ones: that of pairs at right angles, by M/2;
    their gradients are orthogonal too.
    """
    if x.shape[1] != 2 or kind not in ("iid", "orthogonal"):
        return float("nan"), float("nan")
    angle = torch.arange(ANGLES, dtype=torch.float64) * (math.pi / ANGLES)
    projections = (x.detach() @ torch.stack([angle.cos(), angle.sin()])).requires_grad_()
    values = EppsPulley()(projections)
    (slopes,) = torch.autograd.grad(values.sum(), projections)
    squares = slopes.square().sum(0)
    exact = values.detach().mean()
    gradient = (slopes @ torch.stack([angle.cos(), angle.sin()]).T / ANGLES).square().sum()
    values = values.detach()
    if kind == "orthogonal":
        values = (values + values.roll(ANGLES // 2)) / 2
        squares = (squares + squares.roll(ANGLES // 2)) / 4
        num_slices //= 2
    value_variance = values.var(correction=0) / exact**2
    gradient_variance = squares.mean() / gradient - 1
    return float(value_variance) / num_slices, float(gradient_variance) / num_slices


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    kind, dim, num_slices = str(cell["directions"]), int(cell["dim"]), int(cell["num_slices"])
    # The sample is that of the law and the dimension, the same for all kinds and numbers of directions.
    law = alternatives.MULTIVARIATE[str(cell["law"])](dim)
    x = torch.from_numpy(law.sample(np.random.default_rng([settings["sample_seed"], dim]), settings["num_samples"]))
    x.requires_grad_()
    exact = infinite_slice_epps_pulley(x)
    (exact_gradient,) = torch.autograd.grad(exact, x)
    base = int(seed.generate_state(1)[0])
    drawn = dim * (max(num_slices, dim) if kind == "hd3" else num_slices)  # HD3 makes whole blocks
    draws = int(np.clip(settings["coordinates"] // drawn, LEAST_DRAWS, settings["draws"]))
    draws = GROUPS if kind == "fixed" else draws
    values, squares = np.empty(draws), np.empty(draws)
    totals, counts = torch.zeros(GROUPS, *x.shape, dtype=torch.float64), np.zeros(GROUPS)
    for draw in range(draws):
        directions = make_directions(kind, dim, num_slices, generator=seeded_generator(base, draw))
        value = sliced_statistic(x, EppsPulley(), directions)
        (gradient,) = torch.autograd.grad(value, x)
        error = (gradient - exact_gradient) / exact_gradient.norm()
        values[draw] = float((value - exact).detach() / exact.detach())
        squares[draw] = float(error.square().sum())
        totals[draw % GROUPS] += error
        counts[draw % GROUPS] += 1
    means = totals.flatten(1) / torch.from_numpy(counts)[:, None]
    persistent, persistent_error = squared_norm_of_mean((means @ means.T).numpy())
    exact_value, exact_gradient_square = exact_mean_squares(x, kind, num_slices)
    return [
        {
            "draws": draws,
            "exact": float(exact.detach()),
            "value_bias": values.mean(),
            "value_bias_error": _standard_error(values),
            "value_square": (values**2).mean(),
            "value_square_error": _standard_error(values**2),
            "gradient_square": squares.mean(),
            "gradient_square_error": _standard_error(squares),
            "persistent_square": persistent,
            "persistent_square_error": persistent_error,
            "exact_value_square": exact_value,
            "exact_gradient_square": exact_gradient_square,
        }
    ]


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def summarize(rows: pd.DataFrame, settings: Config) -> pd.DataFrame:
    """Errors with 95% intervals: Student's on the logarithm of the mean square, from the spread of the squares."""
    estimates = []
    for row in rows.to_dict("records"):
        key = {axis: row[axis] for axis in ("law", "directions", "dim", "num_slices")}
        quantile = stats.t.ppf(0.975, row["draws"] - 1)
        for quantity in ("value", "gradient"):
            square = row[f"{quantity}_square"]
            relative = row[f"{quantity}_square_error"] / square / 2
            rms, factor = np.sqrt(square), np.exp(quantile * relative)
            estimate = key | {
                "quantity": quantity,
                "draws": row["draws"],
                "samples": settings["num_samples"],
                "error": rms,
                "low": rms / factor,
                "high": rms * factor,
                "relative_standard_error": relative,
                "exact_error": np.sqrt(row[f"exact_{quantity}_square"]),
            }
            if quantity == "value":
                estimate |= {"bias": row["value_bias"], "bias_standard_error": row["value_bias_error"]}
            else:
                persistent, error = row["persistent_square"], row["persistent_square_error"]
                half = stats.t.ppf(0.975, GROUPS - 1) * error
                estimate |= {
                    "persistent": np.sqrt(max(0.0, persistent)),
                    "persistent_low": np.sqrt(max(0.0, persistent - half)),
                    "persistent_high": np.sqrt(max(0.0, persistent + half)),
                    "persistent_square": persistent,
                    "persistent_square_error": error,
                }
            estimates.append(estimate)
    return pd.DataFrame(estimates)


def lines(summary: pd.DataFrame) -> pd.DataFrame:
    """Straight lines log error = level + slope log M, weighted, over M >= dim: there blocks of directions are whole.

    ``error`` of the slope is that of the measured errors alone; ``stretch`` is by how much the scatter about the line
    exceeds it (at least 1). Fixed directions have no line: their error is one draw of that of independent ones.
    """
    found = []
    for key, cells in summary.groupby(["law", "directions", "dim", "quantity"], sort=False):
        cells = cells[(cells["num_slices"] >= cells["dim"]) & (cells["directions"] != "fixed")]
        if len(cells) < 2:
            continue
        # Directions of which there are only a few give every draw the same error: no spread, an exact slope.
        error = np.maximum(cells["relative_standard_error"].to_numpy(), 1e-6)
        level, slope, covariance, stretch = weighted_line(cells["num_slices"], cells["error"], error)
        found.append(
            dict(zip(("law", "directions", "dim", "quantity"), key, strict=True))
            | {
                "level": level,
                "slope": slope,
                "error": np.sqrt(covariance[1, 1]),
                "stretch": stretch,
                "level_variance": covariance[0, 0],
                "covariance": covariance[0, 1],
                "least": cells["num_slices"].min(),
                "largest": cells["num_slices"].max(),
                "samples": cells["samples"].iloc[0],
            }
        )
    return pd.DataFrame(found)


def needed(summary: pd.DataFrame) -> pd.DataFrame:
    """The M at which a gradient's line reaches each target; and the cost of those directions relative to iid ones.

    ``equal`` is the error that the cost of ``REFERENCE`` independent directions buys. All with 95% intervals.
    """
    fitted = lines(summary)
    found: list[dict[str, object]] = []
    if not len(fitted):
        return pd.DataFrame(found)
    fitted = fitted[(fitted["quantity"] == "gradient") & (fitted["slope"] < -0.1)]  # those that converge
    independent = {(row.law, row.dim): row for row in fitted[fitted["directions"] == "iid"].itertuples()}
    for row in fitted.itertuples():
        unit = float("nan")
        if row.dim >= COST_FROM:
            unit = direction_cost(row.directions, row.dim, row.samples) / direction_cost("iid", row.dim, row.samples)
        log_m = np.log(REFERENCE / unit)
        equal = row.level + row.slope * log_m
        half = Z95 * row.stretch * np.sqrt(row.level_variance + 2 * log_m * row.covariance + (log_m * row.error) ** 2)
        bought = {"equal": np.exp(equal), "equal_low": np.exp(equal - half), "equal_high": np.exp(equal + half)}
        for target in TARGETS:
            log_m, error = _log_slices(row, target)
            base = independent.get((row.law, row.dim))
            base_m, base_error = (np.nan, np.nan) if base is None else _log_slices(base, target)
            cost = log_m - base_m + np.log(unit)
            half = 0.0 if row.directions == "iid" else Z95 * np.hypot(error, base_error)
            found.append(
                {axis: getattr(row, axis) for axis in ("law", "directions", "dim")}
                | {
                    "target": target,
                    "slices": np.exp(log_m),
                    "low": np.exp(log_m - Z95 * error),
                    "high": np.exp(log_m + Z95 * error),
                    "measured": row.least <= np.exp(log_m) <= row.largest,
                    "cost": np.exp(cost),
                    "cost_low": np.exp(cost - half),
                    "cost_high": np.exp(cost + half),
                }
                | bought
            )
    return pd.DataFrame(found)


def _log_slices(line: Any, target: float) -> tuple[float, float]:
    """log M at which a line reaches the target, and its standard error."""
    log_m = (np.log(target) - line.level) / line.slope
    variance = line.level_variance + 2 * log_m * line.covariance + (log_m * line.error) ** 2
    return log_m, line.stretch * np.sqrt(variance) / abs(line.slope)


def verify(summary: pd.DataFrame) -> list[str]:
    """What is known exactly: see the module's docstring. Limits are Student quantiles of 4.5 normal standard errors."""
    complaints = []
    level = stats.norm.cdf(STANDARD_ERRORS)
    for row in summary.itertuples():
        where = f"{row.directions}, dim {row.dim}, M = {row.num_slices}, {row.law}"
        limit = stats.t.ppf(level, row.draws - 1)
        if row.quantity == "value" and row.directions in UNIFORM and abs(row.bias) > limit * row.bias_standard_error:
            complaints.append(f"{where}: bias {row.bias:.5f} ({row.bias_standard_error:.5f})")
        noise = JACKKNIFE_ERRORS * row.persistent_square_error
        if row.quantity == "gradient" and row.directions in UNIFORM and abs(row.persistent_square) > noise:
            complaints.append(f"{where}: persistent error {row.persistent:.4f} of the gradient, not 0")
        if row.quantity == "gradient" and row.directions == "fixed" and abs(row.persistent / row.error - 1) > 1e-9:
            complaints.append(f"{where}: a fixed set's error of {row.error:.4f} persists to {row.persistent:.4f} only")
        if np.isfinite(row.exact_error):
            deviation = (row.error / row.exact_error) ** 2 - 1  # of the mean square
            if abs(deviation) > limit * 2 * row.relative_standard_error * (row.error / row.exact_error) ** 2:
                complaints.append(f"{where}: error of the {row.quantity} {row.error:.5f}, not {row.exact_error:.5f}")
    fitted = lines(summary)
    for row in fitted[fitted["directions"] == "iid"].itertuples() if len(fitted) else ():
        if abs(row.slope + 0.5) > STANDARD_ERRORS * row.error:
            complaints.append(f"iid, dim {row.dim}, {row.quantity}: rate {row.slope:.3f} ({row.error:.3f}), not -1/2")
    return complaints


@themed()
def figures(summary: pd.DataFrame) -> dict[str, Figure]:
    drawn = {f"slice_concentration_{law}": _errors(part) for law, part in summary.groupby("law", sort=False)}
    found = needed(summary)
    if len(found):
        drawn["slices_needed"] = _slices_needed(_first_law(found))
    return drawn


def _errors(part: pd.DataFrame) -> Figure:
    dims, kinds = sorted(part["dim"].unique()), list(dict.fromkeys(part["directions"]))
    colours = palette(kinds)
    sizes = sorted(part["num_slices"].unique())
    figure = new_figure(2.0 + 2.1 * len(dims), 5.4)
    axes = figure.subplots(2, len(dims), sharex=True, sharey="row", squeeze=False)
    for line, quantity in zip(axes, ("value", "gradient"), strict=True):
        for axis, dim in zip(line, dims, strict=True):
            for kind in kinds:
                row = part[(part["dim"] == dim) & (part["directions"] == kind) & (part["quantity"] == quantity)]
                look = {"ls": "none", "marker": "x", "ms": 5} if kind == "fixed" else {"marker": "o", "ms": 3}
                error_bars(axis, row["num_slices"], row, "error", lw=1.2, color=colours[kind], label=kind, **look)
            log_ticks(axis, [size for size in sizes if math.log2(size / sizes[0]) % 2 == 0])
            axis.set_yscale("log")
        line[0].set_ylabel(f"relative error, {quantity}\n(rms, 95% interval)")
    for axis, dim in zip(axes[0], dims, strict=True):
        axis.set_title(f"K = {dim}")
    for axis in axes[1]:
        axis.axhline(1, color="0.5", lw=0.8, ls="--", zorder=0)
        axis.set_xlabel("slices M")
        axis.tick_params(axis="x", labelsize=8)
    legend_below(figure, axes[0][0], len(kinds))
    return figure


def _slices_needed(found: pd.DataFrame) -> Figure:
    """Slices that the gradient needs against K; and what other kinds cost to reach the middle target, by iid."""
    costed = found[(found["target"] == TARGETS[1]) & found["cost"].notna()]
    figure = new_figure(9.4 if len(costed) else 4.8, 3.8)
    figure.set_layout_engine("constrained", wspace=0.06)
    axes = figure.subplots(1, 2 if len(costed) else 1, squeeze=False)[0]
    dims = sorted(found["dim"].unique())
    colours = palette([str(target) for target in TARGETS])
    for target in TARGETS:
        row = found[(found["directions"] == "iid") & (found["target"] == target)]
        _whiskers(axes[0], row, "slices", "low", "high", colours[str(target)], f"error {target:.0%}")
    axes[0].plot(dims, dims, color="0.5", lw=1, ls="--", label="M = K")
    axes[0].set(yscale="log", ylabel="independent slices needed (95% interval)", title="Slices for the gradient")
    if len(costed):
        colours = palette(KINDS)
        for kind, row in costed[costed["directions"] != "iid"].groupby("directions", sort=False):
            _whiskers(axes[1], row, "cost", "cost_low", "cost_high", colours[str(kind)], str(kind))
        axes[1].axhline(1, color="0.5", lw=1, ls="--", label="iid")
        axes[1].set(
            yscale="log", ylabel="cost relative to iid (95% interval)", title=f"Cost of an error of {TARGETS[1]:.0%}"
        )
        ticks = [
            tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10) if tick >= costed["cost_low"].min() / 2
        ]
        axes[1].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    for axis, shown in zip(axes, (dims, sorted(costed["dim"].unique())), strict=False):
        log_ticks(axis, shown)
        axis.set_xlabel("dimension K")
        axis.legend(frameon=False, fontsize=8)
    return figure


def _whiskers(axis: Axes, rows: pd.DataFrame, value: str, low: str, high: str, colour: Any, text: str) -> None:
    errors = [rows[value] - rows[low], rows[high] - rows[value]]
    axis.errorbar(rows["dim"], rows[value], yerr=errors, marker="o", ms=4, lw=1.2, color=colour, label=text)


def report(summary: pd.DataFrame) -> str:
    found = needed(summary)
    text = [] if found.empty else [_slices_line(_first_law(found)), *_cost_lines(_first_law(found))]
    text += [_discrepancy_line(_first_law(summary))]
    text += [_persistence_line(_first_law(summary)), *_stuck_lines(_first_law(summary))]
    tables = ["" if found.empty else _needed_table(_first_law(found)), _rate_table(summary)]
    return "\n\n".join(["\n".join(line for line in text if line), *(table for table in tables if table)])


def _first_law(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["law"] == table["law"].iloc[0]]


def _slices_line(found: pd.DataFrame) -> str:
    iid = found[found["directions"] == "iid"]
    full, part = iid[iid["target"] == TARGETS[0]], iid[iid["target"] == TARGETS[1]]
    whole, last = full.iloc[-1], part.iloc[-1]
    each = ", ".join(f"{_slices(row)} in K = {row['dim']}" for _, row in full.iterrows())
    return (
        f"- In K = {whole['dim']} a gradient whose error is as large as itself takes {_slices(whole)} independent "
        f"slices, one with an error of {last['target']:.0%} takes {_slices(last)}.\n"
        f"- The former takes M = {each}; the latter {last['slices'] / last['dim']:.0f} K in K = {last['dim']} "
        f"({label(str(last['law']))}).{_growth(full)}"
    )


def _slices(row: "pd.Series") -> str:
    text = f"{_number(row['slices'])} ({_number(row['low'])}, {_number(row['high'])}"
    return text + (")" if row["measured"] else "; extrapolated)")


def _growth(full: pd.DataFrame) -> str:
    """The exponent of K in the slices needed, from dimension 16 on."""
    high = full[full["dim"] >= 16]
    if len(high) < 2:
        return ""
    error = np.log(high["high"] / high["low"]).to_numpy() / (2 * Z95)
    _, slope, covariance, stretch = weighted_line(high["dim"], high["slices"], error)
    half = Z95 * stretch * np.sqrt(covariance[1, 1])
    return f" M grows as K^{slope:.2f} ({slope - half:.2f}, {slope + half:.2f}) from K = {high['dim'].min()} on."


def _number(value: float) -> str:
    return "<1" if value < 1 else f"{value:,.0f}"


def _persistence_line(part: pd.DataFrame) -> str:
    part = part[part["quantity"] == "gradient"]
    fixed = part[part["directions"] == "fixed"]
    iid = part[part["directions"] == "iid"].set_index(["dim", "num_slices"])
    if not len(fixed) or not len(iid):
        return ""
    dim, least, most = fixed["dim"].max(), part["num_slices"].min(), fixed["num_slices"].max()
    one = fixed[(fixed["dim"] == dim) & (fixed["num_slices"] == most)].iloc[0]
    few = iid.loc[(dim, least)]
    return (
        f"- A fixed set's error does not average out over steps: in K = {dim} the one fixed set of {most} leaves "
        f"{one['error']:.0%} of the gradient's norm at every step (one set, exact). M = {least} drawn anew are off by "
        f"{few['error']:.0%} ({few['low']:.0%}, {few['high']:.0%}) at one step, but an average over "
        f"{(few['error'] / one['error']) ** 2:.0f} steps at the same point is as near, and more steps are nearer."
    )


def _cost_lines(found: pd.DataFrame) -> list[str]:
    costed = found[(found["target"] == TARGETS[1]) & found["cost"].notna() & (found["directions"] != "iid")]
    return [
        f"- At equal error ({TARGETS[1]:.0%} of the gradient) {kind} directions cost, drawn and projected, "
        + ", ".join(f"{r.cost:.2g} ({r.cost_low:.2g}, {r.cost_high:.2g}) in K = {r.dim}" for r in rows.itertuples())
        + " times what independent ones cost (counted operations)."
        for kind, rows in costed.groupby("directions", sort=False)
    ]


def _discrepancy_line(part: pd.DataFrame) -> str:
    """Where low-discrepancy directions are worse than independent ones for the gradient, intervals apart."""
    part = part[part["quantity"] == "gradient"].set_index(["dim", "num_slices"])
    sobol, iid = (part[part["directions"] == kind] for kind in ("sobol", "iid"))
    both = sobol.join(iid.add_suffix("_iid"), how="inner")
    worse, better = both[both["low"] > both["high_iid"]], both[both["high"] < both["low_iid"]]
    if not len(worse):
        return ""
    at = (worse["error"] / worse["error_iid"]).idxmax()
    row = worse.loc[at]
    return (
        f"- Sobol directions are worse than independent ones for the gradient in {len(worse)} of {len(both)} cells "
        f"(intervals apart), better in {len(better)}; the worst in K = {at[0]} at M = {at[1]}: an error of "
        f"{row['error']:.2f} ({row['low']:.2f}, {row['high']:.2f}) against {row['error_iid']:.2f} "
        f"({row['low_iid']:.2f}, {row['high_iid']:.2f}). Of those worse, {sum(m < k for k, m in worse.index)} have "
        "fewer slices than dimensions."
    )


def _stuck_lines(part: pd.DataFrame) -> list[str]:
    text = []
    value = part[(part["quantity"] == "value") & (part["directions"] != "fixed")]
    for (kind, dim), cells in value.groupby(["directions", "dim"], sort=False):
        first, last = cells.iloc[0], cells.iloc[-1]
        if last["num_slices"] > first["num_slices"] and last["error"] > 0.8 * first["error"]:
            text.append(
                f"- {kind} directions in K = {dim} do not converge: the value is off by {last['error']:.0%} "
                f"({last['low']:.0%}, {last['high']:.0%}) at M = {last['num_slices']} as at M = {first['num_slices']}."
            )
    return text


def _needed_table(found: pd.DataFrame) -> str:
    rows = []
    for (kind, dim), group in found.groupby(["directions", "dim"], sort=False):
        cells = [
            f"{_number(r.slices)}{'' if r.measured else '*'} ({_number(r.low)}, {_number(r.high)})"
            for r in group.itertuples()
        ]
        first = group.iloc[0]
        equal = f"{first['equal']:.3f} ({first['equal_low']:.3f}, {first['equal_high']:.3f})"
        rows.append([str(kind), str(dim), *cells, "" if np.isnan(first["equal"]) else equal])
    heading = (
        f"Slices for a given error of the gradient, {label(str(found['law'].iloc[0]))} (95% interval; * outside the M "
        f"measured), and the error that the cost of {REFERENCE} independent slices buys (K >= {COST_FROM}):"
    )
    header = ["directions", "K", *(f"error {target:.0%}" for target in TARGETS), "error at equal cost"]
    return f"{heading}\n\n{markdown_table(header, rows)}"


def _rate_table(summary: pd.DataFrame) -> str:
    fitted = lines(summary)
    if not len(fitted):
        return ""
    fitted = _first_law(fitted)
    table = markdown_table(
        ["directions", "K", "value", "gradient"],
        [
            [str(kind), str(dim), *(_rate(group, q) for q in ("value", "gradient"))]
            for (kind, dim), group in fitted.groupby(["directions", "dim"], sort=False)
        ],
    )
    return f"Exponent of M in the error over M >= K (95% interval; -0.5 is the Monte-Carlo rate):\n\n{table}"


def _rate(group: pd.DataFrame, quantity: str) -> str:
    row = group[group["quantity"] == quantity].iloc[0]
    half = Z95 * row["error"] * row["stretch"]
    return f"{row['slope']:.2f} ({row['slope'] - half:.2f}, {row['slope'] + half:.2f})"


def keep(cell: Cell, settings: Config) -> bool:
    """HD3 columns cut to fewer than 16 rows, where K is no power of two, may be 0: there are none."""
    dim = int(cell["dim"])
    return cell["directions"] != "hd3" or dim >= 16 or dim & (dim - 1) == 0


def _preset(
    law: list[str], dim: list[int], num_slices: list[int], draws: int, coordinates: int, directions: list[str] = KINDS
) -> Config:
    return {
        "law": law,
        "directions": directions,
        "dim": dim,
        "num_slices": num_slices,
        "draws": draws,
        "coordinates": coordinates,
        "num_samples": 128,
        "sample_seed": 1,
    }


STUDY = Study(
    name="slice_concentration",
    title="How many slices: concentration on the infinite-slice value",
    question="How far is the mean over M slices, and its gradient, from the mean over all directions, and which kind "
    "of directions gives the least error at equal cost?",
    expectation="M^(-1/2) for independent directions in any dimension; orthogonal blocks better by a constant, "
    "low-discrepancy directions by a rate in low dimension only. For the gradient M = O(K); at equal cost structured "
    "directions win in high dimension; a fixed set's error stays.",
    seed=20251116,
    axes=("law", "directions", "dim", "num_slices"),
    keep=keep,
    presets={
        "smoke": _preset(["null"], [2, 16], [16, 64], 24, 100_000, ["iid", "orthogonal", "fixed"]),
        "quick": _preset(["null"], [2, 16, 128], [16, 64, 256, 1024], 60, 10_000_000),
        "standard": _preset(
            ["null", "rank_defect_1"], [2, 16, 128, 512, 2048], [16, 64, 256, 1024, 2048, 4096], 200, 40_000_000
        ),
        "paper": _preset(
            ["null", "x", "rank_defect_1", "rank_defect_4"],
            [2, 16, 128, 512, 2048],
            [16, 64, 256, 1024, 2048, 4096, 16384],
            1000,
            10_000_000_000,
        ),
    },
    measure=measure,
    summarize=summarize,
    verify=verify,
    figures=figures,
    report=report,
)
