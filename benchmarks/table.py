"""The kernels side by side, and whether they reach what is asked:  python -m benchmarks.table [--full] [--out DIR]

Medians of interleaved calls, in milliseconds. Beside a floor or a peer stand ratios of the least of 30 calls in turn,
which a busy machine moves less, and of the medians. On a busy machine ``--processor-time`` with ``--threads 1`` counts
only what the process itself computes. ``--full`` adds ``torch.compile`` (a minute of compilation) and the sizes of the
paper's Table 6. ``--out`` writes rows.csv, ratios.csv, figures.csv and manifest.json.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.cases import (
    TABLE_6,
    Clock,
    Contestant,
    Published,
    embeddings,
    errors,
    formula,
    fused,
    median_ms,
    peers,
    side_by_side,
    there_and_back,
    two_products,
)
from sigreg_lab.experiment.provenance import hardware, now, provenance
from sigreg_lab.kernels import hd3_project
from sigreg_lab.kernels.matmul import linear_by_onednn, uses_onednn
from sigreg_lab.regularizers import SIGReg
from sigreg_lab.slicing import StructuredDirections, hd3_signs, seeded_generator, sliced_statistic
from sigreg_lab.univariate import EppsPulley

LARGE, SMALL = (2048, 512, 1024), (512, 256, 1024)
#: Where the loss stands beside its own two products, and hd3 beside those that it replaces.
FLOORS, STRUCTURED = (LARGE, SMALL, (2048, 64, 1024)), (LARGE, (512, 2048, 4096))
CALLS = 30

MEMORY = """
import re, torch
from pathlib import Path
from benchmarks.cases import Published, embeddings, fused, there_and_back
function = {function}
torch.set_num_threads(2)
small, large = embeddings(64, 512, 1024), embeddings(8192, 512, 1024)
there_and_back(lambda: function(*small, 17), small[0])()
kib = lambda name: int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
Path("/proc/self/clear_refs").write_text("5")
before = kib("VmRSS")
there_and_back(lambda: function(*large, 17), large[0])()
print((kib("VmHWM") - before) / 1024)
"""

FIRST_CALL = """
import os, time, torch
x, directions = torch.randn(512, 256, requires_grad=True), torch.randn(256, 1024) / 16
clock = (lambda: sum(os.times()[:4])) if {function} else time.perf_counter
start = clock()
from sigreg_lab.slicing import sliced_statistic
from sigreg_lab.univariate import EppsPulley
sliced_statistic(x, EppsPulley(), directions).backward()
print(clock() - start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="torch.compile and Table 6 too")
    parser.add_argument("--out", type=Path, help="folder for rows.csv, figures.csv and manifest.json")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processor-time", action="store_true", help="of the process, for a busy machine")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.processor_time else time.perf_counter
    started, load = now(), os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    rows: list[dict[str, Any]] = []
    figures: list[dict[str, Any]] = []
    at_large = projections_and_loss(rows, LARGE, arguments.full, clock)
    at_small = projections_and_loss(rows, SMALL, arguments.full, clock)
    ours, eager = at_large["ours: cpu"], at_large["published formula"]
    figure(figures, "published formula over ours, N2048 K512 M1024", eager / ours, 40)
    figure(figures, "formula, node by node, over ours, N2048", at_large["formula, node by node"] / ours)
    if arguments.full:
        compiled = at_large["published formula, torch.compile"] / ours
        figure(figures, "torch.compile of the published formula over ours, N2048 K512 M1024", compiled, 4)
        compiled = at_large["formula, node by node, torch.compile"] / ours
        figure(figures, "torch.compile of the formula, node by node, over ours, N2048", compiled)
    floor = ours / at_large[f"two products, {own_library()}"]
    figure(figures, "ours over its own two products, N2048 K512 M1024", floor, 1.4, at_most=True)
    small = at_small["published formula"] / at_small["ours: cpu"]
    figure(figures, "published formula over ours, N512 K256 M1024", small, 50)
    figure(figures, "published formula over ours without a compiler, N2048", eager / at_large["ours: eager"], 12)
    figure(figures, "peak extra memory at N8192 K512 M1024, MiB", measured(MEMORY, function="fused"), 45, at_most=True)
    if arguments.full:
        figure(
            figures,
            "the same of the published formula, MiB",
            measured(MEMORY, function="lambda x, directions, n_points: Published()(x, directions)"),
        )
    with tempfile.TemporaryDirectory() as cold:
        first = measured(FIRST_CALL, str(arguments.processor_time), SIGREG_LAB_CACHE=cold)
        figure(figures, "first call, cold cache, after torch's import, s", first, 2, at_most=True)
    figure(figures, "dense product over HD3, N512 K2048 M4096", hd3(rows, clock), 10)
    found = ratios(clock)
    for scale, largest in ((1.0, "5"), (10.0, "50")):
        x, directions = embeddings(2048, 256, 256)
        value, gradient = errors((x.detach() * scale).requires_grad_(), directions, 17)
        figure(figures, f"value's relative error, 17 points, |x| up to {largest}", value, 1e-6, at_most=True)
        figure(figures, f"gradient's relative error, 17 points, |x| up to {largest}", gradient, 5e-6, at_most=True)
    if arguments.full:
        table_6(rows, clock)
    show(rows, [])
    show(found, figures, (f"ratios of the least of {CALLS} calls in turn, {hardware()['cpu']}", "what is asked"))
    if arguments.out:
        write(arguments.out, rows, figures, {"started": started, "finished": now(), "load_before": load,
              "threads": arguments.threads, "clock": clock.__name__, **provenance()}, found)  # fmt: skip


