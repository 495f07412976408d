"""Type-I error of every test as shipped: does ``test`` reject a true null as often as it says?

Each cell draws samples of N(0, I) in ``dim`` dimensions and counts p-values at or below each level. The p-values come
from the law that ``method="auto"`` chooses: the limit law where it has been found good enough, else a simulated one.
Univariate statistics are tested in one dimension; multivariate ones, plain and standardised, and the maximum and mean
of Epps-Pulley over slices, in more. A cell whose replicates would cost more than ``operations`` takes fewer.
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd
import torch
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
SLICED: dict[str, Literal["mean", "max"]] = {"epps_pulley_mean_of_slices": "mean", "epps_pulley_max_of_slices": "max"}
STANDARDISED = "_standardised"


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    name, dim = str(cell["statistic"]), int(cell["dim"])
    rng = np.random.default_rng(seed)
    if dim == 1:
        n, replicates, law, pvalues = _univariate(name, int(cell["n"]), settings)
    else:
        n, replicates, law, pvalues = _multivariate(name, int(cell["n"]), dim, settings)
    rejections = np.zeros(len(LEVELS), dtype=int)
    batch = max(1, VALUES_PER_BATCH // (n * dim))
    for start in range(0, replicates, batch):
        pvalue = pvalues(rng, min(batch, replicates - start))
        rejections += [(pvalue <= level).sum() for level in LEVELS]
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


Draw = Callable[[np.random.Generator, int], np.ndarray]


def _univariate(name: str, n: int, settings: Config) -> tuple[int, int, NullLaw, Draw]:
    test = univariate.REGISTRY[name]()
    n = max(n, test.min_samples)
    law = test.null_law(n)

    def pvalues(rng: np.random.Generator, count: int) -> np.ndarray:
        x = torch.from_numpy(rng.standard_normal((count, n))).T
        return law.pvalue(univariate.evaluate([test], x)[0]).numpy()

    return n, settings["replicates"], law, pvalues


def _multivariate(name: str, n: int, dim: int, settings: Config) -> tuple[int, int, NullLaw, Draw]:
    if name in SLICED:
        sliced = multivariate.SlicingUnivariateTest(univariate.EppsPulley(), NUM_SLICES, reduction=SLICED[name])
        law = sliced.null_law(n, dim)

        def statistic(rng: np.random.Generator, count: int) -> torch.Tensor:
            x = torch.from_numpy(rng.standard_normal((count, n, dim)))
            generator = seeded_generator(int(rng.integers(2**31)))  # fresh directions for every few samples
            return sliced_statistic(x, sliced.univariate_test, sliced.directions(dim, generator), SLICED[name])

        operations = n * NUM_SLICES * 50.0
    else:
        plain = name.removesuffix(STANDARDISED)
        test = multivariate.REGISTRY[plain](standardise=plain != name)
        n = max(n, test.min_samples(dim))
        law = test.null_law(n, dim)

        def statistic(rng: np.random.Generator, count: int) -> torch.Tensor:
            return torch.from_numpy(test.simulate(rng, count, n, dim))

        operations = test._operations(n, dim)
    replicates = int(min(settings["replicates"], max(1000, settings["operations"] // operations)))
    return n, replicates, law, lambda rng, count: law.pvalue(statistic(rng, count)).numpy()


def summarize(rows: pd.DataFrame, settings: Config) -> pd.DataFrame:
    summary = rows.copy()
    summary["rate"] = rows["rejections"] / rows["replicates"]
    intervals = [rate_interval(c, t) for c, t in zip(rows["rejections"], rows["replicates"], strict=True)]
    summary["low"], summary["high"] = zip(*intervals, strict=True)
    sampling = rows["level"] * (1 - rows["level"]) / rows["replicates"]
    summary["deviation"] = (summary["rate"] - rows["level"]) / np.hypot(np.sqrt(sampling), rows["calibration_error"])
    return summary


def _bound() -> float:
    return float(stats.norm.ppf((1 + CONFIDENCE) / 2))


def verify(summary: pd.DataFrame) -> list[str]:
    """Every rate within the 99.9% Monte-Carlo interval of its level."""
    return [
        f"{row.statistic} at n = {row.samples}, dim = {row.dim} rejects {row.rate:.5f} at level "
        f"{row.level} ({row.deviation:+.1f} standard errors)"
        for row in summary[summary["deviation"].abs() > _bound()].itertuples()
    ]


@themed()
def figures(summary: pd.DataFrame) -> dict[str, Figure]:
    names = list(dict.fromkeys(summary["statistic"]))
    colours = palette([str(level) for level in LEVELS])
    figure = new_figure(7.5, 1.4 + 0.28 * len(names))
    axis = figure.subplots()
    axis.axvspan(-_bound(), _bound(), color="0.93", zorder=0, label="99.9% interval")
    axis.axvline(0, color="0.6", lw=0.8)
    for offset, level in zip((-0.2, 0.0, 0.2), LEVELS, strict=True):
        part = summary[summary["level"] == level]
        places = [names.index(name) + offset for name in part["statistic"]]
        axis.plot(part["deviation"], places, "o", ms=3.5, color=colours[str(level)], label=f"level {level:g}")
    axis.set_yticks(range(len(names)), [label(str(name)) for name in names])
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("measured rate minus level, in standard errors; one dot a sample size")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return {"calibration": figure}


def report(summary: pd.DataFrame) -> str:
    outside = summary[summary["deviation"].abs() > _bound()]
    worst = summary.loc[summary["deviation"].abs().idxmax()]
    chance = 1 - math.pow(CONFIDENCE, len(summary))
    where = f"{label(worst['statistic'])} at n = {worst['samples']}, level {worst['level']:g}"
    lines = [
        f"- {len(outside)} of {len(summary)} measured rates lie outside their 99.9% interval (at least one does by "
        f"chance with probability {chance:.2f}). The furthest: {where}: {worst['rate']:.5f} ({worst['low']:.5f}, "
        f"{worst['high']:.5f}), {worst['deviation']:+.2f} standard errors."
    ]
    five = summary[summary["level"] == 0.05]
    sizes = sorted(five["n"].unique())
    table = []
    for (name, dim), part in five.groupby(["statistic", "dim"], sort=False):
        cells = part.set_index("n")
        row = [_cell(cells.loc[n]) if n in cells.index else "" for n in sizes]
        table.append([label(str(name)), str(dim), *row])
    heading = "Rate at level 0.05 (95% Wilson interval); * where the law is simulated, at the least n the test takes:"
    fewer = summary[summary["replicates"] < summary["replicates"].max()]
    if len(fewer):
        lines.append(
            f"- {len(fewer)} of {len(summary)} rates come from fewer replicates than the others' "
            f"{summary['replicates'].max():,} ({fewer['replicates'].min():,} at the least): their tests cost more."
        )
    return "\n".join(lines) + f"\n\n{heading}\n\n" + markdown_table(["test", "K", *(f"n = {n}" for n in sizes)], table)


def _cell(row: "pd.Series") -> str:
    star = "*" if row["law"] == "simulated" else ""
    return f"{row['rate']:.4f}{star} ({row['low']:.4f}, {row['high']:.4f})"


def keep(cell: Cell, settings: Config) -> bool:
    if cell["dim"] == 1:
        return cell["statistic"] in UNIVARIATE
    return cell["statistic"] in MULTIVARIATE and int(cell["n"]) <= settings["most_multivariate_samples"]


def _preset(
    statistics: list[str], n: list[int], dim: list[int], replicates: int, operations: float, most: int
) -> Config:
    return {
        "statistic": statistics,
        "dim": dim,
        "n": n,
        "replicates": replicates,
        "operations": operations,
        "most_multivariate_samples": most,
    }


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
    paired=("statistic",),
    keep=keep,
    presets={
        "smoke": _preset(["epps_pulley", "vcreg", "henze_zirkler"], [8, 64], [1, 2], 2_000, 1e9, 8),
        "quick": _preset(UNIVARIATE, [16, 64], [1], 20_000, 1e9, 64),
        "standard": _preset(ALL, [8, 16, 64, 256, 1024], [1, 3], 100_000, 2e10, 64),
        "paper": _preset(ALL, [8, 16, 32, 64, 128, 256, 512, 1024], [1, 2, 8, 32], 1_000_000, 1e15, 1024),
    },
    measure=measure,
    summarize=summarize,
    verify=verify,
    figures=figures,
    report=report,
)
