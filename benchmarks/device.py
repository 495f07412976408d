"""All that only a GPU can show, in order of worth, in the time there is:

    python -m benchmarks.device --data PATH [--minutes 8] [--out results/device]

    check     every kernel, regulariser and the training step once, both ways, against float64 on the CPU; as CUDA
              graphs against calls; going on with the rest where one fails
    kernels   times of the kernels, see ``benchmarks.gpu``
    step      images a second of a step of the recipe, the share outside the network, against PIL in worker processes
    recipes   the recipe's settings, one after the other: which learns most in a given time
    record    the recipe over seeds: seconds and accuracy of a run, probes included
    runs      the comparison: every regulariser's lambda tuned by short runs, then whole runs, seed after seed

``--data`` is CIFAR-10, as a folder of parquet files or of images. Each part is a process of its own with a time limit,
and writes FOLDER/PART/rows.csv, figures.csv and manifest.json as it goes: one that crashes or is killed takes no other
with it. Called again, parts that came to their end are left out, and runs that were made are not made again.
"""

import argparse
import contextlib
import csv
import dataclasses
import hashlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import gpu
from benchmarks.cases import synchronize
from benchmarks.pipeline import NetworkAlone, pil, timed
from benchmarks.table import figure, show, write
from sigreg_lab.experiment import mean_interval
from sigreg_lab.experiment.provenance import now, provenance
from sigreg_lab.pretrain.config import PretrainConfig, configure
from sigreg_lab.pretrain.curves import outside_share
from sigreg_lab.pretrain.data import Images, Splits, load_data
from sigreg_lab.pretrain.loop import Run, captured, make_fabric, make_loss, pretrain, resolved, side_stream
from sigreg_lab.pretrain.probes import probe
from sigreg_lab.pretrain.run import summary
from sigreg_lab.pretrain.sources import read_path
from sigreg_lab.regularizers import REGISTRY, make_regularizer, regularizer_options
from sigreg_lab.slicing import DIRECTIONS, seeded_generator
from sigreg_lab.slicing.estimators import characteristic_grid
from sigreg_lab.univariate import UnivariateTest

RECIPE = "cifar10-fast"
DEVICE = "cuda"
COMMAND = (sys.executable, "-m", "benchmarks.device")
#: Share of the time, seconds at most, that a part may take; the last part has what is left.
LIMITS = {"check": 150, "kernels": 150, "step": 90, "recipes": 75, "record": 60, "runs": math.inf}
#: Relative errors of value and gradient: float32 against float64; of bfloat16 embeddings the gradient is rounded. Those
#: that the kernel multiplies in bfloat16 have the kernel's bounds.
BOUNDS = {torch.float32: (1e-4, 1e-3), torch.bfloat16: (1e-4, 5e-3)}
SAME = 1e-5  # a graph against the calls it was captured from, up to the order of additions
SHAPE = (4, 256, 64)
#: Regularisers whose directions are drawn in the dtype of the embeddings: float64 would draw others.
DRAWS_IN_DTYPE = ("visreg", "sphere-slicing", "rdmreg")
LAMBDAS = (0.02, 0.08, 0.005, 0.3)
TUNING_SEED = 1000
#: Settings of the recipe that are tried one after the other, the best so far kept; training takes as long for each.
CANDIDATES = (
    ("embedding_dim=512", "embedding_dim=384", "embedding_dim=256"),
    ("batch_size=128",),
    ("lr=4e-3",),
    ("lam=0.01",),
    ("lr=1e-3",),
    ("crops.blur=0.5",),
)
TRAINING_SECONDS = 8.0
TURNS, STEPS = 7, 30  # of the part step; the first turn captures
PIL_TURNS = 7


