"""Type-I error of every test as shipped: does ``test`` reject a true null as often as it says?

Each cell draws samples of N(0, I) in ``dim`` dimensions and counts p-values at or below each level. The p-values come
from the law that ``method="auto"`` chooses: the limit law where it has been found good enough, else a simulated one,
whose own error is counted. Univariate statistics are tested in one dimension; multivariate ones, plain and
standardised, and the maximum and mean of Epps-Pulley over slices, in more. A test that needs more than ``n`` samples is
tested at the least it takes.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch

from sigreg_lab import multivariate, univariate
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.nulls import MonteCarlo, NullLaw
from sigreg_lab.slicing import seeded_generator, sliced_statistic

LEVELS = (0.01, 0.05, 0.1)
VALUES_PER_BATCH = 200_000
NUM_SLICES = 64
SAMPLES_PER_DRAW = 8  # of directions: more would share their luck
SLICED: dict[str, Literal["mean", "max"]] = {"epps_pulley_mean_of_slices": "mean", "epps_pulley_max_of_slices": "max"}
STANDARDISED = "_standardised"


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    name, dim, n, replicates = str(cell["statistic"]), int(cell["dim"]), int(cell["n"]), int(settings["replicates"])
    rng = np.random.default_rng(seed)
    if dim == 1:
        n, law, draw = _univariate(name, n)
    elif name in SLICED:
        n, law, draw = _sliced(name, n, dim)
    else:
        n, law, draw = _multivariate(name, n, dim)
    rejections = np.zeros(len(LEVELS), dtype=int)
    batch = max(1, VALUES_PER_BATCH // (n * dim))
    for start in range(0, replicates, batch):
        pvalue = law.pvalue(draw(rng, min(batch, replicates - start)))
        rejections += [int((pvalue <= level).sum()) for level in LEVELS]
    simulated = isinstance(law, MonteCarlo)
    return [
        {
            "samples": n,
            "law": "simulated" if simulated else "asymptotic",
            "level": level,
            "replicates": replicates,
            "rejections": int(count),
            "calibration_error": law.standard_error(level) if isinstance(law, MonteCarlo) else 0.0,
        }
        for level, count in zip(LEVELS, rejections, strict=True)
    ]


Draw = Callable[[np.random.Generator, int], torch.Tensor]


def _univariate(name: str, n: int) -> tuple[int, NullLaw, Draw]:
    test = univariate.REGISTRY[name]()
    n = max(n, test.min_samples)

    def draw(rng: np.random.Generator, count: int) -> torch.Tensor:
        return univariate.evaluate([test], torch.from_numpy(rng.standard_normal((count, n))).T)[0]

    return n, test.null_law(n), draw


def _multivariate(name: str, n: int, dim: int) -> tuple[int, NullLaw, Draw]:
    plain = name.removesuffix(STANDARDISED)
    test = multivariate.REGISTRY[plain](standardise=plain != name)
    n = max(n, test.min_samples(dim))
    return n, test.null_law(n, dim), lambda rng, count: torch.from_numpy(test.simulate(rng, count, n, dim))


def _sliced(name: str, n: int, dim: int) -> tuple[int, NullLaw, Draw]:
    test = multivariate.SlicingUnivariateTest(univariate.EppsPulley(), NUM_SLICES, reduction=SLICED[name])

    def few(rng: np.random.Generator, count: int) -> torch.Tensor:
        x = torch.from_numpy(rng.standard_normal((count, n, dim)))
        directions = test.directions(dim, seeded_generator(int(rng.integers(2**31))))
        return sliced_statistic(x, test.univariate_test, directions, SLICED[name])

    def draw(rng: np.random.Generator, count: int) -> torch.Tensor:
        return torch.cat([few(rng, min(SAMPLES_PER_DRAW, count - i)) for i in range(0, count, SAMPLES_PER_DRAW)])

    return n, test.null_law(n, dim), draw
