"""Pretraining on processors, whole runs: seconds, accuracy, and what of a step is not the network.

    python -m benchmarks.pretraining_speed --data PATH [--before COMMIT] [--out results/pretraining_speed]

Runs of the recipes cifar10-small (``--data`` is CIFAR-10) and mnist1d, data, training and probes included, over seeds;
the same probes on the untrained encoder and on the samples themselves. Then, in rounds that take turns, a step of the
loop and of the network alone on views that are held; and the loop fed by PIL transforms in worker processes. With
``--before``, the digits' recipe on the loop of an earlier commit too, in processes of their own that take turns.
"""

import argparse
import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.pipeline import FedByPil, NetworkAlone, ratio, timed
from benchmarks.table import show, write
from sigreg_lab.experiment import mean_interval
from sigreg_lab.experiment.provenance import REPOSITORY, now, provenance
from sigreg_lab.pretrain import PretrainResult, evaluate, pretrain, probe
from sigreg_lab.pretrain.config import PretrainConfig, configure
from sigreg_lab.pretrain.data import Splits
from sigreg_lab.pretrain.loop import Run, load, make_fabric, make_loss, resolved
from sigreg_lab.pretrain.models import Encoder
from sigreg_lab.pretrain.run import summary
from sigreg_lab.pretrain.sources import read_path

