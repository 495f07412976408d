"""Everything that needs a CUDA GPU, in one go:  python -m benchmarks.gpu [--out results/kernels_gpu] [--quick]

Builds the Triton kernels, holds them against the formula in float64 (and ends in an error if one is off), then times
them, forward and backward, against the formula, its torch.compile version, lightly and the two products, at N8192
K512 M1024 in bfloat16 and float32 and at the sizes of the paper's Table 6; with the projections kept or computed twice;
the Hadamard kernel against its dense product; and takes the peak memory. Each loss is timed twice: call by call, the
host's work included, and as a CUDA graph of the same call, the device's work alone. Writes rows.csv, figures.csv and
manifest.json, again after every part: what is measured is not lost.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.cases import (
    SIGMA,
    T_MAX,
    TABLE_6,
    Contestant,
    Published,
    embeddings,
    formula,
    fused,
    peers,
    side_by_side,
    there_and_back,
    two_products,
)
from benchmarks.table import figure, record, show, write
from sigreg_lab.experiment.provenance import now, provenance
from sigreg_lab.kernels import gaussian_grid, hd3_project, sliced_epps_pulley, triton_epps_pulley

LARGE = (8192, 512, 1024)
# Relative to float64 on the same numbers. bfloat16 rounds directions, gradients of projections and result to 8 bits.
BOUNDS = {torch.float32: (1e-6, 5e-6), torch.bfloat16: (2e-3, 1.5e-2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for rows.csv, figures.csv and manifest.json")
    parser.add_argument("--quick", action="store_true", help="without torch.compile of the formula")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("benchmarks.gpu needs a CUDA GPU; none was found")
    torch.backends.cuda.matmul.allow_tf32 = False
    started = now()
    rows: list[dict[str, Any]] = []
    figures: list[dict[str, Any]] = []
    parts: dict[str, Callable[[], None]] = {
        "kernels against float64": lambda: check(figures),
        "losses, bfloat16": lambda: loss(rows, figures, torch.bfloat16, arguments.quick),
        "losses, float32": lambda: loss(rows, figures, torch.float32, arguments.quick),
        "memory": lambda: memory(figures),
        "projections kept or not": lambda: kept_or_not(rows),
        "Table 6": lambda: table_6(rows),
        "Hadamard": lambda: hadamard(rows, figures),
    }
    for name, run in parts.items():
        print(f"{now()} {name}", flush=True)
        run()
        if arguments.out and rows:
            write(arguments.out, rows, figures, {"started": started, "finished": now(), **provenance()})
    show(rows, figures)
    if any(row["met"] == "no" and "error" in row["what"] for row in figures):
        sys.exit("a kernel's result is off: see the table")


def check(figures: list[dict[str, Any]]) -> None:
    """Value and gradient against the formula in float64, odd sizes, one run of degrees and several; HD3."""
    for dtype, (value_bound, gradient_bound) in BOUNDS.items():
        for size, n_points in (
            ((1023, 37, 33), 17),
            ((2048, 512, 1024), 17),
            ((700, 129, 65), 42),
            ((700, 64, 65), 42),
            ((8192, 64, 64), 17),
            ((8192, 16, 1000), 9),
        ):
            x, directions = embeddings(*size, dtype=dtype, device="cuda")
            wide = x.detach().double().requires_grad_()
            expected = formula(wide, directions.double(), n_points)
            (expected_gradient,) = torch.autograd.grad(expected, wide)
            value = fused(x, directions, n_points, "triton")
            (gradient,) = torch.autograd.grad(value, x)
            difference = float((gradient.double() - expected_gradient).norm() / expected_gradient.norm())
            what = f"{dtype}, N{size[0]} K{size[1]} M{size[2]}, {n_points} points".removeprefix("torch.")
            figure(
                figures,
                f"value's error, {what}",
                abs(float((value / expected).detach()) - 1),
                value_bound,
                at_most=True,
            )
            figure(figures, f"gradient's error, {what}", difference, gradient_bound, at_most=True)
    for dim in (32, 2048, 16384):
        x, signs = structured(100, dim, 2 * dim)
        dense = hd3_project(x.double(), signs, backend="eager")
        difference = float((hd3_project(x, signs, backend="triton").double() - dense).norm() / dense.norm())
        figure(figures, f"HD3's error, K{dim} M{2 * dim}", difference, 2e-6, at_most=True)


def captured(run: Contestant) -> Contestant:
    """The device's work of a call, from a CUDA graph of it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def loss(rows: list[dict[str, Any]], figures: list[dict[str, Any]], dtype: torch.dtype, quick: bool) -> None:
    x, directions = embeddings(*LARGE, dtype=dtype, device="cuda")
    own, module = directions.to(dtype), Published().to("cuda", dtype)
    grid = gaussian_grid(T_MAX, 17, SIGMA, x.device)  # made once, as the published formula's
    contestants: dict[str, Contestant] = {
        "published formula": there_and_back(lambda: module(x, own), x),
        "formula, node by node": there_and_back(lambda: formula(x, own, 17), x),
        "ours: triton": there_and_back(lambda: sliced_epps_pulley(x, directions, T_MAX, 17, *grid), x),
        "ours: eager": there_and_back(lambda: fused(x, directions, 17, "eager"), x),
        "two products": two_products(x, own, lambda x, weight: x @ weight.T),
    }
    if not quick:
        both = torch.compile(module), torch.compile(formula)
        contestants["published formula, torch.compile"] = there_and_back(lambda: both[0](x, own), x)
        contestants["formula, node by node, torch.compile"] = there_and_back(lambda: both[1](x, own, 17), x)
    name = str(dtype).removeprefix("torch.")
    others = peers(x, LARGE[2], 17) if dtype == torch.float32 else {}  # they draw directions in float32
    called = record(rows, f"loss, {name}", LARGE, 17, side_by_side({**contestants, **others}, budget_s=6))
    graphs = {contestant: captured(run) for contestant, run in contestants.items()}
    alone = record(rows, f"loss, {name}, CUDA graph", LARGE, 17, side_by_side(graphs, budget_s=4))
    asked = dtype == torch.bfloat16
    for how, medians in (("call by call", called), ("CUDA graphs", alone)):
        what = f"{name}, N8192 K512 M1024, {how}"
        eager = medians["published formula"] / medians["ours: triton"]
        figure(figures, f"published formula over ours, {what}", eager, 50 if asked else None)
        floor = medians["ours: triton"] / medians["two products"]
        figure(figures, f"ours over two products, {what}", floor, 2.5 if asked else None, at_most=True)


