"""A study that takes no time to speak of: the mean of draws; the engine's tests copy it into a folder of their own."""

import time

import numpy as np
import torch

from sigreg_lab.experiment import Study, mean_interval

PRESET = {"shift": [0.0, 1.0], "seed": [0, 1, 2], "draws": 5, "pause": 0.0, "fail_at": -1, "scale": 1.0, "log": True}


def measure(cell, settings, seed):
    if cell["seed"] == settings["fail_at"]:
        raise RuntimeError("as asked")
    time.sleep(settings["pause"])
    values = np.random.default_rng(seed).normal(cell["shift"], settings["scale"], settings["draws"])
    return [{"mean": float(values.mean()), "threads": torch.get_num_threads()}]


def summarize(rows, settings):
    table = rows.groupby("shift", as_index=False)["mean"].agg(["mean", list])
    table["low"], table["high"] = zip(*table["list"].map(mean_interval), strict=True)
    return table.drop(columns="list")


def verify(summary):
    return ["the shift is not there"] if summary["mean"].iloc[-1] > 100 else []


def figures(summary):
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot(summary["shift"], summary["mean"])
    return {"toy": figure}


STUDY = Study(
    name="toy",
    title="A toy",
    question="Is the mean where it should be?",
    expectation="Yes.",
    seed=7,
    axes=("shift", "seed"),
    paired=("shift",),
    presets={name: PRESET for name in ("smoke", "quick", "standard", "paper")},
    measure=measure,
    summarize=summarize,
    verify=verify,
    figures=figures,
    report=lambda summary: f"- The means are {', '.join(f'{m:.3f}' for m in summary['mean'])}.",
)
