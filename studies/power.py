"""Power of univariate statistics as tests of N(0, 1) at a fixed level.

A statistic rejects above its critical value, as ``critical_value`` gives it: the limit law where that keeps the level,
else a simulated one. The null cell measures whether it does.
"""

import math

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import stats

from sigreg_lab import alternatives, univariate
from sigreg_lab.experiment import Study, rate_interval
from sigreg_lab.experiment.study import Cell, Config, Row
from sigreg_lab.figures.plots import grouped_intervals
from sigreg_lab.figures.tables import markdown_table
from sigreg_lab.figures.theme import label
from sigreg_lab.nulls import MonteCarlo

STATISTICS = ("epps_pulley", "anderson_darling", "extended_jarque_bera", "vcreg")
ALTERNATIVES = ["null", "location_0.3", "scale_1.25", "laplace", "uniform", "t5"]
REPLICATES_PER_BATCH = 10_000


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    n, alpha, replicates = int(cell["n"]), settings["alpha"], settings["replicates"]
    tests = [univariate.REGISTRY[name]() for name in STATISTICS]
    laws = [test.null_law(n) for test in tests]
    critical = torch.tensor([law.critical_value(alpha) for law in laws], dtype=torch.float64)
    law, rng = alternatives.REGISTRY[str(cell["alternative"])], np.random.default_rng(seed)
    rejections = torch.zeros(len(tests), dtype=torch.long)
    for start in range(0, replicates, REPLICATES_PER_BATCH):
        sample = law.sample(rng, (min(REPLICATES_PER_BATCH, replicates - start), n))
        rejections += (univariate.evaluate(tests, torch.from_numpy(sample).T) > critical[:, None]).sum(1)
    return [
        {
            "statistic": name,
            "alpha": alpha,
            "replicates": replicates,
            "rejections": int(count),
            "critical_value": float(value),
            "calibration_error": null.standard_error(alpha) if isinstance(null, MonteCarlo) else 0.0,
        }
        for name, count, value, null in zip(STATISTICS, rejections, critical, laws, strict=True)
    ]


def summarize(rows: pd.DataFrame, settings: Config) -> pd.DataFrame:
    summary = rows.copy()
    summary["power"] = rows["rejections"] / rows["replicates"]
    intervals = [rate_interval(c, t) for c, t in zip(rows["rejections"], rows["replicates"], strict=True)]
    summary["low"], summary["high"] = zip(*intervals, strict=True)
    return summary


def verify(summary: pd.DataFrame) -> list[str]:
    """The null cell's size against alpha: within 99.9%, the error of a simulated critical value counted in."""
    complaints = []
    for row in summary[summary["alternative"] == "null"].itertuples():
        error = math.hypot(math.sqrt(row.alpha * (1 - row.alpha) / row.replicates), row.calibration_error)
        if abs(row.power - row.alpha) > stats.norm.ppf(0.9995) * error:
            complaints.append(f"size of {row.statistic} at n = {row.n} is {row.power:.4f}, not {row.alpha}")
    return complaints


def figures(summary: pd.DataFrame) -> dict[str, Figure]:
    alpha = summary["alpha"].iloc[0]
    return {
        "power": grouped_intervals(
            summary,
            group="alternative",
            hue="statistic",
            panel="n",
            panel_title="n = {}",
            value="power",
            value_label=f"rejection rate at level {alpha:g} (95% interval)",
            reference=alpha,
            reference_label=f"level {alpha:g}",
            limits=(-0.02, 1.02),
        )
    }


def report(summary: pd.DataFrame) -> str:
    lines = []
    null = summary[summary["alternative"] == "null"].set_index(["statistic", "n"])
    for row in summary[summary["alternative"] != "null"].itertuples():
        if row.high < null.loc[(row.statistic, row.n), "low"]:
            lines.append(
                f"- Worse than blind: {label(row.statistic)} rejects the law {label(row.alternative)} at n = {row.n} "
                f"with rate {row.power:.3f} ({row.low:.3f}, {row.high:.3f}), less often than the null itself."
            )
    for n, part in summary[summary["alternative"] != "null"].groupby("n"):
        wins = []
        for law, tests in part.groupby("alternative", sort=False):
            best = tests.loc[tests["power"].idxmax()]
            tied = tests[tests["high"] >= best["low"]].sort_values("power", ascending=False)["statistic"]
            wins.append(f"{label(str(law))}: {' and '.join(label(name) for name in tied)} ({best['power']:.3f})")
        lines.append(f"- Highest power at n = {n} (tied where intervals overlap): {'; '.join(wins)}.")
    table = markdown_table(
        ["alternative", "n", *(label(s) for s in STATISTICS)],
        [
            [label(str(law)), str(n), *(_cell(part, s) for s in STATISTICS)]
            for (law, n), part in summary.groupby(["alternative", "n"], sort=False)
        ],
    )
    return "\n".join(lines) + "\n\nRejection rate (95% Wilson interval):\n\n" + table


def _cell(part: pd.DataFrame, statistic: str) -> str:
    row = part[part["statistic"] == statistic].iloc[0]
    return f"{row['power']:.3f} ({row['low']:.3f}, {row['high']:.3f})"


def _preset(n: list[int], replicates: int) -> Config:
    return {"alternative": ALTERNATIVES, "n": n, "alpha": 0.05, "replicates": replicates}


STUDY = Study(
    name="power",
    title="Power of univariate statistics",
    question="Which departures from N(0, 1) does each statistic see, at the same level and sample size?",
    expectation="Moment tests lead against location and scale; VCReg is blind to shape; Anderson-Darling and "
    "Epps-Pulley see everything, Anderson-Darling more of the tails.",
    seed=20251108,
    axes=("alternative", "n"),
    presets={
        "smoke": _preset([50], 400),
        "quick": _preset([50, 128], 20_000),
        "standard": _preset([50, 128], 400_000),
        "paper": _preset([16, 32, 64, 128, 256, 512, 1024], 10_000_000),
    },
    measure=measure,
    summarize=summarize,
    verify=verify,
    figures=figures,
    report=report,
)