SEEDS, ROUNDS, STEPS = 3, 8, 5
DIGITS = """
import time, torch
torch.set_num_threads(2)
from sigreg_lab.pretrain import PretrainConfig, load_data, pretrain
data = load_data("digits")
pretrain(PretrainConfig(steps=5), data)
start = time.perf_counter()
pretrain(PretrainConfig(steps=100), data)
print(time.perf_counter() - start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="CIFAR-10: a folder of parquet files, or of images")
    parser.add_argument("--before", help="a commit, whose loop runs beside this one")
    parser.add_argument("--out", type=Path, help="folder for rows.csv, figures.csv and manifest.json")
    arguments = parser.parse_args()
    started, loaded = now(), os.getloadavg()[0]
    rows: list[dict[str, Any]] = []
    figures: list[dict[str, Any]] = []
    parts = [
        lambda d=d: whole_runs(rows, figures, *d) for d in (("cifar10-small", arguments.data), ("mnist1d", "mnist1d"))
    ]
    parts += [lambda d=d: steps(figures, *d) for d in (("cifar10-small", arguments.data), ("mnist1d", "mnist1d"))]
    if arguments.before:
        parts.append(lambda: before(figures, arguments.before))
    for part in parts:
        part()
        if arguments.out:
            facts = {"started": started, "finished": now(), "load_before": loaded, "threads": torch.get_num_threads()}
            write(arguments.out, rows, figures, {**facts, **provenance()})
    show(rows, figures, ("runs", "means and ratios of times, 95%"))


def whole_runs(rows: list[dict[str, Any]], figures: list[dict[str, Any]], recipe: str, path: str) -> None:
    """Runs of a recipe, each from its data to its probes; probes of what was not trained."""
    for seed in range(SEEDS):
        start = time.perf_counter()
        config = configure(path, "sigreg-ep", seed, (), recipe)
        data = load(config)
        read = time.perf_counter() - start
        result = pretrain(config, data)
        trained = time.perf_counter() - start - read
        found = accuracies(result)
        seconds = time.perf_counter() - start
        row = {"recipe": recipe, "what": "trained", "seed": seed, "seconds": round(seconds, 2)}
        rows.append({**row, "data_seconds": round(read, 2), "training_seconds": round(trained, 2), **found})
        print(rows[-1], flush=True)
        untrained = pretrain(dataclasses.replace(config, steps=0, epochs=0.0), data)
        rows.append({**row, "what": "untrained encoder", **empty(), **accuracies(untrained)})
        if seed == 0:
            rows.append({**row, "what": "samples themselves", **empty(), **accuracies(themselves(config, data))})
    own = [row for row in rows if row["recipe"] == recipe]
    kinds = {what: [row for row in own if row["what"] == what] for what in dict.fromkeys(row["what"] for row in own)}
    for what in ("seconds", "training_seconds", "linear"):
        figures.append(mean(f"{recipe}, {what}, trained", [row[what] for row in kinds["trained"]]))
    gains = [a["linear"] - b["linear"] for a, b in zip(kinds["trained"], kinds["untrained encoder"], strict=True)]
    figures.append(mean(f"{recipe}, linear, trained less untrained", gains))
    best = kinds["samples themselves"][0]["linear"]
    figures.append(mean(f"{recipe}, linear, trained less samples", [row["linear"] - best for row in kinds["trained"]]))


def empty() -> dict[str, str]:
    return {"seconds": "", "data_seconds": "", "training_seconds": ""}


def mean(what: str, values: list[float]) -> dict[str, Any]:
    low, high = mean_interval(values)
    reached, low, high = (float(f"{value:.4g}") for value in (statistics.mean(values), low, high))
    return {"what": what, "reached": reached, "low": low, "high": high}


def accuracies(result: PretrainResult) -> dict[str, float]:
    """Test accuracies with all labels of the training set: linear, and nearest neighbours for images."""
    if result.config.augment != "crops":
        found = evaluate(result, draws=1, seed=np.random.SeedSequence(0))
        return {"linear": found["test_all"], "knn": float("nan")}
    found = summary(probe(result, epochs=result.config.probe_epochs, draws=result.config.probe_draws))
    return {"linear": found["backbone_linear_all"], "knn": found["backbone_knn_all"]}


def themselves(config: PretrainConfig, data: Splits) -> PretrainResult:
    """What makes probes see the samples as they are."""
    encoder = Encoder(nn.Flatten(), data.train.pixels[0].numel(), (8,)).eval()  # type: ignore[index]
    return PretrainResult(encoder, data, [], config)


def steps(figures: list[dict[str, Any]], recipe: str, path: str) -> None:
    """A step of the loop beside that of the network alone, and fed by PIL."""
    config = configure(path, "sigreg-ep", 0, (), recipe)
    data = load(config)
    config = resolved(dataclasses.replace(config, epochs=0.0, steps=10_000), len(data.train.pixels))
    runs = {name: kind(config, data, make_fabric(config), make_loss(config)) for name, kind in
            {"loop": Run, "network alone": NetworkAlone, "fed by PIL": FedByPil}.items()
            if name != "fed by PIL" or config.augment == "crops"}  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in runs}

    def rounds(names: list[str]) -> None:
        feeds = {name: enumerate(runs[name].batches(0)) for name in names}
        for turn in range(ROUNDS + 1):
            for name in names:
                taken = timed(runs[name], feeds[name], STEPS)
                if turn:  # the first warms up
                    seconds[name].append(taken)

    rounds(["loop", "network alone"])
    if isinstance(fed := runs.get("fed by PIL"), FedByPil):  # by itself: its workers work ahead all the time
        source = read_path(Path(path))["train"]
        fed.begin(source.take(np.arange(min(5000, len(source.labels)))), workers=2)
        rounds(["fed by PIL"])
    views = config.batch_size * (config.crops.global_views if config.augment == "crops" else config.num_views)
    for name, taken in seconds.items():
        figures.append(mean(f"{recipe}, views/s, {name}", [views / value for value in taken]))
    figures.append(
        ratio(f"{recipe}, speed of the loop over the network alone", seconds["network alone"], seconds["loop"])
    )
    if "fed by PIL" in runs:
        figures.append(ratio(f"{recipe}, time fed by PIL over the loop", seconds["fed by PIL"], seconds["loop"]))


def before(figures: list[dict[str, Any]], commit: str) -> None:
    """A hundred steps of the digits' recipe: the loop of an earlier commit over this one."""
    taken: dict[str, list[float]] = {"now": [], "before": []}
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch, "before")
        tree.mkdir()
        archive = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, capture_output=True, check=True).stdout
        subprocess.run(["tar", "x", "-C", str(tree)], input=archive, check=True)
        for _ in range(ROUNDS):
            for name, place in (("now", REPOSITORY), ("before", tree)):
                environment = os.environ | {"PYTHONPATH": str(place)}
                done = subprocess.run(
                    [sys.executable, "-c", DIGITS],
                    cwd=place,
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=True,
                )
                taken[name].append(float(done.stdout.split()[-1]))
    figures.append(ratio(f"digits, 100 steps, time of {commit[:7]} over this commit", taken["before"], taken["now"]))


if __name__ == "__main__":
    main()
