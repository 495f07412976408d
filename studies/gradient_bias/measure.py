"""Theorem 6 of the LeJEPA paper: the bias of the Epps-Pulley loss and of its gradient on a batch of N.

Samples come from N(0, sd^2). The gradient is that with respect to sd, taken through the samples x = sd z. Each measured
mean is held against its exact value on the same grid of points (``theory.epps_pulley``). Which estimator's gradient is
nearest to the population's, N L', is the mean square of its error: of bias and noise together.

Variants, on the same samples: the whole batch, and N samples cut into W local batches whose gradients are averaged, as
DistributedDataParallel does without a reduction of sums, with mean (N/W) L + b.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.theory.epps_pulley import population
from sigreg_lab.univariate import EppsPulley

Real = NDArray[np.float64]

ESTIMATORS = ("v", "u")
VARIANTS = ("whole", "local_2", "local_4", "local_8")
VALUES_PER_BATCH = 1_000_000
ERROR = "squared error"
OVER_V, OVER_WHOLE = f"{ERROR} over that of V", f"{ERROR} over that of the whole"
GRID = EppsPulley().nodes()


def shards_of(variant: str) -> int:
    """W; 1 for the whole batch."""
    return int(variant.partition("_")[2] or 1)


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    variant, n, sd = str(cell["variant"]), int(cell["n"]), float(cell["sd"])
    rng = np.random.default_rng(seed)
    replicates = settings["replicates" if variant == "whole" else "paired_replicates"]
    parts: dict[tuple[str, str], list[Real]] = {}
    per_batch = max(1, VALUES_PER_BATCH // n)
    for start in range(0, replicates, per_batch):
        z = torch.from_numpy(rng.standard_normal((n, min(per_batch, replicates - start))))
        for key, values in _batch(shards_of(variant), z, sd).items():
            parts.setdefault(key, []).append(values)
    samples = {key: np.concatenate(values) for key, values in parts.items()}
    if variant == "whole":
        samples[("u", OVER_V)] = _ratio(samples[("u", ERROR)], samples[("v", ERROR)])
    else:
        samples |= {(e, OVER_WHOLE): _ratio(samples[(e, ERROR)], samples.pop((e, "whole"))) for e in ESTIMATORS}
    return [_row(shards_of(variant), *key, values, sd, n) for key, values in samples.items()]


def _ratio(one: Real, other: Real) -> Real:
    """Numbers whose mean is the ratio of two means, and whose spread is, to first order, that of the ratio."""
    ratio = one.mean() / other.mean()
    return np.asarray(ratio + (one - ratio * other) / other.mean())


def _batch(shards: int, z: torch.Tensor, sd: float) -> dict[tuple[str, str], Real]:
    """Numbers of each replicate, a column of ``z``, by estimator and quantity."""
    aim = z.shape[0] * population(sd, GRID).distance_slope
    values: dict[tuple[str, str], Real] = {}
    for name in ESTIMATORS:
        loss, gradient = (part.mean(0) for part in _loss_and_gradient(name, z.unflatten(0, (shards, -1)), sd))
        values |= {(name, "loss"): loss, (name, "gradient"): gradient}
        values[(name, ERROR)] = (shards * gradient - aim) ** 2  # in the units of the whole batch, W times a local one's
        if shards > 1:
            values[(name, "whole")] = (_loss_and_gradient(name, z, sd)[1] - aim) ** 2
    return values


def _loss_and_gradient(estimator: str, z: torch.Tensor, sd: float) -> tuple[Real, Real]:
    """T and its slope in sd, for z of shape (..., N, replicates)."""
    scale = torch.full((*z.shape[:-2], 1, z.shape[-1]), sd, dtype=torch.float64, requires_grad=True)
    value = EppsPulley(estimator=estimator).unchecked(scale * z)  # type: ignore[arg-type]
    (slope,) = torch.autograd.grad(value.sum(), scale)
    return value.detach().numpy(), slope.squeeze(-2).numpy()


def _row(shards: int, estimator: str, quantity: str, sample: Real, sd: float, n: int) -> Row:
    distance, distance_slope, excess, excess_slope = population(sd, GRID)
    target, exact = 0.0, float("nan")
    if quantity in ("loss", "gradient"):
        target = n / shards * (distance if quantity == "loss" else distance_slope)
        exact = (excess if quantity == "loss" else excess_slope) if estimator == "v" else 0.0
    return {
        "estimator": estimator,
        "quantity": quantity,
        "replicates": len(sample),
        "mean": sample.mean(),
        "standard_error": sample.std(ddof=1) / np.sqrt(len(sample)),
        "standard_deviation": sample.std(ddof=1),
        "population": target,
        "exact_bias": exact,
    }
