"""Power of every univariate statistic as a test of N(0, 1), at the same level and sample size.

A statistic rejects above its critical value, an order statistic of its values on reference samples of N(0, 1), the same
for all alternatives at an n: every test has the level exactly, averaged over reference samples, and the error of the
critical value is part of every interval (``sigreg_lab.experiment.reference``). Beside the power:

    samples for half    the n at which a test's power is 1/2: linear in log n between the sizes tried, power on the
                        normal quantile's scale
    efficiency          samples for half of Epps-Pulley over those of the test: 2 needs half as many samples
    rank                among the tests, at one alternative and n: between 1 + the number of tests whose interval lies
                        above, and the number of tests - the number whose interval lies below

Known exactly, and checked: the size; that of tests which do not see location and scale, under normal laws; the power of
the two tests on mean and variance alone, under normal laws; and that no test beats the most powerful one there.
"""

import functools

import numpy as np
import pandas as pd
import torch
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy import special, stats

from sigreg_lab import alternatives, univariate
from sigreg_lab.experiment import Study
from sigreg_lab.experiment.reference import critical_values, exceedances, null_rejections, power_interval
from sigreg_lab.experiment.study import Cell, Config, Row
from sigreg_lab.figures.tables import markdown_table, span
from sigreg_lab.figures.theme import label, log_ticks, new_figure, palette, themed

ALTERNATIVES = list(alternatives.UNIVARIATE)
STATISTICS = list(univariate.REGISTRY)
COMPOSITE = [name for name, test in univariate.REGISTRY.items() if test.null_hypothesis == "composite"]
#: Mean and standard deviation of the alternatives that are normal.
NORMAL = {
    name: (law.mean, law.variance**0.5)
    for name, law in alternatives.REGISTRY.items()
    if name.split("_")[0] in ("null", "location", "scale")
}
BASE = "epps_pulley"
VALUES_PER_BATCH = 1_000_000
ERROR_RATE = 0.001  # probability that a right study complains of one kind of known value, all comparisons together
HALF = 0.5
#: Tests in colour in the figure, the first six in the table.
HIGHLIGHTED = (
    *("epps_pulley", "anderson_darling", "shapiro_wilk", "extended_jarque_bera", "vcreg", "entropy"),
    *("jarque_bera", "watson"),
)
COLUMNS = ["quantity", "alternative", "n", "statistic", "estimate", "low", "high"]
QUANTITIES = ("power", "samples_for_half", "efficiency", "rank")


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    n, names = int(cell["n"]), tuple(settings["statistics"])
    words = tuple(int(word) for word in seed.generate_state(4))
    critical = _critical_values(names, n, settings["reference"], settings["alpha"], words)
    law, rng = alternatives.REGISTRY[str(cell["alternative"])], np.random.default_rng([*words, *law_key(cell)])
    tests = [univariate.REGISTRY[name]() for name in names]
    rejections = torch.zeros(critical.shape, dtype=torch.long)
    batch = VALUES_PER_BATCH // n
    for start in range(0, settings["replicates"], batch):
        sample = law.sample(rng, (min(batch, settings["replicates"] - start), n))
        rejections += (univariate.evaluate(tests, torch.from_numpy(sample).T)[None] > critical[..., None]).sum(-1)
    return [
        {
            "statistic": name,
            "critical_value": float(value),
            "rejections": int(count),
            "rejections_low": int(low),
            "rejections_high": int(high),
        }
        for name, value, count, low, high in zip(names, critical[0], *rejections, strict=True)
    ]


def law_key(cell: Cell) -> bytes:
    """What sets the random numbers of an alternative apart from those of the others at the same n."""
    return str(cell["alternative"]).encode()


