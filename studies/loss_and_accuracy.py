"""Does the training loss rank runs as the accuracy of a frozen probe does, and what does lambda alone do?

LeJEPA (arXiv 2511.08544, section 6.2) minimises (1 - lambda) prediction + lambda SIGReg and finds that

    C(alpha) = -Spearman(loss / lambda^alpha, accuracy)                                                     [eq. 8]

over runs that differ in learning rate, weight decay, epochs and lambda is about 0.85 at alpha = 0 and 0.99 at
alpha = 0.4, so that a run can be chosen without labels. Its Fig. 11 draws |C|; here C keeps its sign, and is positive
where less loss goes with more accuracy. A run is a pretraining on handwritten digits; its loss is the mean over the
last tenth of the steps, its accuracy that of a linear probe on the test images.

Other orders are measured alike: each term alone, the largest lambda, the longest training, and the accuracy on labelled
validation images, by which one would choose if there were labels. As alpha grows, runs are ordered by lambda and, where
lambda is equal, by the loss. At equal lambda C does not depend on alpha. Scopes, of which C is a mean:

all                the runs of a seed
fixed lambda       of a seed and a lambda
fixed steps        of a seed and a number of steps
fixed both         of a seed, a lambda and a number of steps
lambda <a> to <b>  of a seed, those whose lambda lies there

Intervals come from leaving out one configuration (lambda, learning rate, steps) at a time, within the strata of the
scope, with Student's factor. A configuration keeps its weight decays and seeds: at small learning rates these runs are
nearly the same. Where they claim 95% they cover 91 to 99% of a normal copula's C, more than 97% in small strata. With
both fixed a stratum has too few configurations, and the interval is Student's over strata. Regrets, the best alpha and
C there are no smooth functions of the runs and have percentile intervals of the bootstrap over configurations: what
other sets of them would have given.
"""

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray
from scipy import special, stats

from sigreg_lab.experiment import Study, mean_interval, rate_interval
from sigreg_lab.experiment.study import Cell, Config, Row
from sigreg_lab.figures.plots import grouped_intervals
from sigreg_lab.figures.tables import markdown_table, span
from sigreg_lab.figures.theme import label, legend_below, new_figure, palette, themed
from sigreg_lab.pretrain import PretrainConfig, evaluate, pretrain
from sigreg_lab.regularizers import make_regularizer
from sigreg_lab.slicing import seeded_generator

Real = NDArray[np.float64]
Labels = NDArray[np.intp]
#: Weights (B, n) of runs to A numbers each, shape (B, A).
Statistic = Callable[[Real], Real]
#: Value and ends of its interval.
Estimate = tuple[float, float, float]

SEED = 20251121
REGULARIZERS = ["sigreg-ep", "sigreg-ejb", "sigreg-vcreg"]
LAMBDAS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3]
#: Label budgets of the probe, as ``evaluate`` names them.
LABELS = {"all": "all 997 labels", "1": "1 label per class"}
#: Loss terms: their columns here, where "regularizer" is an axis, and in the history of a run.
TERMS = {"loss": "total", "prediction": "prediction", "penalty": "regularizer"}
CONFIGURATION = ["lam", "lr", "weight_decay", "steps"]
#: What is resampled: runs that differ in weight decay and seed alone stay together.
UNIT = ["lam", "lr", "steps"]
#: What the strata of a scope have in common.
SCOPES = {"all": [], "fixed lambda": ["lam"], "fixed steps": ["steps"], "fixed both": ["lam", "steps"]}

#: Eq. 8's exponent as the paper recommends it, and the C that it reports at that and at 0.
PAPER_ALPHA = 0.4
PAPER_C = {"loss": 0.85, "scaled loss": 0.99}
#: The range of the paper's Fig. 11.
ALPHAS = np.round(np.linspace(-3, 3, 31), 1)
#: So large that lambda^alpha outweighs any ratio of losses, and does not overflow.
LARGE_ALPHA = 50.0
#: Halvings over which the choice of alpha on one half for the other is averaged.
HALVINGS = 10

#: Of the regulariser's value at a point; a run above it counts as collapsed.
NEAR_A_POINT = 0.9

PERMUTATIONS = 4000
#: Probability that chance alone makes the study fail: two-sided, over all its comparisons.
FAMILY = 0.001
ROUNDING = 1e-9
Z95 = 1.959964
MARKERS = "ovs^D"

