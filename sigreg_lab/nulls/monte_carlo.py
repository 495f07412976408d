"""A null law known by simulation: seeded, with its standard error stated, cached on disk.

The p-value of t is its rank among the B replicates, (1 + b) / (1 + B), b the number of replicates >= t [1]. It is one
rule for every t and every law: beyond all replicates it is 1 / (1 + B), at or below the least of them 1, and at an atom
of the law the atom counts as a whole. A test at level alpha then rejects with probability alpha at most, over the
simulation and the sample together, and with probability floor(alpha (1 + B)) / (1 + B) where the law is continuous.

[1] Davison & Hinkley (1997), Bootstrap Methods and their Application, section 4.2.
"""

import contextlib
import hashlib
import io
import math
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.cache import cache_folder
from sigreg_lab.nulls.law import Array, NullLaw, check_alpha

Simulator = Callable[[np.random.Generator, int], Array]

_FORMAT = 2
_KEPT = 16_384  # distinct values that are all kept; of more some are left out
_THINNING = 0.1  # of a p-value's standard error, by which leaving out replicates may raise it
_ROUNDING = 100  # times the machine epsilon: values as near as that are one, as in ``scipy.stats.permutation_test``
_SILENT = 1.0  # seconds of a simulation of which nothing is said
_DIGEST = 32  # bytes, of SHA-256


class MonteCarlo(NullLaw):
    """Law of ``simulate``'s values.

    Args:
        simulate: ``simulate(rng, replicates)`` returns that many independent values of the statistic under the null.
            It is called for ``chunk`` replicates at a time, each time with a generator of its own.
        key: names the law: everything that the values depend on but ``replicates``, ``seed`` and ``chunk``. Laws of
            equal key share a file in the cache; an empty key keeps the law out of it.
        replicates: number of values, at least 100.
        seed: of the simulation; the same seed gives the same law on every machine.
        chunk: replicates per call.

    Attributes:
        kind: "simulated".
        replicates: their number.
        values: distinct values of the replicates, ascending. Above 16,384 they are thinned: what is left out raises no
            p-value by more than a tenth of its standard error, and lowers none.
        pvalues: the p-value of a statistic between each of them and the next.

    Raises:
        ValueError: fewer than 100 replicates, ``chunk`` below 1, or simulated values that are NaN or of a wrong shape.
    """

    kind = "simulated"

    def __init__(
        self, simulate: Simulator, key: str, *, replicates: int = 200_000, seed: int = 0, chunk: int = 2048
    ) -> None:
        if replicates < 100 or chunk < 1:
            raise ValueError(f"replicates must be at least 100 and chunk at least 1, got {replicates} and {chunk}")
        self.key = key
        self.replicates: int = int(replicates)
        self.seed = int(seed)
        self.chunk = int(chunk)
        path = self._path() if key else None
        stored = _read(path) if path is not None else None
        if stored is None:
            stored = _thin(np.sort(self._simulate(simulate)))
            if path is not None:
                _write(path, *stored)
        self.values, self.pvalues = stored

    def _least(self, statistic: Tensor) -> Array:
        """A statistic equals a replicate if they differ by rounding in the dtype of either."""
        value = super()._least(statistic)
        if statistic.dtype != torch.float64:
            value = value * (1 - _ROUNDING * torch.finfo(torch.float32).eps * np.sign(value))
        return value

    def survival(self, statistic: Array) -> Array:
        least = statistic * (1 - _ROUNDING * np.finfo(np.float64).eps * np.sign(statistic))
        return np.concatenate([[1.0], self.pvalues])[np.searchsorted(self.values, least)]

    def threshold(self, alpha: float) -> float:
        """The least value whose p-value just above it is ``alpha`` or less; at least 10 replicates must lie above it.

        But for rounding, a statistic exceeds it where its p-value is ``alpha`` or less, and nowhere else.

        Raises:
            ValueError: ``alpha`` too small for the number of replicates.
        """
        if alpha * (self.replicates + 1) < 10:
            raise ValueError(
                f"alpha={alpha:g} leaves fewer than 10 of {self.replicates} replicates in the tail; "
                f"use replicates={math.ceil(10 / alpha)} or more"
            )
        return float(self.values[np.argmax(self.pvalues <= alpha)])

    def standard_error(self, alpha: float) -> float:
        """Standard error of the type-I error of the test at level ``alpha`` that comes from this calibration."""
        alpha = check_alpha(alpha)
        return math.sqrt(alpha * (1 - alpha) / self.replicates)

    def _simulate(self, simulate: Simulator) -> Array:
        sizes = [min(self.chunk, self.replicates - start) for start in range(0, self.replicates, self.chunk)]
        children = np.random.SeedSequence(self.seed).spawn(len(sizes))
        parts = []
        for size, child in zip(_with_progress(sizes), children, strict=True):
            values = np.asarray(simulate(np.random.default_rng(child), size), dtype=np.float64)
            if values.shape != (size,) or np.isnan(values).any():
                raise ValueError(f"simulate must return {size} values without NaN, got shape {values.shape}")
            parts.append(values)
        return np.concatenate(parts)

    def _path(self) -> Path | None:
        """Where the law is kept; None for a user without a home."""
        text = f"{_FORMAT}|{self.key}|{self.replicates}|{self.seed}|{self.chunk}"
        try:
            return cache_folder() / "nulls" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npy"
        except RuntimeError:
            return None


