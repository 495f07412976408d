"""What the rows of a comparison say: accuracies and differences with intervals, ranks, the range of lambda.

A mean over S seeds and n test images of right answers a_si, both drawn at random, has the variance

    var = s_S^2/S + s_n^2/n - MS/(S n)

with s_S^2 the variance of the seeds' means, s_n^2 that of the images' means and MS the mean square of what neither
explains, (S - 1)(n - 1) degrees of freedom: the analysis of variance of two crossed random factors [1, ch. 4]. Its
degrees of freedom are Satterthwaite's, by which an interval could be narrower than Student's over the seeds alone; then
Student's stands. Of one seed, Wilson's interval speaks of the test images alone.

Tuning is a third source: had other tuning seeds been drawn, another lambda might have been chosen. Its variance is that
of the validation accuracy of the lambda that is chosen when the rungs are run again, predicted from the measured means:
their own noise and that of the new runs are drawn (the noise is what remains of the tuning runs after the means of
lambdas and seeds, pooled over the regularisers). It is added to that of a mean, and that of both regularisers to that
of their difference. Each probe has its own: lambdas that one probe hardly tells apart may be far apart for another.

Differences are paired by seed and test image; their p-values are Student's, corrected by Holm over the table they stand
in. A rank is one more than the number of regularisers that are better, Holm-corrected over all pairs: who shares a rank
need not be equal, the runs do not tell them apart.

[1] Searle, Casella & McCulloch (1992), Variance Components, Wiley.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sigreg_lab.compare.measure import unpacked
from sigreg_lab.compare.protocol import Plan, Protocol, lam_of, score
from sigreg_lab.experiment import rate_interval
from sigreg_lab.experiment.cells import Row
from sigreg_lab.nulls.dependence import holm

LEVEL = 0.95
ONE_POINT = 0.01
_RETUNED = 1000


class Estimate(NamedTuple):
    """A mean with its 95% interval.

    Attributes:
        value: the mean; NaN without runs.
        low: lower end.
        high: upper end.
        over: what the interval is over: "seeds, tuning, test images", fewer of them, or "" for none.
        pvalue: of the mean being 0; NaN where there is none.
    """

    value: float
    low: float
    high: float
    over: str
    pvalue: float = math.nan


NOTHING = Estimate(math.nan, math.nan, math.nan, "")


class Spread(NamedTuple):
    """What tuning leaves open: the variance of the chosen lambda's accuracy, and the range of good lambdas.

    Attributes:
        variances: of the accuracy by each probe that all tuning runs have, from the choice of lambda.
        low: lower end of the range of lambda that stays within one point of validation accuracy of the best.
        high: upper end.
        open_low: whether the range goes on below the least lambda tried.
        open_high: whether it goes on above the largest.
        factor: of the weights, the upper over the lower.
        factor_low: of the range that is within one point at 95%, given the noise of tuning runs.
        factor_high: of the range that is not shown to be outside.
        open_factor: whether that one goes on beyond the lambdas tried.
    """

    variances: dict[str, float]
    low: float = math.nan
    high: float = math.nan
    open_low: bool = False
    open_high: bool = False
    factor: float = math.nan
    factor_low: float = math.nan
    factor_high: float = math.nan
    open_factor: bool = False

    def variance(self, probe: str) -> float:
        """Of a probe's accuracy, from the choice of lambda; 0 where nothing was chosen."""
        return self.variances.get(probe, 0.0)


def crossed_interval(values: NDArray[np.float64], more: float = 0.0) -> tuple[float, float, float]:
    """Interval of a mean over seeds and test images, never narrower than that over seeds, and the p-value of 0.

    Args:
        values: numbers, shape (S, n), S and n at least 2.
        more: variance of the mean from another source, of as many degrees of freedom as the seeds.

    Returns:
        Lower and upper end of the 95% interval, and the two-sided p-value: 1 where all numbers are 0.
    """
    from scipy import stats

    seeds, images = values.shape
    mean = values.mean()
    of_seeds, of_images = values.mean(1), values.mean(0)
    rest = values - of_seeds[:, None] - of_images + mean
    noise = (rest**2).sum() / ((seeds - 1) * (images - 1) * seeds * images)
    parts = [of_seeds.var(ddof=1) / seeds, of_images.var(ddof=1) / images]
    variance = max(parts[0] + parts[1] - noise, *parts) + more
    low, high, pvalue = seeds_interval(of_seeds, more)
    if variance <= 0:
        return low, high, pvalue
    freedom = variance**2 / (((parts[0] + more) ** 2) / (seeds - 1) + parts[1] ** 2 / (images - 1))
    error = math.sqrt(variance)
    half = stats.t.ppf((1 + LEVEL) / 2, freedom) * error
    pvalue = max(pvalue, float(2 * stats.t.sf(abs(mean) / error, freedom)))
    return min(low, float(mean - half)), max(high, float(mean + half)), pvalue


