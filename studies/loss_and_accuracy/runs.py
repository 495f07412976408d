"""The runs of one regulariser, and what is estimated from them.

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

import itertools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import stats

from sigreg_lab.experiment import mean_interval
from sigreg_lab.experiment.cells import Row
from sigreg_lab.experiment.estimates import about, exactly, interval, rate
from sigreg_lab.experiment.resampling import (
    Labels,
    Real,
    Span,
    Statistic,
    agreement,
    bootstrap,
    jackknife,
    rank_correlation,
    regret,
)
from sigreg_lab.regularizers import resolve_regularizer
from sigreg_lab.slicing import seeded_generator

from .measure import TERMS

CONFIGURATION = ["lam", "lr", "weight_decay", "steps"]
#: What is resampled: runs that differ in weight decay and seed alone stay together.
UNIT = ["lam", "lr", "steps"]
#: What the strata of a scope have in common.
SCOPES = {"all": [], "fixed lambda": ["lam"], "fixed steps": ["steps"], "fixed both": ["lam", "steps"]}

#: Eq. 8's exponent as the paper recommends it.
PAPER_ALPHA = 0.4
#: The range of the paper's Fig. 11.
ALPHAS = np.round(np.linspace(-3, 3, 31), 1)
#: So large that lambda^alpha outweighs any ratio of losses, and does not overflow.
LARGE_ALPHA = 50.0
#: Halvings over which the choice of alpha on one half for the other is averaged.
HALVINGS = 10

#: Of the regulariser's value at a point; a run above it counts as collapsed.
NEAR_A_POINT = 0.9

PERMUTATIONS = 4000
ROUNDING = 1e-9
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
    ) -> list[Span]:
        return jackknife(statistic, self.strata[scope][own], self.units[own], bound)

    def bootstrap(self, statistic: Statistic, own: Labels | slice = slice(None)) -> list[Span]:
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


def of_one(part: pd.DataFrame, budget: str, at_a_point: float, replicates: int, rng: np.random.Generator) -> list[Row]:
    """All estimates of one regulariser at one label budget."""
    runs = _runs(part, budget, replicates, rng)
    parts = (_correlations, _curves, _ranges, _held_out, _regrets, _identities, _null, _points)
    return [*_collapsed(runs, at_a_point), *(row for estimates in parts for row in estimates(runs))]


def _row(quantity: str, order: str, scope: str, values: Span, **more: float) -> Row:
    return interval(quantity, *values, order=order, scope=scope) | more


def value_at_a_point(name: str, batch_size: int) -> float:
    """The regulariser's value where all embeddings lie at the origin: what it is at complete collapse."""
    regularizer = resolve_regularizer(name).build(num_slices=1)
    return float(regularizer(torch.zeros(1, batch_size, 2), seeded_generator(0)))


def _collapsed(runs: Runs, at_a_point: float) -> list[Row]:
    """Share of the runs whose regulariser ends near its value at a point, by lambda, with Wilson's interval."""
    lam, near = runs.columns["lam"], runs.columns["penalty"] > NEAR_A_POINT * at_a_point
    found = []
    for value in np.unique(lam):
        own = near[lam == value]
        row = rate("collapsed", int(own.sum()), own.size, order="", scope=f"lambda {value:g}", lam=float(value))
        found.append(row)
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


def _over_strata(runs: Runs, scores: Real, scope: str) -> list[Span]:
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
    place = {"order": "scaled loss", "scope": "all"}
    return [exactly(f"rounding: {name}", float(v), 0.0, ROUNDING, **place) for name, v in differences.items()]


def _null(runs: Runs) -> list[Row]:
    """Accuracies permuted among runs: C has mean 0 and variance 1/(n - 1), whatever the ties."""
    loss, accuracy = runs.columns["loss"][0], runs.accuracy[0]
    permuted = runs.rng.permuted(np.tile(loss, (PERMUTATIONS, 1)), axis=1)
    drawn = -rank_correlation(permuted, accuracy, np.ones((1, len(loss))))[0]
    found = []
    for quantity, values, exact in (("mean", drawn, 0.0), ("variance", drawn**2, 1 / (len(loss) - 1))):
        error = float(values.std(ddof=1) / np.sqrt(len(values)))
        found.append(about(f"null {quantity}", float(values.mean()), error, exact=exact, order="loss", scope="all"))
    return found


def _points(runs: Runs) -> list[Row]:
    columns = {name: runs.columns[name].ravel() for name in (*CONFIGURATION, "seed", *TERMS)}
    return [
        exactly("run", float(accuracy), order="", scope="", **dict(zip(columns, map(float, values), strict=True)))
        for accuracy, *values in zip(runs.accuracy.ravel(), *columns.values(), strict=True)
    ]


def regularizer_source(name: str) -> str:
    """The digest of the code of a regulariser of one's own, "" of the library's.

    Raises:
        ValueError: it is no regulariser.
    """
    if name == "none":
        raise ValueError("none has no loss beside the prediction; name a regulariser")
    return resolve_regularizer(name).digest
