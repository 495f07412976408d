"""Power of multivariate and of sliced statistics as tests of N(0, I), from 2 dimensions to 512.

Sliced tests project on M independent directions, drawn anew for every sample, and reject where the mean or the maximum
over slices of a univariate statistic exceeds its critical value; fewer slices are the first of more. As in the study of
univariate power, critical values are order statistics on reference samples of N(0, I), the same for all alternatives at
an n and a dimension: the maximum is calibrated as a maximum. Three simple tests stand beside, for what is exact:

    mean                N |mean|^2                              chi-squared under normal laws
    radius              |sum_j |x_j|^2 / (N K) - 1|             chi-squared under normal laws
    first coordinate    Epps-Pulley of the first coordinate     cannot see a law whose marginals are N(0, 1)

Known exactly, and checked: the size; the power of mean and radius under normal laws and of radius on a sphere; that
standardised tests do not see location and scale, nor the first coordinate an 'X' or a rank defect elsewhere.
"""

import functools
import itertools

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import stats
from statsmodels.stats.multitest import multipletests
from torch import Tensor

from sigreg_lab import alternatives, multivariate, univariate
from sigreg_lab.experiment import Study
from sigreg_lab.experiment.reference import critical_values, exceedances, null_rejections, power_interval
from sigreg_lab.experiment.study import Cell, Config, Row
from sigreg_lab.figures.tables import markdown_table
from sigreg_lab.figures.theme import label, log_ticks, new_figure, palette, themed
from sigreg_lab.slicing import make_directions, project, seeded_generator

LAWS = list(alternatives.MULTIVARIATE)
#: Least dimension of the laws that need more than 2.
LEAST_DIM = {"x_pairs": 4, "rank_defect_4": 5}
GAUSSIAN = ("null", "location", "scale", "rank")
SLICED = ("epps_pulley", "anderson_darling", "extended_jarque_bera")
STANDARDISED = ("henze_zirkler", "mardia_skewness", "mardia_kurtosis")
SIMPLE = ("mean", "radius", "first_coordinate")
#: Laws whose power is drawn against the number of slices.
CURVES = ("location_0.3", "rank_defect_1", "x", "hypercube", "elliptical_t5")
#: Laws whose projections are nearly normal in high dimension.
HIDDEN = ("x", "x_pairs", "hypercube", "sphere")
#: A test is the name of its statistic, how slices are reduced, and their number.
Test = tuple[str, str, int]
VALUES_PER_BATCH = 200_000
ERROR_RATE = 0.001  # probability that a right study complains of one kind of known value, all comparisons together


def tests(settings: Config, n: int, dim: int, law: str) -> list[Test]:
    """The tests of a cell, in the order of the rows."""
    found = [(name, "none", 0) for name in (*SIMPLE, *multivariate.REGISTRY)]
    if n >= 2 * dim and not law.startswith("rank_defect"):  # a singular covariance cannot be standardised
        found += [(f"{name}_standardised", "none", 0) for name in STANDARDISED]
    for name in SLICED:
        for num_slices in settings["num_slices"]:
            # Epps-Pulley is quicker by an order of magnitude than the others: only it takes all numbers of slices.
            if name == SLICED[0] or n * num_slices <= settings["most_values"]:
                found += [(name, reduction, num_slices) for reduction in ("mean", "max")[: 1 if num_slices == 1 else 2]]
    return found


