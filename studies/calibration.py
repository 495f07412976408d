"""Type-I error of every univariate test as shipped: does ``test`` reject a true null as often as it says?

Each cell draws samples of N(0, 1) and counts p-values at or below each level. The p-values come from the law that
``method="auto"`` chooses: the limit law where it has been found good enough, else a simulated one.
"""

import math

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import stats

from sigreg_lab import univariate
from sigreg_lab.experiment import Study, rate_interval
from sigreg_lab.experiment.study import Cell, Config, Row
from sigreg_lab.figures.tables import markdown_table
from sigreg_lab.figures.theme import label, new_figure, palette, themed
from sigreg_lab.nulls import MonteCarlo

LEVELS = (0.01, 0.05, 0.1)
CONFIDENCE = 0.999
REPLICATES_PER_BATCH = 10_000


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    test, replicates = univariate.REGISTRY[str(cell["statistic"])](), settings["replicates"]
    n = max(int(cell["n"]), test.min_samples)
    law = test.null_law(n)
    rng = np.random.default_rng(seed)
    rejections = torch.zeros(len(LEVELS), dtype=torch.long)
    for start in range(0, replicates, REPLICATES_PER_BATCH):
        rows = rng.standard_normal((min(REPLICATES_PER_BATCH, replicates - start), n))
        pvalue = law.pvalue(univariate.evaluate([test], torch.from_numpy(rows).T)[0])
        rejections += torch.stack([(pvalue <= level).sum() for level in LEVELS])
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
        f"{row.statistic} at n = {row.samples} rejects {row.rate:.5f} at level {row.level} ({row.deviation:+.1f} "
        f"standard errors)"
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
    for name in dict.fromkeys(five["statistic"]):
        cells = five[five["statistic"] == name].set_index("n")
        table.append([label(str(name)), *(_cell(cells.loc[n]) for n in sizes)])
    heading = "Rate at level 0.05 (95% Wilson interval); * where the law is simulated, at the least n the test takes:"
    return "\n".join(lines) + f"\n\n{heading}\n\n" + markdown_table(["test", *(f"n = {n}" for n in sizes)], table)


def _cell(row: "pd.Series") -> str:
    star = "*" if row["law"] == "simulated" else ""
    return f"{row['rate']:.4f}{star} ({row['low']:.4f}, {row['high']:.4f})"


def _preset(statistics: list[str], n: list[int], replicates: int) -> Config:
    return {"statistic": statistics, "n": n, "replicates": replicates}


STATISTICS = sorted(univariate.REGISTRY)

STUDY = Study(
    name="calibration",
    title="Type-I error of every univariate test",
    question="Does each test reject a true null as often as its level says, from 8 samples to 1024?",
    expectation="Every rate lies within its 99.9% Monte-Carlo interval, the error of simulated laws counted in.",
    seed=20251112,
    axes=("statistic", "n"),
    paired=("statistic",),
    presets={
        "smoke": _preset(["epps_pulley", "vcreg"], [8, 64], 2_000),
        "quick": _preset(["epps_pulley", "anderson_darling", "extended_jarque_bera", "vcreg"], [16, 64], 20_000),
        "standard": _preset(STATISTICS, [8, 16, 64, 256, 1024], 100_000),
        "paper": _preset(STATISTICS, [8, 16, 32, 64, 128, 256, 512, 1024], 1_000_000),
    },
    measure=measure,
    summarize=summarize,
    verify=verify,
    figures=figures,
    report=report,
)
