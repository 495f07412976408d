"""What is estimated from the runs of one regulariser, and what its intervals are for.

Orders of runs: the loss, the loss over lambda^0.4, each term alone, the largest lambda, the longest training, and the
accuracy on labelled validation images, by which one would choose if there were labels. Scopes of C and of regrets:

    these lambdas   all runs of a seed. The interval is for other learning rates and lengths at the lambdas tried: runs
                    of one lambda, learning rate and length are a unit, and units are left out, or drawn, within a
                    lambda. A unit keeps its weight decays and seeds: at small learning rates these runs are nearly
                    the same.
    other lambdas   the same number. The interval is for other lambdas of the range: a lambda is a unit, with all its
                    runs. With few lambdas it is wide.
    equal lambda    the mean over lambdas of C among the runs of one, with Student's interval over lambdas. Here C does
                    not depend on alpha.
"""

import numpy as np
import pandas as pd
import torch

from sigreg_lab.experiment import mean_interval
from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import exactly, interval, mapped, rate
from sigreg_lab.experiment.resampling import Real, Statistic, agreement, bootstrap, jackknife, regret
from sigreg_lab.regularizers import resolve_regularizer
from sigreg_lab.slicing import seeded_generator

from .measure import LABELS, TERMS

CONFIGURATION = ["lam", "lr", "weight_decay", "steps"]
UNIT = ["lam", "lr", "steps"]
#: Eq. 8's exponent as the paper recommends it, and what it reports for C of the loss and of loss/lambda^alpha.
PAPER_ALPHA = 0.4
PAPER_C = {"loss": 0.85, "scaled loss": 0.99}
#: The range of the paper's Fig. 11.
ALPHAS = np.round(np.linspace(-3, 3, 31), 1)
#: Of the regulariser's value at a point; a run above it counts as collapsed.
NEAR_A_POINT = 0.9
THESE, OTHER, EQUAL = "these lambdas", "other lambdas", "equal lambda"
SEED = 20251121


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """By regulariser and label budget."""
    found: list[Row] = []
    for index, (name, part) in enumerate(rows.groupby("regularizer", sort=False)):
        at_a_point = value_at_a_point(str(name), settings["batch_size"])
        for budget in LABELS:
            rng = np.random.default_rng([SEED, index, *budget.encode()])
            of = of_one(part, budget, at_a_point, settings["replicates"], rng)
            found += [{"regularizer": name, "labels": budget} | row for row in of]
    return found


def of_one(part: pd.DataFrame, budget: str, at_a_point: float, replicates: int, rng: np.random.Generator) -> list[Row]:
    """All estimates of one regulariser at one label budget; rows of quantity "run" are the runs, for the pictures."""
    part = part.sort_values(["seed", *CONFIGURATION])
    once = part[part["seed"] == part["seed"].iloc[0]]
    columns = {str(name): values.to_numpy(dtype=float).reshape(-1, len(once))
               for name, values in part.select_dtypes("number").items()}  # fmt: skip
    lam, accuracy = columns["lam"], columns[f"test_{budget}"]
    orders = {
        "validation accuracy": -columns[f"validation_{budget}"],
        **{name: columns[name] for name in TERMS},
        "scaled loss": columns["loss"] / lam**PAPER_ALPHA,
        "largest lambda": -lam,
        "longest training": -columns["steps"],
        "any run": np.zeros_like(lam),
    }
    units, strata = once.groupby(UNIT).ngroup().to_numpy(), once.groupby("lam").ngroup().to_numpy()
    alike = np.zeros_like(strata)
    places = {THESE: (strata, units), OTHER: (alike, strata)}
    counts = {THESE: len(np.unique(units)) - len(np.unique(strata)) + 1, OTHER: len(np.unique(strata))}
    scores = np.stack([*orders.values()])
    scaled = columns["loss"] / lam ** ALPHAS[:, None, None]
    lost = regret(scores, accuracy)
    found: list[Row] = []

    def gained(weights: Real) -> Real:
        """By each order on a run at random."""
        values = lost(weights)
        return np.asarray(values[:, -1:] - values)

    for scope, where in places.items():
        ranked = jackknife(agreement(scores, accuracy), *where, 1.0)
        for order, span in zip(orders, ranked, strict=True):
            found.append(interval("C", *span, counts[scope], order=order, scope=scope))
            if order in PAPER_C:
                found.append(mapped(found[-1], "C less that reported", (-PAPER_C[order]).__add__))
        statistics: dict[str, tuple[Statistic, float]] = {"regret": (lost, 0.0), "gain over any run": (gained, -1.0)}
        for quantity, (statistic, least) in statistics.items():
            for order, span in zip(orders, bootstrap(statistic, *where, replicates, rng, least), strict=True):
                found.append(interval(quantity, *span, order=order, scope=scope))
    for alpha, span in zip(ALPHAS, jackknife(agreement(scaled, accuracy), *places[THESE], 1.0), strict=True):
        found.append(interval("C(alpha)", *span, counts[THESE], order="scaled loss", scope=THESE, alpha=float(alpha)))
    within = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    each = np.array([agreement(scores[..., own], accuracy[:, own])(np.ones((1, len(own))))[0] for own in within])
    for order, values in zip(orders, each.T, strict=True):
        low, high = mean_interval(values)
        span = float(values.mean()), max(low, -1.0), min(high, 1.0)
        found.append(interval("C", *span, len(within), order=order, scope=EQUAL))
    for value in np.unique(lam):
        near = columns["penalty"][lam == value] > NEAR_A_POINT * at_a_point
        alone = len(np.unique(units[once["lam"] == value]))  # runs of a unit collapse alike
        found.append(rate("collapsed", near.mean() * alone, alone, lam=float(value)))
    names = [*CONFIGURATION, "seed", *TERMS]
    for right, *values in zip(accuracy.ravel(), *(columns[name].ravel() for name in names), strict=True):
        found.append(exactly("run", float(right), **dict(zip(names, map(float, values), strict=True))))
    return found


def value_at_a_point(name: str, batch_size: int) -> float:
    """The regulariser's value where all embeddings lie at the origin: what it is at complete collapse."""
    regularizer = resolve_regularizer(name).build(num_slices=1)
    return float(regularizer(torch.zeros(1, batch_size, 2), seeded_generator(0)))


def regularizer_source(name: str) -> str:
    """The digest of the code of a regulariser of one's own, "" of the library's.

    Raises:
        ValueError: it is no regulariser.
    """
    if name == "none":
        raise ValueError("none has no loss beside the prediction; name a regulariser")
    return resolve_regularizer(name).digest
