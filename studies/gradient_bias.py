"""Theorem 6 of the LeJEPA paper: the bias of the Epps-Pulley loss and of its gradient on a batch of N.

Samples come from N(0, sd^2). With L(sd) = int |phi_sd - phi_1|^2 w dt, the population's distance, the statistic as it
is implemented, T = N int |phi_hat - phi_1|^2 w dt, has

    E T = N L(sd) + b(sd),   b(sd) = int w (1 - |phi_sd|^2) dt,

for the V-statistic, and N L(sd) for the U-statistic and for sample splitting. The gradient is that with respect to sd,
taken through the samples x = sd z. Each measured mean is held against its exact value on the same grid of points.

Variants, on the same samples: the embeddings rounded to a dtype of fewer digits, as autocast hands them over, whose
exact mean is a sum over all numbers of that dtype; and N samples cut into W local batches whose gradients are averaged,
as DistributedDataParallel does without a reduction of sums, with mean (N/W) L + b. The reduction of sums gives the
whole batch's value, to rounding. Which estimator's gradient is nearest to the population's, N L', is the mean square of
its error: of bias and noise together.
"""

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import special, stats

from sigreg_lab.experiment import Study
from sigreg_lab.experiment.power_laws import exponent
from sigreg_lab.experiment.study import Cell, Config, Row
from sigreg_lab.figures.tables import markdown_table, span
from sigreg_lab.figures.theme import error_bars, legend_below, log_ticks, new_figure, palette, themed
from sigreg_lab.kernels import gaussian_grid
from sigreg_lab.univariate import EppsPulley

Real = NDArray[np.float64]

ESTIMATORS = {"v": "V-statistic (as implemented)", "u": "U-statistic", "split": "sample splitting"}
#: float64 on the whole batch; embeddings of another dtype; W local batches.
VARIANTS = ("whole", "float32", "bfloat16", "float16", "local_2", "local_4", "local_8")
VALUES_PER_BATCH = 1_000_000
FAMILY = 0.001  # probability that chance alone makes the study fail: two-sided, over all its comparisons
ROUNDING = 1e-11
LESS_LOSS = "loss less that of float64"
LESS_GRADIENT = "gradient less that of float64"
LESS_ROUNDED_GRADIENT = "rounded gradient less that of float64"
Z95 = 1.959964


# Exact values


def _grid() -> tuple[Real, Real, Real]:
    """Nodes, target and weights of the default statistic."""
    ep = EppsPulley()
    target, weight = (a.numpy() for a in gaussian_grid(ep.t_max, ep.n_points, ep.sigma, torch.device("cpu")))
    t = ep.t_max / (ep.n_points - 1) * np.arange(1, ep.n_points, dtype=np.float64)
    return t.astype(np.float64), target, weight


def population(sd: float) -> tuple[float, float, float, float]:
    """L(sd), its derivative, b(sd) and its derivative, on the default grid."""
    t, target, weight = _grid()
    phi = np.exp(-((sd * t) ** 2) / 2)
    slope = -sd * t**2 * phi
    distance, distance_slope = (weight * (phi - target) ** 2).sum(), (2 * weight * (phi - target) * slope).sum()
    return distance, distance_slope, (weight * (1 - phi**2)).sum(), (-2 * weight * phi * slope).sum()


def rounded_mean(dtype: torch.dtype, sd: float, n: int) -> tuple[float, float]:
    """Mean of T and of its gradient, that of a dtype of 16 bits for sd z, z standard normal, passed on to z.

    With v the numbers of the dtype and p_v, m_v the probability and the mean part of z that round to v,
        phi = sum_v p_v cos(t v),   a = sum_v m_v sin(t v),
        E T = sum_k w (N (phi - tau)^2 + 1 - phi^2),   E T' = 2 N sum_k w t (tau - (1 - 1/N) phi) a.
    """
    numbers = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype).double().numpy()
    numbers = np.unique(numbers[np.isfinite(numbers)])
    edges = np.concatenate([[-np.inf], (numbers[1:] + numbers[:-1]) / 2, [np.inf]]) / sd
    t, target, weight = _grid()
    angles = np.outer(t, numbers)
    phi = np.cos(angles) @ np.diff(special.ndtr(edges))
    mean_part = np.sin(angles) @ -np.diff(stats.norm.pdf(edges))
    value = (weight * (n * (phi - target) ** 2 + 1 - phi**2)).sum()
    return float(value), float(2 * n * (weight * t * (target - (1 - 1 / n) * phi) * mean_part).sum())