@functools.lru_cache(maxsize=2)
def _critical_values(
    names: tuple[str, ...], n: int, reference: int, alpha: float, words: tuple[int, ...]
) -> torch.Tensor:
    """Critical values (row 0) and the upper and lower ends of their 95% intervals, one column a statistic."""
    tests, rng = [univariate.REGISTRY[name]() for name in names], np.random.default_rng(words)
    batch = VALUES_PER_BATCH // n
    parts = []
    for start in range(0, reference, batch):
        sample = rng.standard_normal((min(batch, reference - start), n))
        parts.append(univariate.evaluate(tests, torch.from_numpy(sample).T))
    found = critical_values(torch.cat(parts, dim=1).numpy(), alpha)
    # Used with as few digits as are stored, so that the rows say exactly which values they were.
    return torch.from_numpy(np.vectorize(lambda value: float(f"{value:.7g}"))(found))


def summarize(rows: pd.DataFrame, settings: Config) -> pd.DataFrame:
    """One estimate a row; ``quantity`` says of what.

    Samples for half and efficiencies have n = 0; ranks have a row for each n, and one with n = 0 for the mean over all.
    """
    power = rows.drop(columns=["rejections_low", "rejections_high"]).assign(quantity="power")
    replicates, reference = settings["replicates"], settings["reference"]
    power["estimate"] = rows["rejections"] / replicates
    counts = zip(rows["rejections"], rows["rejections_low"], rows["rejections_high"], strict=True)
    power["low"], power["high"] = zip(*(power_interval(*count, replicates) for count in counts), strict=True)
    power["replicates"], power["reference"] = replicates, reference
    power["level"] = exceedances(reference, settings["alpha"]) / (reference + 1)
    power["exact"] = [
        exact_power(row.statistic, row.critical_value, row.n, *NORMAL[row.alternative])
        if row.statistic in ("vcreg", "mean_std") and row.alternative in NORMAL
        else np.nan
        for row in power.itertuples()
    ]
    power["most_powerful"] = [
        most_powerful(level, n, *NORMAL[law]) if law in NORMAL and law != "null" else np.nan
        for level, n, law in zip(power["level"], power["n"], power["alternative"], strict=True)
    ]
    samples = _samples_for_half(power)
    summary = pd.concat([power, samples, _efficiencies(samples), _ranks(power)], ignore_index=True)
    return summary[COLUMNS + [column for column in power.columns if column not in COLUMNS]]


def _samples_for_half(power: pd.DataFrame) -> pd.DataFrame:
    found = []
    for (law, statistic), curve in power[power["alternative"] != "null"].groupby(
        ["alternative", "statistic"], sort=False
    ):
        ordered = curve.sort_values("n")
        n = ordered["n"].to_numpy(dtype=float)
        estimate, low, high = (crossing(n, ordered[column].to_numpy()) for column in ("estimate", "high", "low"))
        found.append(
            {
                "quantity": "samples_for_half",
                "alternative": law,
                "n": 0,
                "statistic": statistic,
                "estimate": estimate,
                "low": 0.0 if low == n[0] else min(low, n[-1]),  # at most the least n; at least the largest tried
                "high": high,
            }
        )
    return pd.DataFrame(found, columns=COLUMNS)


def crossing(n: ArrayLike, power: ArrayLike, target: float = HALF) -> float:
    """The n at which a power curve, made monotone, reaches ``target``; the least n if it starts above, inf if never."""
    sizes, curve = np.log(np.asarray(n, dtype=float)), np.maximum.accumulate(np.asarray(power, dtype=float))
    reached = np.flatnonzero(curve >= target)
    if len(reached) == 0:
        return float("inf")
    last = int(reached[0])
    if last == 0:
        return float(np.exp(sizes[0]))
    z = special.ndtri(np.clip(curve[last - 1 : last + 1], 1e-9, 1 - 1e-9))
    share = (special.ndtri(target) - z[0]) / (z[1] - z[0])
    return float(np.exp(sizes[last - 1] + share * (sizes[last] - sizes[last - 1])))


