"""Power of every univariate statistic: sizes, powers, samples for half, efficiencies, ranks."""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special

from sigreg_lab import alternatives, univariate
from sigreg_lab.experiment import Decision, Picture, Study, claim, every, presets, some
from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import Estimates, about, exactly, interval, mapped, ranks, rate, tabulate
from sigreg_lab.experiment.reference import exceedances, power_interval
from sigreg_lab.figures.kinds import curves, heat_map
from sigreg_lab.theory.powers import most_powerful, power_of_moments

from .measure import measure

STATISTICS, ALTERNATIVES = list(univariate.REGISTRY), list(alternatives.UNIVARIATE)
COMPOSITE = [name for name, test in univariate.REGISTRY.items() if test.null_hypothesis == "composite"]
#: Mean and standard deviation of the alternatives that are normal.
NORMAL = {name: (law.mean, law.variance**0.5) for name, law in alternatives.REGISTRY.items()
          if name.split("_")[0] in ("null", "location", "scale")}  # fmt: skip
BASE, HALF = "epps_pulley", 0.5
RANKED = ["watson", "anderson_darling", "cramer_von_mises", "shapiro_wilk", "entropy"]
MOMENTS = ["vcreg", "mean_std", "jarque_bera", "extended_jarque_bera"]
SHOWN = [BASE, "anderson_darling", "shapiro_wilk", "extended_jarque_bera", "vcreg", "entropy", "watson"]


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Sizes and powers, the exact ones beside them, and what follows from the curves of power over n."""
    total, reference = settings["replicates"], settings["reference"]
    level = exceedances(reference, settings["alpha"]) / (reference + 1)
    found = []
    for row in rows.to_dict("records"):
        law, name, n = row["alternative"], row["statistic"], int(row["n"])
        place = {"alternative": law, "n": n, "statistic": name}
        known, error = math.nan, math.sqrt(level * (1 - level) / reference)  # of the critical value, in the level
        if law in NORMAL and (law == "null" or name in COMPOSITE):
            known = level
        elif law in NORMAL and name in ("vcreg", "mean_std"):
            known, error = power_of_moments(name, row["critical_value"], n, *NORMAL[law]), 0.0
        power = rate("power", row["rejections"], total, known, error, **place)
        counts = row["rejections"], row["rejections_low"], row["rejections_high"]
        power["low"], power["high"] = power_interval(*counts, total)
        found.append(power)
        if law in NORMAL and law != "null":
            best = most_powerful(level, n, *NORMAL[law])
            slope = (most_powerful(level + error, n, *NORMAL[law]) - best) / error if error else 0.0
            noise = math.hypot(math.sqrt(best * (1 - best) / total), slope * math.sqrt(level * (1 - level) / reference))
            above = max(0.0, power["estimate"] - best)
            found.append(about("power above the highest", above, noise, exact=0.0, **place))
            found.append(mapped(power | {"exact": math.nan}, "share of the highest power", (1 / best).__mul__))
            found.append(exactly("most powerful", best, **place | {"statistic": "most powerful test"}))
    powers = Estimates(tabulate([row for row in found if row["quantity"] == "power" and row["alternative"] != "null"]))
    samples = list(_samples_for_half(powers.table))
    return found + samples + list(_efficiencies(samples)) + list(_ranks(powers))


def _samples_for_half(powers: pd.DataFrame) -> Any:
    """The n at which the power is 1/2; 0 to the least n if it is so there, infinite if never."""
    for (law, name), curve in powers.groupby(["alternative", "statistic"], sort=False) if len(powers) else ():
        curve = curve.sort_values("n")
        n = curve["n"].to_numpy(dtype=float)
        value, low, high = (crossing(n, curve[column].to_numpy()) for column in ("estimate", "high", "low"))
        low = 0.0 if low == n[0] else min(low, n[-1])  # at most the least n; at least the largest tried
        yield interval("samples for half", value, low, high, alternative=law, statistic=name)


def crossing(n: ArrayLike, power: ArrayLike, target: float = HALF) -> float:
    """The n at which a power curve, made monotone, reaches ``target``; the least n if it starts above, inf if never.

    Linear in log n between the sizes tried, power on the normal quantile's scale.
    """
    z, goal = special.ndtri(np.clip(np.maximum.accumulate(power), 1e-9, 1 - 1e-9)), special.ndtri(target)
    return float(np.exp(np.interp(goal, z, np.log(n)))) if z[-1] >= goal else math.inf


def _efficiencies(samples: list[Row]) -> Any:
    """Samples of Epps-Pulley over those of each test: 2 needs half as many. And their medians over alternatives."""
    base = {row["alternative"]: row for row in samples if row["statistic"] == BASE}
    ratios: dict[str, list[tuple[float, float, float]]] = {}
    for row in (row for row in samples if row["statistic"] != BASE and row["alternative"] in base):
        other = base[row["alternative"]]
        if other["low"] == row["low"] == 0 or (math.isinf(other["estimate"]) and math.isinf(row["estimate"])):
            continue  # both beyond the same end of the sizes tried: nothing is known of their ratio
        high = other["high"] / row["low"] if row["low"] > 0 else math.inf
        value = other["estimate"] / row["estimate"], other["low"] / row["high"], high
        ratios.setdefault(row["statistic"], []).append(value)
        yield interval("efficiency", *value, alternative=row["alternative"], statistic=row["statistic"])
    for name, values in ratios.items():
        yield interval("median efficiency", *np.median(values, axis=0), statistic=name)


def _ranks(powers: Estimates) -> Any:
    """Places among the tests, mean over alternatives and n, and how many share the first."""
    places: dict[str, list[tuple[int, int]]] = {}
    for _, tests in powers.table.groupby(["alternative", "n"], sort=False) if len(powers) else ():
        for name, place in zip(tests["statistic"], ranks(Estimates(tests)), strict=True):
            places.setdefault(name, []).append(place)
    means = {name: np.mean(values, axis=0) for name, values in places.items()}
    for name, (low, high) in means.items():
        yield interval("mean rank", (low + high) / 2, low, high, statistic=name)
    if means:
        first = min(high for _, high in means.values())
        yield exactly("tests that share the best mean rank", sum(low <= first for low, _ in means.values()))


def below(e: Estimates, **where: Any) -> Decision:
    """Somewhere a test rejects less often than under the null."""
    level = e.of("power", alternative="null").least().exact
    return some(e.of("power", alternative=lambda law: law != "null", **where), below=level).also(level=level)


@claim("some test rejects some law less often than the null")
def below_level(e: Estimates) -> Decision:
    return below(e)


@claim("Watson nowhere rejects less often than the null")
def watson_never_below(e: Estimates) -> Decision:
    return ~below(e, statistic="watson")


@claim("one test has the best mean rank over all alternatives and sizes")
def one_test_is_best(e: Estimates) -> Decision:
    return every(e.of("tests that share the best mean rank"), below=1.5)


@claim("Anderson-Darling needs fewer samples than Epps-Pulley in the median over alternatives")
def anderson_darling_saves(e: Estimates) -> Decision:
    return every(e.of("median efficiency", statistic="anderson_darling"), above=1.0)


@claim(
    "matching moments does not identify the Gaussian: a law of ten atoms with nineteen moments right is unseen by "
    "moment tests and by Epps-Pulley at usable sizes, and seen by rank-based tests",
    source="Theorem 3",
    holds="holds, for Epps-Pulley too at usable n",
)
def matched_moments(e: Estimates) -> Decision:
    at = {"alternative": "gauss_hermite_10", "n": e.last("n")}
    unseen = every(e.of("power", statistic=[BASE, *MOMENTS], **at), below=0.1)
    seen = every(e.of("power", statistic=RANKED, **at), above=0.9)
    epps_pulley = e.at("power", statistic=BASE, **at)
    return (unseen & seen).also(n=e.last("n"), epps_pulley=epps_pulley, seen=seen.evidence["least"])


@claim("the best test here has nine tenths of the highest power against N(0, 0.8²), at 32 samples")
def near_the_highest(e: Estimates) -> Decision:
    shares = e.of("share of the highest power", alternative="scale_0.8", n=32)
    return some(shares, above=0.9).also(best=shares.largest())


def _powers(e: Estimates) -> Any:
    return curves(
        e.of(["power", "most powerful"], statistic=[*SHOWN, "most powerful test"]), x="n", hue="statistic",
        column="alternative", x_label="samples n", y_label="rejection rate", references={"level": 0.05}, band=True,
        limits=(-0.03, 1.03), wrap=5, size=(2.4, 2.0), legend_columns=5,
    )  # fmt: skip


def _efficiency_map(e: Estimates) -> Any:
    label = "samples of Epps-Pulley over those of the test, for power 1/2"
    gap = "both tests reach it at the fewest samples tried, or neither at the most"
    return heat_map(
        e.of("efficiency"), x="alternative", y="statistic", value_label=label, log=True, limits=(1 / 8, 8), gap=gap,
        form="{:.2g}",
    )  # fmt: skip


FOUR = [BASE, "anderson_darling", "extended_jarque_bera", "vcreg"]
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
    topic="tests",
    seed=20251108,
    axes=("n", "alternative"),
    paired=("alternative",),
    presets=presets(
        "n alternative statistics replicates reference",
        smoke=([16, 64], FIVE_LAWS, STATISTICS, 400, 1_999),
        quick=([50, 128], FIVE_LAWS, FOUR, 20_000, 99_999),
        standard=(SIZES, ALTERNATIVES, STATISTICS, 25_000, 99_999),
        paper=(SIZES, ALTERNATIVES, STATISTICS, 2_000_000, 9_999_999),
        alpha=0.05,
    ),
    choices={"alternative": list(alternatives.REGISTRY), "statistics": STATISTICS},
    measure=measure,
    estimate=estimate,
    claims=(
        below_level, watson_never_below, one_test_is_best, anderson_darling_saves, matched_moments, near_the_highest,
    ),
    pictures={
        "power": Picture("Power against the number of samples, by alternative; the null is first.", _powers),
        "power_efficiency": Picture(
            "Efficiency of each test against Epps-Pulley: above 1 it needs fewer samples for power 1/2. ∞: Epps-Pulley "
            "does not reach it at the sizes tried; 0: the test does not.",
            _efficiency_map,
        ),
    },
)  # fmt: skip
