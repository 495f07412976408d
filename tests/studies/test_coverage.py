"""Intervals that studies print cover as often as they say: on surrogate rows, whose truth is known."""

import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sigreg_lab.experiment.estimates import tabulate
from sigreg_lab.experiment.study import load_study
from sigreg_lab.theory.collapsed_subspace import expected_loss

REPEATS = 1000


def _summary(values):
    """Mean and standard error along the last axis."""
    return values.mean(-1), values.std(-1, ddof=1) / np.sqrt(values.shape[-1])


def _frame(**columns):
    return pd.DataFrame(dict(zip(columns, np.broadcast_arrays(*columns.values()), strict=True)))


def batch_size_and_lambda(rng):
    """A gradient's mean and mean square over 40 blocks, growing as N and as its square; the other's are 2 and 4."""
    parts, sizes = [], (16, 64, 256)
    settings = [f"scale_{number}" for number in range(REPEATS)]
    for n in sizes:
        values, errors = _summary(n / 16 * (5 + rng.standard_normal((REPEATS, 40))))
        squares, square_errors = _summary((n / 16) ** 2 * rng.chisquare(20, (REPEATS, 40)) / 20)
        for name, mean, error in (("mean", values, errors), ("embedding", squares, square_errors)):
            place = {"setting": settings, "n": n, "blocks": 40}
            parts.append(
                _frame(**place, quantity=f"regulariser, {name}", mean=mean, standard_error=error, exact=np.nan)
            )
            exact = 2.0 if name == "mean" else 4.0
            parts.append(_frame(**place, quantity=f"prediction, {name}", mean=exact, standard_error=0.1, exact=exact))
    truth = {"exponent, ratio, mean": 1.0, "exponent, ratio, embedding": 1.0}
    return pd.concat(parts), truth | {("ratio, mean", 64): 10.0, ("ratio, embedding", 64): 2.0}


def calibration(rng):
    rejections = rng.binomial(100_000, 0.05, REPEATS)
    place = {"statistic": "t", "dim": 1, "n": 8, "samples": 8, "level": 0.05, "law": "simulated"}
    rows = _frame(**place, rejections=rejections, replicates=100_000, calibration_error=0.0)
    return rows, {"false-positive rate": 0.05}


def collapse(rng):
    """Logarithms and numbers over 8 draws."""
    place = {"part": "pull", "statistic": "t", "dim": 4, "case": "point", "at": np.arange(REPEATS), "count": 8}
    parts = []
    for name in ("gradient", "exponent", "steps"):
        values, errors = _summary(2 + rng.standard_normal((REPEATS, 8)))
        parts.append(_frame(**place, quantity=name, estimate=values, standard_error=errors, exact=np.nan))
    return pd.concat(parts), {"gradient": 100.0, "exponent": 2.0, "steps": 2.0}


def gradient_stability(rng):
    """Logarithms and numbers over 16 samples."""
    rows, _ = collapse(rng)
    rows["quantity"] = rows["quantity"].replace({"exponent": "gradient exponent", "steps": "slope"})
    return rows.assign(n=16), {"gradient": 4.0, "gradient exponent": 2.0, "slope": 2.0}


def finite_sample_minimizer(rng):
    values = 0.9 + 0.01 * rng.standard_normal((REPEATS, 20)).ravel()
    loss, block = np.repeat("moments", len(values)), np.tile(np.arange(20), REPEATS)
    rows = _frame(loss=loss, n=np.repeat(16 + np.arange(REPEATS), 20), block=block, quantity="minimiser", value=values)
    return rows, {"minimiser": 0.9}


def gradient_bias(rng):
    """Gradients of bias 0.5 and noise 1, and without the bias and with noise of their own."""
    biased = rng.standard_normal((REPEATS, 500)) + 0.5
    errors = {"v": biased**2, "u": (0.8 * (biased - 0.5) + 0.3 * rng.standard_normal((REPEATS, 500))) ** 2}
    measure = sys.modules[load_study("gradient_bias").measure.__module__]
    ratios = np.array([measure._ratio(one, other) for one, other in zip(errors["u"], errors["v"], strict=True)])
    lines = {("v", "gradient", 2.0): biased + 2, ("u", measure.OVER_V, 0.0): ratios}
    parts = []
    for (estimator, quantity, population), values in lines.items():
        mean, error = _summary(values)
        place = {"variant": "whole", "sd": np.arange(REPEATS), "n": 16, "estimator": estimator, "quantity": quantity}
        place |= {"population": population, "exact_bias": np.nan}
        parts.append(_frame(**place, mean=mean, standard_error=error))
    truth = {"bias of the gradient": 0.5, "bias, share of the gradient": 0.25}
    return pd.concat(parts), truth | {"squared error over that of V": (0.64 + 0.09) / 1.25}