#: Orders of runs: what is least in the run that is chosen.
ORDERS = {
    "validation accuracy": "best validation accuracy\n(needs labels)",
    "loss": "least loss",
    "scaled loss": f"least loss / λ^{PAPER_ALPHA:g}",
    "prediction": "least prediction loss",
    "penalty": "least regulariser",
    "largest lambda": "largest λ, any run",
    "smallest lambda": "smallest λ, any run",
    "longest training": "longest training, any run",
    "any run": "any run",
}
#: Orders by one setting alone.
ALONE = {"largest lambda": "lam", "longest training": "steps"}
NAMES = {
    "loss": "loss",
    "scaled loss": f"loss / lambda^{PAPER_ALPHA:g}",
    "prediction": "prediction loss alone",
    "penalty": "regulariser alone",
    "largest lambda": "largest lambda",
    "longest training": "longest training",
    "validation accuracy": "validation accuracy",
}


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    train_seed, draw_seed = seed.spawn(2)
    config = PretrainConfig(
        regularizer=str(cell["regularizer"]),
        lam=float(cell["lam"]),
        lr=float(cell["lr"]),
        weight_decay=float(cell["weight_decay"]),
        steps=int(cell["steps"]),
        seed=int(train_seed.generate_state(1)[0]),
        batch_size=settings["batch_size"],
        device="cpu",  # the same rows wherever they are made
    )
    result = pretrain(config)
    last = result.history[-max(1, config.steps // 10) :]
    row = {column: float(np.mean([step[term] for step in last])) for column, term in TERMS.items()}
    accuracy = evaluate(result, draws=settings["draws"], seed=draw_seed)
    return [row | {name: accuracy[name] for budget in LABELS for name in (f"validation_{budget}", f"test_{budget}")}]


# Rank correlations of weighted runs, and their intervals


def ordering(x: Real) -> Real:
    """sign(x_j - x_i), shape (n, n)."""
    return np.asarray(np.sign(x[None, :] - x[:, None]))


def rank_correlation(x: Real, y: Real, weights: Real) -> Real:
    """Spearman's correlations with run i counted ``weights[:, i]`` times, ties at mid-ranks; 0 where nothing varies.

    The mid-rank of run j less its mean is sum_i w_i sign(x_j - x_i) / 2.

    Args:
        x: variables, shape (A, n).
        y: what they are correlated with, shape (n,).
        weights: shape (B, n).

    Returns:
        Shape (B, A).
    """
    s = weights @ ordering(y)
    spread = np.einsum("bn,bn,bn->b", weights, s, s)
    s *= weights
    found = np.zeros((len(weights), len(x)))
    for column, variable in zip(found.T, x, strict=True):
        r = weights @ ordering(variable)
        squares = np.einsum("bn,bn->b", weights * r, r) * spread
        np.divide(np.einsum("bn,bn->b", s, r), np.sqrt(squares), out=column, where=squares > 0)
    return found


def agreement(scores: Real, accuracy: Real, strata: Labels) -> Statistic:
    """C of scores (A, seeds, n) with accuracies (seeds, n), mean over seeds and strata."""
    groups = [strata == stratum for stratum in np.unique(strata)]
    pairs = [(own, scores[:, seed, own], accuracy[seed, own]) for own in groups for seed in range(len(accuracy))]

    def statistic(weights: Real) -> Real:
        return -np.mean([rank_correlation(x, y, weights[:, own]) for own, x, y in pairs], axis=0)

    return statistic


def regret(scores: Real, accuracy: Real) -> Statistic:
    """Accuracy of the best run less that of the run with the least score (mean over ties), mean over seeds."""

    def lost(x: Real, y: Real, weights: Real) -> Real:
        there = np.where(weights > 0, x, np.inf)
        chosen = weights * (there == there.min(1, keepdims=True))
        return np.where(weights > 0, y, -np.inf).max(1) - chosen @ y / chosen.sum(1)

    def statistic(weights: Real) -> Real:
        seeds = range(len(accuracy))
        return np.mean([[lost(x[k], accuracy[k], weights) for x in scores] for k in seeds], axis=0).T

    return statistic


def jackknife(statistic: Statistic, strata: Labels, units: Labels, bound: float) -> list[Estimate]:
    """Estimates with 95% intervals from leaving out one unit at a time, with Student's factor, cut at +-``bound``.

    The variance is sum_s (m_s - 1)/m_s sum_u (T_-u - mean_s T_-u)^2 over strata s of m_s units u.
    """
    names, first = np.unique(units, return_index=True)
    left_out = statistic((units != names[:, None]).astype(float))
    stratum = strata[first]
    variance = np.zeros(left_out.shape[1])
    for own in (left_out[stratum == s] for s in np.unique(stratum)):
        variance += (len(own) - 1) / len(own) * ((own - own.mean(0)) ** 2).sum(0)
    half = stats.t.ppf(0.975, len(names) - len(np.unique(stratum))) * np.sqrt(variance)
    estimates = statistic(np.ones((1, len(units))))[0]
    return [
        (float(t), float(max(t - h, -bound)), float(min(t + h, bound))) for t, h in zip(estimates, half, strict=True)
    ]


def bootstrap(statistic: Statistic, units: Labels, replicates: int, rng: np.random.Generator) -> list[Estimate]:
    """Estimates with 95% percentile intervals over units drawn with replacement."""
    names, unit = np.unique(units, return_inverse=True)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=replicates)[:, unit]
    low, high = np.quantile(statistic(drawn.astype(float)), [0.025, 0.975], axis=0)
    estimates = statistic(np.ones((1, len(units))))[0]
    return [(float(t), float(a), float(b)) for t, a, b in zip(estimates, low, high, strict=True)]


# Estimates


class Runs(NamedTuple):
    """The runs of one regulariser at one label budget: arrays of shape (seeds, n), and labels of their n columns."""

    columns: dict[str, Real]
    accuracy: Real
    scores: dict[str, Real]
    strata: dict[str, Labels]
    units: Labels
    replicates: int
    rng: np.random.Generator

    def scaled_losses(self, alphas: Real) -> Real:
        """Shape (alphas, seeds, n)."""
        return np.asarray(self.columns["loss"] / self.columns["lam"] ** alphas[:, None, None])

    def of(self, orders: Iterable[str]) -> Real:
        """Scores, shape (orders, seeds, n)."""
        return np.stack([self.scores[order] for order in orders])

    def agreement(self, scores: Real, scope: str = "all", own: Labels | slice = slice(None)) -> Statistic:
        return agreement(scores[..., own], self.accuracy[:, own], self.strata[scope][own])

    def jackknife(
        self, statistic: Statistic, scope: str = "all", own: Labels | slice = slice(None), bound: float = 1.0
    ) -> list[Estimate]:
        return jackknife(statistic, self.strata[scope][own], self.units[own], bound)

    def bootstrap(self, statistic: Statistic, own: Labels | slice = slice(None)) -> list[Estimate]:
        return bootstrap(statistic, self.units[own], self.replicates, self.rng)


def _runs(part: pd.DataFrame, budget: str, replicates: int, rng: np.random.Generator) -> Runs:
    part = part.sort_values(["seed", *CONFIGURATION])
    once = part[part["seed"] == part["seed"].iloc[0]]
    numbers = part.select_dtypes("number")
    columns = {str(name): numbers[name].to_numpy(dtype=float).reshape(-1, len(once)) for name in numbers}
    lam = columns["lam"]
    scores = {
        "validation accuracy": -columns[f"validation_{budget}"],
        **{name: columns[name] for name in TERMS},
        "scaled loss": columns["loss"] / lam**PAPER_ALPHA,
        "largest lambda": -lam,
        "smallest lambda": lam,
        "longest training": -columns["steps"],
        "any run": np.zeros_like(lam),
    }
    alike = np.zeros(len(once), dtype=np.intp)
    strata = {scope: once.groupby(keys).ngroup().to_numpy() if keys else alike for scope, keys in SCOPES.items()}
    units = once.groupby(UNIT).ngroup().to_numpy()
    return Runs(columns, columns[f"test_{budget}"], scores, strata, units, replicates, rng)


def summarize(rows: pd.DataFrame, settings: Config) -> pd.DataFrame:
    """Estimates by regulariser and label budget; rows of quantity "run" are the runs themselves, for the figures."""
    found: list[Row] = []
    for index, (name, part) in enumerate(rows.groupby("regularizer", sort=False)):
        at_a_point = value_at_a_point(str(name), settings["batch_size"])
        for budget in LABELS:
            rng = np.random.default_rng([SEED, index, *budget.encode()])
            runs = _runs(part, budget, settings["replicates"], rng)
            found += [{"regularizer": name, "labels": budget, **row} for row in _collapsed(runs, at_a_point)]
            for estimates in (_correlations, _curves, _ranges, _held_out, _regrets, _identities, _null, _points):
                found += [{"regularizer": name, "labels": budget, **row} for row in estimates(runs)]
    return pd.DataFrame(found)


def _row(quantity: str, order: str, scope: str, values: Estimate, **more: float) -> Row:
    estimate = dict(zip(("value", "low", "high"), values, strict=True))
    return {"quantity": quantity, "order": order, "scope": scope, **estimate, **more}


def value_at_a_point(name: str, batch_size: int) -> float:
    """The regulariser's value where all embeddings lie at the origin: what it is at complete collapse."""
    regularizer = make_regularizer(name, num_slices=1)
    assert regularizer is not None
    return float(regularizer(torch.zeros(1, batch_size, 2), seeded_generator(0)))


def _collapsed(runs: Runs, at_a_point: float) -> list[Row]:
    """Share of the runs whose regulariser ends near its value at a point, by lambda, with Wilson's interval."""
    lam, near = runs.columns["lam"], runs.columns["penalty"] > NEAR_A_POINT * at_a_point
    found = []
    for value in np.unique(lam):
        own = near[lam == value]
        ends = rate_interval(int(own.sum()), own.size)
        found.append(_row("collapsed", "", f"lambda {value:g}", (float(own.mean()), *ends), lam=float(value)))
    return found


def _correlations(runs: Runs) -> list[Row]:
    """C of the orders that a scope does not fix; the scaled loss against the loss and against lambda alone."""
    found = []
    for scope, fixed in SCOPES.items():
        orders = [order for order in NAMES if ALONE.get(order) not in fixed]
        scores = runs.of(orders)
        if scope == "fixed both":
            values = _over_strata(runs, scores, scope)
        else:
            values = runs.jackknife(runs.agreement(scores, scope), scope)
        found += [_row("C", order, scope, estimate) for order, estimate in zip(orders, values, strict=True)]
    three = runs.agreement(runs.of(("scaled loss", "loss", "largest lambda")))

    def differences(weights: Real) -> Real:
        scaled, loss, lam = three(weights).T
        return np.stack([scaled - loss, scaled - abs(lam)], axis=1)

    less_loss, less_lambda = runs.jackknife(differences, bound=2.0)
    return [
        *found,
        _row("C less that of the loss", "scaled loss", "all", less_loss),
        _row("C less |C| of lambda", "scaled loss", "all", less_lambda),
    ]


def _over_strata(runs: Runs, scores: Real, scope: str) -> list[Estimate]:
    """Mean of C over strata, with Student's interval over them."""
    strata = runs.strata[scope]
    places = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    each = np.array([runs.agreement(scores, scope, own)(np.ones((1, len(own))))[0] for own in places])
    ends = [mean_interval(values) for values in each.T]
    return [(float(v.mean()), max(a, -1.0), min(b, 1.0)) for v, (a, b) in zip(each.T, ends, strict=True)]


def _curves(runs: Runs) -> list[Row]:
    """C(alpha), and its limits."""
    found = []
    limits = np.array([-np.inf, np.inf])
    for scope, alphas, scores in (
        ("all", ALPHAS, runs.scaled_losses(ALPHAS)),
        ("fixed steps", ALPHAS, runs.scaled_losses(ALPHAS)),
        ("all", limits, _limits(runs)),
    ):
        values = runs.jackknife(runs.agreement(scores, scope), scope)
        curve = zip(alphas, values, strict=True)
        found += [_row("C(alpha)", "scaled loss", scope, estimate, alpha=float(alpha)) for alpha, estimate in curve]
    return found


def _limits(runs: Runs) -> Real:
    """Places of the runs by lambda, from small to large and from large to small, and by the loss at equal lambda."""
    loss, lam = runs.columns["loss"], runs.columns["lam"]
    return np.stack([np.lexsort((loss, sign * lam), axis=-1).argsort(axis=-1) for sign in (1, -1)]).astype(float)


def _choice(runs: Runs, own: Labels | slice = slice(None)) -> Statistic:
    """C at each of ``ALPHAS``."""
    return runs.agreement(runs.scaled_losses(ALPHAS), own=own)


def _ranges(runs: Runs) -> list[Row]:
    """C and the best alpha by the range of lambdas that are tried."""
    lam = runs.columns["lam"][0]
    tried = np.unique(lam)
    orders = ("loss", "scaled loss", "largest lambda")
    found = []
    for first, last in itertools.combinations(range(len(tried)), 2):
        own = np.flatnonzero((lam >= tried[first]) & (lam <= tried[last]))
        if len(own) == len(lam):
            scope = "all"
        elif last - first >= 2:
            scope = f"lambda {tried[first]:g} to {tried[last]:g}"
            values = runs.jackknife(runs.agreement(runs.of(orders), own=own), own=own)
            found += [_row("C", order, scope, estimate) for order, estimate in zip(orders, values, strict=True)]
        else:
            continue
        curve = _choice(runs, own)
        (best,) = runs.bootstrap(lambda w, curve=curve: ALPHAS[curve(w).argmax(1)][:, None], own)  # type: ignore[misc]
        found.append(_row("best alpha", "scaled loss", scope, best))
    return found


def _held_out(runs: Runs) -> list[Row]:
    """C at the alpha that is best on one half of the configurations, measured on the other half."""
    every = np.unique(runs.units)
    halves = [np.isin(runs.units, runs.rng.permutation(every)[: len(every) // 2]) for _ in range(HALVINGS)]
    curves = [[(own, _choice(runs, np.flatnonzero(own))) for own in (half, ~half)] for half in halves]
    zero = int(np.flatnonzero(ALPHAS == 0)[0])

    def statistic(weights: Real) -> Real:
        found = []
        for (half, choose), (other, judge) in curves:
            best, judged = choose(weights[:, half]).argmax(1), judge(weights[:, other])
            chosen = judged[np.arange(len(best)), best]
            found.append([chosen, chosen - judged[:, zero]])
        return np.mean(found, axis=0).T

    chosen, gain = runs.bootstrap(statistic)
    return [
        _row("held-out C", "scaled loss", "all", chosen),
        _row("held-out C less that of the loss", "scaled loss", "all", gain),
    ]


def _regrets(runs: Runs) -> list[Row]:
    lost = regret(runs.of(ORDERS), runs.accuracy)
    chance = list(ORDERS).index("any run")
    values = {
        "regret": runs.bootstrap(lost),
        "gain over any run": runs.bootstrap(lambda w: lost(w)[:, [chance]] - lost(w)),
    }
    return [
        _row(quantity, order, "all", estimate)
        for quantity, estimates in values.items()
        for order, estimate in zip(ORDERS, estimates, strict=True)
    ]


def _identities(runs: Runs) -> list[Row]:
    """Differences that are 0 but for rounding."""
    once = np.ones((1, len(runs.units)))

    def values(scores: Real, scope: str = "all") -> Real:
        return np.asarray(runs.agreement(scores, scope)(once)[0])

    at_limits = values(runs.scaled_losses(np.array([-LARGE_ALPHA, LARGE_ALPHA]))) - values(_limits(runs))
    pairs = zip(runs.columns["lam"], runs.accuracy, strict=True)
    by_scipy = np.mean([np.nan_to_num(stats.spearmanr(lam, accuracy).statistic) for lam, accuracy in pairs])
    scaled, loss = values(runs.of(("scaled loss", "loss")), "fixed lambda")
    differences = {
        f"C({-LARGE_ALPHA:g}) less its limit": at_limits[0],
        f"C({LARGE_ALPHA:g}) less its limit": at_limits[1],
        "C of lambda alone less SciPy's": values(runs.of(["largest lambda"]))[0] - by_scipy,
        "C less that of the loss at fixed lambda": scaled - loss,
    }
    return [
        _row(f"rounding: {name}", "scaled loss", "all", (float(value),) * 3, exact=0.0)
        for name, value in differences.items()
    ]


def _null(runs: Runs) -> list[Row]:
    """Accuracies permuted among runs: C has mean 0 and variance 1/(n - 1), whatever the ties."""
    loss, accuracy = runs.columns["loss"][0], runs.accuracy[0]
    permuted = runs.rng.permuted(np.tile(loss, (PERMUTATIONS, 1)), axis=1)
    drawn = -rank_correlation(permuted, accuracy, np.ones((1, len(loss))))[0]
    found = []
    for quantity, values, exact in (("mean", drawn, 0.0), ("variance", drawn**2, 1 / (len(loss) - 1))):
        mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
        estimate = (mean, mean - Z95 * error, mean + Z95 * error)
        found.append(_row(f"null {quantity}", "loss", "all", estimate, exact=exact, deviation=(mean - exact) / error))
    return found


def _points(runs: Runs) -> list[Row]:
    columns = {name: runs.columns[name].ravel() for name in (*CONFIGURATION, "seed", *TERMS)}
    nothing = (np.nan, np.nan)
    return [
        _row("run", "", "", (accuracy, *nothing), **dict(zip(columns, map(float, values), strict=True)))
        for accuracy, *values in zip(runs.accuracy.ravel(), *columns.values(), strict=True)
    ]


def verify(summary: pd.DataFrame) -> list[str]:
    """Permuted accuracies have the exact mean and variance (family-wise 99.9%); identities hold to rounding."""
    null = summary[summary["quantity"].str.startswith("null")]
    limit = special.ndtri(1 - FAMILY / (2 * max(1, len(null))))
    rounding = summary[summary["quantity"].str.startswith("rounding")]
    return [
        f"{row.quantity} of C ({row.regularizer}, {row.labels}) is {row.value:.6g}, not {row.exact:.6g} "
        f"({row.deviation:+.1f} standard errors)"
        for row in null[~(null["deviation"].abs() <= limit)].itertuples()
    ] + [
        f"{row.quantity} ({row.regularizer}, {row.labels}): {row.value:.1e}, not 0"
        for row in rounding[~(rounding["value"].abs() <= ROUNDING)].itertuples()
    ]


# Figures


@themed()
def figures(summary: pd.DataFrame) -> dict[str, Figure]:
    return {
        "correlation_over_alpha": _curve_figure(summary),
        "planes_of_losses": _plane_figure(summary),
        "loss_against_accuracy": _scatter_figure(summary),
        "regret": _regret_figure(summary),
    }


def _panels(summary: pd.DataFrame, height: float, *, share: bool) -> tuple[Figure, list[tuple[Axes, str, str]]]:
    """A panel for each label budget (rows) and regulariser (columns)."""
    names = list(dict.fromkeys(summary["regularizer"]))
    figure = new_figure(1.6 + 3.2 * len(names), height)
    axes = figure.subplots(len(LABELS), len(names), squeeze=False, sharex=share, sharey="row" if share else False)
    keys = list(itertools.product(LABELS, names))
    panels = [(axis, budget, name) for axis, (budget, name) in zip(axes.flat, keys, strict=True)]
    for axis, budget, name in panels:
        axis.set_title(f"{label(name)}, {LABELS[budget]}", fontsize=9)
    return figure, panels


def _curve_figure(summary: pd.DataFrame) -> Figure:
    """Fig. 11 of the paper, with its sign, and what lambda alone and the loss at fixed lambda do."""
    figure, panels = _panels(summary, 6.4, share=True)
    texts = {"all": "all runs", "fixed steps": "equal number of steps"}
    colours = palette([*texts, "fixed lambda", "lambda"])
    end = 3.7
    for axis, budget, name in panels:
        part = summary[(summary["regularizer"] == name) & (summary["labels"] == budget)]
        for scope, text in texts.items():
            curve = part[(part["quantity"] == "C(alpha)") & (part["scope"] == scope) & np.isfinite(part["alpha"])]
            axis.plot(curve["alpha"], curve["value"], lw=1.6, color=colours[scope], label=text)
            axis.fill_between(curve["alpha"], curve["low"], curve["high"], color=colours[scope], alpha=0.18, lw=0)
        correlations = part[part["quantity"] == "C"].set_index(["scope", "order"])
        row = correlations.loc[("fixed lambda", "loss")]
        axis.axhline(
            row["value"], color=colours["fixed lambda"], lw=1.4, ls="--", label="equal λ (does not depend on α)"
        )
        axis.axhspan(row["low"], row["high"], color=colours["fixed lambda"], alpha=0.10, lw=0)
        row = correlations.loc[("all", "largest lambda")]
        for sign in (1, -1):
            axis.errorbar(
                [sign * end],
                [sign * row["value"]],
                yerr=[[row["value"] - row["low"]], [row["high"] - row["value"]]][::sign],
                fmt="s",
                ms=4.5,
                lw=1.6,
                color=colours["lambda"],
                label="λ alone" if sign == 1 else None,
            )
        axis.axvline(PAPER_ALPHA, color="0.4", lw=1, ls=":", label=f"α = {PAPER_ALPHA:g}")
        axis.set_xticks(
            [-end, *range(-3, 4), end], ["−∞", *(str(alpha).replace("-", "−") for alpha in range(-3, 4)), "∞"]
        )
        axis.set(xlim=(-end - 0.3, end + 0.3), ylim=(-1.05, 1.05))
    _outer_labels(panels, "α", "C(α): rank correlation of\n−loss / λ^α and accuracy\n(bands, bars: 95% interval)")
    legend_below(figure, panels[0][0], 3, 9)
    return figure


def _outer_labels(panels: list[tuple[Axes, str, str]], horizontal: str, vertical: str) -> None:
    for axis, _, _ in panels:
        place = axis.get_subplotspec()
        if place is not None and place.is_last_row():
            axis.set_xlabel(horizontal)
        if place is not None and place.is_first_col():
            axis.set_ylabel(vertical)


def _plain_ticks(axis: Axis) -> None:
    """Few ticks on a logarithmic scale, written without powers."""
    axis.set_major_locator(LogLocator(subs=(1, 3)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def _plane_figure(summary: pd.DataFrame) -> Figure:
    """Fig. 10 of the paper: the two losses of each run, coloured by its accuracy."""
    figure, panels = _panels(summary, 6.2, share=False)
    runs = summary[summary["quantity"] == "run"]
    durations = sorted(runs["steps"].unique())
    for budget in LABELS:
        own = runs[runs["labels"] == budget]
        # The worst tenth shares a colour, or the rest would.
        limits = own["value"].quantile(0.1), own["value"].max()
        row = [(axis, name) for axis, key, name in panels if key == budget]
        for axis, name in row:
            for steps, marker in zip(durations, itertools.cycle(MARKERS), strict=False):
                some = own[(own["regularizer"] == name) & (own["steps"] == steps)]
                drawn = axis.scatter(
                    some["penalty"], some["prediction"], c=some["value"], cmap="viridis", vmin=limits[0],
                    vmax=limits[1], s=24, marker=marker, lw=0.3, edgecolor="0.3",
                )  # fmt: skip
                axis.scatter([], [], s=24, color="0.6", marker=marker, label=f"{steps:.0f} steps")
            axis.set(xscale="log", yscale="log")
            _plain_ticks(axis.xaxis)
            _plain_ticks(axis.yaxis)
        figure.colorbar(drawn, ax=[axis for axis, _ in row], label="test accuracy", extend="min", pad=0.01)
    _outer_labels(panels, "regulariser", "prediction loss")
    legend_below(figure, panels[0][0], len(durations), 9)
    return figure


def _scatter_figure(summary: pd.DataFrame) -> Figure:
    """Fig. 19 of the paper: loss against accuracy, coloured by lambda."""
    import seaborn as sns

    figure, panels = _panels(summary, 6.2, share=False)
    runs = summary[summary["quantity"] == "run"]
    lambdas, durations = (sorted(runs[name].unique()) for name in ("lam", "steps"))
    colours = dict(zip(lambdas, sns.color_palette("flare", len(lambdas)), strict=True))
    markers = dict(zip(durations, itertools.cycle(MARKERS), strict=False))
    for axis, budget, name in panels:
        own = runs[(runs["labels"] == budget) & (runs["regularizer"] == name)]
        for (lam, steps), some in own.groupby(["lam", "steps"]):
            look = {"s": 22, "marker": markers[steps], "color": colours[lam], "lw": 0.3, "edgecolor": "0.3"}
            axis.scatter(some["loss"], some["value"], **look)
        for lam, colour in colours.items():
            axis.scatter([], [], s=22, color=colour, label=f"λ = {lam:g}")
        for steps, marker in markers.items():
            axis.scatter([], [], s=22, color="0.6", marker=marker, label=f"{steps:.0f} steps")
        axis.set_xscale("log")
        _plain_ticks(axis.xaxis)
    _outer_labels(panels, "final training loss", "test accuracy")
    legend_below(figure, panels[0][0], 4, 9)
    return figure


def _regret_figure(summary: pd.DataFrame) -> Figure:
    table = summary[summary["quantity"] == "regret"].copy()
    table["rule"] = table["order"].map(ORDERS)
    table["budget"] = table["labels"].map(LABELS)
    table["panel"] = table["regularizer"].map(label)
    table[["value", "low", "high"]] *= 100
    return grouped_intervals(
        table,
        group="rule",
        hue="budget",
        panel="panel",
        panel_title="{}",
        value="value",
        value_label="regret, points of accuracy (95% interval)",
        limits=(-0.02 * float(table["high"].max()), 1.05 * float(table["high"].max())),
    )


# Report


def report(summary: pd.DataFrame) -> str:
    estimates = summary[~summary["quantity"].isin(["run", "C(alpha)"])]
    cells = estimates.set_index(["regularizer", "labels", "quantity", "order", "scope"]).sort_index()
    name = str(summary["regularizer"].iloc[0])
    lines = [line for budget in LABELS for line in _claim_lines(cells.loc[(name, budget)], name, budget)]
    lines += [
        _collapse_line(cells.loc[(name, "all")], name),
        _regularizers_line(cells, summary),
        *_range_lines(estimates, name),
        *(_regret_line(cells.loc[(name, b)], name, b) for b in LABELS),
    ]
    return "\n".join(lines) + "\n\n" + _table(cells, summary)


_text = functools.partial(span, value="value")


def _beside(row: pd.Series, claimed: float) -> str:
    """Where a correlation lies, seen from the one that was reported."""
    if row["low"] > claimed:
        return f"above the {claimed:g} reported"
    return f"below the {claimed:g} reported" if row["high"] < claimed else f"compatible with the {claimed:g} reported"


def _claim_lines(at: pd.DataFrame, name: str, budget: str) -> list[str]:
    loss, scaled = (at.loc[("C", order, "all")] for order in PAPER_C)
    lam, steps = (at.loc[("C", order, "all")] for order in ("largest lambda", "longest training"))
    gain = at.loc[("C less |C| of lambda", "scaled loss", "all")]
    more = "better than" if gain["low"] > 0 else "worse than" if gain["high"] < 0 else "no better or worse than"
    held = at.loc[("held-out C less that of the loss", "scaled loss", "all")]
    better = "helps" if held["low"] > 0 else "harms" if held["high"] < 0 else "makes no difference that shows"
    lam_fixed, steps_fixed, both = (at.loc[("C", "loss", scope)] for scope in list(SCOPES)[1:])
    duration = at.loc[("C", "longest training", "fixed lambda")]
    beyond = "still orders runs within" if both["low"] > 0 else "shows no order within"
    beyond = "orders runs the wrong way within" if both["high"] < 0 else beyond
    who = f"- {label(name)}, {LABELS[budget]}:"
    return [
        f"{who} the rank correlation of loss and accuracy is C = {_text(loss)}, {_beside(loss, PAPER_C['loss'])}; "
        f"that of loss / lambda^{PAPER_ALPHA:g} is {_text(scaled)}, {_beside(scaled, PAPER_C['scaled loss'])}.",
        f"{who} the largest lambda alone has {_text(lam)}, the longest training {_text(steps)}: the scaled loss orders "
        f"runs {more} lambda alone does (C less the size of lambda's {_text(gain)}). An alpha chosen on half of the "
        f"configurations {better} on the other half: C there less that of the loss is {_text(held)}.",
        f"{who} at equal lambda the loss has C = {_text(lam_fixed)}, where the longest training alone has "
        f"{_text(duration)}; at equal steps it has {_text(steps_fixed)}; with both equal it {beyond} them, "
        f"{_text(both)}.",
    ]


def _regularizers_line(cells: pd.DataFrame, summary: pd.DataFrame) -> str:
    words = []
    for name in dict.fromkeys(summary["regularizer"]):
        at = cells.loc[(name, "all")]
        loss, scaled = (_text(at.loc[("C", order, "all")]) for order in PAPER_C)
        best = _text(at.loc[("best alpha", "scaled loss", "all")], 1)
        words.append(f"{label(name)} {loss}, {scaled} and {best}")
    return f"- C of the loss, C of the scaled loss and the best alpha ({LABELS['all']}): {'; '.join(words)}."


def _collapse_line(at: pd.DataFrame, name: str) -> str:
    shares = at.loc["collapsed"].sort_values("lam")
    some = shares[shares["value"] > 0]
    what = f"the regulariser ends above {NEAR_A_POINT:g} of its value at a point"
    if some.empty:
        return f"- {label(name)}: no run has collapsed ({what} in none)."
    words = ", ".join(f"{_text(row)} of those at lambda = {row['lam']:g}" for _, row in some.iterrows())
    beyond = shares[shares["lam"] > some["lam"].max()]["lam"]
    line = f"- {label(name)}: runs have collapsed ({what}): {words}, none at larger lambda."
    scope = f"lambda {beyond.min():g} to {beyond.max():g}" if len(beyond) else ""
    if ("C", "loss", scope) in at.index:
        loss, scaled = (_text(at.loc[("C", order, scope)]) for order in PAPER_C)
        line += f" Without them C of the loss is {loss}, of the scaled loss {scaled} (all 997 labels)."
    return line


def _range_lines(estimates: pd.DataFrame, name: str) -> list[str]:
    own = estimates[
        (estimates["regularizer"] == name) & (estimates["labels"] == "all") & (estimates["quantity"] == "C")
    ]
    own = own[own["scope"].str.startswith("lambda") | (own["scope"] == "all")]
    if (own["scope"] == "all").all():
        return []
    words = []
    for order in PAPER_C:
        part = own[own["order"] == order].sort_values("value")
        least, most = part.iloc[0], part.iloc[-1]
        words.append(f"that of the {order} from {_text(least)} ({_range(least)}) to {_text(most)} ({_range(most)})")
    return [f"- {label(name)}, {LABELS['all']}: C by the range of lambdas tried: {'; '.join(words)}."]


def _range(row: pd.Series) -> str:
    return "all lambdas" if row["scope"] == "all" else str(row["scope"])


def _regret_line(at: pd.DataFrame, name: str, budget: str) -> str:
    lost = {order: at.loc[("regret", order, "all")] for order in ORDERS}
    points = {order: _text(100 * row[["value", "low", "high"]], 1) for order, row in lost.items()}
    gain = at.loc[("gain over any run", "scaled loss", "all")]
    worth = "better than" if gain["low"] > 0 else "worse than" if gain["high"] < 0 else "not told apart from"
    return (
        f"- {label(name)}, {LABELS[budget]}: to choose the run of least loss / lambda^{PAPER_ALPHA:g} is {worth} "
        f"chance: it loses {points['scaled loss']} points of accuracy against the best run, the least loss "
        f"{points['loss']}, a run at random {points['any run']}, the longest training {points['longest training']}, "
        f"the best validation accuracy {points['validation accuracy']}."
    )


def _table(cells: pd.DataFrame, summary: pd.DataFrame) -> str:
    columns = list(itertools.product(dict.fromkeys(summary["regularizer"]), LABELS))
    wanted = {
        **{("C", order, "all"): f"C, {text}" for order, text in NAMES.items()},
        ("best alpha", "scaled loss", "all"): "best alpha",
        ("held-out C", "scaled loss", "all"): "C at the alpha of the other half",
        **{
            ("C", order, scope): f"C at {scope}, {text}"
            for scope, fixed in SCOPES.items()
            for order, text in NAMES.items()
            if fixed and ALONE.get(order) not in fixed and (order != "scaled loss" or "lam" not in fixed)
        },
        **{("regret", order, "all"): f"regret in points, {ORDERS[order]}" for order in ORDERS},
    }
    rows = []
    for key, text in wanted.items():
        unit, digits = (100, 1) if key[0] == "regret" else (1, 2)
        found = (unit * cells.loc[(*column, *key), ["value", "low", "high"]] for column in columns)
        rows.append([" ".join(text.split()), *(_text(row, digits) for row in found)])
    header = ["", *(f"{label(name)}, {LABELS[budget]}" for name, budget in columns)]
    runs = summary[summary["quantity"] == "run"]
    count = len(runs) // len(columns)
    return (
        f"{count} runs a column, {runs['seed'].nunique()} seeds; 95% intervals; C > 0 where less loss goes with more "
        f"accuracy:\n\n{markdown_table(header, rows)}"
    )


def _preset(
    regularizer: list[str], lam: list[float], lr: list[float], weight_decay: list[float], steps: list[int], seeds: int,
    **settings: int,
) -> Config:  # fmt: skip
    axes = {"regularizer": regularizer, "lam": lam, "lr": lr, "weight_decay": weight_decay, "steps": steps}
    return {**axes, "seed": list(range(seeds)), "batch_size": 128, "draws": 10, "replicates": 1000, **settings}


STUDY = Study(
    name="loss_and_accuracy",
    title="Training loss and downstream accuracy",
    question="Does the training loss, or loss / lambda^0.4, choose the run whose frozen embedding is best?",
    expectation="SIGReg with Epps-Pulley: C(0) is far below 0.85 once lambda varies by a factor of 300, and negative "
    "with one label per class, because the smallest lambda has the least loss; C(0.4) is 0.5 to 0.9. At equal lambda "
    "the loss tells long from short training (C above 0.7), with both equal much less. The best alpha is positive, "
    "differs between regularisers and depends on the lambdas tried. Least loss / lambda^0.4 chooses runs within two "
    "points of the best.",
    seed=SEED,
    axes=("regularizer", *CONFIGURATION, "seed"),
    paired=("regularizer", *CONFIGURATION),
    presets={
        "smoke": _preset(
            ["sigreg-ep"], [0.003, 0.1], [2e-3, 8e-3], [0.05], [2, 6], 1, batch_size=32, draws=1, replicates=200
        ),
        "quick": _preset(["sigreg-ep"], [0.001, 0.01, 0.1], [5e-4, 2e-3, 8e-3], [0.05], [20, 80], 1),
        "standard": _preset(REGULARIZERS, LAMBDAS, [5e-4, 2e-3, 8e-3], [1e-3, 1.0], [50, 200], 2),
        "paper": _preset(
            [*REGULARIZERS, "sigreg-ad"],
            [0.0003, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5],
            [5e-4, 1e-3, 2e-3, 4e-3, 8e-3],
            [1e-3, 0.1, 1.0],
            [75, 300, 1200],
            5,
            draws=50,
        ),
    },
    measure=measure,
    summarize=summarize,
    verify=verify,
    figures=figures,
    report=report,
)
