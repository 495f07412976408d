"""Type-I error of every test as shipped: does ``test`` reject a true null as often as it says?

Each cell draws samples of N(0, I) in ``dim`` dimensions and counts p-values at or below each level. The p-values come
from the law that ``method="auto"`` chooses: the limit law where it has been found good enough, else a simulated one,
whose own error is counted. Univariate statistics are tested in one dimension; multivariate ones, plain and
standardised, and the maximum and mean of Epps-Pulley over slices, in more. A test that needs more than ``n`` samples is
tested at the least it takes.

A rate is compared with its level in standard errors. 99.9% of right tests lie within 3.29 of them, so that among
hundreds of rates one beyond is no surprise; the study fails at a bound that all of them together stay within with
probability 99.9%.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from sigreg_lab import multivariate, univariate
from sigreg_lab.experiment import Study, rate_interval
from sigreg_lab.experiment.study import Cell, Config, Row
from sigreg_lab.figures.tables import markdown_table
from sigreg_lab.figures.theme import label, new_figure, palette, themed
from sigreg_lab.nulls import MonteCarlo, NullLaw
from sigreg_lab.slicing import seeded_generator, sliced_statistic

LEVELS = (0.01, 0.05, 0.1)
CONFIDENCE = 0.999
VALUES_PER_BATCH = 200_000
NUM_SLICES = 64
SAMPLES_PER_DRAW = 8  # of directions: more would share their luck
SLICED: dict[str, Literal["mean", "max"]] = {"epps_pulley_mean_of_slices": "mean", "epps_pulley_max_of_slices": "max"}
STANDARDISED = "_standardised"


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    name, dim, n, replicates = str(cell["statistic"]), int(cell["dim"]), int(cell["n"]), int(settings["replicates"])
    rng = np.random.default_rng(seed)
    if dim == 1:
        n, law, draw = _univariate(name, n)
    elif name in SLICED:
        n, law, draw = _sliced(name, n, dim)
    else:
        n, law, draw = _multivariate(name, n, dim)
    rejections = np.zeros(len(LEVELS), dtype=int)
    batch = max(1, VALUES_PER_BATCH // (n * dim))
    for start in range(0, replicates, batch):
        pvalue = law.pvalue(draw(rng, min(batch, replicates - start)))
        rejections += [int((pvalue <= level).sum()) for level in LEVELS]
    simulated = isinstance(law, MonteCarlo)
    return [
        {
            "samples": n,
            "law": "simulated" if simulated else "asymptotic",
            "level": level,
            "replicates": replicates,
            "rejections": int(count),
            "calibration_error": law.standard_error(level) if isinstance(law, MonteCarlo) else 0.0,
        }
        for level, count in zip(LEVELS, rejections, strict=True)
    ]


Draw = Callable[[np.random.Generator, int], torch.Tensor]


def _univariate(name: str, n: int) -> tuple[int, NullLaw, Draw]:
    test = univariate.REGISTRY[name]()
    n = max(n, test.min_samples)

    def draw(rng: np.random.Generator, count: int) -> torch.Tensor:
        return univariate.evaluate([test], torch.from_numpy(rng.standard_normal((count, n))).T)[0]

    return n, test.null_law(n), draw


def _multivariate(name: str, n: int, dim: int) -> tuple[int, NullLaw, Draw]:
    plain = name.removesuffix(STANDARDISED)
    test = multivariate.REGISTRY[plain](standardise=plain != name)
    n = max(n, test.min_samples(dim))
    return n, test.null_law(n, dim), lambda rng, count: torch.from_numpy(test.simulate(rng, count, n, dim))


def _sliced(name: str, n: int, dim: int) -> tuple[int, NullLaw, Draw]:
    test = multivariate.SlicingUnivariateTest(univariate.EppsPulley(), NUM_SLICES, reduction=SLICED[name])

    def few(rng: np.random.Generator, count: int) -> torch.Tensor:
        x = torch.from_numpy(rng.standard_normal((count, n, dim)))
        directions = test.directions(dim, seeded_generator(int(rng.integers(2**31))))
        return sliced_statistic(x, test.univariate_test, directions, SLICED[name])

    def draw(rng: np.random.Generator, count: int) -> torch.Tensor:
        return torch.cat([few(rng, min(SAMPLES_PER_DRAW, count - i)) for i in range(0, count, SAMPLES_PER_DRAW)])

    return n, test.null_law(n, dim), draw


def summarize(rows: pd.DataFrame, settings: Config) -> pd.DataFrame:
    summary = rows.copy()
    summary["rate"] = rows["rejections"] / rows["replicates"]
    intervals = [rate_interval(c, t) for c, t in zip(rows["rejections"], rows["replicates"], strict=True)]
    summary["low"], summary["high"] = zip(*intervals, strict=True)
    sampling = rows["level"] * (1 - rows["level"]) / rows["replicates"]
    summary["deviation"] = (summary["rate"] - rows["level"]) / np.hypot(np.sqrt(sampling), rows["calibration_error"])
    return summary


def _bound(comparisons: int = 1) -> float:
    """Standard errors that ``comparisons`` rates of right tests all stay within, with probability 99.9% or more."""
    return float(stats.norm.isf((1 - CONFIDENCE) / (2 * comparisons)))


def verify(summary: pd.DataFrame) -> list[str]:
    """Every rate within the 99.9% interval of its level that holds for all rates at once."""
    return [
        f"{row.statistic} at n = {row.samples}, dim = {row.dim} rejects {row.rate:.5f} at level "
        f"{row.level} ({row.deviation:+.1f} standard errors)"
        for row in summary[summary["deviation"].abs() > _bound(len(summary))].itertuples()
    ]


@themed()
def figures(summary: pd.DataFrame) -> dict[str, Figure]:
    """One dimension to the left, more to the right, each if there are any."""
    panels = [part for part in (summary[summary["dim"] == 1], summary[summary["dim"] > 1]) if len(part)]
    tests = [list(dict.fromkeys(name.removesuffix(STANDARDISED) for name in part["statistic"])) for part in panels]
    figure = new_figure(5.2 * len(panels), 1.6 + 0.28 * max(map(len, tests)))
    for axis, part, names in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, tests, strict=True):
        _deviations(axis, part, names, _bound(len(summary)))
    labelled = dict(zip(*reversed(figure.axes[-1].get_legend_handles_labels()), strict=True))
    figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=3, frameon=False)
    return {"calibration": figure}


def _deviations(axis: Axes, part: pd.DataFrame, names: list[str], bound: float) -> None:
    colours = palette([str(level) for level in LEVELS])
    axis.axvspan(-_bound(), _bound(), color="0.93", zorder=0, label="99.9% of right rates")
    for side in (-bound, bound):
        axis.axvline(side, color="0.6", lw=0.8, ls="--", label="all at once, 99.9%")
    axis.axvline(0, color="0.6", lw=0.8)
    standardised = part["statistic"].str.endswith(STANDARDISED)
    for offset, level in zip((-0.2, 0.0, 0.2), LEVELS, strict=True):
        for is_open in (False, True):
            dots = part[(part["level"] == level) & (standardised == is_open)]
            places = [names.index(name.removesuffix(STANDARDISED)) + offset for name in dots["statistic"]]
            colour, kind = colours[str(level)], None if is_open else f"level {level:g}"
            axis.plot(
                dots["deviation"], places, "o", ms=3.5, color=colour, mfc="white" if is_open else colour, label=kind
            )
    if standardised.any():
        axis.plot([], [], "o", ms=3.5, color="0.4", mfc="white", label="standardised")
    axis.set_yticks(range(len(names)), [label(name) for name in names])
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("rate minus level, in standard errors;\none dot a number of samples")
    axis.set_title("one dimension" if (part["dim"] == 1).all() else "more dimensions")


def report(summary: pd.DataFrame) -> str:
    size, all_at_once = summary["deviation"].abs(), _bound(len(summary))
    outside = int((size > _bound()).sum())
    at_least = float(stats.binom.sf(outside - 1, len(summary), 1 - CONFIDENCE))
    worst, five = summary.loc[size.idxmax()], summary[summary["level"] == 0.05]
    largest = five.loc[(five["rate"] - 0.05).abs().idxmax()]
    simulated = summary[summary["law"] == "simulated"]
    lines = [
        f"- {outside} of {len(summary)} measured rates lie outside their own 99.9% interval; as many or more do by "
        f"chance with probability {at_least:.2f}, were they independent.",
        f"- The furthest from its level, in standard errors, is {_described(worst)}, "
        f"{worst['deviation']:+.2f} standard errors; the study fails beyond {all_at_once:.2f}, where all "
        f"{len(summary)} are within by chance with probability {CONFIDENCE:.1%} or more.",
        f"- The largest distance from level 0.05 is that of {_described(largest)}.",
        f"- {len(simulated)} rates are of simulated laws, whose error (standard error at most "
        f"{simulated['calibration_error'].max():.5f}) is counted; {len(summary) - len(simulated)} of limit laws.",
    ]
    for heading, part in (("One dimension", five[five["dim"] == 1]), ("More dimensions", five[five["dim"] > 1])):
        if len(part):
            lines += ["", f"{heading}: {_caption(part)}", "", _table(part)]
    return "\n".join(lines)


def _described(row: "pd.Series") -> str:
    return (
        f"{label(str(row['statistic']))} at n = {row['samples']}, level {row['level']:g}: {row['rate']:.5f} "
        f"({row['low']:.5f}, {row['high']:.5f})"
    )


def _caption(part: pd.DataFrame) -> str:
    half = ((part["high"] - part["low"]) / 2).max()
    text = (
        f"rate at level 0.05, each with a 95% interval (Wilson) of at most {half:.4f} to either side; * where the law "
        "is a limit law; at the least n a test takes, if that is more."
    )
    return text if (part["dim"] == 1).all() else text + " Standardised tests behind the stroke."


def _table(part: pd.DataFrame) -> str:
    sizes = sorted(part["n"].unique())
    known = {(row.statistic, row.dim, row.n): row for row in part.itertuples()}
    plain = dict.fromkeys((str(row.statistic).removesuffix(STANDARDISED), row.dim) for row in part.itertuples())
    rows = []
    for name, dim in plain:
        both = [[known.get((name + suffix, dim, n)) for suffix in ("", STANDARDISED)] for n in sizes]
        rates = [" / ".join(f"{r.rate:.4f}{'*' * (r.law == 'asymptotic')}" for r in pair if r) for pair in both]
        rows.append([label(name), str(dim), *rates])
    return markdown_table(["test", "K", *(f"n = {n}" for n in sizes)], rows)


def keep(cell: Cell, settings: Config) -> bool:
    return cell["statistic"] in (UNIVARIATE if cell["dim"] == 1 else MULTIVARIATE)


def _preset(statistics: list[str], n: list[int], dim: list[int], replicates: int) -> Config:
    return {"statistic": statistics, "dim": dim, "n": n, "replicates": replicates}


UNIVARIATE = sorted(univariate.REGISTRY)
MULTIVARIATE = [name + suffix for name in sorted(multivariate.REGISTRY) for suffix in ("", STANDARDISED)] + list(SLICED)
ALL = UNIVARIATE + MULTIVARIATE

STUDY = Study(
    name="calibration",
    title="Type-I error of every test",
    question="Does each test reject a true null as often as its level says, from 8 samples to 1024?",
    expectation="Every rate lies within its 99.9% Monte-Carlo interval, the error of simulated laws counted in.",
    seed=20251112,
    axes=("statistic", "dim", "n"),
    keep=keep,
    presets={
        "smoke": _preset(["epps_pulley", "vcreg", "henze_zirkler"], [8, 64], [1, 2], 2_000),
        "quick": _preset(UNIVARIATE, [16, 64], [1], 20_000),
        "standard": _preset(ALL, [8, 16, 64, 256, 1024], [1, 3], 100_000),
        "paper": _preset(ALL, [8, 16, 32, 64, 128, 256, 512, 1024], [1, 2, 8, 32], 1_000_000),
    },
    measure=measure,
    summarize=summarize,
    verify=verify,
    figures=figures,
    report=report,
)