def _efficiencies(samples: pd.DataFrame) -> pd.DataFrame:
    """Samples of Epps-Pulley over those of each test; 0 where the test never gets there, inf where only it does."""
    base = samples[samples["statistic"] == BASE].set_index("alternative")
    found = []
    for row in samples[samples["statistic"] != BASE].to_dict("records"):
        if row["alternative"] not in base.index:
            continue
        other = base.loc[row["alternative"]]
        if other["low"] == row["low"] == 0 or np.isinf([other["estimate"], row["estimate"]]).all():
            continue  # both beyond the same end of the sizes tried: nothing is known of their ratio
        ratio = other["estimate"] / row["estimate"]
        high = other["high"] / row["low"] if row["low"] > 0 else float("inf")
        found.append(
            row | {"quantity": "efficiency", "estimate": ratio, "low": other["low"] / row["high"], "high": high}
        )
    return pd.DataFrame(found, columns=COLUMNS)


def _ranks(power: pd.DataFrame) -> pd.DataFrame:
    ranks = []
    for (law, n), tests in power[power["alternative"] != "null"].groupby(["alternative", "n"], sort=False):
        low, high = tests["low"].to_numpy(), tests["high"].to_numpy()
        first = 1 + (low[None, :] > high[:, None]).sum(1)
        last = len(tests) - (high[None, :] < low[:, None]).sum(1)
        ranks.append(
            pd.DataFrame({"alternative": law, "n": n, "statistic": tests["statistic"], "low": first, "high": last})
        )
    if not ranks:
        return pd.DataFrame(columns=COLUMNS)
    every = pd.concat(ranks)
    means = [every.groupby(keys, sort=False)[["low", "high"]].mean() for keys in (["statistic", "n"], ["statistic"])]
    table = pd.concat([mean.reset_index() for mean in means]).fillna({"n": 0}).astype({"n": int})
    return table.assign(quantity="rank", alternative="all", estimate=(table["low"] + table["high"]) / 2)


def exact_power(statistic: str, critical_value: float, n: int, mean: float, sd: float) -> float:
    """Power of VCReg or of mean^2 + (std - 1)^2 on n samples of N(mean, sd^2).

    Mean and variance are independent there, normal and chi-squared. Given the variance, the test rejects where the
    squared mean exceeds a bound; the mean over the variance is taken at the midpoints of 20,000 parts of equal weight.
    """
    share = (np.arange(20_000) + 0.5) / 20_000
    variance = sd**2 * special.chdtri(n - 1, 1 - share) / (n - 1)
    if statistic == "vcreg":
        bound = variance / n * (critical_value - (n - 1) * (variance - 1) ** 2 / 2)
    else:
        bound = critical_value - (np.sqrt(variance) - 1) ** 2
    root, error = np.sqrt(np.maximum(bound, 0.0)), sd / np.sqrt(n)
    return float(np.mean(special.ndtr((-root - mean) / error) + special.ndtr((mean - root) / error)))


def most_powerful(level: float, n: int, mean: float, sd: float) -> float:
    """Power of the likelihood-ratio test of N(0, 1) against N(mean, 1) or N(0, sd^2): no test of its level has more."""
    if sd == 1:
        return float(special.ndtr(special.ndtri(level) + np.sqrt(n) * abs(mean)))
    if sd > 1:
        return float(stats.chi2.sf(stats.chi2.isf(level, n) / sd**2, n))
    return float(stats.chi2.cdf(stats.chi2.ppf(level, n) / sd**2, n))


def verify(summary: pd.DataFrame) -> list[str]:
    """Sizes, and other rates known exactly, against the exact law of the rejections: binomial or beta-binomial.

    Each kind of comparison complains by chance with probability 0.001, all of its kind together.
    """
    power = summary[summary["quantity"] == "power"]
    blind = power["statistic"].isin(COMPOSITE) & power["alternative"].isin(list(NORMAL))
    return [
        *_contradictions(power[power["alternative"] == "null"], "size"),
        *_contradictions(power[blind & (power["alternative"] != "null")], "blindness"),
        *_contradictions(power[power["exact"].notna()], "power"),
        *_contradictions(power[power["most_powerful"].notna()], "bound"),
    ]