def projections_and_loss(
    rows: list[dict[str, Any]], size: tuple[int, int, int], full: bool, clock: Clock
) -> dict[str, float]:
    """Medians of all contestants at one size, 17 points, forward and backward, float32."""
    x, directions = embeddings(*size)
    module = Published()
    contestants = {
        "published formula": there_and_back(lambda: module(x, directions), x),
        "formula, node by node": there_and_back(lambda: formula(x, directions, 17), x),
        **peers(x, size[2], 17),
        "ours: eager": there_and_back(lambda: fused(x, directions, 17, "eager"), x),
        "ours: cpu": there_and_back(lambda: fused(x, directions, 17, "cpu"), x),
        "two products, oneDNN": two_products(x, directions, linear_by_onednn),
        "two products, torch": two_products(x, directions, lambda x, weight: x @ weight.T),
    }
    if full:
        both = torch.compile(module), torch.compile(formula)
        contestants["published formula, torch.compile"] = there_and_back(lambda: both[0](x, directions), x)
        contestants["formula, node by node, torch.compile"] = there_and_back(lambda: both[1](x, directions, 17), x)
        contestants["ours: compile"] = there_and_back(lambda: fused(x, directions, 17, "compile"), x)
    return record(rows, "loss", size, 17, side_by_side(contestants, 2.0 * len(contestants), clock))


