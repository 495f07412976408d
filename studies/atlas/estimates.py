"""What the table of runs says: accuracies and differences, tuning, choosing without labels, qualities and accuracy."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from sigreg_lab.compare.estimates import Estimate as Found
from sigreg_lab.compare.estimates import Spread, accuracy, beaten, corrected, difference, spreads
from sigreg_lab.compare.protocol import CONTROLS, Plan, Protocol, score, weight_of
from sigreg_lab.compare.tables import KEYS
from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import exactly, interval, mapped, mean, rate
from sigreg_lab.experiment.resampling import rank_correlation

from .contenders import CANDIDATES, FINALISTS, FIRST, QUESTIONS, REGULARIZERS
from .measure import FRESH, KEPT, seeds_of

CRITERION = "backbone_linear_all"
FEW = ("backbone_few-shot_10", "backbone_few-shot_1")  # 10 labels per class, 1
FORM = "convex"
#: Of a regulariser on its own, and of its runs; -1: less is said to be better.
QUALITIES = {"power": 1, "noise": -1, "bias": -1, "pull": -1}
OF_RUNS = {"embedding_rank": 1, "lidar": 1, "alpha_req": -1}
ALPHAS = [round(0.1 * step, 1) for step in range(-5, 16)]
SCALED = "loss / λ^α, α of other data"
Score = Callable[[Row], float | None]
#: Label-free scores of a run, the lower the better; None where a run lacks what it takes.
SCORES: dict[str, Score] = {
    "loss": lambda row: scaled_loss(row, 0.0),
    "loss / λ^0.4": lambda row: scaled_loss(row, 0.4),
    "prediction loss": lambda row: _of(row, "final_prediction"),
    "regulariser": lambda row: _of(row, "final_regularizer"),
    "RankMe": lambda row: _less(row, "embedding_rank"),
    "LiDAR": lambda row: _less(row, "lidar"),
    "alpha-ReQ": lambda row: None if (alpha := _of(row, "alpha_req")) is None else abs(alpha - 1),
}


def _of(row: Row, name: str) -> float | None:
    value = row.get(name)
    return None if value is None or not math.isfinite(value) else float(value)


def _less(row: Row, name: str) -> float | None:
    value = _of(row, name)
    return None if value is None else -value


def scaled_loss(row: Row, alpha: float) -> float | None:
    """(1 - lambda) prediction + lambda R, over lambda^alpha."""
    prediction, penalty = _of(row, "final_prediction"), _of(row, "final_regularizer")
    if prediction is None or penalty is None:
        return None
    lam = float(row["lam"])
    return ((1 - lam) * prediction + lam * penalty) / lam**alpha


def protocol_of(settings: Config, data: str) -> Protocol:
    return Protocol(
        weights=tuple(weight_of(lam, FORM) for lam in settings["lambdas"]),
        extra=settings["extra"],
        tuning_seeds=settings["tuning_seeds"],
        seeds=seeds_of(data, settings),
    )


def plans_of(rows: pd.DataFrame, protocol: Protocol) -> dict[str, Plan]:
    """Each contender's way through the protocol, from its rows on one data set."""
    plans: dict[str, Plan] = {}
    for name, part in rows.groupby("contender", sort=False):
        plan = plans[str(name)] = Plan(str(name), protocol)
        for raw in part.to_dict("records"):
            row: Row = {str(key): value for key, value in raw.items() if value == value}
            row["right"] = {probe: row[f"right_{probe}"] for probe in KEPT if f"right_{probe}" in row}
            seed, weight = int(row["seed"]), row.get("weight")
            if row["stage"] == "report":
                plan.reported[seed] = row
                plan.chosen = weight
            else:
                plan.tried.setdefault(float(row["weight"]), {})[seed] = row
    return plans


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    own = rows[rows["stage"] != "quality"]
    by_data = {
        str(data): plans_of(part, protocol_of(settings, str(data))) for data, part in own.groupby("data", sort=False)
    }
    found: list[Row] = [*_again({FRESH[data]: by_data.pop(data) for data in FRESH if data in by_data}, settings)]
    for data, plans in by_data.items():
        open_ = spreads([*plans.values()], protocol_of(settings, data), FORM)
        for name, plan in plans.items():
            spread = open_[name]
            found += [{"data": data, "contender": name} | row for row in _of_one(plan, spread)]
            if math.isfinite(spread.factor):
                told = interval("range of lambda", spread.factor, spread.factor_low, spread.factor_high)
                found.append({"data": data, "contender": name, "open": spread.open_factor} | told)
        found += _places(data, plans, open_)
        for group, names in _groups().items():
            those = [plans[name] for name in names if name in plans]
            for probe in (CRITERION, *FEW) if group == "regularizers" else (CRITERION,):
                found += _against_first(data, group, probe, those, plans.get(FIRST), open_)
    found += _choosing(by_data)
    found += _predicting(rows[rows["stage"] == "quality"], by_data, settings)
    return found