def kept_or_not(rows: list[dict[str, Any]]) -> None:
    """bfloat16: projections kept between the two phases, or computed twice, over the dimension."""
    narrow = triton_epps_pulley.NARROW
    for dim in (16, 64, 128, 256):
        size = (LARGE[0], dim, LARGE[2])
        x, directions = embeddings(*size, dtype=torch.bfloat16, device="cuda")
        graphs = {}
        for name, limit in (("projections kept", 0), ("projections computed twice", dim)):
            triton_epps_pulley.NARROW = limit
            graphs[name] = captured(there_and_back(lambda x=x, a=directions: fused(x, a, 17, "triton"), x))
        record(rows, "bfloat16, CUDA graph", size, 17, side_by_side(graphs, budget_s=1))
    triton_epps_pulley.NARROW = narrow


def memory(figures: list[dict[str, Any]]) -> None:
    module = Published().cuda()
    calls = {"ours": lambda x, a: fused(x, a, 17), "published formula": module}
    for name, function in calls.items():
        x, directions = embeddings(*LARGE, device="cuda")
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        there_and_back(lambda f=function, x=x, a=directions: f(x, a), x)()
        torch.cuda.synchronize()
        extra = (torch.cuda.max_memory_allocated() - before) / 2**20
        figure(figures, f"peak extra memory, {name}, float32, N8192 K512 M1024, MiB", extra)


def table_6(rows: list[dict[str, Any]]) -> None:
    for num_samples, num_slices, n_points, official in TABLE_6:
        size = (num_samples, 512, num_slices)
        for dtype in (torch.bfloat16, torch.float32):
            x, directions = embeddings(*size, dtype=dtype, device="cuda")
            run = there_and_back(lambda x=x, a=directions, n=n_points: fused(x, a, n, "triton"), x)
            name = str(dtype).removeprefix("torch.")
            record(rows, f"Table 6, {name} (V100: {official} ms)", size, n_points,
                   side_by_side({"ours: triton": run}, budget_s=0.5))  # fmt: skip


def structured(num_samples: int, dim: int, num_slices: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num_samples, dim, generator=generator)
    signs = torch.randint(2, (num_slices // dim, 3, dim), generator=generator) * 2.0 - 1
    return x.cuda(), signs.cuda()


def hadamard(rows: list[dict[str, Any]], figures: list[dict[str, Any]]) -> None:
    x, signs = structured(8192, 2048, 4096)
    directions = torch.randn(2048, 4096, device="cuda")
    contestants: dict[str, Contestant] = {
        "hd3": lambda: hd3_project(x, signs, backend="triton"),
        "dense, float32": lambda: x @ directions,
    }
    medians = record(rows, "projection", (8192, 2048, 4096), 0, side_by_side(contestants, budget_s=4))
    figure(figures, "dense product over HD3, float32, N8192 K2048 M4096", medians["dense, float32"] / medians["hd3"])


if __name__ == "__main__":
    main()
