"""Intervals that studies print cover as often as they say: on surrogate rows, whose truth is known."""

import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sigreg_lab.experiment.estimates import tabulate
from sigreg_lab.experiment.reference import critical_values
from sigreg_lab.experiment.study import load_study
from sigreg_lab.theory.collapsed_subspace import expected_loss
from sigreg_lab.theory.powers import most_powerful
from sigreg_lab.univariate import EppsPulley

REPEATS = 500
QUANTILES = stats.norm.ppf([0.6, 0.05])


def _of_difference(shared):
    """Coverage for the difference of powers 0.4 and 0.6 of tests on the same samples, whose errors are taken for
    independent though the statistics have the correlation ``shared``; 999 reference values, 500 replicates."""
    both = stats.multivariate_normal(cov=[[1, shared], [shared, 1]])
    counts = both.cdf([QUANTILES[0], -QUANTILES[0]]) - 0.24, 0.24
    levels = both.cdf([QUANTILES[1], QUANTILES[1]]) - 0.05**2, 0.05 * 0.95
    slope = stats.norm.pdf(QUANTILES[0]) / stats.norm.pdf(QUANTILES[1])
    together, alone = (count / 500 + slope**2 * level / 999 for count, level in zip(counts, levels, strict=True))
    return _of_normal(1.96 / np.sqrt(1 - together / alone))


def _of_normal(half):
    return 1 - 2 * stats.norm.sf(half)


#: Where it is not 95%. Rank defect: errors of threshold and count, taken for independent, cancel in part on the same
#: samples. Power: between two sizes, both ends of two intervals are taken at once, weighed as the powers are (1/2 and
#: 1/2 for Epps-Pulley, 3/4 and 1/4 for the other); for an efficiency, both ends of two of these. What lies above the
#: highest power is 0 where less is measured.
COVERAGE = {
    ("rank_defect", "power"): 0.987,
    ("power", "power above the highest"): 0.975,
    ("power", "samples for half"): _of_normal(1.96 / np.hypot(1 / 2, 1 / 2)),
    ("power", "efficiency"): _of_normal(2 * 1.96 / np.sqrt(2 / 4 + 10 / 16)),
    ("power_multivariate", "gain of the maximum"): _of_difference(0.8),
    ("power_multivariate", "gain of the most slices"): _of_difference(0.8),
}
#: Settings that the estimates of a study need.
SETTINGS = {
    "clustered_batches": {"num_samples": 4096, "replicates": 2400, "batches": 4, "table_dims": []},
    "power": {"replicates": 2000, "reference": 1999, "alpha": 0.05},
    "power_multivariate": {
        "replicates": [500, 500], "operations": 1e9, "most_values": 2**16, "num_slices": [16, 256], "alpha": 0.05,
    },
}  # fmt: skip


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


def _rejections(null, values):
    """Of values above the critical value of reference values, and above the ends of its interval, row by row."""
    counts = (values[None] > critical_values(null, 0.05)[..., None]).sum(-1)
    return dict(zip(("rejections", "rejections_low", "rejections_high"), counts, strict=True)) | {"critical_value": 2.0}


def _null_and_shifted(rng, power, reference, replicates, noise=None):
    """Values of a normal statistic on reference samples, and on others shifted so that it has a power."""
    noise = rng.standard_normal((REPEATS, reference + replicates)) if noise is None else noise
    shift = stats.norm.isf(0.05) + stats.norm.ppf(power)
    return noise[:, :reference], noise[:, reference:] + shift


def power(rng):
    """Curves that cross one half at 64 and at 32 samples, on the scale of normal quantiles; 0.3; the highest power."""
    laws = [f"law {number}" for number in range(REPEATS)]
    curves = {"epps_pulley": {16: -0.3, 256: 0.3}, "watson": {16: -0.15, 256: 0.45}}
    parts = []
    for name, n, at in ((name, n, at) for name, curve in curves.items() for n, at in curve.items()):
        counts = _rejections(*_null_and_shifted(rng, stats.norm.cdf(at), 1999, 2000))
        parts.append(_frame(alternative=laws, n=n, statistic=name, **counts))
    sizes = 16 + np.arange(REPEATS)
    counts = _rejections(*_null_and_shifted(rng, 0.3, 1999, 2000))
    parts.append(_frame(alternative="scale_0.8", n=sizes, statistic="any", **counts))
    few, names = 16 + np.arange(REPEATS) % 50, [f"test {number // 50}" for number in range(REPEATS)]
    highest = np.array([[most_powerful(0.05, n, 0.3, 1.0)] for n in few])
    counts = _rejections(*_null_and_shifted(rng, highest, 1999, 2000))
    parts.append(_frame(alternative="location_0.3", n=few, statistic=names, **counts))
    yield pd.concat(parts)
    law = {"alternative": laws}
    for name, curve in curves.items():
        yield from (("power", {"statistic": name, "n": n, **law}, stats.norm.cdf(at)) for n, at in curve.items())
    yield from [("samples for half", {"statistic": "epps_pulley", **law}, 64.0), ("efficiency", law, 2.0)]
    best = [most_powerful(0.05, n, 0.0, 0.8) for n in sizes]
    yield "power above the highest", {"alternative": "location_0.3"}, 0.0
    yield "share of the highest power", {"alternative": "scale_0.8"}, 0.3 / np.array(best)


