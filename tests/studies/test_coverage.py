"""Intervals that studies print cover as often as they say: on surrogate rows, whose truth is known."""

import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sigreg_lab.experiment.estimates import tabulate
from sigreg_lab.experiment.study import load_study
from sigreg_lab.theory.collapsed_subspace import expected_loss
from sigreg_lab.univariate import EppsPulley

REPEATS = 500
#: Where it is not 95%: the errors of threshold and count, taken for independent, cancel in part on the same samples.
COVERAGE = {("rank_defect", "power"): 0.987}


def _summary(values):
    """Mean and standard error along the last axis."""
    return values.mean(-1), values.std(-1, ddof=1) / np.sqrt(values.shape[-1])


def _frame(**columns):
    return pd.DataFrame(dict(zip(columns, np.broadcast_arrays(*columns.values()), strict=True)))


def _measure(name):
    return sys.modules[load_study(name).measure.__module__]


def batch_size_and_lambda(rng):
    """A gradient's mean and mean square over 40 blocks, growing as N and as its square; the other's are 2 and 4."""
    parts, blocks = [], (REPEATS, 40)
    place = {"setting": [f"scale_{number}" for number in range(REPEATS)], "blocks": 40}
    for n in (16, 64, 256):
        means = _summary(n / 16 * (5 + rng.standard_normal(blocks)))
        squares = _summary((n / 16) ** 2 * rng.chisquare(20, blocks) / 20)
        for name, exact, (mean, error) in (("mean", 2.0, means), ("embedding", 4.0, squares)):
            line = {"quantity": f"regulariser, {name}", "mean": mean, "standard_error": error, "exact": np.nan}
            parts.append(_frame(**place, n=n, **line))
            line = {"quantity": f"prediction, {name}", "mean": exact, "standard_error": 0.1, "exact": exact}
            parts.append(_frame(**place, n=n, **line))
    yield pd.concat(parts)
    yield from [("exponent, ratio, mean", {}, 1.0), ("exponent, ratio, embedding", {}, 1.0)]
    yield from [("ratio, mean", {"n": 64}, 10.0), ("ratio, embedding", {"n": 64}, 2.0)]


def calibration(rng):
    place = {"statistic": "t", "dim": 1, "n": 8, "samples": 8, "level": 0.05, "law": "simulated"}
    rejections = rng.binomial(100_000, 0.05, REPEATS)
    yield _frame(**place, rejections=rejections, replicates=100_000, calibration_error=0.0)
    yield "false-positive rate", {}, 0.05


def collapse(rng):
    """Logarithms and numbers over 8 draws."""
    place = {"part": "pull", "statistic": "t", "dim": 4, "n": 16, "case": "point", "at": np.arange(REPEATS), "count": 8}
    parts = []
    for name in ("gradient", "exponent", "steps"):
        values, errors = _summary(2 + rng.standard_normal((REPEATS, 8)))
        parts.append(_frame(**place, quantity=name, estimate=values, standard_error=errors, exact=np.nan))
    yield pd.concat(parts)
    yield from [("gradient", {}, 100.0), ("exponent", {}, 2.0), ("steps", {}, 2.0)]


def gradient_stability(rng):
    yield next(collapse(rng)).replace({"quantity": {"exponent": "gradient exponent"}})
    yield from [("gradient", {}, 4.0), ("gradient exponent", {}, 2.0)]


def finite_sample_minimizer(rng):
    n, block = np.repeat(16 + np.arange(REPEATS), 20), np.tile(np.arange(20), REPEATS)
    values = 0.9 + 0.01 * rng.standard_normal(len(n))
    yield _frame(loss=np.repeat("moments", len(n)), n=n, block=block, quantity="minimiser", value=values)
    yield "minimiser", {}, 0.9