def _with_progress(sizes: list[int]) -> Iterator[int]:
    """The sizes in turn; a line on the terminal, if there is one and this is its process, says how far they are."""
    if multiprocessing.parent_process() is not None or not sys.stderr.isatty():
        yield from sizes
        return
    started, line = time.monotonic(), ""
    try:
        for done, size in enumerate(sizes):
            if time.monotonic() - started > _SILENT:
                line = f"simulating a null law, kept for the next time: {100 * done // len(sizes)}%"
                sys.stderr.write(f"\r{line}")
                sys.stderr.flush()
            yield size
    finally:
        if line:
            sys.stderr.write(f"\r{' ' * len(line)}\r")
            sys.stderr.flush()


def _thin(ordered: Array) -> tuple[Array, Array]:
    """Some of the distinct values, ascending, the first and the last included, and the p-values just above them.

    Where values are left out, the p-value of the last one before them stands for theirs. Between two that are kept lie
    fewer replicates than a tenth of the standard deviation of their number, sqrt(j (B - j) / B) at rank j.
    """
    total = ordered.size
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # of each run of equal values
    if last.size > _KEPT:
        above = total - 1 - last  # replicates above it
        spread = np.sqrt(np.maximum(above, 1) * (total - above) / total)
        # A walk in steps of the allowed length: where its whole part changes, the next step begins.
        walk = np.floor(np.cumsum(np.diff(last, prepend=-1) / (_THINNING * spread)))
        last = last[np.append(True, walk[1:] != walk[:-1]) | (last == total - 1)]
    return ordered[last], (total - last) / (1.0 + total)


def _read(path: Path) -> tuple[Array, Array] | None:
    """The stored law, or None if there is none, or not as it was written."""
    try:
        content = path.read_bytes()
        if hashlib.sha256(content[:-_DIGEST]).digest() != content[-_DIGEST:]:
            return None
        values, pvalues = np.load(io.BytesIO(content[:-_DIGEST]), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return values, pvalues


def _write(path: Path, values: Array, pvalues: Array) -> None:
    """Store the law and its checksum in one step, so that no reader meets half a file.

    A cache that cannot be written is skipped, and nothing is left behind in it.
    """
    buffer = io.BytesIO()
    np.save(buffer, np.stack([values, pvalues]), allow_pickle=False)
    content = buffer.getvalue()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            try:
                file.write(content + hashlib.sha256(content).digest())
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, path)
            except OSError:
                os.unlink(file.name)