def power_multivariate(rng):
    """The mean of 16 slices and the maximum of 256 have power 0.4, the maximum of 16 has 0.6; correlated by 0.8."""
    shared, parts = rng.standard_normal((REPEATS, 1499)), []
    place = {
        "n": 64,
        "dim": 16,
        "alternative": [f"law {number}" for number in range(REPEATS)],
        "statistic": "epps_pulley",
    }
    for reduction, size, truth in (("mean", 16, 0.4), ("max", 16, 0.6), ("max", 256, 0.4)):
        noise = 0.8**0.5 * shared + 0.2**0.5 * rng.standard_normal(shared.shape)
        counts = _rejections(*_null_and_shifted(rng, truth, 999, 500, noise))
        parts.append(_frame(**place, reduction=reduction, num_slices=size, **counts))
    yield pd.concat(parts)
    yield from [("power", {"reduction": "mean"}, 0.4), ("power", {"reduction": "max", "num_slices": 16}, 0.6)]
    yield from [("gain of the maximum", {}, 0.2), ("gain of the most slices", {}, -0.2)]


def sample_descent(rng):
    """Runs of three seeds: what a seed does to all of them, and what is each one's own."""
    n, seed = np.repeat(16 + np.arange(REPEATS), 3), np.tile(np.arange(3), REPEATS)
    common, parts = rng.standard_normal(len(n)), []
    for directions, size, level in (("iid", 16, 2.0), ("iid", 64, 1.0), ("fixed", 64, 4.0)):
        place = {"statistic": "epps_pulley", "num_samples": n, "dim": 16, "directions": directions, "seed": seed}
        place |= {
            "training": "adam_cosine",
            "num_slices": size,
            "infinite": level + common + rng.standard_normal(len(n)),
        }
        parts.append(_frame(**place, **{name: rng.standard_normal(len(n)) + 3 for name in ("plane", "motion_outside")}))
    yield pd.concat(parts)
    fixed = {"directions": "fixed", "num_slices": 64}
    yield from [("infinite", fixed, 4.0), ("plane", fixed, 3.0), ("motion_outside", fixed, 3.0)]
    yield from [("fixed, less 16 drawn anew", {}, 2.0), ("fixed, less as many drawn anew", {}, 3.0)]


def clustered_batches(rng):
    """Descents of 16 seeds, and counts of rejections."""
    where = {"clusters": 8 + np.arange(REPEATS), "rho": 0.5, "error": 0.0}
    parts = [
        _frame(**{name: np.repeat(values, 16) for name, values in where.items() if name == "clusters"}, rho=0.5,
               loss="batch", dim=8, quantity=key, value=truth + 0.1 * rng.standard_normal(16 * REPEATS), error=0.0)
        for key, truth in (("ratio", 0.7), ("between", 0.9))
    ]  # fmt: skip
    counts = {"all rows": (2400, 0.3), "batches together": (600, 0.3)}
    for name, (total, truth) in counts.items():
        parts.append(_frame(**where, loss="none", dim=1, quantity=name, value=rng.binomial(total, truth, REPEATS)))
    yield pd.concat(parts)
    yield from [("between over within, descended", {}, 0.7), ("scatter between", {}, 0.9)]
    yield from [(f"rejection rate, {name}", {}, truth) for name, (_, truth) in counts.items()]


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
        clustered_batches,
        collapse,
        finite_sample_minimizer,
        gradient_bias,
        gradient_stability,
        power,
        power_multivariate,
        rank_defect,
        sample_descent,
        slice_concentration,
    ],
)
def test_intervals_cover_as_they_say(surrogate, monkeypatch):
    # A search for each of hundreds of places, which no interval depends on.
    monkeypatch.setattr("sigreg_lab.theory.clusters.best_scatters", lambda *_: (1.0, 1.0))
    rows, *truths = surrogate(np.random.default_rng(3))
    table = tabulate(load_study(surrogate.__name__).estimate(rows, SETTINGS.get(surrogate.__name__, {})))
    for quantity, place, truth in truths:
        found = table[
            np.logical_and.reduce(
                [table[axis].isin(np.atleast_1d(at)) for axis, at in {"quantity": quantity, **place}.items()]
            )
        ]
        assert len(found) >= REPEATS // 2, quantity
        share = ((found["low"] <= truth) & (truth <= found["high"])).mean()
        expected = COVERAGE.get((surrogate.__name__, quantity), 0.95)
        error = (expected * (1 - expected) / len(found)) ** 0.5
        assert share == pytest.approx(expected, abs=3.5 * error), quantity