@dataclasses.dataclass
class Sheet:
    """What a part has measured; written after every entry."""

    folder: Path
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    figures: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    started: str = dataclasses.field(default_factory=now)

    def save(self, *, ended: bool = False, **facts: Any) -> None:
        keys = list(dict.fromkeys(key for row in self.rows for key in row))
        rows = [{key: row.get(key, "") for key in keys} for row in self.rows]
        session = {"started": self.started, "finished": now(), "ended": ended, **facts, **provenance()}
        write(self.folder, rows, self.figures, session)

    def attempt(self, what: str, measure: Callable[[], None]) -> None:
        """Measure, or note why it failed."""
        try:
            measure()
            torch.cuda.synchronize()
        except Exception as error:  # whatever a kernel, a capture or a library raises
            reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
            print(f"FAILED {what}: {type(error).__name__}: {reason}", flush=True)
            if os.environ.get("SIGREG_LAB_DEBUG"):
                import traceback

                traceback.print_exc()
            line = f"{what}: {type(error).__name__}: {reason}"[:300]
            self.figures.append({"what": line, "reached": math.nan, "asked": "to run", "met": "no"})
        self.save()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="CIFAR-10: a folder of parquet files, or of images")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all parts together")
    parser.add_argument("--out", type=Path, default=Path("results/device"))
    parser.add_argument("--parts", default=",".join(LIMITS), help="which, in order")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="of the recipe, key=value")
    parser.add_argument("--regularizers", default=",".join([*REGISTRY, "untrained"]), help="of the part runs")
    parser.add_argument("--within", action="store_true", help=argparse.SUPPRESS)  # this process is the part
    arguments = parser.parse_args()
    if DEVICE == "cuda" and not torch.cuda.is_available():
        sys.exit("benchmarks.device needs a CUDA GPU; none was found")
    parts = arguments.parts.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"unknown part {unknown[0]}; known: {', '.join(PARTS)}")
    deadline = time.monotonic() + 60 * arguments.minutes
    if arguments.within:
        PARTS[parts[0]](Sheet(arguments.out / parts[0]), arguments, deadline)
        return
    for part in parts:
        if ended(arguments.out / part):
            print(f"{part}: done before", flush=True)
            continue
        left = min(LIMITS.get(part, math.inf), deadline - time.monotonic())
        if left < 5:
            print(f"{part}: no time left", flush=True)
            continue
        print(f"{now()} {part}, {left:.0f} s at most", flush=True)
        words = ["--data", arguments.data, "--out", str(arguments.out), "--regularizers", arguments.regularizers]
        words += [word for override in arguments.overrides for word in ("--set", override)]
        own = ["--parts", part, "--within", "--minutes", str((left - 3) / 60)]
        try:
            # cuBLAS keeps to one order of additions only with a workspace of its own
            environment = os.environ | ({"CUBLAS_WORKSPACE_CONFIG": ":4096:8"} if part == "check" else {})
            done = subprocess.run([*COMMAND, *words, *own], timeout=left, check=False, env=environment)
            print(f"{part}: exit {done.returncode}", flush=True)
        except subprocess.TimeoutExpired:
            print(f"{part}: stopped at its limit; what it wrote is kept", flush=True)


def ended(folder: Path) -> bool:
    """Whether a part came to its end."""
    manifest = folder / "manifest.json"
    return manifest.is_file() and bool(json.loads(manifest.read_text())["sessions"][-1]["ended"])


# --- check


def check(sheet: Sheet, arguments: argparse.Namespace, deadline: float) -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    sheet.attempt("kernels", lambda: gpu.check(sheet.figures))
    names = [name for name in REGISTRY if name != "none"]
    for name in names:
        for dtype in BOUNDS:
            sheet.attempt(f"{name}, {short(dtype)}", lambda n=name, d=dtype: regularizer(sheet, n, d))
    sheet.attempt("recipe's step", lambda: recipe_step(sheet, arguments))
    sheet.attempt("resumed", lambda: resumed(sheet))
    kinds = [("sigreg-ep", kind) for kind in DIRECTIONS] + [("sigreg-ad", "hd3")]
    for name, kind in [*((name, "iid") for name in names), *kinds]:
        sheet.attempt(f"{name}, {kind}, graph", lambda n=name, k=kind: graph(sheet, n, k))
        sheet.attempt(f"{name}, {kind}, steps", lambda n=name, k=kind: steps(sheet, n, k))
        if time.monotonic() > deadline:
            print("no time for the other checks", flush=True)
            break
    else:
        sheet.save(ended=True)
    failed = [row for row in sheet.figures if row["met"] == "no"]
    print(f"{len(sheet.figures)} checks, {len(failed)} failed", flush=True)
    for row in failed:
        print(row, flush=True)


