"""What each regulariser of LeJEPA is worth: pretraining on handwritten digits, frozen probes, few labels and all.

A run is LeJEPA with one regulariser, one weight lambda and one seed. Where several lambdas are tried, each regulariser
gets the lambda with the best validation accuracy (mean over the label budgets) on its first ``tuning_seeds`` seeds, and
is reported on the test images of the other seeds. Two controls: no regulariser, and the untrained encoder. Runs of the
same seed start from the same weights and see the same batches and views.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sigreg_lab.experiment import Study, mean_interval
from sigreg_lab.experiment.study import Cell, Config, Row
from sigreg_lab.figures.plots import grouped_intervals
from sigreg_lab.figures.tables import markdown_table
from sigreg_lab.figures.theme import label
from sigreg_lab.pretrain import PretrainConfig, evaluate, pretrain
from sigreg_lab.pretrain.probes import SHOTS

REGULARIZERS = ["sigreg-ep", "sigreg-ad", "sigreg-ejb", "sigreg-vcreg", "none", "untrained"]
CONTROLS = ("none", "untrained")  # lambda does nothing there: it is 0
BUDGETS = {"1": "1 label per class", "5": "5 labels per class", "all": "all 997 labels"}


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    name = str(cell["regularizer"])
    train_seed, draw_seed = seed.spawn(2)
    config = PretrainConfig(
        regularizer="none" if name == "untrained" else name,
        lam=float(cell["lam"]),
        seed=int(train_seed.generate_state(1)[0]),
        steps=0 if name == "untrained" else settings["steps"],
        batch_size=settings["batch_size"],
        num_views=settings["num_views"],
        num_slices=settings["num_slices"],
        device="cpu",  # the same rows wherever they are made
    )
    result = pretrain(config)
    row = evaluate(result, draws=settings["draws"], seed=draw_seed)
    final = result.history[-1] if result.history else {}
    return [{**row, **{f"{term}_loss": final.get(term, float("nan")) for term in ("prediction", "regularizer")}}]


def summarize(rows: pd.DataFrame, settings: Config) -> pd.DataFrame:
    seeds = sorted(rows["seed"].unique())
    tuning, reported = seeds[: settings["tuning_seeds"]], seeds[settings["tuning_seeds"] :]
    rows = rows.assign(validation=rows[[f"validation_{shots}" for shots in SHOTS]].mean(axis=1))
    baseline: pd.DataFrame | None = None
    estimates = []
    for name, runs in rows.groupby("regularizer", sort=False):
        scores = runs[runs["seed"].isin(tuning)].groupby("lam")["validation"].mean()
        lam = float(scores.idxmax()) if len(scores) else float(runs["lam"].iloc[0])
        chosen = runs[runs["seed"].isin(reported) & (runs["lam"] == lam)].set_index("seed")
        baseline = chosen if baseline is None else baseline
        for measure_name in (*(f"test_{shots}" for shots in SHOTS), "effective_rank", "projection_rank"):
            low, high = mean_interval(chosen[measure_name])
            if measure_name.startswith("test_"):
                low, high = max(low, 0.0), min(high, 1.0)  # an accuracy lies there; few seeds make a wide interval
            gap = chosen[measure_name] - baseline[measure_name]
            gap_low, gap_high = mean_interval(gap)
            estimates.append(
                {
                    "regularizer": name,
                    "lam": lam,
                    "measure": measure_name,
                    "seeds": len(chosen),
                    "mean": chosen[measure_name].mean(),
                    "low": low,
                    "high": high,
                    "gap_to_first": gap.mean(),
                    "gap_low": gap_low,
                    "gap_high": gap_high,
                    "lambdas_tried": runs["lam"].nunique(),
                    "lambda_at_edge": len(scores) > 1 and lam in (runs["lam"].min(), runs["lam"].max()),
                }
            )
    return pd.DataFrame(estimates)


def verify(summary: pd.DataFrame) -> list[str]:
    """Nothing here is known exactly; what must hold is that accuracies are rates and ranks lie between 1 and K."""
    accuracy = summary[summary["measure"].str.startswith("test_")]
    rank = summary[summary["measure"].str.endswith("rank")]
    complaints = []
    if not accuracy["mean"].between(0, 1).all():
        complaints.append("an accuracy lies outside 0 .. 1")
    if not rank["mean"].between(1, PretrainConfig().embedding_dim).all():
        complaints.append("an effective rank lies outside 1 .. K")
    return complaints


def figures(summary: pd.DataFrame) -> dict[str, Figure]:
    accuracy = summary[summary["measure"].str.startswith("test_")].copy()
    accuracy["budget"] = [BUDGETS[name.removeprefix("test_")] for name in accuracy["measure"]]
    seeds = int(summary["seeds"].iloc[0])
    return {
        "accuracy": grouped_intervals(
            accuracy,
            group="regularizer",
            hue="regularizer",
            panel="budget",
            panel_title="{}",
            value="mean",
            value_label=f"test accuracy (95% interval, {seeds} seeds)",
            share_axis=False,
        )
    }


def report(summary: pd.DataFrame) -> str:
    accuracy = summary[summary["measure"] == "test_1"].set_index("regularizer")
    best = accuracy["mean"].idxmax()
    controls = ""
    if {"none", "untrained"} <= set(accuracy.index):
        bare, untrained = (_interval(accuracy.loc[name]) for name in ("none", "untrained"))
        controls = f"; without a regulariser it is {bare}, untrained {untrained}"
    lines = [
        f"- With one label per class the best accuracy is {_interval(accuracy.loc[best])}, with {label(str(best))}"
        f"{controls}."
    ]
    first = str(accuracy.index[0])
    tied = [
        label(str(name))
        for name, row in accuracy.iterrows()
        if name not in (first, *CONTROLS) and row["gap_low"] < 0 < row["gap_high"]
    ]
    if tied:
        lines.append(
            f"- Not told apart from {label(first)} with one label per class, by the paired difference over seeds: "
            f"{', '.join(tied)}."
        )
    tried = int(summary["lambdas_tried"].max())
    lines.append(
        f"- lambda was chosen on other seeds' validation accuracy, out of {tried}."
        if tried > 1
        else "- One lambda for all, not tuned: the order of the regularisers can change when each gets its own "
        "(preset standard)."
    )
    edge = [label(str(name)) for name in accuracy.index[accuracy["lambda_at_edge"]]]
    if edge:
        lines.append(f"- At the edge of the lambdas tried, so perhaps better beyond: {', '.join(edge)}.")
    names = list(dict.fromkeys(summary["regularizer"]))
    measures = list(dict.fromkeys(summary["measure"]))
    cells = summary.set_index(["regularizer", "measure"])
    heads = {**{f"test_{shots}": f"accuracy, {BUDGETS[shots]}" for shots in SHOTS}}
    heads |= {"effective_rank": "effective rank, embedding", "projection_rank": "effective rank, projection"}
    table = markdown_table(
        ["regulariser", "lambda", *(heads[m] for m in measures)],
        [
            [
                label(name),
                "-" if name in CONTROLS else f"{cells.loc[(name, measures[0]), 'lam']:g}",
                *(_interval(cells.loc[(name, m)], 3 if m.startswith("test_") else 1) for m in measures),
            ]
            for name in names
        ],
    )
    seeds = int(summary["seeds"].iloc[0])
    return "\n".join(lines) + f"\n\nMean over {seeds} seeds (95% Student interval):\n\n{table}"


def _interval(row: "pd.Series", digits: int = 3) -> str:
    return f"{row['mean']:.{digits}f} ({row['low']:.{digits}f}, {row['high']:.{digits}f})"


def keep(cell: Cell, settings: Config) -> bool:
    return (cell["lam"] == 0.0) == (cell["regularizer"] in CONTROLS)


def _preset(lam: list[float], seeds: int, tuning_seeds: int, steps: int, draws: int, batch_size: int = 128) -> Config:
    return {
        "regularizer": REGULARIZERS,
        "lam": [0.0, *lam],
        "seed": list(range(seeds)),
        "tuning_seeds": tuning_seeds,
        "steps": steps,
        "batch_size": batch_size,
        "num_views": 4,
        "num_slices": 256,
        "draws": draws,
    }


STUDY = Study(
    name="regularizers_digits",
    title="Regularisers and downstream accuracy on digits",
    question="Does the choice of SIGReg's statistic show in the accuracy of frozen probes?",
    expectation="Any regulariser beats none by far with few labels, since nothing else prevents collapse; among "
    "statistics differences are small once each has its own lambda.",
    seed=20251113,
    axes=("regularizer", "lam", "seed"),
    paired=("regularizer", "lam"),
    keep=keep,
    presets={
        "smoke": _preset([0.01], seeds=2, tuning_seeds=0, steps=3, draws=2, batch_size=32),
        "quick": _preset([0.01], seeds=5, tuning_seeds=0, steps=300, draws=10),
        "standard": _preset([0.003, 0.01, 0.03, 0.1], seeds=8, tuning_seeds=3, steps=300, draws=20),
        "paper": _preset([0.0003, 0.001, 0.003, 0.01, 0.03, 0.1], seeds=40, tuning_seeds=10, steps=3000, draws=50),
    },
    measure=measure,
    summarize=summarize,
    verify=verify,
    figures=figures,
    report=report,
)