def gradient_bias(rng):
    """Gradients of bias 0.5 and noise 1, and without the bias and with noise of their own."""
    measure, draws = _measure("gradient_bias"), (REPEATS, 500)
    biased = rng.standard_normal(draws) + 0.5
    unbiased = 0.8 * (biased - 0.5) + 0.3 * rng.standard_normal(draws)
    ratios = np.array([measure._ratio(one, other) for one, other in zip(unbiased**2, biased**2, strict=True)])
    parts = []
    for estimator, quantity, population, values in (
        ("v", "gradient", 2.0, biased + 2),
        ("u", measure.OVER_V, 0.0, ratios),
    ):
        mean, error = _summary(values)
        place = {"variant": "whole", "sd": np.arange(REPEATS), "n": 16, "estimator": estimator, "quantity": quantity}
        parts.append(_frame(**place, population=population, exact_bias=np.nan, mean=mean, standard_error=error))
    yield pd.concat(parts)
    yield from [("bias of the gradient", {}, 0.5), ("bias, share of the gradient", {}, 0.25)]
    yield measure.OVER_V, {}, (0.64 + 0.09) / 1.25


def rank_defect(rng):
    """Normal values of the statistic under the null and, on the same samples, with a defect."""
    null = 1.05 + 0.2 * rng.standard_normal((REPEATS, 1000))
    lost = null + 0.2 + 0.1 * rng.standard_normal(null.shape)
    pairs = (np.stack(pair, 1) for pair in zip(null, lost, strict=True))
    rows = pd.DataFrame([row for pair in pairs for row in _measure("rank_defect")._rows(pair, [4], 0.0)])
    yield rows[rows["defect"] > 0].assign(dim=16, n=32, num_slices=1, reduction="mean")
    yield "power", {}, stats.norm.sf(stats.norm.isf(0.05) * 0.2 - 0.2, scale=np.hypot(0.2, 0.1))
    yield "relative change", {}, 0.2 / sum(expected_loss(*EppsPulley().nodes(), 32, 16, 0))


def slice_concentration(rng):
    """Squared errors c/M over 16 samples, c of the sample gamma, those of sobol half of independent ones'."""
    parts, laws, samples = (
        [],
        np.repeat([f"null {i}" for i in range(REPEATS // 2)], 16),
        np.tile(np.arange(16), REPEATS // 2),
    )
    for dim in (16, 128):
        c = 3 * dim * rng.gamma(100, 1 / 100, len(laws))
        for kind, factor in (("iid", 1.0), ("sobol", 0.5)):
            for size in (128, 512):
                place = {"law": laws, "sample": samples, "directions": kind, "dim": dim, "num_slices": size}
                place |= {"exact_value_square": np.nan, "exact_gradient_square": np.nan}
                place |= {f"{name}_bias": rng.standard_normal(len(laws)) for name in ("value", "gradient")}
                square = factor * c / size * rng.gamma(200, 1 / 200, len(laws))
                value_square = rng.chisquare(8, len(laws)) / 8
                parts.append(_frame(**place, gradient_square=square, value_square=value_square))
    yield pd.concat(parts)
    place = {"directions": "iid", "dim": 128}
    yield from [("value", place, 1.0), ("gradient", place | {"num_slices": 128}, 3**0.5)]
    yield from [("bias of the value", place, 0.0), ("bias of the gradient", place, 0.0), ("exponent", place, -0.5)]
    yield from [("slices needed", place | {"target": 1.0}, 384.0), ("error over that of iid", {"dim": 16}, 0.5**0.5)]
    yield "growth of slices with K", {"target": 1.0}, 1.0


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
    rows, *truths = surrogate(np.random.default_rng(3))
    table = tabulate(load_study(surrogate.__name__).estimate(rows, {}))
    for quantity, place, truth in truths:
        found = table[
            np.logical_and.reduce([table[axis] == at for axis, at in {"quantity": quantity, **place}.items()])
        ]
        assert len(found) >= REPEATS // 2, quantity
        share = ((found["low"] <= truth) & (truth <= found["high"])).mean()
        expected = COVERAGE.get((surrogate.__name__, quantity), 0.95)
        error = (expected * (1 - expected) / len(found)) ** 0.5
        assert share == pytest.approx(expected, abs=3.5 * error), quantity
