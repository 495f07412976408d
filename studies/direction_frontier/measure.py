"""Error, time and memory of SIGReg by M slices of each kind, and of the exact mean over all directions.

Epps-Pulley on the half-grid, float32, one thread; M is a multiple of K. Samples of N rows of N(0, I) in R^K are drawn
anew. A row is one number of one sample, or of one group of rounds:

    value       (value - exact value)^2 / (exact value)^2, directions drawn anew
    gradient    |gradient - exact gradient|^2 over E |exact gradient|^2, which is known exactly
    time        processor time of value and gradient, directions drawn, over that of as many independent slices; of the
                exact mean over those of each M; with ``n_points="auto"`` over that of the half-grid, same kind
    memory      MiB that a call adds at its peak (Linux), directions among them

In a round every contestant runs once, in an order drawn anew: a busy machine slows all alike. A group's number is the
median over its rounds of the ratio to the time in the same round. "auto" is ``directions="auto"`` at each of the
errors. Errors, and the exact mean, are measured up to N^2 = ``pairs``; what takes more than ``operations`` a call is
not run: N K M for the products, K^2 M for the factorisation of orthogonal blocks, 512 K M for Sobol points.
"""

import ctypes
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.regularizers import SIGReg
from sigreg_lab.slicing import infinite_slice_epps_pulley, seeded_generator
from sigreg_lab.theory.slices import exact_square
from sigreg_lab.univariate import EppsPulley

KINDS = ("iid", "orthogonal", "sobol", "hd3", "fixed")
EXACT, AUTO = "exact", "auto"
SHORT = {"iid, short grid": "iid", "hd3, short grid": "hd3"}
GRID = EppsPulley().nodes()
LEAST_SAMPLES = 6
SHORT_CALL = 0.02  # seconds

Loss = Callable[[torch.Tensor], torch.Tensor]


def slices_of(cell: Cell, settings: Config) -> list[int]:
    """Numbers of slices that a cell has, ascending."""
    n, dim = int(cell["n"]), int(cell["dim"])
    return [dim * times for times in settings["multiples"] if n * dim * dim * times <= settings["operations"]]


def contestants(cell: Cell, settings: Config) -> dict[tuple[str, int], Loss]:
    """By kind and number of slices; the exact mean has none."""
    dim, found = int(cell["dim"]), {}
    for count in slices_of(cell, settings):
        taken = {"orthogonal": dim**2 * count, "sobol": 512 * dim * count}
        for kind in KINDS:
            if taken.get(kind, 0) <= settings["operations"]:
                found[kind, count] = _drawn(SIGReg(EppsPulley(), count, directions=kind))
        for name, kind in SHORT.items():
            found[name, count] = _drawn(SIGReg(EppsPulley(n_points="auto"), count, directions=kind))
    if _has_exact(cell, settings):
        found[EXACT, 0] = lambda z: infinite_slice_epps_pulley(z).sum()
    return found


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    base, runs = int(seed.generate_state(1)[0]), contestants(cell, settings)
    n, dim = int(cell["n"]), int(cell["dim"])
    rows = _errors(cell, settings, base, runs) if _has_exact(cell, settings) else []
    z = torch.randn(1, n, dim, generator=seeded_generator(base)).requires_grad_()
    counts, random = slices_of(cell, settings), np.random.default_rng(seed)
    for group in range(-1, settings["groups"]):  # the first warms up
        rounds = settings["rounds"] if group >= 0 else 1
        taken = [{place: _seconds(runs[place], z) for place in _shuffled([*runs], random)} for _ in range(rounds)]
        for kind, count in runs if group >= 0 else ():
            for beside in [count] if count else counts:
                ratios = [one[kind, count] / one[SHORT.get(kind, "iid"), beside] for one in taken]
                rows.append(_row("time", kind, beside, group, float(np.median(ratios))))
            rows += [_row("memory", kind, count, group, peak) for peak in _peak(runs[kind, count], z)]
    return rows


def _errors(cell: Cell, settings: Config, base: int, runs: dict[tuple[str, int], Loss]) -> list[Row]:
    n, dim = int(cell["n"]), int(cell["dim"])
    norm, rows = exact_square(n, dim, GRID), []
    sliced = {(kind, count, 0.0): run for (kind, count), run in runs.items() if kind in KINDS}
    for error in settings["errors"]:
        sliced[AUTO, 0, error] = _drawn(SIGReg(EppsPulley(), directions=AUTO, error=error))
    for index in range(max(LEAST_SAMPLES, settings["samples"] * 64 // dim)):
        z = torch.randn(1, n, dim, generator=seeded_generator(base, index)).requires_grad_()
        exact, slope = _value_and_gradient(lambda x: infinite_slice_epps_pulley(x).sum(), z)
        for (kind, count, stated), run in sliced.items():
            value, gradient = _value_and_gradient(run, z)
            squares = (value / exact - 1) ** 2, float((gradient - slope).square().sum()) / norm
            for quantity, square in zip(("value", "gradient"), squares, strict=True):
                rows.append(_row(quantity, kind, count, index, square, stated))
    return rows


def _has_exact(cell: Cell, settings: Config) -> bool:
    return int(cell["n"]) ** 2 <= int(settings["pairs"])


def _drawn(regularizer: SIGReg) -> Loss:
    generator = seeded_generator(1)
    return lambda z: regularizer(z, generator)


def _value_and_gradient(run: Loss, z: torch.Tensor) -> tuple[float, torch.Tensor]:
    value = run(z)
    (gradient,) = torch.autograd.grad(value, z)
    return float(value.detach()), gradient


def _shuffled(places: list[tuple[str, int]], random: np.random.Generator) -> list[tuple[str, int]]:
    return [places[index] for index in random.permutation(len(places))]


def _seconds(run: Loss, z: torch.Tensor) -> float:
    """Of a call; of one so short that what ran before it shows, the median of five that follow."""
    taken: list[float] = []
    while not taken or (taken[0] < SHORT_CALL and len(taken) < 6):
        start = time.process_time()
        torch.autograd.grad(run(z), z)
        taken.append(time.process_time() - start)
    return float(np.median(taken[1:] or taken))


def _peak(run: Loss, z: torch.Tensor) -> list[float]:
    """MiB; nothing where the system does not tell. What the allocator has kept is given back first."""
    if not os.access("/proc/self/clear_refs", os.W_OK) or not hasattr(ctypes.CDLL(None), "malloc_trim"):
        return []
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _mebibytes("VmRSS")
    torch.autograd.grad(run(z), z)
    return [_mebibytes("VmHWM") - before]


def _mebibytes(name: str) -> float:
    found = re.search(name + r":\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def _row(quantity: str, kind: str, count: int, index: int, value: float, stated: float = 0.0) -> Row:
    place = {"quantity": quantity, "directions": kind, "num_slices": count, "error": stated}
    return place | {"index": index, "value": value}