def seeds_interval(values: NDArray[np.float64], more: float = 0.0) -> tuple[float, float, float]:
    """The same over seeds alone: Student's; infinitely wide, with p-value 1, for a single one."""
    from scipy import stats

    count, mean = len(values), float(values.mean())
    if count < 2:
        return -math.inf, math.inf, 1.0
    variance = values.var(ddof=1) / count + more
    if variance <= 0:
        return mean, mean, 1.0 if mean == 0 else 0.0
    error = math.sqrt(variance)
    half = stats.t.ppf((1 + LEVEL) / 2, count - 1) * error
    return mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / error, count - 1))


def accuracy(rows: Sequence[Row], probe: str, tuning: float = 0.0) -> Estimate:
    """Mean test accuracy of a probe over runs that did not break.

    Args:
        rows: of one regulariser's reported seeds.
        probe: such as "backbone_linear_all".
        tuning: variance from the choice of lambda.
    """
    values = np.array([v for row in rows if (v := score(row, f"test_{probe}")) is not None])
    if not len(values):
        return NOTHING
    mean = float(values.mean())
    right = [_right(row, probe) for row in rows if score(row, f"test_{probe}") is not None]
    if len(values) == 1:
        images = int(rows[0].get("images", 0)) if right[0] is None else len(right[0])
        if right[0] is None or not images:
            return Estimate(mean, -math.inf, math.inf, "")
        return Estimate(mean, *rate_interval(round(mean * images), images), "test images")
    told = "seeds, tuning" if tuning else "seeds"
    if any(r is None for r in right):
        low, high, _ = seeds_interval(values, tuning)
    else:
        low, high, _ = crossed_interval(np.array(right, dtype=float), tuning)
        told += ", test images"
    return Estimate(mean, max(low, 0.0), min(high, 1.0), told)


def difference(
    one: dict[int, Row], other: dict[int, Row], probe: str, tuning: float = 0.0
) -> tuple[Estimate, list[int]]:
    """Mean test accuracy of ``one`` less that of ``other``, over the seeds that both have finished.

    Args:
        one: rows by seed.
        other: rows by seed.
        probe: such as "backbone_linear_all".
        tuning: variance from the choice of both lambdas.

    Returns:
        The estimate, and the seeds it is over.
    """
    name = f"test_{probe}"
    seeds = [s for s in one if s in other and score(one[s], name) is not None and score(other[s], name) is not None]
    if not seeds:
        return NOTHING, []
    values = np.array([float(one[s][name]) - float(other[s][name]) for s in seeds])
    pairs = [(_right(one[s], probe), _right(other[s], probe)) for s in seeds]
    told = "seeds, tuning" if tuning else "seeds"
    if len(seeds) < 2:
        return Estimate(float(values.mean()), -math.inf, math.inf, ""), seeds
    if any(a is None or b is None for a, b in pairs):
        found = seeds_interval(values, tuning)
    else:
        told += ", test images"
        matrix = np.array([a.astype(float) - b for a, b in pairs if a is not None and b is not None])
        found = crossed_interval(matrix, tuning)
    return Estimate(float(values.mean()), *found[:2], told, found[2]), seeds


def corrected(found: Sequence[Estimate]) -> list[float]:
    """The p-values of a table, corrected by Holm's method; NaN stays, and does not count."""
    return holm(torch.tensor([estimate.pvalue for estimate in found], dtype=torch.float64)).tolist()


def beaten(plans: Sequence[Plan], probe: str, open_: Mapping[str, Spread]) -> dict[str, set[str] | None]:
    """Which others are better than each regulariser; None for one of which no two runs can be compared."""
    variances = {plan.name: open_[plan.name].variance(probe) for plan in plans}
    pairs, found = [], []
    for i, one in enumerate(plans):
        for other in plans[:i]:
            estimate, _ = difference(one.reported, other.reported, probe, variances[one.name] + variances[other.name])
            pairs.append((one.name, other.name))
            found.append(estimate)
    told = {
        name for pair, estimate in zip(pairs, found, strict=True) if not math.isnan(estimate.pvalue) for name in pair
    }
    better: dict[str, set[str]] = {plan.name: set() for plan in plans}
    for pair, estimate, pvalue in zip(pairs, found, corrected(found), strict=True):
        if pvalue < 1 - LEVEL:
            winner, loser = pair if estimate.value > 0 else pair[::-1]
            better[loser].add(winner)
    return {plan.name: better[plan.name] if plan.name in told else None for plan in plans}


def spreads(plans: Sequence[Plan], protocol: Protocol, form: str) -> dict[str, Spread]:
    """What tuning leaves open, for each regulariser; nothing for controls and where tuning is not finished."""
    noise = _tuning_noise(plans, protocol)
    rng = np.random.default_rng(0)
    return {
        plan.name: Spread({}) if plan.chosen is None else _spread(plan, protocol, form, noise, rng) for plan in plans
    }


