"""Power of multivariate and of sliced statistics as tests of N(0, I), from 2 dimensions to 512.

Sliced tests project on M independent directions, drawn anew for every sample, and reject where the mean or the maximum
over slices of a univariate statistic exceeds its critical value; fewer slices are the first of more. As in the study of
univariate power, critical values are order statistics on reference samples of N(0, I), the same for all alternatives at
an n and a dimension: the maximum is calibrated as a maximum. Three simple tests stand beside, for what is exact:

    mean                N |mean|^2
    radius              |sum_j |x_j|^2 / (N K) - 1|
    first coordinate    Epps-Pulley of the first coordinate
"""

import functools

import numpy as np
import torch
from torch import Tensor

from sigreg_lab import alternatives, multivariate, univariate
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.experiment.reference import critical_values
from sigreg_lab.slicing import make_directions, project, seeded_generator

SLICED = ("epps_pulley", "anderson_darling", "extended_jarque_bera")
STANDARDISED = ("henze_zirkler", "mardia_skewness", "mardia_kurtosis")
SIMPLE = ("mean", "radius", "first_coordinate")
#: A test is the name of its statistic, how slices are reduced, and their number.
Test = tuple[str, str, int]
VALUES_PER_BATCH = 200_000


def tests(settings: Config, n: int, dim: int, law: str) -> list[Test]:
    """The tests of a cell, in the order of the rows."""
    found = [(name, "none", 0) for name in (*SIMPLE, *multivariate.REGISTRY)]
    if n >= 2 * dim and not law.startswith("rank_defect"):  # a singular covariance cannot be standardised
        found += [(f"{name}_standardised", "none", 0) for name in STANDARDISED]
    for name in SLICED:
        for num_slices in settings["num_slices"]:
            # Epps-Pulley is quicker by an order of magnitude than the others: only it takes all numbers of slices.
            if name == SLICED[0] or n * num_slices <= settings["most_values"]:
                found += [(name, reduction, num_slices) for reduction in ("mean", "max")[: 1 if num_slices == 1 else 2]]
    return found


def values(x: Tensor, wanted: list[Test], generator: torch.Generator) -> Tensor:
    """The statistic of each test for each sample of ``x`` (B, n, K), float64: shape (tests, B)."""
    n, dim = x.shape[-2:]
    found: dict[Test, Tensor] = {
        ("mean", "none", 0): n * x.mean(1).square().sum(-1),
        ("radius", "none", 0): (x.square().sum((1, 2)) / (n * dim) - 1).abs(),
        ("first_coordinate", "none", 0): univariate.EppsPulley().unchecked(x[:, :, :1]).squeeze(-1),
    }
    for name, reduction, _ in wanted:
        plain = name.removesuffix("_standardised")
        if reduction == "none" and plain in multivariate.REGISTRY:
            value = multivariate.REGISTRY[plain](standardise=plain != name)(x)
            found[name, "none", 0] = value.abs() if plain == "comb" else value  # two-sided
    most = {name: max(m for other, _, m in wanted if other == name) for name in SLICED}
    sliced: dict[Test, list[Tensor]] = {test: [] for test in wanted if test[1] != "none"}
    for sample in x.float():
        projections = project(sample, make_directions("iid", dim, max(most.values()), generator=generator))
        for name, count in most.items():
            slices = univariate.REGISTRY[name]().unchecked(projections[:, :count]).double()
            sums, largest = slices.cumsum(0), slices.cummax(0).values
            for test in sliced:
                if test[0] == name:
                    sliced[test].append(sums[test[2] - 1] / test[2] if test[1] == "mean" else largest[test[2] - 1])
    found |= {test: torch.stack(parts) for test, parts in sliced.items()}
    return torch.stack([found[test] for test in wanted])


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    n, dim, name = int(cell["n"]), int(cell["dim"]), str(cell["alternative"])
    words = tuple(int(word) for word in seed.generate_state(4))
    replicates = replicates_of(n, dim, settings)
    reference = reference_size(replicates, settings["alpha"])
    everything = tests(settings, n, dim, "null")
    found = _reference_values(tuple(everything), n, dim, reference, words)
    wanted = tests(settings, n, dim, name)
    found = found[[everything.index(test) for test in wanted]]
    critical = critical_values(found, settings["alpha"])
    law = alternatives.MULTIVARIATE[name](dim)
    value = _simulate(law, wanted, n, replicates, (*words, *name.encode()))
    rejections = (value[None] > critical[..., None]).sum(-1)
    return [
        {
            "statistic": test[0],
            "reduction": test[1],
            "num_slices": test[2],
            "critical_value": float(f"{critical[0, i]:.7g}") if test[0] in ("mean", "radius") else float("nan"),
            "rejections": int(rejections[0, i]),
            "rejections_low": int(rejections[1, i]),
            "rejections_high": int(rejections[2, i]),
        }
        for i, test in enumerate(wanted)
        if not _constant_values(found[i])
    ]


def _constant_values(found: np.ndarray) -> bool:
    """Whether a statistic overflows, or differs between samples by no more than rounding: it is no test there."""
    return not np.isfinite(found).all() or bool(np.ptp(found) <= 1e-10 * np.abs(found).max())


def replicates_of(n: int, dim: int, settings: Config) -> int:
    """As many as a cell's budget allows, about a nanosecond an operation, between two bounds; whole fifties."""
    most = max(settings["num_slices"])
    operations = most * (7 * dim + n) + 55 * min(n * most, settings["most_values"]) + 0.16 * n**2 * (dim + 150)
    return int(np.clip(settings["operations"] / operations // 50 * 50, *settings["replicates"]))


def reference_size(replicates: int, alpha: float) -> int:
    """Number of reference values: about twice the replicates, so that alpha (R + 1) is whole."""
    step = round(1 / alpha)
    return step * -(-2 * replicates // step) - 1


@functools.lru_cache(maxsize=2)
def _reference_values(wanted: tuple[Test, ...], n: int, dim: int, count: int, words: tuple[int, ...]) -> np.ndarray:
    return _simulate(alternatives.MULTIVARIATE["null"](dim), list(wanted), n, count, words)


def _simulate(
    law: alternatives.MultivariateAlternative, wanted: list[Test], n: int, count: int, words: tuple[int, ...]
) -> np.ndarray:
    rng, generator = np.random.default_rng(words), seeded_generator(*words)
    batch = max(1, VALUES_PER_BATCH // (n * max(n, law.dim)))
    parts = []
    with torch.no_grad():
        for start in range(0, count, batch):
            x = torch.from_numpy(law.sample(rng, (min(batch, count - start), n)))
            parts.append(values(x, wanted, generator))
    return torch.cat(parts, dim=1).numpy()