def values(x: Tensor, wanted: list[Test], generator: torch.Generator) -> Tensor:
    """The statistic of each test for each sample of ``x`` (B, n, K), float64: shape (tests, B)."""
    n, dim = x.shape[-2:]
    found: dict[Test, Tensor] = {
        ("mean", "none", 0): n * x.mean(1).square().sum(-1),
        ("radius", "none", 0): (x.square().sum((1, 2)) / (n * dim) - 1).abs(),
        ("first_coordinate", "none", 0): univariate.EppsPulley().unchecked(x[:, :, :1]).squeeze(-1),
    }
    for name, reduction, _ in wanted:
        plain = name.removesuffix("_standardised")
        if reduction == "none" and plain in multivariate.REGISTRY:
            value = multivariate.REGISTRY[plain](standardise=plain != name)(x)
            found[name, "none", 0] = value.abs() if plain == "comb" else value  # two-sided
    most = {name: max(m for other, _, m in wanted if other == name) for name in SLICED}
    sliced: dict[Test, list[Tensor]] = {test: [] for test in wanted if test[1] != "none"}
    for sample in x.float():
        projections = project(sample, make_directions("iid", dim, max(most.values()), generator=generator))
        for name, count in most.items():
            slices = univariate.REGISTRY[name]().unchecked(projections[:, :count]).double()
            sums, largest = slices.cumsum(0), slices.cummax(0).values
            for test in sliced:
                if test[0] == name:
                    sliced[test].append(sums[test[2] - 1] / test[2] if test[1] == "mean" else largest[test[2] - 1])
    found |= {test: torch.stack(parts) for test, parts in sliced.items()}
    return torch.stack([found[test] for test in wanted])


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    n, dim, name = int(cell["n"]), int(cell["dim"]), str(cell["alternative"])
    words = tuple(int(word) for word in seed.generate_state(4))
    replicates = _replicates(n, dim, settings)
    reference = reference_size(replicates, settings["alpha"])
    everything = tests(settings, n, dim, "null")
    found = _reference_values(tuple(everything), n, dim, reference, words)
    wanted = tests(settings, n, dim, name)
    found = found[[everything.index(test) for test in wanted]]
    critical = critical_values(found, settings["alpha"])
    law = alternatives.MULTIVARIATE[name](dim)
    value = _simulate(law, wanted, n, replicates, (*words, *name.encode()))
    rejections = (value[None] > critical[..., None]).sum(-1)
    return [
        {
            "statistic": test[0],
            "reduction": test[1],
            "num_slices": test[2],
            "critical_value": float(f"{critical[0, i]:.7g}") if test[0] in ("mean", "radius") else float("nan"),
            "rejections": int(rejections[0, i]),
            "rejections_low": int(rejections[1, i]),
            "rejections_high": int(rejections[2, i]),
        }
        for i, test in enumerate(wanted)
        if not _constant_values(found[i])
    ]


def _constant_values(found: np.ndarray) -> bool:
    """Whether a statistic overflows, or differs between samples by no more than rounding: it is no test there."""
    return not np.isfinite(found).all() or bool(np.ptp(found) <= 1e-10 * np.abs(found).max())