def hd3(rows: list[dict[str, Any]], clock: Clock) -> float:
    """The dense product's time over that of the structured directions, one projection of 512 samples."""
    x, directions = embeddings(512, 2048, 4096)
    x = x.detach()
    signs = torch.randint(2, (2, 3, 2048), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    contestants = {
        "hd3": lambda: hd3_project(x, signs),
        "dense, oneDNN": lambda: linear_by_onednn(x, directions.T),
        "dense, torch": lambda: x @ directions,
    }
    medians = record(rows, "projection", (512, 2048, 4096), 0, side_by_side(contestants, 6, clock))
    return medians[f"dense, {own_library()}"] / medians["hd3"]


def ratios(clock: Clock) -> list[dict[str, Any]]:
    """The loss over its floor, hd3 over the dense products, peers over the loss: value and gradient, 17 points."""
    found = []
    by = linear_by_onednn if own_library() == "oneDNN" else lambda x, weight: x @ weight.T
    for size in FLOORS:
        x, directions = embeddings(*size)
        ours = there_and_back(lambda x=x, directions=directions: fused(x, directions, 17), x)
        runs = {"ours": ours, "its own two products": two_products(x, directions, by)}
        found += beside(size, runs, [("ours", "its own two products")], clock)
    for size in STRUCTURED:
        x, directions = embeddings(*size)
        signs = hd3_signs(*size[1:], generator=seeded_generator(0))
        structured, test = StructuredDirections(signs, size[1:]), EppsPulley()
        ours = there_and_back(lambda x=x, a=structured, t=test: sliced_statistic(x, t, a), x)
        runs = {"hd3": ours, "the two dense products": two_products(x, directions, by)}
        found += beside(size, runs, [("hd3", "the two dense products")], clock)
    x, _ = embeddings(*LARGE)
    loss, generator = SIGReg(EppsPulley(), LARGE[2]), seeded_generator(0)
    others = peers(x, LARGE[2], 17)
    drawn = {"ours, directions drawn": there_and_back(lambda: loss(x[None], generator), x)}
    return found + beside(LARGE, others | drawn, [(peer, *drawn) for peer in others], clock)


def beside(
    size: tuple[int, int, int], runs: dict[str, Contestant], pairs: list[tuple[str, str]], clock: Clock
) -> list[dict[str, Any]]:
    """The ratios of pairs of contestants that run in turn."""
    seconds = side_by_side(runs, clock=clock, calls=CALLS) if pairs else {}
    return [
        {
            "what": f"{one} over {other}",
            "size": "N{} K{} M{}".format(*size),
            "least": float(f"{min(seconds[one]) / min(seconds[other]):.4g}"),
            "median": float(f"{median_ms(seconds[one]) / median_ms(seconds[other]):.4g}"),
            "median_ms": round(median_ms(seconds[one]), 4),
            "median_ms_of_other": round(median_ms(seconds[other]), 4),
            "calls": CALLS,
        }
        for one, other in pairs
    ]


def own_library() -> str:
    """What the kernels leave their products to on this machine."""
    x, directions = embeddings(*SMALL)
    return "oneDNN" if uses_onednn(x, directions.T) else "torch"


def table_6(rows: list[dict[str, Any]], clock: Clock) -> None:
    for num_samples, num_slices, n_points, official in TABLE_6:
        size = (num_samples, 512, num_slices)
        x, directions = embeddings(*size)
        run = there_and_back(lambda x=x, directions=directions, n=n_points: fused(x, directions, n), x)
        record(rows, f"Table 6 (V100: {official} ms)", size, n_points, side_by_side({"ours: cpu": run}, 2, clock))


def record(
    rows: list[dict[str, Any]], what: str, size: tuple[int, int, int], n_points: int, seconds: dict[str, list[float]]
) -> dict[str, float]:
    medians = {name: median_ms(taken) for name, taken in seconds.items()}
    for name, taken in seconds.items():
        rows.append(
            {
                "what": what,
                "contestant": name,
                "num_samples": size[0],
                "dim": size[1],
                "num_slices": size[2],
                "n_points": n_points,
                "median_ms": round(medians[name], 4),
                "least_ms": round(1e3 * min(taken), 4),
                "calls": len(taken),
            }
        )
    return medians


def figure(
    figures: list[dict[str, Any]], what: str, reached: float, asked: float | None = None, *, at_most: bool = False
) -> None:
    met = "" if asked is None else "yes" if (reached <= asked if at_most else reached >= asked) else "no"
    bound = "" if asked is None else f"at {'most' if at_most else 'least'} {asked:g}"
    figures.append({"what": what, "reached": float(f"{reached:.4g}"), "asked": bound, "met": met})


def measured(code: str, function: str = "", **environment: str) -> float:
    """What a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code.replace("{function}", function)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return float(done.stdout)


def show(
    rows: list[dict[str, Any]],
    figures: list[dict[str, Any]],
    titles: tuple[str, str] = ("median of interleaved calls", "what is asked"),
) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 160)  # elsewhere rich would break lines at 80

    for title, records in zip(titles, (rows, figures), strict=True):
        if not records:
            continue
        table = Table(*records[0], title=title)
        for row in records:
            table.add_row(*map(str, row.values()))
        console.print(table)


def write(
    folder: Path,
    rows: list[dict[str, Any]],
    figures: list[dict[str, Any]],
    session: dict[str, Any],
    ratios: Sequence[dict[str, Any]] = (),
    drawn: Sequence[str] = (),
) -> None:
    """Tables, of which an empty one is left out, and the manifest: their digests, and those of ``drawn``."""
    folder.mkdir(parents=True, exist_ok=True)
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in drawn}
    for name, records in (("rows.csv", rows), ("ratios.csv", ratios), ("figures.csv", figures)):
        if not records:
            continue
        text = io.StringIO()
        writer = csv.DictWriter(text, records[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        digests[name] = hashlib.sha256(text.getvalue().encode()).hexdigest()
        _replace(folder / name, text.getvalue())
    manifest = {"files": digests, "sessions": [session]}
    _replace(folder / "manifest.json", json.dumps(manifest, indent=2) + "\n")


def _replace(path: Path, text: str) -> None:
    """Write a file whole: one that is killed leaves the old one."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8", newline="")
    partial.replace(path)


if __name__ == "__main__":
    main()