def rank_defect(rng):
    """Normal values of the statistic under the null and, on the same samples, with a defect."""
    measure = sys.modules[load_study("rank_defect").measure.__module__]
    null = 1.05 + 0.2 * rng.standard_normal((REPEATS, 1000))
    lost = null + 0.2 + 0.1 * rng.standard_normal(null.shape)
    rows = [row for pair in zip(null, lost, strict=True) for row in measure._rows(np.stack(pair, 1), [4])]
    study = load_study("rank_defect")
    power = stats.norm.sf(stats.norm.isf(0.05) * 0.2 - 0.2, scale=np.hypot(0.2, 0.1))
    exact = sum(expected_loss(*sys.modules[study.estimate.__module__].GRID, 32, 16, 0))
    truth = {"power": power, "false-positive rate": 0.05, "relative change": {0: 0.0, 4: 0.2 / exact}}
    del truth["false-positive rate"]  # at a threshold of its own, whose error is held against the exact rate
    rows = pd.DataFrame(rows).assign(dim=16, n=32, num_slices=1, reduction="mean")
    return rows[rows["defect"] > 0], truth | {"relative change": 0.2 / exact}


def slice_concentration(rng):
    """Squared errors c/M over 16 samples, c of the sample gamma, those of sobol half of independent ones'."""
    parts, count = [], REPEATS // 4
    laws = np.repeat([f"null{number}" for number in range(count)], 16)
    for dim in (16, 128):
        c = (3 * dim * rng.gamma(100, 1 / 100, (count, 16))).ravel()
        for kind, factor in (("iid", 1.0), ("sobol", 0.5)):
            for size in (128, 256, 512):
                noise = rng.gamma(200, 1 / 200, c.shape)
                place = {"law": laws, "sample": np.tile(np.arange(16), count), "directions": kind, "dim": dim}
                numbers = {"gradient_square": factor * c / size * noise, "exact_gradient_square": np.nan}
                numbers |= {"value_square": rng.chisquare(8, c.shape) / 8, "exact_value_square": np.nan}
                bias = {"value_bias": rng.standard_normal(c.shape), "gradient_bias": rng.standard_normal(c.shape)}
                parts.append(_frame(**place, num_slices=size, **numbers, **bias))
    truth = {"value": 1.0, "bias of the value": 0.0, "error over that of iid": 0.5**0.5, "exponent": -0.5}
    place = {"directions": "iid", "dim": 128}
    truth |= {"growth of slices with K": 1.0}
    return pd.concat(parts), truth | {("slices needed", 1.0): 3 * 128, ("gradient", 256): (3 * 128 / 256) ** 0.5}


#: Where it is not 95%: Student's interval of what is skew.
COVERAGE: dict[tuple[str, str], float] = {}


@pytest.mark.parametrize(
    "surrogate",
    [
        batch_size_and_lambda,
        calibration,
        collapse,
        finite_sample_minimizer,
        gradient_bias,
        gradient_stability,
        rank_defect,
        slice_concentration,
    ],
)
def test_intervals_cover_as_they_say(surrogate):
    study = load_study(surrogate.__name__)
    rows, truths = surrogate(np.random.default_rng(3))
    table = tabulate(study.estimate(rows, {}))
    for key, truth in truths.items():
        quantity, place = key if isinstance(key, tuple) else (key, None)
        found = table[table["quantity"] == quantity]
        if surrogate is slice_concentration and place is not None:
            found = found[(found["directions"] == "iid") & (found["dim"] == 128)]
            found = found[found["target" if quantity == "slices needed" else "num_slices"] == place]
        elif place is not None:
            found = found[found["n"] == place]
        assert len(found) >= REPEATS // 4, quantity
        share = ((found["low"] <= truth) & (truth <= found["high"])).mean()
        print(surrogate.__name__, key, len(found), round(share, 4))