def _replicates(n: int, dim: int, settings: Config) -> int:
    """As many as a cell's budget allows, about a nanosecond an operation, between two bounds; whole fifties."""
    most = max(settings["num_slices"])
    operations = most * (7 * dim + n) + 55 * min(n * most, settings["most_values"]) + 0.16 * n**2 * (dim + 150)
    return int(np.clip(settings["operations"] / operations // 50 * 50, *settings["replicates"]))


def reference_size(replicates: int, alpha: float) -> int:
    """Number of reference values: about twice the replicates, so that alpha (R + 1) is whole."""
    step = round(1 / alpha)
    return step * -(-2 * replicates // step) - 1


@functools.lru_cache(maxsize=2)
def _reference_values(wanted: tuple[Test, ...], n: int, dim: int, count: int, words: tuple[int, ...]) -> np.ndarray:
    return _simulate(alternatives.MULTIVARIATE["null"](dim), list(wanted), n, count, words)


def _simulate(
    law: alternatives.MultivariateAlternative, wanted: list[Test], n: int, count: int, words: tuple[int, ...]
) -> np.ndarray:
    rng, generator = np.random.default_rng(words), seeded_generator(*words)
    batch = max(1, VALUES_PER_BATCH // (n * max(n, law.dim)))
    parts = []
    with torch.no_grad():
        for start in range(0, count, batch):
            x = torch.from_numpy(law.sample(rng, (min(batch, count - start), n)))
            parts.append(values(x, wanted, generator))
    return torch.cat(parts, dim=1).numpy()


def summarize(rows: pd.DataFrame, settings: Config) -> pd.DataFrame:
    """Power of each test in each cell; ``exact`` where it is known; no number for a statistic that is constant."""
    cells = rows[["n", "dim", "alternative"]].drop_duplicates().to_dict("records")
    every = pd.DataFrame(
        [
            cell | {"statistic": test[0], "reduction": test[1], "num_slices": test[2]}
            for cell in cells
            for test in tests(settings, cell["n"], cell["dim"], cell["alternative"])
        ]
    )
    summary = every.merge(rows, how="left", on=list(every.columns))
    summary["replicates"] = [_replicates(n, dim, settings) for n, dim in zip(summary["n"], summary["dim"], strict=True)]
    summary["reference"] = [reference_size(replicates, settings["alpha"]) for replicates in summary["replicates"]]
    summary["level"] = [exceedances(r, settings["alpha"]) / (r + 1) for r in summary["reference"]]
    summary["constant"] = summary["rejections"].isna()
    summary["power"] = summary["rejections"] / summary["replicates"]
    intervals = [
        (0.0, 1.0)
        if row.constant
        else power_interval(row.rejections, row.rejections_low, row.rejections_high, row.replicates)
        for row in summary.itertuples()
    ]
    summary["low"], summary["high"] = zip(*intervals, strict=True)
    summary = summary.drop(columns=["rejections_low", "rejections_high"])
    summary["exact"] = [
        exact_power(row.statistic, row.critical_value, row.n, alternatives.MULTIVARIATE[row.alternative](row.dim))
        if row.statistic in ("mean", "radius")
        else np.nan
        for row in summary.itertuples()
    ]
    return summary


def exact_power(statistic: str, critical_value: float, n: int, law: alternatives.MultivariateAlternative) -> float:
    """Power of ``mean`` or ``radius`` under N(mean, sd^2 P), P a projection; of ``radius`` on a sphere; else NaN."""
    if statistic == "radius" and law.name in ("sphere", "vertices"):
        return 0.0
    if law.name.split("_")[0] not in GAUSSIAN:
        return float("nan")
    variances, shift = law.covariance.diagonal(), n * (law.mean @ law.mean)
    variance, rank = variances.max(), int((variances > 0).sum())
    if statistic == "mean":
        return float(stats.ncx2.sf(critical_value / variance, rank, shift / variance))
    ends = n * law.dim * np.array([1 - critical_value, 1 + critical_value]) / variance
    sums = stats.ncx2(n * rank, shift / variance)
    return float(sums.cdf(ends[0]) + sums.sf(ends[1]))


def verify(summary: pd.DataFrame) -> list[str]:
    """Sizes, and other rates known exactly, against the exact law of the rejections: binomial or beta-binomial.

    Each kind of comparison complains by chance with probability 0.001, all of its kind together.
    """
    tested = summary[~summary["constant"]]
    kind = tested["alternative"].str.split("_").str[0]
    standardised = tested["statistic"].str.endswith("_standardised") & kind.isin(["location", "scale"])
    first = (tested["statistic"] == "first_coordinate") & kind.isin(["x", "rank"])
    return [
        *_contradictions(tested[tested["alternative"] == "null"], "size"),
        *_contradictions(tested[standardised | first], "blindness"),
        *_contradictions(tested[tested["exact"].notna()], "power"),
    ]


def _contradictions(rows: pd.DataFrame, what: str) -> list[str]:
    complaints = []
    tail = ERROR_RATE / max(len(rows), 1) / 2
    for row in rows.itertuples():
        expected, law = row.level, null_rejections(row.replicates, row.reference, row.level)
        if what == "power":
            expected, law = row.exact, stats.binom(row.replicates, row.exact)
        if min(law.cdf(row.rejections), law.sf(row.rejections - 1)) < tail:
            complaints.append(
                f"{what} of {_name(row.statistic, row.reduction, row.num_slices)} against {row.alternative} at "
                f"n = {row.n}, K = {row.dim} is {row.power:.4f}, not {expected:.4f}"
            )
    return complaints


def _law(name: str) -> str:
    """A law's name in R^K; ``label`` has those on the line."""
    return "null: N(0, I)" if name == "null" else "'X'" if name == "x" else name.replace("_", " ")


def _name(statistic: str, reduction: str, num_slices: int) -> str:
    if num_slices == 0:
        return label(statistic)
    return f"{label(statistic)}, " + ("one slice" if num_slices == 1 else f"{reduction} of {num_slices}")


@themed()
def figures(summary: pd.DataFrame) -> dict[str, Figure]:
    n = _main_n(summary)
    part = summary[summary["n"] == n]
    return {"power_multivariate": _heat_maps(part, n), "power_multivariate_slices": _slice_curves(part, n)}


def _main_n(summary: pd.DataFrame) -> int:
    """The number of samples shown: the largest of those tried in the highest dimension."""
    return int(summary[summary["dim"] == summary["dim"].max()]["n"].max())


def _heat_maps(part: pd.DataFrame, n: int) -> Figure:
    named = part.assign(
        test=[_name(*test) for test in zip(part.statistic, part.reduction, part.num_slices, strict=True)]
    )
    order, dims = _by_kind(named), sorted(named["dim"].unique())
    laws = list(dict.fromkeys(named["alternative"]))
    figure = new_figure(3.0 + 0.36 * len(laws) * len(dims), 1.9 + 0.215 * len(order))
    axes = figure.subplots(1, len(dims), sharey=True, squeeze=False)[0]
    for axis, dim in zip(axes, dims, strict=True):
        table = named[named["dim"] == dim].pivot(index="test", columns="alternative", values="power")
        values = table.reindex(order)[[law for law in laws if law in table]]
        image = axis.imshow(values.to_numpy(), cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for line, place in np.ndindex(*values.shape):
            value = values.iloc[line, place]
            if np.isfinite(value):
                axis.text(
                    place,
                    line,
                    f"{100 * value:.0f}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="0" if value > 0.5 else "1",
                )
        axis.set_title(f"K = {dim}")
        ticks = [_law(law) for law in values.columns]
        axis.set_xticks(range(len(ticks)), ticks, rotation=45, ha="right", rotation_mode="anchor")
        axis.grid(visible=False)
    axes[0].set_yticks(range(len(order)), order)
    figure.colorbar(image, ax=axes, pad=0.01, label=f"rejection rate at n = {n} (number: %; empty: no test)")
    return figure


def _by_kind(named: pd.DataFrame) -> list[str]:
    """The tests in the order of the rows: without slices first, then each univariate statistic's mean and maximum."""
    reductions = ["none", "mean", "max"]
    keys = named[["statistic", "reduction", "num_slices", "test"]].drop_duplicates()
    first = {name: place for place, name in enumerate(dict.fromkeys(keys["statistic"]))}
    ranked = keys.assign(kind=keys["num_slices"] > 0, place=keys["statistic"].map(first))
    ranked["reduction"] = ranked["reduction"].map(reductions.index)
    return list(ranked.sort_values(["kind", "place", "reduction", "num_slices"])["test"])


def _slice_curves(part: pd.DataFrame, n: int) -> Figure:
    laws = [law for law in CURVES if law in set(part["alternative"])]
    dims, names = sorted(part["dim"].unique()), [name for name in SLICED if name in set(part["statistic"])]
    colours = palette(names)
    figure = new_figure(1.4 + 2.6 * len(dims), 1.2 + 1.75 * len(laws))
    axes = figure.subplots(len(laws), len(dims), sharex=True, sharey=True, squeeze=False)
    for (line, law), (column, dim) in itertools.product(enumerate(laws), enumerate(dims)):
        axis, cell = axes[line][column], part[(part["alternative"] == law) & (part["dim"] == dim)]
        for name, reduction in itertools.product(names, ("mean", "max")):
            curve = cell[(cell["statistic"] == name) & cell["reduction"].isin([reduction, "mean"])]
            curve = curve[(curve["reduction"] == reduction) | (curve["num_slices"] == 1)].sort_values("num_slices")
            style, text = ("-", "mean over slices") if reduction == "mean" else ("--", "maximum over slices")
            axis.plot(
                curve["num_slices"],
                curve["power"],
                style,
                marker="o",
                ms=3,
                color=colours[name],
                label=f"{label(name)}, {text}",
            )
            axis.fill_between(curve["num_slices"], curve["low"], curve["high"], color=colours[name], alpha=0.12, lw=0)
        limit = cell[cell["statistic"] == "infinite_slice_epps_pulley"]
        if len(limit):
            axis.axhline(limit["power"].iloc[0], color="0", ls=":", lw=1.2, label="Epps-Pulley, all slices")
        if len(cell):
            axis.axhline(cell["level"].iloc[0], color="0.5", ls="-", lw=0.7, zorder=0, label="level")
        else:
            axis.text(0.5, 0.5, "needs more dimensions", transform=axis.transAxes, ha="center", color="0.4")
        axis.set_ylim(-0.03, 1.03)
        log_ticks(axis, sorted(set(part["num_slices"]) - {0}))
        if line == 0:
            axis.set_title(f"K = {dim}")
        if line == len(laws) - 1:
            axis.set_xlabel("slices M")
        if column == 0:
            axis.set_ylabel(f"{_law(law)}\nrejection rate")
    handles, texts = axes[0][0].get_legend_handles_labels()
    figure.suptitle(f"n = {n}; bands: 95% intervals", x=0.01, ha="left", fontsize=10)
    figure.legend(handles, texts, loc="outside lower center", ncols=2, frameon=False)
    return figure


def report(summary: pd.DataFrame) -> str:
    n = _main_n(summary)
    tested = summary[~summary["constant"]]
    at = tested[tested["n"] == n]
    lines = [*_mean_against_max(at, n), *_more_slices(at, n), *_hidden_line(tested), *_constant(summary)]
    lines += [*_below_level(tested), *_best(at, n)]
    dim = sorted(at["dim"].unique())[len(at["dim"].unique()) // 2]
    return "\n".join(lines) + "\n\n" + _hidden_table(tested) + _table(at[at["dim"] == dim], n, dim)


def _discovered(rows: pd.DataFrame, side: str) -> np.ndarray:
    """Which powers lie above or below the level: exact p-values, 5% false discoveries [Benjamini & Hochberg (1995)]."""
    pvalues = []
    for row in rows.itertuples():
        law = null_rejections(row.replicates, row.reference, row.level)
        pvalues.append(law.sf(row.rejections - 1) if side == "above" else law.cdf(row.rejections))
    return np.asarray(multipletests(pvalues, 0.05, method="fdr_bh")[0]) if pvalues else np.zeros(0, dtype=bool)


def _hidden(tested: pd.DataFrame) -> list[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """The laws whose projections are nearly normal, by dimension: all tests at the most samples, and those that see."""
    found = []
    for law in HIDDEN:
        for _, rows in tested[tested["alternative"] == law].groupby("dim"):
            part = rows[rows["n"] == rows["n"].max()]
            seen = part[_discovered(part, "above")].sort_values("power", ascending=False)
            found.append((law, part, seen))
    return found


def _hidden_line(tested: pd.DataFrame) -> list[str]:
    unseen: dict[str, list[pd.DataFrame]] = {}
    for law, part, seen in _hidden(tested):
        if not (seen["num_slices"] > 0).any():
            unseen.setdefault(law, []).append(part[part["num_slices"] > 0])
    lines = []
    for law, parts in unseen.items():
        rows = pd.concat(parts)
        best = rows.loc[rows["power"].idxmax()]
        dims = ", ".join(str(dim) for dim in dict.fromkeys(rows["dim"]))
        lines.append(f"{_law(law)} at K = {dims} (of {len(rows)} powers the highest: {_of(best)} at K = {best['dim']})")
    return [f"- No sliced test, by mean or by maximum, sees {'; '.join(lines)}."] if lines else []


def _hidden_table(tested: pd.DataFrame) -> str:
    rows = [
        [
            *(_law(law), str(part["dim"].iloc[0]), str(part["n"].iloc[0])),
            f"{int((seen['num_slices'] == 0).sum())} of {int((part['num_slices'] == 0).sum())}",
            f"{int((seen['num_slices'] > 0).sum())} of {int((part['num_slices'] > 0).sum())}",
            _of(seen.iloc[0]) if len(seen) else "none",
        ]
        for law, part, seen in _hidden(tested)
    ]
    header = ["law", "K", "n", "tests without slices that see it", "sliced tests that see it", "the highest power"]
    heading = "Laws whose projections are nearly normal, at the most samples tried (5% false discoveries):"
    return f"{heading}\n\n{markdown_table(header, rows)}\n\n" if rows else ""


def _difference(one: "pd.Series", other: "pd.Series") -> tuple[float, float, float]:
    """Power of one test less that of the other, with the interval of independent errors, squared and added."""
    value = one["power"] - other["power"]
    low = value - np.hypot(one["power"] - one["low"], other["high"] - other["power"])
    high = value + np.hypot(one["high"] - one["power"], other["power"] - other["low"])
    return value, low, high


def _mean_against_max(at: pd.DataFrame, n: int) -> list[str]:
    most = at["num_slices"].max()
    rows = at[(at["alternative"] == "rank_defect_1") & (at["statistic"] == SLICED[0]) & (at["num_slices"] == most)]
    lines = []
    found: dict[str, list[str]] = {"better than": [], "worse than": [], "not told apart from": []}
    for dim, part in rows.groupby("dim"):
        one = part.set_index("reduction")
        value, low, high = _difference(one.loc["max"], one.loc["mean"])
        gain = f"{value:+.2f} ({low:+.2f}, {high:+.2f})"
        kind = "better than" if low > 0 else "worse than" if high < 0 else "not told apart from"
        found[kind].append(f"{dim}" if low <= 0 <= high else f"{dim} (power {gain})")
        # The share a_1^2 of the defect in the nearest of M directions: its median, a quantile of the beta law.
        share = stats.beta.isf(1 - 0.5 ** (1 / most), 0.5, (dim - 1) / 2)
        lines.append(
            f"{gain} at K = {dim} (mean {_interval(one.loc['mean'])}, maximum "
            f"{_interval(one.loc['max'])}; the nearest of {most} directions lies at cos² = {share:.2f} to it)"
        )
    if not lines:
        return []
    where = "; ".join(f"{kind} the mean at K = {', '.join(places)}" for kind, places in found.items() if places)
    return [
        f"- Epps-Pulley's maximum over {most} slices against a defect of rank 1, n = {n}: {where}.",
        f"- A defect of rank 1, Epps-Pulley at n = {n}: the maximum gains on the mean {'; '.join(lines)}.",
    ]


def _more_slices(at: pd.DataFrame, n: int) -> list[str]:
    """Where the maximum over the most slices has less power than over fewer."""
    cases = []
    for (law, dim, name), part in at[at["num_slices"] > 0].groupby(["alternative", "dim", "statistic"], sort=False):
        curve = part[(part["reduction"] == "max") | (part["num_slices"] == 1)].set_index("num_slices").sort_index()
        last, best = curve.iloc[-1], curve.loc[curve["power"].idxmax()]
        if law != "null" and last["high"] < best["low"]:
            text = f"{label(str(name))} against {_law(str(law))} at K = {dim}: {_interval(best)} with {best.name}, "
            cases.append((best["power"] - last["power"], text + f"{_interval(last)} with {last.name}"))
    if not cases:
        return []
    cases.sort(key=lambda case: -case[0])
    return [
        f"- More slices can cost the maximum its power: in {len(cases)} cases at n = {n} its interval over the most "
        f"slices lies below that over fewer. The worst: {'; '.join(text for _, text in cases[:3])}."
    ]


def _constant(summary: pd.DataFrame) -> list[str]:
    lines = []
    for name, part in summary[summary["constant"]].groupby("statistic", sort=False):
        dims = sorted(part["dim"].unique())
        lines.append(f"{label(str(name))} at K = {', '.join(str(dim) for dim in dims)}")
    if not lines:
        return []
    return [f"- No test at all, for the statistic rounds to one number in float64 or overflows: {'; '.join(lines)}."]


def _below_level(tested: pd.DataFrame) -> list[str]:
    others = tested[tested["alternative"] != "null"]
    below = others[_discovered(others, "below")]
    if below.empty:
        return [f"- None of {len(others)} powers is found below the level (5% false discoveries)."]
    cases = []
    for law, part in below.groupby("alternative", sort=False):
        worst = part.sort_values(["power", "replicates"], ascending=[True, False]).iloc[0]
        where = f"K = {worst['dim']}, n = {worst['n']}"
        cases.append((len(part), f"{_law(str(law))} {len(part)} (as {_of(worst)} at {where})"))
    cases.sort(key=lambda case: -case[0])
    return [
        f"- Worse than blind: {len(below)} of {len(others)} powers lie below the level (5% false discoveries), against "
        f"{'; '.join(text for _, text in cases)}."
    ]


def _best(at: pd.DataFrame, n: int) -> list[str]:
    lines = []
    for dim, cells in at[at["alternative"] != "null"].groupby("dim"):
        ranks = []
        for _, part in cells.groupby("alternative", sort=False):
            low, high = part["low"].to_numpy(), part["high"].to_numpy()
            first = 1 + (low[None, :] > high[:, None]).sum(1)
            last = len(part) - (high[None, :] < low[:, None]).sum(1)
            ranks.append(part.assign(low=first, high=last))
        mean = pd.concat(ranks).groupby(["statistic", "reduction", "num_slices"])[["low", "high"]].mean()
        mean["middle"] = mean.mean(axis=1)
        top = [
            f"{_name(*key)} {row.middle:.1f} ({row.low:.1f}, {row.high:.1f})"
            for key, row in mean.sort_values("middle").head(3).iterrows()
        ]
        lines.append(f"K = {dim}: {', '.join(top)}")
    if not lines:
        return []
    return [
        f"- Best mean ranks over the alternatives at n = {n} (range that intervals leave; overlapping ranges tie): "
        f"{'; '.join(lines)}."
    ]


def _table(part: pd.DataFrame, n: int, dim: int) -> str:
    most = part[part["statistic"] == SLICED[0]]["num_slices"].max()
    fewer = part[part["statistic"] == SLICED[1]]["num_slices"].max()
    shown = [("infinite_slice_epps_pulley", "none", 0), (SLICED[0], "max", most), (SLICED[1], "max", fewer)]
    shown += [("energy", "none", 0), ("bhep", "none", 0), ("mardia_kurtosis", "none", 0)]
    cells = part.set_index(["alternative", "statistic", "reduction", "num_slices"]).sort_index()
    rows = [
        [_law(law), *(_interval(cells.loc[(law, *test)]) if (law, *test) in cells.index else "" for test in shown)]
        for law in dict.fromkeys(part["alternative"])
    ]
    return f"Size and power at n = {n}, K = {dim} (95% interval); summary.csv has all:\n\n" + markdown_table(
        ["alternative", *(_name(*test) for test in shown)], rows
    )


def _interval(row: "pd.Series") -> str:
    return f"{row['power']:.2f} ({row['low']:.2f}, {row['high']:.2f})"


def _of(row: "pd.Series") -> str:
    return f"{_name(row['statistic'], row['reduction'], row['num_slices'])} {_interval(row)}"


def keep(cell: Cell, settings: Config) -> bool:
    n, dim = int(cell["n"]), int(cell["dim"])
    least, most = settings["dims_per_sample"]
    affordable = least * n <= dim <= most * n and n**2 * dim <= settings["most_pair_operations"]
    return affordable and dim >= LEAST_DIM.get(str(cell["alternative"]), 2)


def _preset(laws: list[str], n: list[int], dim: list[int], num_slices: list[int], **settings: object) -> Config:
    return {"n": n, "dim": dim, "alternative": laws, "num_slices": num_slices, "alpha": 0.05, **settings}


STANDARD_LAWS = [law for law in LAWS if law not in ("vertices", "iid_laplace")]
DIMS = [2, 16, 128, 512]

STUDY = Study(
    name="power_multivariate",
    title="Power of multivariate and sliced statistics",
    question="Which departures from N(0, I) do multivariate and sliced tests see, as the dimension grows?",
    expectation="In high dimension the mean over slices sees what all directions share (scale, elliptical tails) and "
    "loses a defect of rank 1, which the calibrated maximum finds with enough slices. No sliced test sees the 'X' at "
    "K = 128, nor a hypercube or sphere, whose projections are nearly normal. BHEP with a fixed width goes blind as "
    "K grows. Pairwise statistics see the sphere, by its radius. Some tests reject a narrower law, or one of light "
    "tails, less often than the null.",
    seed=20251121,
    axes=("n", "dim", "alternative"),
    paired=("alternative",),
    keep=keep,
    presets={
        "smoke": _preset(
            ["null", "rank_defect_1", "scale_1.1"],
            [32],
            [2, 16],
            [1, 16],
            replicates=[100, 100],
            operations=1e9,
            most_values=2**12,
            most_pair_operations=1e6,
            dims_per_sample=[0.0, 8.0],
        ),
        "quick": _preset(
            ["null", "rank_defect_1", "x", "elliptical_t5"],
            [64],
            [2, 16, 128],
            [1, 16, 256],
            replicates=[200, 1000],
            operations=1e9,
            most_values=2**14,
            most_pair_operations=1e7,
            dims_per_sample=[0.0, 8.0],
        ),
        "standard": _preset(
            STANDARD_LAWS,
            [16, 64, 256, 1024],
            DIMS,
            [1, 16, 256, 4096],
            replicates=[200, 500],
            operations=1.4e9,
            most_values=2**16,
            most_pair_operations=4e7,
            dims_per_sample=[1 / 128, 8.0],
        ),
        "paper": _preset(
            LAWS,
            [8, 16, 32, 64, 128, 256, 512, 1024],
            DIMS,
            [1, 4, 16, 64, 256, 1024, 4096],
            replicates=[2_000, 20_000],
            operations=1e12,
            most_values=2**22,
            most_pair_operations=1e9,
            dims_per_sample=[0.0, 64.0],
        ),
    },
    measure=measure,
    summarize=summarize,
    verify=verify,
    figures=figures,
    report=report,
)