def short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def sample(dtype: torch.dtype, device: str, seed: int = 0) -> Tensor:
    """Embeddings that are far enough from the target for a gradient."""
    z = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)) * 0.8 + 0.1
    return z.to(torch.bfloat16 if dtype == torch.bfloat16 else torch.float32).to(device, dtype).requires_grad_()


def made(name: str, kind: str = "iid") -> torch.nn.Module:
    options: dict[str, Any] = {"num_slices": 256} if "num_slices" in regularizer_options(name) else {}
    if kind != "iid":
        options["directions"] = kind
    found = make_regularizer(name, **options)
    assert found is not None
    return found


def regularizer(sheet: Sheet, name: str, dtype: torch.dtype) -> None:
    """Value and gradient on the GPU against the CPU, in float64 where the directions are the same there."""
    wide = torch.float32 if name in DRAWS_IN_DTYPE else torch.float64
    z, on_cpu = sample(dtype, DEVICE), sample(dtype, "cpu").detach().to(wide).requires_grad_()
    values, gradients = [], []
    for x in (z, on_cpu):
        value = made(name)(x, seeded_generator(1))
        (gradient,) = torch.autograd.grad(value, x)
        values.append(float(value.detach()))
        gradients.append(gradient.double().cpu())
    difference = float((gradients[0] - gradients[1]).norm() / gradients[1].norm())
    statistic = getattr(made(name), "statistic", None)
    in_one = isinstance(statistic, UnivariateTest) and characteristic_grid(statistic) is not None
    value_bound, gradient_bound = (gpu.BOUNDS if in_one and dtype == torch.bfloat16 else BOUNDS)[dtype]
    what = f"{name}, {short(dtype)}"
    figure(sheet.figures, f"value's error, {what}", abs(values[0] / values[1] - 1), value_bound, at_most=True)
    figure(sheet.figures, f"gradient's error, {what}", difference, gradient_bound, at_most=True)


def graph(sheet: Sheet, name: str, kind: str) -> None:
    """A captured call and its gradient against the call, on other data and other directions than those captured."""
    module, generator = made(name, kind), torch.Generator(DEVICE)
    if not getattr(module, "capturable", True):
        return
    z, fresh = sample(torch.float32, DEVICE), sample(torch.float32, DEVICE, seed=5)

    def call() -> tuple[Tensor, Tensor]:
        value = module(z, generator)
        return value.detach(), torch.autograd.grad(value, z)[0]

    with side_stream(z.device):
        generator.manual_seed(3)
        for _ in range(3):
            call()
        generator.manual_seed(3)
        replay, outputs = captured(call, generator)
        z.data.copy_(fresh.data)
        generator.manual_seed(4)
        replay()
        replayed = [out.clone() for out in outputs]
        generator.manual_seed(4)
        expected = call()
    for part, one, two in zip(("value", "gradient"), replayed, expected, strict=True):
        difference = float((one - two).double().norm() / two.double().norm())
        figure(sheet.figures, f"{part} of a graph, {name}, {kind}", difference, SAME, at_most=True)


def steps(sheet: Sheet, name: str, kind: str) -> None:
    """Twelve steps on the digits in float32, replayed against call by call: the last loss.

    Additions in a fixed order: nearest neighbours change at the last digit, and the runs would part.
    """
    config = PretrainConfig(regularizer=name, directions=kind, steps=12, num_slices=64, precision="32-true")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        losses = [pretrain(dataclasses.replace(config, graph=g)).history[-1]["total"] for g in (True, False)]
    finally:
        torch.use_deterministic_algorithms(False)
    figure(sheet.figures, f"loss after 12 steps, graph, {name}, {kind}", abs(losses[0] / losses[1] - 1), 1e-3,
           at_most=True)  # fmt: skip