def _groups() -> dict[str, list[str]]:
    """Families of comparisons with the first, each corrected by Holm's method on its own."""
    everyone = {"regularizers": [*REGULARIZERS[1:], *CONTROLS]}
    return everyone | {name: [*those] for name, those in QUESTIONS.items()} | {"candidates": [*CANDIDATES]}


def _estimate(quantity: str, found: Found, replicates: int = 0, **axes: Any) -> Row:
    return interval(quantity, found.value, found.low, found.high, replicates, **axes)


def _of_one(plan: Plan, spread: Spread) -> Iterator[Row]:
    """Of one contender on one data set."""
    reported = [plan.reported[seed] for seed in sorted(plan.reported)]
    made = [row for tried in plan.tried.values() for row in tried.values()] + reported
    finished = [row for row in made if not row.get("broke")]
    yield rate("broke", len(made) - len(finished), len(made))
    if finished:
        yield rate("collapsed", sum(bool(row.get("collapsed")) for row in finished), len(finished))
    seeds = [row for row in reported if not row.get("broke")]
    if not seeds:
        return
    for probe in KEYS:
        if (value := accuracy(seeds, probe, spread.variance(probe))).over:
            yield _estimate("accuracy", value, len(seeds), probe=probe)
    gains = [row[f"test_{CRITERION}"] - row["test_projector_linear_all"] for row in seeds]
    yield mean("backbone less projector", gains)
    for name in ("embedding_rank", "lidar", "alpha_req", "regularizer_seconds", "regularizer_mib"):
        yield mean(name, [row[name] for row in seeds if name in row])
    if plan.chosen is not None:
        yield exactly("chosen lambda", plan.chosen / (1 + plan.chosen), at_edge=plan.at_edge)


def _places(data: str, plans: Mapping[str, Plan], open_: Mapping[str, Spread]) -> Iterator[Row]:
    """Rank among regularisers and controls: one more than those that are better, Holm-corrected over all pairs."""
    those = [plan for name, plan in plans.items() if name in (*REGULARIZERS, *CONTROLS) and plan.reported]
    for name, better in beaten(those, CRITERION, open_).items():
        if better is not None:
            yield exactly("rank", len(better) + 1, data=data, contender=name)


def _against_first(
    data: str, group: str, probe: str, those: list[Plan], first: Plan | None, open_: Mapping[str, Spread]
) -> list[Row]:
    """Paired differences to the first by one probe, with p-values corrected over the group."""
    if first is None or not first.reported:
        return []
    found: list[tuple[str, Found, int]] = []
    for plan in those:
        both = open_[plan.name].variance(probe) + open_[first.name].variance(probe)
        value, seeds = difference(plan.reported, first.reported, probe, both)
        if len(seeds) > 1:
            found.append((plan.name, value, len(seeds)))
    pvalues = corrected([value for _, value, _ in found])
    rows: list[Row] = []
    for (name, value, count), p in zip(found, pvalues, strict=True):
        axes: dict[str, Any] = {"data": data, "contender": name, "group": group, "probe": probe}
        rows += [_estimate("less the first", value, count, **axes), exactly("corrected p", p, **axes)]
    return rows


def _again(by_data: Mapping[str, Mapping[str, Plan]], settings: Config) -> Iterator[Row]:
    """What the finalists gain on fresh seeds."""
    for data, plans in by_data.items():
        if FIRST not in plans:
            continue
        open_ = spreads([*plans.values()], protocol_of(settings, data), FORM)
        those = [plans[name] for name in FINALISTS if name in plans]
        for row in _against_first(data, "finalists", CRITERION, those, plans[FIRST], open_):
            if row["quantity"] == "less the first":
                yield row | {"quantity": "gain on fresh seeds"}
        for plan in (plans[FIRST], *those):
            if plan.chosen is not None:
                yield exactly("lambda on fresh seeds", plan.chosen / (1 + plan.chosen), data=data, contender=plan.name)
        for plan in those:
            own, first = (one.reported for one in (plan, plans[FIRST]))
            both = [(own[s].get("regularizer_seconds"), first.get(s, {}).get("regularizer_seconds")) for s in own]
            logs = [math.log(one / other) for one, other in both if one and other]
            if logs:
                ratio = mean("log time", logs, data=data, contender=plan.name)
                yield mapped(ratio, "times the first's time", math.exp)


# Choosing without labels


