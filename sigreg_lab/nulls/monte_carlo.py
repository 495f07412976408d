"""A null law known by simulation: seeded, with its standard error stated, cached on disk.

P-values are ranks among the replicates, (1 + number of replicates >= t) / (1 + replicates), interpolated linearly
between neighbouring replicates [1]; none is smaller than 1 / (1 + replicates).

[1] Davison & Hinkley (1997), Bootstrap Methods and their Application, section 4.2.
"""

import hashlib
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sigreg_lab.nulls.law import Array, NullLaw, check_alpha

Simulator = Callable[[np.random.Generator, int], Array]

_FORMAT = 1
_TAIL = 4096  # order statistics kept one by one at the upper end
_BODY = 8192  # and evenly spaced ones below


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
        values: order statistics, ascending (thinned below the upper 4096).
        pvalues: their p-values.

    Raises:
        ValueError: fewer than 100 replicates, ``chunk`` below 1, or simulated values that are NaN or of a wrong shape.
    """

    def __init__(
        self, simulate: Simulator, key: str, *, replicates: int = 200_000, seed: int = 0, chunk: int = 2048
    ) -> None:
        if replicates < 100 or chunk < 1:
            raise ValueError(f"replicates must be at least 100 and chunk at least 1, got {replicates} and {chunk}")
        self.key = key
        self.replicates = int(replicates)
        self.seed = int(seed)
        self.chunk = int(chunk)
        path = self._path() if key else None
        stored = _read(path) if path is not None else None
        if stored is None:
            stored = _thin(np.sort(self._simulate(simulate)))
            if path is not None:
                _write(path, *stored)
        self.values, self.pvalues = stored

    def survival(self, statistic: Array) -> Array:
        return np.interp(statistic, self.values, self.pvalues)

    def critical_value(self, alpha: float) -> float:
        """The value of p-value ``alpha``; at least 10 replicates must lie above it.

        Raises:
            ValueError: ``alpha`` outside (0, 1), or too small for the number of replicates.
        """
        alpha = check_alpha(alpha)
        if alpha * (self.replicates + 1) < 10:
            raise ValueError(
                f"alpha={alpha:g} leaves fewer than 10 of {self.replicates} replicates in the tail; "
                f"use replicates={math.ceil(10 / alpha)} or more"
            )
        return float(np.interp(-alpha, -self.pvalues, self.values))

    def standard_error(self, alpha: float) -> float:
        """Standard error of the type-I error of the test at level ``alpha`` that comes from this calibration."""
        alpha = check_alpha(alpha)
        return math.sqrt(alpha * (1 - alpha) / self.replicates)

    def _simulate(self, simulate: Simulator) -> Array:
        sizes = [min(self.chunk, self.replicates - start) for start in range(0, self.replicates, self.chunk)]
        children = np.random.SeedSequence(self.seed).spawn(len(sizes))
        parts = []
        for size, child in zip(sizes, children, strict=True):
            values = np.asarray(simulate(np.random.default_rng(child), size), dtype=np.float64)
            if values.shape != (size,) or np.isnan(values).any():
                raise ValueError(f"simulate must return {size} values without NaN, got shape {values.shape}")
            parts.append(values)
        return np.concatenate(parts)

    def _path(self) -> Path:
        text = f"{_FORMAT}|{self.key}|{self.replicates}|{self.seed}|{self.chunk}"
        return cache_directory() / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npy"


def cache_directory() -> Path:
    """Where laws are kept: ``$SIGREG_LAB_CACHE``, else ``$XDG_CACHE_HOME/sigreg-lab``, else ``~/.cache/sigreg-lab``."""
    chosen = os.environ.get("SIGREG_LAB_CACHE")
    if chosen:
        return Path(chosen) / "nulls"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sigreg-lab" / "nulls"


def _thin(ordered: Array) -> tuple[Array, Array]:
    """Order statistics and their p-values: all of the upper tail, evenly spaced ones below, first and last included."""
    count = ordered.size
    if count > _TAIL + _BODY:
        body = np.unique(np.linspace(0, count - _TAIL, _BODY).astype(np.int64))
        index = np.concatenate([body, np.arange(count - _TAIL + 1, count)])
    else:
        index = np.arange(count)
    pvalues = (1 + count - index) / (1 + count)
    return ordered[index], pvalues.astype(np.float64)


def _read(path: Path) -> tuple[Array, Array] | None:
    """The stored law, or None if there is none or it cannot be read."""
    try:
        table = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if table.ndim != 2 or table.shape[0] != 2 or table.dtype != np.float64 or not np.isfinite(table).all():
        return None
    return table[0], table[1]


def _write(path: Path, values: Array, pvalues: Array) -> None:
    """Store the law in one step, so that no reader meets half a file; a cache that cannot be written is skipped."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npy", delete=False) as file:
            np.save(file, np.stack([values, pvalues]), allow_pickle=False)
        os.replace(file.name, path)
    except OSError:
        return
