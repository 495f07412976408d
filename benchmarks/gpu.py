"""Kernels on a GPU, for ``benchmarks.device``: errors, times, memory.

They are held against the formula in float64, then timed, forward and backward, against the formula, its torch.compile
version, the peers and the two products, at N8192 K512 M1024 in bfloat16 and float32 and at the sizes of the paper's
Table 6; with the projections kept or computed twice; the Hadamard kernel against its dense product; and the peak memory
is taken. Each loss is timed twice: call by call, the host's work included, and as a CUDA graph of the same call, the
device's work alone.
"""

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
from benchmarks.table import figure, record
from sigreg_lab.kernels import gaussian_grid, hd3_project, sliced_epps_pulley, triton_epps_pulley
from sigreg_lab.pretrain.loop import captured, side_stream

DEVICE = "cuda"
LARGE = (8192, 512, 1024)
#: N, K, M and points of the checks: odd sizes, one run of degrees and several, narrow and wide.
CHECKED = (
    ((1023, 37, 33), 17),
    ((2048, 512, 1024), 17),
    ((700, 129, 65), 42),
    ((700, 64, 65), 42),
    ((8192, 64, 64), 17),
    ((8192, 16, 1000), 9),
)
HADAMARD_CHECKED = (32, 2048, 16384)
HADAMARD_LARGE = (8192, 2048, 4096)
NARROW_DIMS = (16, 64, 128, 256)
# Relative to float64 on the same numbers. bfloat16 rounds directions, gradients of projections and result to 8 bits.
BOUNDS = {torch.float32: (1e-6, 5e-6), torch.bfloat16: (2e-3, 1.5e-2)}


def check(figures: list[dict[str, Any]]) -> None:
    """Value and gradient against the formula in float64, odd sizes, one run of degrees and several; HD3."""
    for dtype, (value_bound, gradient_bound) in BOUNDS.items():
        for size, n_points in CHECKED:
            x, directions = embeddings(*size, dtype=dtype, device=DEVICE)
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
    for dim in HADAMARD_CHECKED:
        x, signs = structured(100, dim, 2 * dim)
        dense = hd3_project(x.double(), signs, backend="eager")
        difference = float((hd3_project(x, signs, backend="triton").double() - dense).norm() / dense.norm())
        figure(figures, f"HD3's error, K{dim} M{2 * dim}", difference, 2e-6, at_most=True)


def replayed(run: Contestant) -> Contestant:
    """The device's work of a call, from a CUDA graph of it."""
    with side_stream(torch.device(DEVICE)):
        for _ in range(3):
            run()
        return captured(run)[0]


def loss(rows: list[dict[str, Any]], figures: list[dict[str, Any]], dtype: torch.dtype, quick: bool) -> None:
    x, directions = embeddings(*LARGE, dtype=dtype, device=DEVICE)
    own, module = directions.to(dtype), Published().to(DEVICE, dtype)
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
    graphs = {contestant: replayed(run) for contestant, run in contestants.items()}
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
    for dim in NARROW_DIMS:
        size = (LARGE[0], dim, LARGE[2])
        x, directions = embeddings(*size, dtype=torch.bfloat16, device=DEVICE)
        graphs = {}
        for name, limit in (("projections kept", 0), ("projections computed twice", dim)):
            triton_epps_pulley.NARROW = limit
            graphs[name] = replayed(there_and_back(lambda x=x, a=directions: fused(x, a, 17, "triton"), x))
        record(rows, "bfloat16, CUDA graph", size, 17, side_by_side(graphs, budget_s=1))
    triton_epps_pulley.NARROW = narrow


def memory(figures: list[dict[str, Any]]) -> None:
    module = Published().to(DEVICE)
    calls = {"ours": lambda x, a: fused(x, a, 17), "published formula": module}
    for name, function in calls.items():
        x, directions = embeddings(*LARGE, device=DEVICE)
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
            x, directions = embeddings(*size, dtype=dtype, device=DEVICE)
            run = there_and_back(lambda x=x, a=directions, n=n_points: fused(x, a, n, "triton"), x)
            name = str(dtype).removeprefix("torch.")
            record(rows, f"Table 6, {name} (V100: {official} ms)", size, n_points,
                   side_by_side({"ours: triton": run}, budget_s=0.5))  # fmt: skip


def structured(num_samples: int, dim: int, num_slices: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num_samples, dim, generator=generator)
    signs = torch.randint(2, (num_slices // dim, 3, dim), generator=generator) * 2.0 - 1
    return x.to(DEVICE), signs.to(DEVICE)


def hadamard(rows: list[dict[str, Any]], figures: list[dict[str, Any]]) -> None:
    x, signs = structured(*HADAMARD_LARGE)
    directions = torch.randn(HADAMARD_LARGE[1:], device=DEVICE)
    contestants: dict[str, Contestant] = {
        "hd3": lambda: hd3_project(x, signs, backend="triton"),
        "dense, float32": lambda: x @ directions,
    }
    medians = record(rows, "projection", HADAMARD_LARGE, 0, side_by_side(contestants, budget_s=4))
    figure(figures, "dense product over HD3, float32, N8192 K2048 M4096", medians["dense, float32"] / medians["hd3"])