def _choosing(by_data: Mapping[str, Mapping[str, Plan]]) -> Iterator[Row]:
    """Validation accuracy lost by choosing lambda by a score, and gained on any lambda, mean over regularisers."""
    tables = {data: _tuning(plans) for data, plans in by_data.items()}
    for data, runs in tables.items():
        if len(runs) < 2:
            continue
        scores = dict(SCORES)
        others = [part for other, table in tables.items() if other != data for part in table]
        if others:
            alpha = best_alpha(others)
            scores[SCALED] = partial(scaled_loss, alpha=alpha)
            yield exactly("alpha", alpha, data=data)
        chance = [_best(part) - float(np.mean([value for _, value in part])) for part in runs]
        yield _at_least_0(mean("regret", chance, data=data, score="any run"))
        for name, score_of in scores.items():
            lost = [_regret(part, score_of) for part in runs]
            yield _at_least_0(mean("regret", lost, data=data, score=name))
            yield mean("gain over any run", np.subtract(chance, lost), data=data, score=name)
            yield rate("at an end of the grid", sum(_at_an_end(part, score_of) for part in runs), len(runs),
                       data=data, score=name)  # fmt: skip


def _tuning(plans: Mapping[str, Plan]) -> list[list[tuple[Row, float]]]:
    """For each regulariser its tuning runs of the first seed on the common grid, with their validation accuracies.

    What was tried beside the grid lies where that regulariser is good, or beyond an end: a choice among other lambdas.
    """
    found = []
    for name in REGULARIZERS:
        if (plan := plans.get(name)) is None:
            continue
        grid = plan.protocol.weights
        tried = [runs for at, runs in plan.tried.items() if any(math.isclose(at, w, rel_tol=1e-6) for w in grid)]
        rows = [runs[min(runs)] for runs in tried]
        known = [(row, v) for row in rows if (v := score(row, f"validation_{CRITERION}")) is not None]
        if len(known) > 1:
            found.append(known)
    return found


def _at_least_0(row: Row) -> Row:
    """Nobody gains on the best run."""
    return row | {"low": max(row["low"], 0.0)}


def _best(runs: list[tuple[Row, float]]) -> float:
    return max(value for _, value in runs)


def _chosen(runs: list[tuple[Row, float]], score_of: Score) -> tuple[Row, float] | None:
    """The run of least score, of equals that of least accuracy; None where no run has a score."""
    known = [(score, value, at) for at, (row, value) in enumerate(runs) if (score := score_of(row)) is not None]
    return runs[min(known)[-1]] if known else None


def _regret(runs: list[tuple[Row, float]], score_of: Score) -> float:
    chosen = _chosen(runs, score_of)
    return math.nan if chosen is None else _best(runs) - chosen[1]


def _at_an_end(runs: list[tuple[Row, float]], score_of: Score) -> bool:
    """Whether the score chooses the least or the largest lambda that was tried."""
    chosen, tried = _chosen(runs, score_of), [row["lam"] for row, _ in runs]
    return chosen is not None and chosen[0]["lam"] in (min(tried), max(tried))


def lost_by(alpha: float, runs: list[list[tuple[Row, float]]]) -> list[float]:
    """Regrets of loss / lambda^alpha."""
    return [_regret(part, lambda row: scaled_loss(row, alpha)) for part in runs]


def best_alpha(runs: list[list[tuple[Row, float]]]) -> float:
    """The alpha by which loss / lambda^alpha loses least; the middle one of equals."""
    lost = [float(np.mean(lost_by(alpha, runs))) for alpha in ALPHAS]
    best = [alpha for alpha, value in zip(ALPHAS, lost, strict=True) if value <= min(lost) + 1e-12]
    return best[len(best) // 2]


# What predicts accuracy


def _predicting(table: pd.DataFrame, by_data: Mapping[str, Mapping[str, Plan]], settings: Config) -> Iterator[Row]:
    """Rank correlations over regularisers: of their own qualities, and of what their runs show, with accuracy."""
    own = {str(name): part.iloc[0] for name, part in table.groupby("contender")}
    rng = np.random.default_rng(0)
    for data, plans in by_data.items():
        of_runs = {
            name: [row for row in plan.reported.values() if not row.get("broke")] for name, plan in plans.items()
        }
        trained = [name for name in REGULARIZERS if of_runs.get(name)]
        accuracies = np.array([_mean(of_runs[name], f"test_{CRITERION}") for name in trained])
        qualities = {
            key: np.array([sign * float(own[name][key]) if name in own else math.nan for name in trained])
            for key, sign in QUALITIES.items()
            if key in table
        }
        for key, sign in OF_RUNS.items():
            values = np.array([_mean(of_runs[name], key) for name in trained])
            qualities[key] = sign * (abs(values - 1) if key == "alpha_req" else values)
        for quality, values in qualities.items():
            known = np.isfinite(values)
            if known.sum() < 4:
                continue
            x, y, count = values[known], accuracies[known], int(known.sum())
            drawn = rng.multinomial(count, np.full(count, 1 / count), size=settings["replicates"]).astype(float)
            low, high = np.quantile(rank_correlation(x[None], y, drawn)[:, 0], [0.025, 0.975])
            value = float(rank_correlation(x[None], y, np.ones((1, count)))[0, 0])
            yield interval("rank correlation", value, float(low), float(high), data=data, quality=quality)


def _mean(rows: list[Row], name: str) -> float:
    return float(np.mean([row[name] for row in rows if name in row] or [math.nan]))