def recipe_step(sheet: Sheet, arguments: argparse.Namespace) -> None:
    """Thirty steps of the recipe in bfloat16, replayed against call by call, on images of noise."""
    noise = torch.randint(256, (2048, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    same = Images(noise, torch.arange(2048) % 10)
    data = Splits("noise", same, same, same, 10)
    config = recipe(arguments, "sigreg-ep", epochs=0.0, steps=30, log_every=1)
    losses = [
        [row["total"] for row in pretrain(dataclasses.replace(config, graph=g), data).history] for g in (True, False)
    ]
    for step in (0, 5, 29):
        difference = abs(losses[0][step] / losses[1][step] - 1)
        figure(sheet.figures, f"loss at step {step}, recipe, graph", difference, 2e-2, at_most=True)


def resumed(sheet: Sheet) -> None:
    """Twenty steps, against some and the rest from their checkpoint, float32: the last loss."""
    config = PretrainConfig(steps=20, num_slices=64, precision="32-true")
    whole = pretrain(config).history[-1]["total"]

    def stop(number: int, values: dict[str, float]) -> None:
        if number == 11:
            raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with contextlib.suppress(KeyboardInterrupt):
            pretrain(dataclasses.replace(config, checkpoint_minutes=0.0), folder=folder, on_step=stop)
        again = pretrain(config, folder=folder, resume=True).history[-1]["total"]
    figure(sheet.figures, "loss of a resumed run", abs(again / whole - 1), 1e-3, at_most=True)


# --- kernels


def kernels(sheet: Sheet, arguments: argparse.Namespace, deadline: float) -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    rows, figures = sheet.rows, sheet.figures
    parts: dict[str, Callable[[], None]] = {
        "losses, bfloat16": lambda: gpu.loss(rows, figures, torch.bfloat16, quick=True),
        "losses, float32": lambda: gpu.loss(rows, figures, torch.float32, quick=True),
        "Hadamard": lambda: gpu.hadamard(rows, figures),
        "memory": lambda: gpu.memory(figures),
        "Table 6": lambda: gpu.table_6(rows),
        "projections kept or not": lambda: gpu.kept_or_not(rows),
        "losses, bfloat16, torch.compile": lambda: gpu.loss(rows, figures, torch.bfloat16, quick=False),
    }
    for what, run in parts.items():
        print(f"{now()} {what}", flush=True)
        if time.monotonic() > deadline:
            break
        sheet.attempt(what, run)
    else:
        sheet.save(ended=True)
    show(sheet.rows, sheet.figures)


# --- step


def step(sheet: Sheet, arguments: argparse.Namespace, deadline: float) -> None:
    data = images(arguments.data)
    config = resolved(recipe(arguments, "sigreg-ep", steps=10_000, epochs=0.0), len(data.train.pixels))
    size, views = config.batch_size, config.crops.global_views
    seconds: dict[str, list[float]] = {}
    contestants = {
        "step, graph": (Run, True),
        "network alone, graph": (NetworkAlone, True),
        "step, call by call": (Run, False),
        "network alone, call by call": (NetworkAlone, False),
    }
    runs = {}
    for what, (kind, as_graph) in contestants.items():
        own = dataclasses.replace(config, graph=as_graph)
        runs[what] = kind(own, data, make_fabric(own), make_loss(own))
    with side_stream(torch.device(DEVICE)):
        feeds = {what: enumerate(run.batches(0)) for what, run in runs.items()}
        for turn in range(TURNS):
            for what, run in runs.items():
                seconds.setdefault(what, []).append(timed(run, feeds[what], STEPS))
            if turn == 0:
                seconds.clear()  # the first turn captures
                for run in runs.values():
                    run.watch.read(), run.watch.seconds.clear()
        shares = {what: run.watch.read() for what, run in runs.items()}
    for what, taken in seconds.items():
        median = statistics.median(taken)
        sheet.rows.append({"what": what, "batch": size, "views": views, "turns": len(taken), "steps": STEPS,
                           "median_ms": round(1e3 * median, 4), "least_ms": round(1e3 * min(taken), 4),
                           "images_per_second": round(size / median), "views_per_second": round(size * views / median),
                           "shares": json.dumps({k: round(v / sum(shares[what].values()), 4)
                                                 for k, v in shares[what].items()})})  # fmt: skip
    whole, alone = (statistics.median(seconds[f"{what}, graph"]) for what in ("step", "network alone"))
    figure(sheet.figures, "share of the step outside the network, by difference", 1 - alone / whole, 0.1, at_most=True)
    figure(sheet.figures, "share of the step outside the network, by events", outside_share(shares["step, graph"]))
    slow = statistics.median(seconds["step, call by call"])
    figure(sheet.figures, "a step call by call over a replayed one", slow / whole)
    sheet.save()

    workers = os.cpu_count() or 1
    feed = pil(read_path(Path(arguments.data))["train"], config, workers, torch.device(DEVICE))
    for _ in range(3 * workers):  # more than the queue that the workers fill while nobody takes from it
        next(feed)
    taken = []
    for _ in range(PIL_TURNS):
        synchronize()
        start = time.perf_counter()
        for _ in range(workers):
            next(feed)
        synchronize()
        taken.append((time.perf_counter() - start) / workers)
    median = statistics.median(taken)
    sheet.rows.append({"what": f"PIL views alone, {workers} workers", "batch": size, "views": views, "turns": PIL_TURNS,
                       "steps": workers, "median_ms": round(1e3 * median, 4), "least_ms": round(1e3 * min(taken), 4),
                       "images_per_second": round(size / median)})  # fmt: skip
    figure(sheet.figures, "time of PIL views alone over a whole step of ours", median / whole)
    show([{k: v for k, v in row.items() if k != "shares"} | {"shares": row.get("shares", "")} for row in sheet.rows],
         sheet.figures)  # fmt: skip
    sheet.save(ended=True)


# --- recipes, record, runs


def images(path: str) -> Splits:
    """The images at 32 pixels, decoded once: other processes find them in the temporary folder."""
    files = sorted(file for file in Path(path).rglob("*") if file.is_file())
    state = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    held = Path(tempfile.gettempdir(), f"sigreg-lab-{hashlib.sha256(repr(state).encode()).hexdigest()[:16]}.pt")
    if held.is_file():
        saved = torch.load(held, weights_only=True)
        return Splits(saved["name"], *(Images(*part) for part in saved["parts"]), saved["classes"], saved["facts"])
    data = load_data(path, 32)
    parts = [tuple(part) for part in (data.train, data.validation, data.test)]
    partial = held.with_suffix(f".{os.getpid()}")
    torch.save({"name": data.name, "parts": parts, "classes": data.num_classes, "facts": data.facts}, partial)
    partial.replace(held)
    return data


def prepared(arguments: argparse.Namespace) -> tuple[Splits, dict[str, Any]]:
    """The images, after some steps that compile and tune what later runs use; facts for the manifest."""
    start = time.perf_counter()
    data = images(arguments.data)
    decoded = time.perf_counter() - start
    probe(pretrain(recipe(arguments, "sigreg-ep", epochs=0.0, steps=8), data), epochs=1, draws=0)
    warm = time.perf_counter() - start - decoded
    return data, {"reading_seconds": round(decoded, 1), "warm_up_seconds": round(warm, 1), "data": data.facts}


def warm(sheet: Sheet, arguments: argparse.Namespace, deadline: float) -> None:
    """Nothing but what later parts would wait for: decoded images, compiled views."""
    for size in ("256", "128", "512"):
        own = argparse.Namespace(**{**vars(arguments), "overrides": [*arguments.overrides, f"batch_size={size}"]})
        prepared(own)


def recipes(sheet: Sheet, arguments: argparse.Namespace, deadline: float) -> None:
    data, facts = prepared(arguments)
    best: tuple[float, list[str]] = (-1.0, [])
    for group in CANDIDATES:
        kept = list(best[1])
        for candidate in group:
            if time.monotonic() + 1.5 * TRAINING_SECONDS > deadline:
                print(f"no time for {candidate}", flush=True)
                continue
            words = [*kept, candidate]
            own = argparse.Namespace(**{**vars(arguments), "overrides": [*arguments.overrides, *words]})
            config = recipe(own, "sigreg-ep", epochs=0.0, steps=60, log_every=20)
            history = pretrain(config, data).history
            speed = statistics.median(row["images_per_second"] for row in history[1:])
            epochs = round(TRAINING_SECONDS * speed / len(data.train.pixels), 2)
            row = one_run({"stage": "recipe", "regularizer": "sigreg-ep", "seed": TUNING_SEED, "lam": config.lam},
                          data, own, epochs=epochs)  # fmt: skip
            row = {"settings": " ".join(words), "measured_images_per_second": round(speed), **row}
            sheet.rows.append(row)
            sheet.save(**facts)
            told(row)
            if row.get("validation", -1) > best[0]:
                best = row["validation"], words
                (sheet.folder / "best.txt").write_text(" ".join([*words, f"epochs={epochs}"]) + "\n")
    sheet.save(ended=True, **facts)


def record(sheet: Sheet, arguments: argparse.Namespace, deadline: float) -> None:
    data, facts = prepared(arguments)
    slowest = 0.0
    for seed in range(20):
        if time.monotonic() + 1.2 * slowest > deadline or seed == 5:
            break
        begin = time.monotonic()
        config = recipe(arguments, "sigreg-ep")
        sheet.rows.append(
            one_run({"stage": "record", "regularizer": "sigreg-ep", "lam": config.lam, "seed": seed}, data, arguments)
        )
        slowest = max(slowest, time.monotonic() - begin)
        told(sheet.rows[-1])
        sheet.figures = []
        if len(sheet.rows) > 1:
            for what in ("linear", "knn", "seconds", "train_seconds"):
                values = [float(row[what]) for row in sheet.rows if row.get(what) not in ("", None)]
                low, high = mean_interval(values)
                for kind, value in (("mean", statistics.mean(values)), ("low", low), ("high", high)):
                    figure(sheet.figures, f"{what}, {kind}, {len(values)} seeds", value)
        sheet.save(**facts)
    sheet.save(ended=True, **facts)
    show([{k: row.get(k, "") for k in TOLD} for row in sheet.rows], sheet.figures)


TOLD = ("stage", "settings", "regularizer", "lam", "seed", "epochs", "linear", "knn", "train_seconds", "seconds")


def told(row: dict[str, Any]) -> None:
    print({key: row[key] for key in TOLD if key in row}, flush=True)


def recipe(arguments: argparse.Namespace, name: str, **changes: Any) -> PretrainConfig:
    config = configure(arguments.data, name, 0, arguments.overrides, RECIPE)
    return dataclasses.replace(config, **changes)


def runs(sheet: Sheet, arguments: argparse.Namespace, deadline: float) -> None:
    path = sheet.folder / "rows.csv"
    if path.is_file():
        with path.open(newline="") as file:
            sheet.rows = [row for row in csv.DictReader(file) if row.get("stage")]
    data, facts = prepared(arguments)
    names = arguments.regularizers.split(",")
    slowest = 0.0
    for job in jobs(names, sheet.rows):
        if time.monotonic() + 1.2 * slowest > deadline:
            print("no time for another run", flush=True)
            break
        begin = time.monotonic()
        row = one_run(job, data, arguments)
        slowest = max(slowest, time.monotonic() - begin) if row["stage"] == "report" else slowest
        sheet.rows.append(row)
        told(row)
        sheet.figures = standing(sheet.rows)
        sheet.save(**facts)
    else:
        sheet.save(ended=True, **facts)
    show([{k: row.get(k, "") for k in ("stage", "regularizer", "lam", "seed", "linear", "knn", "seconds")}
          for row in sheet.rows], sheet.figures)  # fmt: skip


def jobs(names: list[str], made_before: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Short runs with each lambda, all regularisers at one lambda before the next; then whole runs seed by seed.

    ``made_before`` grows while they are made; the lambda of a whole run is that with the best validation accuracy.
    """

    def missing(**job: Any) -> bool:
        return not any(all(str(row.get(k)) == str(v) for k, v in job.items()) for row in made_before)

    def order(jobs: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        return (job for job in jobs if missing(**job))

    tuned = [name for name in names if name not in ("none", "untrained")]
    yield from order(
        {"stage": "tune", "regularizer": name, "lam": lam, "seed": TUNING_SEED} for lam in LAMBDAS for name in tuned
    )
    for seed in range(5):
        for name in names:
            job = {"stage": "report", "regularizer": name, "seed": seed}
            if missing(**job):
                yield {**job, "lam": best_lambda(name, made_before)}


def best_lambda(name: str, rows: list[dict[str, Any]]) -> float:
    found = [
        (float(row["validation"]), float(row["lam"]))
        for row in rows
        if row["stage"] == "tune" and row["regularizer"] == name and row.get("validation") not in ("", None)
    ]
    return max(found)[1] if found else LAMBDAS[0]


def one_run(job: dict[str, Any], data: Splits, arguments: argparse.Namespace, **changes: Any) -> dict[str, Any]:
    """One run and its probes; a run that broke has the reason in its row."""
    name, short_run = job["regularizer"], job["stage"] == "tune"
    config = recipe(arguments, "none" if name == "untrained" else name, seed=job["seed"], lam=job["lam"], **changes)
    if short_run:
        config = dataclasses.replace(config, epochs=config.epochs / 4)
    if name == "untrained":
        config = dataclasses.replace(config, epochs=0.0, steps=0)
    row: dict[str, Any] = {**job, "epochs": config.epochs, "batch_size": config.batch_size}
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    try:
        result = pretrain(config, data)
        torch.cuda.synchronize()
        row["train_seconds"] = round(time.perf_counter() - start, 3)
        probes = probe(result, epochs=config.probe_epochs, draws=0 if short_run else config.probe_draws)
        torch.cuda.synchronize()
        row["seconds"] = round(time.perf_counter() - start, 3)
        row["validation"] = next(
            r["validation"] for r in probes if (r["features"], r["probe"]) == ("backbone", "linear")
        )
        row |= {key.replace("backbone_", "").replace("_all", ""): value for key, value in summary(probes).items()}
        last = result.history[-1] if result.history else {}
        row |= {k: last[k] for k in ("prediction", "regularizer_value", "memory_gib") if k in last}
        if "regularizer" in last:
            row["loss_regularizer"] = last["regularizer"]
        row["steps"], row["share_outside"] = result.config.steps, outside_share(result.seconds)
        row["reason"] = ""
    except (ValueError, RuntimeError, FloatingPointError, MemoryError) as error:
        row["seconds"] = round(time.perf_counter() - start, 3)
        row["reason"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        print(row["reason"], flush=True)
    return row


def standing(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean test accuracy of the linear probe over the whole runs of each regulariser, best first."""
    scores: dict[str, list[float]] = {}
    for row in rows:
        if row["stage"] == "report" and row.get("linear") not in ("", None):
            scores.setdefault(row["regularizer"], []).append(float(row["linear"]))
    found: list[dict[str, Any]] = []
    for name, values in sorted(scores.items(), key=lambda item: -statistics.mean(item[1])):
        figure(found, f"linear probe, {name}, {len(values)} run(s)", statistics.mean(values))
    return found


PARTS: dict[str, Callable[[Sheet, argparse.Namespace, float], None]] = {
    "check": check, "kernels": kernels, "step": step, "recipes": recipes, "record": record, "runs": runs, "warm": warm,
}  # fmt: skip

if __name__ == "__main__":
    main()