def _tuning_noise(plans: Sequence[Plan], protocol: Protocol) -> float:
    """Standard deviation of a validation accuracy, means of lambda and seed taken out, pooled over regularisers.

    With one tuning seed there is no telling; then that of the reported runs over their seeds, which is larger.
    """
    name = f"validation_{protocol.criterion}"
    total, freedom = 0.0, 0
    for plan in plans:
        for _, seeds in protocol.rungs()[1:]:
            some = [list(rows.values())[:seeds] for rows in plan.tried.values() if len(rows) >= seeds]
            values = [[score(row, name) for row in rows] for rows in some]
            matrix = np.array([row for row in values if None not in row], dtype=float)
            if len(matrix) < 2:
                continue
            rest = matrix - matrix.mean(1, keepdims=True) - matrix.mean(0) + matrix.mean()
            total += float((rest**2).sum())
            freedom += (len(matrix) - 1) * (seeds - 1)
    if not freedom:
        for plan in plans:
            known = [v for row in plan.reported.values() if (v := score(row, name)) is not None]
            if plan.chosen is not None and len(known) > 1:
                total += float(np.var(known)) * len(known)
                freedom += len(known) - 1
    return math.sqrt(total / freedom) if freedom else 0.0


def _spread(plan: Plan, protocol: Protocol, form: str, noise: float, rng: np.random.Generator) -> Spread:
    from scipy import stats

    weights = np.array(sorted(plan.tried))
    best = int(np.flatnonzero(weights == plan.chosen)[0])
    means = np.array([_against_best(plan, weight, protocol.criterion) for weight in weights])
    counts = np.array([len(plan.tried[weight]) for weight in weights])
    error = noise * np.sqrt(1 / counts + 1 / counts[best])
    error[best] = 0.0
    half = stats.norm.ppf((1 + LEVEL) / 2) * error
    chosen = _retuned(means, counts, protocol, noise, rng)
    variances = {}
    for probe in _probes(plan):
        values = np.array([_against_best(plan, weight, probe) for weight in weights])[chosen]
        variances[probe] = float(np.var(values[np.isfinite(values)]))
    likely, least, most = (_range(weights, values, best) for values in (means, means - half, means + half))
    return Spread(
        variances,
        lam_of(likely[0], form),
        lam_of(likely[1], form),
        likely[2],
        likely[3],
        likely[1] / likely[0],
        least[1] / least[0],
        most[1] / most[0],
        most[2] or most[3],
    )


def _probes(plan: Plan) -> list[str]:
    """The probes whose validation accuracy the runs of the chosen weight have."""
    assert plan.chosen is not None
    rows = plan.tried[plan.chosen].values()
    names = {name for row in rows for name in row if name.startswith("validation_")}
    return sorted(name.removeprefix("validation_") for name in names)


def _against_best(plan: Plan, weight: float, probe: str) -> float:
    """Validation accuracy of a weight less that of the chosen one, over the seeds that both have had."""
    name = f"validation_{probe}"
    assert plan.chosen is not None
    own, best = plan.tried[weight], plan.tried[plan.chosen]
    values = [score(own[seed], name) for seed in own]
    others = [score(best[seed], name) for seed in own if seed in best]
    if None in values or None in others:
        return -math.inf
    return float(np.mean([v for v in values if v is not None]) - np.mean([v for v in others if v is not None]))


def _retuned(
    means: NDArray[np.float64],
    counts: NDArray[np.int64],
    protocol: Protocol,
    noise: float,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Which weight is chosen when the rungs are run again, ``_RETUNED`` times; ``means`` are of ``counts`` runs."""
    shape = (protocol.tuning_seeds, _RETUNED, len(means))
    runs = means + noise * (rng.standard_normal(shape[1:]) / np.sqrt(counts) + rng.standard_normal(shape))
    alive = np.ones((_RETUNED, len(means)), dtype=bool)
    value = runs[0]
    for count, seeds in protocol.rungs()[1:]:
        order = np.argsort(-np.where(alive, value, -np.inf), axis=1, kind="stable")
        alive = np.zeros_like(alive)
        np.put_along_axis(alive, order[:, :count], True, axis=1)
        value = runs[:seeds].mean(0)
    return np.argmax(np.where(alive, value, -np.inf), axis=1)


def _range(weights: NDArray[np.float64], values: NDArray[np.float64], best: int) -> tuple[float, float, bool, bool]:
    """Ends of the range around the best weight where values are above one point below 0, and whether they go on.

    Between two weights values are interpolated on the logarithm; a run that broke ends the range at its neighbour.
    """
    ends = []
    for step in (-1, 1):
        place = best
        while 0 <= place + step < len(weights) and values[place + step] >= -ONE_POINT:
            place += step
        beyond = place + step
        if not 0 <= beyond < len(weights):
            ends.append((float(weights[place]), True))
        elif not math.isfinite(values[beyond]):
            ends.append((float(weights[place]), False))
        else:
            share = (values[place] + ONE_POINT) / (values[place] - values[beyond])
            log = (1 - share) * math.log(weights[place]) + share * math.log(weights[beyond])
            ends.append((math.exp(log), False))
    (low, open_low), (high, open_high) = ends
    return low, high, open_low, open_high


def _right(row: Row, probe: str) -> NDArray[np.bool_] | None:
    """Which test images a probe gets right, if the row knows."""
    known: dict[str, Any] = row.get("right", {})
    return unpacked(known[probe], int(row["images"])) if probe in known else None