def _contradictions(rows: pd.DataFrame, what: str) -> list[str]:
    complaints = []
    tail = ERROR_RATE / max(len(rows), 1) / 2
    for row in rows.itertuples():
        expected, least, law = row.level, 0.0, null_rejections(row.replicates, row.reference, row.level)
        if what == "power":
            expected, law = row.exact, stats.binom(row.replicates, row.exact)
        if what == "bound":  # at the highest level that the critical value may have; a power below it is no matter
            count = exceedances(row.reference, row.level)
            level = stats.beta.isf(tail, count, row.reference + 1 - count)
            expected, least = row.most_powerful, 1.0
            law = stats.binom(row.replicates, most_powerful(level, row.n, *NORMAL[row.alternative]))
        if max(law.cdf(row.rejections), least) < tail or law.sf(row.rejections - 1) < tail:
            complaints.append(
                f"{what} of {row.statistic} against {row.alternative} at n = {row.n} is {row.estimate:.4f}, not "
                f"{'at most ' if what == 'bound' else ''}{expected:.4f}"
            )
    return complaints


@themed()
def figures(summary: pd.DataFrame) -> dict[str, Figure]:
    drawn = {"power": _curves(summary[summary["quantity"] == "power"])}
    efficiency = summary[summary["quantity"] == "efficiency"]
    if len(efficiency):
        drawn["power_efficiency"] = _efficiency_map(efficiency)
    return drawn


