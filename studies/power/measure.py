"""Power of every univariate statistic as a test of N(0, 1), at the same level and sample size.

A statistic rejects above its critical value, an order statistic of its values on reference samples of N(0, 1), the same
for all alternatives at an n: every test has the level exactly, averaged over reference samples, and the error of the
critical value is part of every interval (``sigreg_lab.experiment.reference``).
"""

import functools

import numpy as np
import torch

from sigreg_lab import alternatives, univariate
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.experiment.reference import critical_values

VALUES_PER_BATCH = 1_000_000


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    n, names = int(cell["n"]), tuple(settings["statistics"])
    words = tuple(int(word) for word in seed.generate_state(4))
    critical = _critical_values(names, n, settings["reference"], settings["alpha"], words)
    law, rng = alternatives.REGISTRY[str(cell["alternative"])], np.random.default_rng([*words, *law_key(cell)])
    tests = [univariate.REGISTRY[name]() for name in names]
    rejections = torch.zeros(critical.shape, dtype=torch.long)
    batch = VALUES_PER_BATCH // n
    for start in range(0, settings["replicates"], batch):
        sample = law.sample(rng, (min(batch, settings["replicates"] - start), n))
        rejections += (univariate.evaluate(tests, torch.from_numpy(sample).T)[None] > critical[..., None]).sum(-1)
    return [
        {
            "statistic": name,
            "critical_value": float(value),
            "rejections": int(count),
            "rejections_low": int(low),
            "rejections_high": int(high),
        }
        for name, value, count, low, high in zip(names, critical[0], *rejections, strict=True)
    ]


def law_key(cell: Cell) -> bytes:
    """What sets the random numbers of an alternative apart from those of the others at the same n."""
    return str(cell["alternative"]).encode()


@functools.lru_cache(maxsize=2)
def _critical_values(
    names: tuple[str, ...], n: int, reference: int, alpha: float, words: tuple[int, ...]
) -> torch.Tensor:
    """Critical values (row 0) and the upper and lower ends of their 95% intervals, one column a statistic."""
    tests, rng = [univariate.REGISTRY[name]() for name in names], np.random.default_rng(words)
    batch = VALUES_PER_BATCH // n
    parts = []
    for start in range(0, reference, batch):
        sample = rng.standard_normal((min(batch, reference - start), n))
        parts.append(univariate.evaluate(tests, torch.from_numpy(sample).T))
    found = critical_values(torch.cat(parts, dim=1).numpy(), alpha)
    # Used with as few digits as are stored, so that the rows say exactly which values they were.
    return torch.from_numpy(np.vectorize(lambda value: float(f"{value:.7g}"))(found))