# Measurements


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    variant, n, sd = str(cell["variant"]), int(cell["n"]), float(cell["sd"])
    rng = np.random.default_rng(seed)
    replicates = settings["replicates" if variant == "whole" else "paired_replicates"]
    parts: dict[tuple[str, str], list[Real]] = {}
    per_batch = max(1, VALUES_PER_BATCH // n)
    for start in range(0, replicates, per_batch):
        z = torch.from_numpy(rng.standard_normal((n, min(per_batch, replicates - start))))
        for key, values in _batch(variant, z, sd).items():
            parts.setdefault(key, []).append(values)
    return [_row(variant, *key, np.concatenate(values), sd, n) for key, values in parts.items()]


def _batch(variant: str, z: torch.Tensor, sd: float) -> dict[tuple[str, str], Real]:
    """Numbers of each replicate, a column of ``z``, by estimator and quantity."""
    n = z.shape[0]
    aim = n * population(sd)[1]
    if variant == "whole":
        found = {name: _loss_and_gradient(name, z, sd) for name in ESTIMATORS}
        errors = {name: (gradient - aim) ** 2 for name, (_, gradient) in found.items()}
        values = {(name, "loss"): loss for name, (loss, _) in found.items()}
        values |= {(name, "gradient"): gradient for name, (_, gradient) in found.items()}
        values |= {(name, "squared error"): error for name, error in errors.items()}
        return values | {(name, "squared error less that of v"): errors[name] - errors["v"] for name in ("u", "split")}
    if variant.startswith("local"):
        shards = int(variant.partition("_")[2])
        values = {}
        for name in ("v", "u"):
            whole = _loss_and_gradient(name, z, sd)
            loss, gradient = (part.mean(0) for part in _loss_and_gradient(name, z.unflatten(0, (shards, -1)), sd))
            values |= {(name, "loss"): loss, (name, "gradient"): gradient}
            # In the units of the whole batch, W times those of a local one.
            values[(name, "squared error less that of the whole")] = (shards * gradient - aim) ** 2 - (
                whole[1] - aim
            ) ** 2
            values[(name, "rounding: reduced sums less whole")] = _reduced_error(name, z, sd, shards, whole)
        return values
    exact = _loss_and_gradient("v", z, sd)
    rounded = _loss_and_gradient("v", z, sd, getattr(torch, variant), round_gradient=False)
    values = {("v", LESS_LOSS): rounded[0] - exact[0], ("v", LESS_GRADIENT): rounded[1] - exact[1]}
    both = _loss_and_gradient("v", z, sd, getattr(torch, variant))
    return values | {("v", LESS_ROUNDED_GRADIENT): both[1] - exact[1]}


def _loss_and_gradient(
    estimator: str, z: torch.Tensor, sd: float, dtype: torch.dtype = torch.float64, *, round_gradient: bool = True
) -> tuple[Real, Real]:
    """T and its slope in sd, for z of shape (..., N, replicates), embeddings in ``dtype``.

    The gradient that is handed back through the conversion to ``dtype`` is rounded too, unless told otherwise.
    """
    scale = torch.full((*z.shape[:-2], 1, z.shape[-1]), sd, dtype=torch.float64, requires_grad=True)
    x = scale * z
    x = x.to(dtype) if round_gradient else (x + (x.to(dtype).double() - x).detach()).float()
    value = EppsPulley(estimator=estimator).unchecked(x)  # type: ignore[arg-type]
    (slope,) = torch.autograd.grad(value.sum(), scale)
    return value.detach().double().numpy(), slope.squeeze(-2).numpy()


def _reduced_error(estimator: str, z: torch.Tensor, sd: float, shards: int, whole: tuple[Real, Real]) -> Real:
    """Relative error of value and gradient from the shards' reduced sums against those of the whole batch."""
    form = EppsPulley(estimator=estimator).sum_form()  # type: ignore[arg-type]
    assert form is not None
    scale = torch.full((1, z.shape[-1]), sd, dtype=torch.float64, requires_grad=True)
    means = form.means((scale * z).unflatten(0, (shards, -1))).mean(0)
    value = form.value(means, torch.tensor(float(z.shape[0]), dtype=torch.float64))
    (slope,) = torch.autograd.grad(value.sum(), scale)
    errors = (value.detach().numpy() - whole[0], slope.squeeze(0).numpy() - whole[1])
    return np.maximum(*(np.abs(e) / np.abs(w).max() for e, w in zip(errors, whole, strict=True)))


def _row(variant: str, estimator: str, quantity: str, sample: Real, sd: float, n: int) -> Row:
    shards = int(variant.partition("_")[2] or 1)
    distance, distance_slope, excess, excess_slope = population(sd)
    target, exact = 0.0, float("nan")
    if quantity in ("loss", "gradient"):
        target = n / shards * (distance if quantity == "loss" else distance_slope)
        exact = (excess if quantity == "loss" else excess_slope) if estimator == "v" else 0.0
    elif variant in ("bfloat16", "float16") and quantity in (LESS_LOSS, LESS_GRADIENT):
        whole = (n * distance + excess, n * distance_slope + excess_slope)
        which = 0 if quantity == LESS_LOSS else 1
        exact = rounded_mean(getattr(torch, variant), sd, n)[which] - whole[which]
    rounding = quantity.startswith("rounding")
    return {
        "estimator": estimator,
        "quantity": quantity,
        "replicates": len(sample),
        "mean": sample.max() if rounding else sample.mean(),
        "standard_error": 0.0 if rounding else sample.std(ddof=1) / np.sqrt(len(sample)),
        "standard_deviation": sample.std(ddof=1),
        "population": target,
        "exact_bias": 0.0 if rounding else exact,
    }


def summarize(rows: pd.DataFrame, settings: Config) -> pd.DataFrame:
    """Biases with 95% intervals, of T and of T/N, and the exponents of N in them."""
    summary = rows.drop(columns=["mean", "population"])
    summary["value"] = rows["mean"] - rows["population"]
    summary["low"] = summary["value"] - Z95 * rows["standard_error"]
    summary["high"] = summary["value"] + Z95 * rows["standard_error"]
    uncertain = rows["standard_error"].where(rows["standard_error"] > 0)
    summary["deviation"] = (summary["value"] - rows["exact_bias"]) / uncertain
    summary["population"] = rows["population"]
    summary["form"] = "T"
    biases = summary[(summary["variant"] == "whole") & summary["quantity"].isin(["loss", "gradient"])].copy()
    scaled = ["value", "low", "high", "exact_bias", "standard_error", "standard_deviation", "population"]
    biases[scaled] = biases[scaled].div(biases["n"], axis=0)
    biases["form"] = "T/N"
    biases["deviation"] = np.nan  # that of T
    summary = pd.concat([summary, biases], ignore_index=True)
    return pd.concat([summary, _exponents(summary)], ignore_index=True)


def _exponents(summary: pd.DataFrame) -> pd.DataFrame:
    """Slope of log bias of the V-statistic on log N, least squares, each N alike: exactly 0 for T, -1 for T/N."""
    whole = summary[(summary["variant"] == "whole") & (summary["estimator"] == "v")]
    found = []
    for (sd, quantity, form), cells in whole.groupby(["sd", "quantity", "form"], sort=False):
        cells = cells[cells["low"] > 0]
        if quantity not in ("loss", "gradient") or len(cells) < 2:
            continue
        slope, error = exponent(cells["n"], cells["value"], cells["standard_error"] / cells["value"])
        exact = 0.0 if form == "T" else -1.0
        row = {"variant": "whole", "sd": sd, "n": 0, "estimator": "v", "quantity": f"exponent of the {quantity}'s bias"}
        row |= {"form": form, "value": slope, "low": slope - Z95 * error, "high": slope + Z95 * error}
        found.append(row | {"exact_bias": exact, "deviation": (slope - exact) / error, "standard_error": error})
    return pd.DataFrame(found)


def verify(summary: pd.DataFrame) -> list[str]:
    """All exactly known biases within a family-wise 99.9% limit; reduced sums give the whole batch to rounding."""
    known = summary[summary["deviation"].notna()]
    limit = stats.norm.isf(FAMILY / (2 * max(1, len(known))))
    complaints = [
        f"bias of the {row.quantity} ({row.variant}, {row.estimator}, sd = {row.sd}, n = {row.n}) is {row.value:.5f}, "
        f"not {row.exact_bias:.5f} ({row.deviation:+.1f} standard errors)"
        for row in known[known["deviation"].abs() > limit].itertuples()
    ]
    rounding = summary[summary["quantity"].str.startswith("rounding")]
    return complaints + [
        f"{row.quantity} ({row.variant}, {row.estimator}, sd = {row.sd}, n = {row.n}): {row.value:.1e}"
        for row in rounding[~(rounding["value"] <= ROUNDING)].itertuples()
    ]


# Figures and report


@themed()
def figures(summary: pd.DataFrame) -> dict[str, Figure]:
    return {"gradient_bias": _bias_figure(summary), "bias_and_noise": _error_figure(summary)}


def _bias_figure(summary: pd.DataFrame) -> Figure:
    part = summary[(summary["quantity"] == "gradient") & (summary["variant"] == "whole") & (summary["form"] == "T")]
    scales = sorted(part["sd"].unique())
    colours = palette(list(ESTIMATORS))
    figure = new_figure(2.0 + 2.6 * len(scales), 3.6)
    axes = figure.subplots(1, len(scales), sharey=True, squeeze=False)[0]
    for axis, sd in zip(axes, scales, strict=True):
        cells = part[part["sd"] == sd]
        exact = cells[cells["estimator"] == "v"]["exact_bias"].iloc[0]
        axis.axhline(exact, color=colours["v"], lw=1, ls="--", label="V-statistic, exact")
        axis.axhline(0, color="0.5", lw=1, ls="--")
        for shift, (name, text) in zip((0.9, 1.0, 1.1), ESTIMATORS.items(), strict=True):
            row = cells[cells["estimator"] == name]
            error_bars(axis, row["n"] * shift, row, "value", fmt="o", ms=4, color=colours[name], label=text)
        log_ticks(axis, sorted(cells["n"].unique()))
        axis.set(title=f"sd = {sd:g}", xlabel="batch size N")
    axes[0].set_ylabel("bias of d T / d sd (95% interval)")
    legend_below(figure, axes[0], 4)
    return figure


def _error_figure(summary: pd.DataFrame) -> Figure:
    """Left: which estimator errs less. Middle: local batches. Right: rounding."""
    figure = new_figure(11.5, 3.9)
    figure.set_layout_engine("constrained", wspace=0.06)
    left, middle, right = figure.subplots(1, 3)
    scales = sorted(summary["sd"].unique())
    colours = palette(scales)
    ratios = error_ratios(summary)
    for sd in scales:
        row = ratios[(ratios["sd"] == sd) & (ratios["estimator"] == "u")]
        error_bars(left, row["n"], row, "ratio", marker="o", ms=4, lw=1.2, color=colours[sd], label=f"{sd:g}")
    left.axhline(1, color="0.4", lw=1, ls="--")
    left.set(title="squared error of the gradient", ylabel="U-statistic / V-statistic (95% interval)")
    left.legend(title="sd", frameon=False)
    some = min(scales, key=lambda sd: abs(sd - 0.8))
    gradients = summary[(summary["quantity"] == "gradient") & (summary["form"] == "T") & (summary["sd"] == some)]
    gradients = gradients[gradients["estimator"] == "v"]
    shades = palette(list(dict.fromkeys(gradients["variant"])))
    for variant, row in gradients.groupby("variant", sort=False):
        share = row[["value", "low", "high", "exact_bias"]].div(row["population"].abs(), axis=0)
        share = share.where(row["population"].abs() > 1e-9)
        shards = int(str(variant).partition("_")[2] or 1)
        shade, text = shades[str(variant)], "whole batch" if shards == 1 else f"{shards} local batches"
        error_bars(middle, row["n"], share, "value", fmt="o", ms=4, color=shade, label=text)
        middle.plot(row["n"], share["exact_bias"], lw=1.2, color=shade)
    middle.set(title=f"bias of the gradient, sd = {some:g}", ylabel="share of the population's gradient", yscale="log")
    middle.legend(frameon=False)
    less = summary[(summary["quantity"] == LESS_ROUNDED_GRADIENT) & (summary["sd"] == some)]
    shades = palette(list(dict.fromkeys(less["variant"])))
    for variant, row in less.groupby("variant", sort=False):
        shade = shades[str(variant)]
        right.plot(row["n"], row["standard_deviation"], "o-", ms=4, lw=1.2, color=shade, label=variant)
        row = row[(row["low"] > 0) | (row["high"] < 0)]
        errors = [row["value"] - row["low"], row["high"] - row["value"]]
        right.errorbar(row["n"], row["value"].abs(), yerr=errors, fmt=":s", ms=4, lw=1.2, color=shade)
    v = gradients[gradients["variant"] == "whole"]
    right.plot(v["n"], v["value"], color="0.4", lw=1, ls="--", label="bias of V")
    right.set(title=f"fewer digits, sd = {some:g}: noise (dotted: bias)", ylabel="change of the gradient")
    right.set_yscale("log")
    right.set_ylim(1e-8, 1e2)
    right.legend(frameon=False, ncols=2, loc="upper left", fontsize="small")
    for axis in (left, middle, right):
        log_ticks(axis, sorted(set(summary["n"]) - {0}))
        axis.set_xlabel("batch size N")
    return figure


def error_ratios(summary: pd.DataFrame) -> pd.DataFrame:
    """Mean squared error of the gradient, U and split against V, on the same samples."""
    errors = summary[summary["quantity"] == "squared error"].set_index(["sd", "n", "estimator"])["value"]
    paired = summary[summary["quantity"] == "squared error less that of v"].copy()
    base = np.array([errors[(sd, n, "v")] for sd, n in zip(paired["sd"], paired["n"], strict=True)])
    paired["ratio"] = 1 + paired["value"] / base
    paired["low"], paired["high"] = 1 + paired["low"] / base, 1 + paired["high"] / base
    return paired[["sd", "n", "estimator", "ratio", "low", "high"]]


def report(summary: pd.DataFrame) -> str:
    plain = summary[(summary["variant"] == "whole") & (summary["form"] == "T")]
    lines = [*_error_lines(summary), *_bias_lines(summary), *_local_lines(summary), *_rounding_lines(summary)]
    known = summary[summary["deviation"].notna()]
    lines.append(
        f"- Theorem 6 holds for T/N: all {len(known)} biases that are known exactly agree (largest deviation "
        f"{known['deviation'].abs().max():.1f} standard errors). The U-statistic and sample splitting are unbiased."
    )
    biases = plain[plain["quantity"] == "gradient"].set_index(["sd", "n", "estimator"])
    ratios = error_ratios(summary).set_index(["sd", "n", "estimator"])
    table = markdown_table(
        ["sd", "N", *(f"bias, {e}" for e in ESTIMATORS), *(f"squared error, {e} / v" for e in ("u", "split"))],
        [
            [
                f"{sd:g}",
                f"{n}",
                *(span(biases.loc[(sd, n, e)], 3, "value") for e in ESTIMATORS),
                *(span(ratios.loc[(sd, n, e)], 2, "ratio") for e in ("u", "split")),
            ]
            for sd, n in dict.fromkeys(zip(plain["sd"], plain["n"], strict=True))
            if n > 0
        ],
    )
    heading = "Bias of the gradient of T, and its mean squared error against that of the V-statistic (95% intervals):"
    return "\n".join(lines) + f"\n\n{heading}\n\n{table}"


def _error_lines(summary: pd.DataFrame) -> list[str]:
    ratios = error_ratios(summary)
    u = ratios[ratios["estimator"] == "u"]
    split = ratios[ratios["estimator"] == "split"]
    best, worst = (u.loc[index] for index in (u["ratio"].idxmin(), u["ratio"].idxmax()))
    smaller, larger = u[u["high"] < 1], u[u["low"] > 1]
    where = ", ".join(f"{sd:g}" for sd in sorted(larger["sd"].unique()))
    return [
        f"- The unbiased gradient of the U-statistic has a smaller mean squared error than the V-statistic's in "
        f"{len(smaller)} of {len(u)} cells and a larger one in {len(larger)}: from {span(best, 2, 'ratio')} to "
        f"{span(worst, 2, 'ratio')} times it.",
        f"- That ratio is least at sd = {best['sd']:g}, N = {best['n']:.0f} and largest at sd = {worst['sd']:g}, "
        f"N = {worst['n']:.0f}{f' (above 1: sd = {where})' if where else ''}. Sample splitting, "
        f"unbiased too, has a smaller error than the V-statistic in {(split['high'] < 1).sum()}, a larger one in "
        f"{(split['low'] > 1).sum()}.",
    ]


def _bias_lines(summary: pd.DataFrame) -> list[str]:
    one = summary[(summary["variant"] == "whole") & (summary["estimator"] == "v") & (summary["form"] == "T")]
    one = one[one["quantity"] == "gradient"]
    at = one.loc[(one["sd"] - 1).abs().idxmin(), "sd"]
    here = one[one["sd"] == at].sort_values("n")
    first, last = here.iloc[0], here.iloc[-1]
    exponents = summary[(summary["quantity"] == "exponent of the gradient's bias") & (summary["sd"] == at)]
    text = " and ".join(f"{span(row, 2, 'value')} for {row['form']}" for _, row in exponents.iterrows())
    return [
        f"- The gradient bias of the implemented statistic does not vanish with N: at sd = {at:g} it is "
        f"{span(first, 3, 'value')} at N = {first['n']:.0f} and {span(last, 3, 'value')} at N = {last['n']:.0f}. The "
        f"statistic carries the factor N, so the theorem's O(1/N) is that of T/N (exponent of N in the bias: {text}).",
    ]


def _local_lines(summary: pd.DataFrame) -> list[str]:
    local = summary[summary["variant"].str.startswith("local") & (summary["estimator"] == "v")]
    if local.empty:
        return []
    shards = local["variant"].str.partition("_")[2].astype(int).max()
    most = local[(local["variant"] == f"local_{shards}") & (local["quantity"] == "gradient")]
    away = most[most["population"].abs() > 1e-9].sort_values("n")
    row = away.loc[(away["sd"] - 0.8).abs() == (away["sd"] - 0.8).abs().min()].iloc[0]
    at = (summary["sd"] == row["sd"]) & (summary["n"] == row["n"])
    whole = summary[at & (summary["variant"] == "whole") & (summary["estimator"] == "v") & (summary["form"] == "T")]
    whole = whole.set_index("quantity")
    size, whole_size = (abs(r["population"]) for r in (row, whole.loc["gradient"]))
    local_errors = summary[at & (summary["variant"] == f"local_{shards}")].set_index(["estimator", "quantity"])
    base = whole.loc["squared error", "value"]
    more = {e: local_errors.loc[(e, "squared error less that of the whole")] for e in ("v", "u")}
    ratio = {
        e: f"{1 + m['value'] / base:.2f} ({1 + m['low'] / base:.2f}, {1 + m['high'] / base:.2f})"
        for e, m in more.items()
    }
    return [
        f"- {shards} local batches whose gradients are averaged have the bias of one of them: at sd = {row['sd']:g}, "
        f"N = {row['n']}, it is {row['value'] / size:.0%} ({row['low'] / size:.0%}, {row['high'] / size:.0%}) of the "
        f"population's gradient, against {whole.loc['gradient', 'value'] / whole_size:.0%} "
        f"({whole.loc['gradient', 'low'] / whole_size:.0%}, {whole.loc['gradient', 'high'] / whole_size:.0%}) for the "
        f"whole batch by reduced sums; the squared error is {ratio['v']} times that of the whole batch. The "
        "U-statistic stays unbiased in local batches.",
    ]


def _rounding_lines(summary: pd.DataFrame) -> list[str]:
    less = summary[summary["quantity"] == LESS_ROUNDED_GRADIENT]
    if less.empty:
        return []
    plain = summary[(summary["quantity"] == "gradient") & (summary["variant"] == "whole") & (summary["form"] == "T")]
    plain = plain[plain["estimator"] == "v"].set_index(["sd", "n"])
    noise = np.array([plain.loc[(sd, n), "standard_deviation"] for sd, n in zip(less["sd"], less["n"], strict=True)])
    worst = less.assign(share=less["value"].abs() / noise).groupby("variant", sort=False)["share"].idxmax()
    text = ", ".join(
        f"{row['value']:.1e} ({row['low']:.1e}, {row['high']:.1e}) in {row['variant']} (sd = {row['sd']:g}, "
        f"N = {row['n']})"
        for row in (less.loc[index] for index in worst)
    )
    return [
        "- Fewer digits add no bias that matters, in the embeddings or in the gradient handed back to them: where the "
        f"mean gradient changes most against the noise of one batch, it changes by {text}; the V-statistic's own bias "
        f"is {plain['exact_bias'].min():.2f} to {plain['exact_bias'].max():.2f}.",
    ]


def _keep(cell: Cell, settings: Config) -> bool:
    """Local batches of 8 samples or more."""
    shards = int(str(cell["variant"]).partition("_")[2] or 1)
    return shards == 1 or int(cell["n"]) >= 8 * shards


def _preset(variant: list[str], sd: list[float], n: list[int], replicates: int, paired_replicates: int) -> Config:
    return {
        "variant": variant,
        "sd": sd,
        "n": n,
        "replicates": replicates,
        "paired_replicates": paired_replicates,
    }


STUDY = Study(
    name="gradient_bias",
    title="Bias of the loss and of its gradient",
    question="Is the minibatch gradient of Epps-Pulley biased, by how much, and does the bias vanish with N?",
    expectation="Theorem 6 holds for T/N; the implemented T carries the factor N, so its bias is constant in N. Local "
    "batches have W times the relative bias of the whole; rounded embeddings add none that matters; the V-statistic, "
    "biased, has the smaller mean squared error on small batches.",
    seed=20251114,
    axes=("variant", "sd", "n"),
    paired=("variant",),
    presets={
        "smoke": _preset(["whole", "bfloat16", "local_2"], [0.8, 1.0], [16, 64], 2_000, 1_000),
        "quick": _preset(list(VARIANTS), [0.5, 1.0], [16, 64, 256], 20_000, 4_000),
        "standard": _preset(list(VARIANTS), [0.25, 0.5, 0.8, 1.0, 1.25], [16, 64, 256, 1024], 200_000, 40_000),
        "paper": _preset(
            list(VARIANTS),
            [0.1, 0.25, 0.5, 0.8, 1.0, 1.25, 2.0],
            [8, 16, 32, 64, 128, 256, 512, 1024, 4096],
            1_000_000,
            200_000,
        ),
    },
    measure=measure,
    summarize=summarize,
    verify=verify,
    figures=figures,
    report=report,
    keep=_keep,
)