def _curves(power: pd.DataFrame) -> Figure:
    laws, names = list(dict.fromkeys(power["alternative"])), list(dict.fromkeys(power["statistic"]))
    shown = [name for name in HIGHLIGHTED if name in names]
    # The eighth colour is the grey that the other tests have.
    colours, markers = palette([*shown[:7], "grey", *shown[7:]]), dict(zip(shown, "osD^vPX*", strict=False))
    lines = -(-len(laws) // 5)
    columns = -(-len(laws) // lines)
    figure = new_figure(1.2 + 2.5 * columns, 1.1 + 2.0 * lines)
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, law in zip(axes, laws, strict=False):
        part = power[power["alternative"] == law]
        for name in sorted(names, key=lambda name: name in shown):
            curve = part[part["statistic"] == name].sort_values("n")
            style = {"color": "0.72", "lw": 0.8, "label": "the other tests"}
            if name in shown:
                style = {"color": colours[name], "marker": markers[name], "ms": 3.5, "lw": 1.3, "label": label(name)}
            axis.plot(curve["n"], curve["estimate"], **style)
            axis.fill_between(curve["n"], curve["low"], curve["high"], color=style["color"], alpha=0.25, lw=0)
        if law in NORMAL and law != "null":
            bound = part.drop_duplicates("n").sort_values("n")
            axis.plot(bound["n"], bound["most_powerful"], color="0", ls=":", lw=1.3, label="most powerful test")
        axis.axhline(part["level"].iloc[0], color="0.4", ls="--", lw=0.9, zorder=0, label="level")
        axis.set_title(label(law))
        axis.set_ylim(-0.03, 1.03)
        sizes = sorted(part["n"].unique())
        log_ticks(axis, sizes if len(sizes) < 5 else sizes[::2])
    for axis in axes[len(laws) :]:
        axis.remove()
    for axis in axes[max(0, len(laws) - columns) : len(laws)]:
        axis.set_xlabel("samples n")
        axis.tick_params(labelbottom=True)
    for axis in axes[::columns]:
        axis.set_ylabel("rejection rate\n(bands: 95%)")
    entries: dict[str, Artist] = {}
    for axis in axes[: len(laws)]:
        entries |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    figure.legend(
        list(entries.values()), list(entries), loc="outside lower center", ncols=min(6, len(entries)), frameon=False
    )
    return figure


def _efficiency_map(efficiency: pd.DataFrame) -> Figure:
    laws, names = list(dict.fromkeys(efficiency["alternative"])), list(dict.fromkeys(efficiency["statistic"]))
    table = efficiency.pivot(index="statistic", columns="alternative", values="estimate").reindex(names)[laws]
    order = table.rank().mean(axis=1).sort_values(ascending=False).index
    values = table.loc[order].to_numpy()
    figure = new_figure(2.6 + 0.62 * len(laws), 1.9 + 0.34 * len(names))
    axis = figure.subplots()
    colours = colormaps["PuOr"].with_extremes(bad="0.92")
    with np.errstate(divide="ignore"):
        image = axis.imshow(np.clip(np.log2(values), -3, 3), cmap=colours, vmin=-3, vmax=3, aspect="auto")
    for line, place in np.ndindex(*values.shape):
        value = values[line, place]
        text = "" if np.isnan(value) else "–" if value == 0 else "∞" if np.isinf(value) else f"{value:.2g}"
        dark = value < 1 / 4 or value > 4
        axis.text(place, line, text, ha="center", va="center", fontsize=8, color="1" if dark else "0")
    axis.set_xticks(range(len(laws)), [label(law) for law in laws], rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(names)), [label(name) for name in order])
    axis.grid(visible=False)
    bar = figure.colorbar(image, ax=axis, pad=0.01, ticks=[-3, -2, -1, 0, 1, 2, 3])
    bar.ax.set_yticklabels(["1/8 or less", "1/4", "1/2", "1", "2", "4", "8 or more"])
    axis.set_title(
        "samples for power 1/2: those of Epps-Pulley over those of the test (–: the test never gets there; ∞: only it)"
    )
    return figure


def report(summary: pd.DataFrame) -> str:
    parts = {quantity: summary[summary["quantity"] == quantity] for quantity in QUANTITIES}
    power, names = parts["power"], list(dict.fromkeys(parts["power"]["statistic"]))
    laws = [law for law in dict.fromkeys(power["alternative"]) if law != "null"]
    lines = [*_below_level(power), *_leaders(parts["rank"], laws), *_efficiency_lines(parts["efficiency"])]
    lines += [*_bound_line(power), *_matched_moments(power)]
    return "\n".join(lines) + "\n\n" + _ranking_table(parts, names) + "\n\n" + _size_power_table(power, names)


def _below_level(power: pd.DataFrame) -> list[str]:
    """Powers below the level, at a normal approximation to the law of ``_contradictions``, all comparisons together."""
    others = power[power["alternative"] != "null"]
    variance = others["level"] * (1 - others["level"]) * (1 / others["replicates"] + 1 / others["reference"])
    deviation = (others["estimate"] - others["level"]) / np.sqrt(variance)
    below = others[deviation < -stats.norm.isf(ERROR_RATE / len(others))]
    if below.empty:
        return [f"- None of {len(others)} powers lies below the level."]
    cases = "; ".join(
        f"{label(row['statistic'])} {span(row, 3)} against {label(row['alternative'])} at n = {row['n']}"
        for _, row in below.sort_values("estimate").drop_duplicates("statistic").head(4).iterrows()
    )
    last = below[below["n"] == others["n"].max()].sort_values("estimate")
    stay = ", ".join(f"{label(row.statistic)} against {label(row.alternative)}" for row in last.head(3).itertuples())
    free = [label(name) for name in dict.fromkeys(power["statistic"]) if name not in set(below["statistic"])]
    least = below.loc[below["estimate"].idxmin()]
    return [
        f"- Worse than blind: {len(below)} of {len(others)} powers lie below the level, those of "
        f"{below['statistic'].nunique()} of {power['statistic'].nunique()} tests; the lowest is that of "
        f"{label(least['statistic'])} against {label(least['alternative'])} at n = {least['n']}, {span(least, 3)}.",
        f"- Below the level (all comparisons together wrong with probability {ERROR_RATE:g}), the lowest: {cases}."
        + (f" More samples do not mend {len(last)} of them: at n = {others['n'].max()} still {stay}." if stay else "")
        + (f" Never below: {', '.join(free)}." if free else ""),
    ]


def _leaders(rank: pd.DataFrame, laws: list[str]) -> list[str]:
    """The tests of the best mean rank, over all n and at the ends."""
    if rank.empty:
        return []
    lines, sizes = [], sorted(rank["n"].unique())
    for n in (0, sizes[1], sizes[-1]):
        part = rank[rank["n"] == n].sort_values("estimate")
        tied = int((part["low"] <= part["high"].iloc[0]).sum())
        first = ", ".join(f"{label(row['statistic'])} {span(row, 1)}" for _, row in part.head(3).iterrows())
        ties = f" ({tied} tests tie for the first place)" if tied > 1 else ""
        lines.append(f"{f'at n = {n}' if n else 'over all n'} {first}{ties}")
    shape = sum(law not in NORMAL for law in laws)
    return [
        f"- Best mean ranks among {rank['statistic'].nunique()} tests: {'; '.join(lines)}. Of the {len(laws)} "
        f"alternatives {shape} have mean 0 and variance 1: the ranking favours tests of shape alone."
    ]


def _efficiency_lines(efficiency: pd.DataFrame) -> list[str]:
    if efficiency.empty:
        return []
    lines = []
    for name in ("anderson_darling", "shapiro_wilk"):
        part = efficiency[efficiency["statistic"] == name]
        if len(part):
            middle = part[["estimate", "low", "high"]].median()
            best, worst = part.loc[part["estimate"].idxmax()], part.loc[part["estimate"].idxmin()]
            lines.append(
                f"{label(name)} {_ratio(middle)} in the median over {len(part)} alternatives, from {_ratio(worst)} "
                f"({label(worst['alternative'])}) to {_ratio(best)} ({label(best['alternative'])})"
            )
    return (
        [f"- Efficiency relative to Epps-Pulley (above 1: needs fewer samples): {'; '.join(lines)}."] if lines else []
    )


def _bound_line(power: pd.DataFrame) -> list[str]:
    known = power[power["most_powerful"].between(0.3, 0.9)].copy()
    if known.empty:
        return []
    text = []
    for law, part in known.groupby("alternative", sort=False):
        best = part.loc[(part["most_powerful"] - part["estimate"]).groupby(part["n"]).idxmin()]
        one = best.loc[(best["most_powerful"] - 0.6).abs().idxmin()]
        text.append(
            f"{label(str(law))} at n = {one['n']:.0f}: {label(one['statistic'])} {span(one, 3)} of "
            f"{one['most_powerful']:.3f}"
        )
    return [f"- How near the best comes to the most powerful test, whose power is exact: {'; '.join(text)}."]


def _matched_moments(power: pd.DataFrame) -> list[str]:
    n, lines = power["n"].max(), []
    for law in [law for law in dict.fromkeys(power["alternative"]) if str(law).startswith("gauss_hermite")][-2:]:
        part = power[(power["alternative"] == law) & (power["n"] == n)].sort_values("estimate", ascending=False)
        blind = part[part["high"] < 3 * part["level"]]
        rest = part.drop(blind.index)["estimate"]
        names = [f"{label(row['statistic'])} {span(row, 3)}" for _, row in blind.head(1).iterrows()]
        names += [f"{label(name)}" for name in blind["statistic"].iloc[1:]]
        lines.append(f"{label(str(law))}: {', '.join(names)}" + (f"; the others {rest.min():.2f}" if len(rest) else ""))
    text = "Discrete laws that match the first moments, 2 per atom less one"
    return [f"- {text}; tests below three times the level at n = {n}, by power: {'. '.join(lines)}."] if lines else []


def _ranking_table(parts: dict[str, pd.DataFrame], names: list[str]) -> str:
    rank = parts["rank"][parts["rank"]["n"] == 0].set_index("statistic")
    efficiency, samples, power = parts["efficiency"], parts["samples_for_half"], parts["power"]
    table = []
    for name in rank.sort_values("estimate").index if len(rank) else names:
        ratios = efficiency[efficiency["statistic"] == name][["estimate", "low", "high"]]
        reached = samples[(samples["statistic"] == name) & np.isfinite(samples["estimate"])]
        null = power[(power["alternative"] == "null") & (power["statistic"] == name)]
        size = f"{null['estimate'].min():.4f} to {null['estimate'].max():.4f}" if len(null) else ""
        middle = "1" if name == BASE else _ratio(ratios.median()) if len(ratios) else ""
        place = rank.loc[name]
        table.append(
            [label(name), span(place, 1), middle, f"{len(reached)} of {samples['alternative'].nunique()}", size]
        )
    return (
        "Ranking. Mean rank over alternatives and n (range that the powers' 95% intervals leave: tests whose ranges "
        "overlap tie); median over alternatives of the efficiency relative to Epps-Pulley (medians of the interval "
        "ends; ∞ where only the test reaches power 1/2); alternatives against which it reaches power 1/2; measured "
        "size over n:\n\n" + markdown_table(["test", "mean rank", "efficiency", "reaches 1/2", "size"], table)
    )


def _size_power_table(power: pd.DataFrame, names: list[str]) -> str:
    sizes = sorted(power["n"].unique())
    n = sizes[len(sizes) // 2]
    shown = [name for name in HIGHLIGHTED if name in names][:6]
    at = power[power["n"] == n].set_index(["alternative", "statistic"])
    rows = [
        [label(law), *(span(at.loc[(law, name)], 3) for name in shown)] for law in dict.fromkeys(power["alternative"])
    ]
    return f"Size and power at n = {n} (95% interval) of {len(shown)} tests; summary.csv has all:\n\n" + markdown_table(
        ["alternative", *(label(name) for name in shown)], rows
    )


def _ratio(row: "pd.Series") -> str:
    return span(row).replace("inf", "∞")


def _preset(statistics: list[str], laws: list[str], n: list[int], replicates: int, reference: int) -> Config:
    return {
        "n": n,
        "alternative": laws,
        "statistics": statistics,
        "alpha": 0.05,
        "replicates": replicates,
        "reference": reference,
    }


FOUR = ["epps_pulley", "anderson_darling", "extended_jarque_bera", "vcreg"]
FIVE_LAWS = ["null", "location_0.3", "scale_1.25", "laplace", "uniform", "t5"]
SIZES = [8, 16, 32, 64, 128, 256, 512, 1024]

STUDY = Study(
    name="power",
    title="Power of univariate statistics",
    question="Which departures from N(0, 1) does each statistic see, at the same level and sample size?",
    expectation="Moment tests lead against location and scale; VCReg is blind to shape; Anderson-Darling and "
    "Epps-Pulley see everything, Anderson-Darling more of the tails. Over all alternatives Anderson-Darling ranks "
    "first and needs fewer samples than Epps-Pulley against most; Shapiro-Wilk leads against shape. A few tests "
    "at small n reject light tails less often than the null. No moment test sees a Gauss-Hermite law of ten atoms.",
    seed=20251108,
    axes=("n", "alternative"),
    paired=("alternative",),
    presets={
        "smoke": _preset(STATISTICS, FIVE_LAWS, [16, 64], 400, 1_999),
        "quick": _preset(FOUR, FIVE_LAWS, [50, 128], 20_000, 99_999),
        "standard": _preset(STATISTICS, ALTERNATIVES, SIZES, 25_000, 99_999),
        "paper": _preset(STATISTICS, ALTERNATIVES, SIZES, 2_000_000, 9_999_999),
    },
    measure=measure,
    summarize=summarize,
    verify=verify,
    figures=figures,
    report=report,
)
