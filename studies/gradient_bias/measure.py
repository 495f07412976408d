"""Theorem 6 of the LeJEPA paper: the bias of the Epps-Pulley loss and of its gradient on a batch of N.

Samples come from N(0, sd^2). The gradient is that with respect to sd, taken through the samples x = sd z. Each measured
mean is held against its exact value on the same grid of points (``theory.epps_pulley``).

Variants, on the same samples: the embeddings rounded to a dtype of fewer digits, as autocast hands them over, whose
exact mean is a sum over all numbers of that dtype; and N samples cut into W local batches whose gradients are averaged,
as DistributedDataParallel does without a reduction of sums, with mean (N/W) L + b. The reduction of sums gives the
whole batch's value, to rounding. Which estimator's gradient is nearest to the population's, N L', is the mean square of
its error: of bias and noise together.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.theory.epps_pulley import population, rounded_mean
from sigreg_lab.univariate import EppsPulley

Real = NDArray[np.float64]

ESTIMATORS = ("v", "u", "split")
#: float64 on the whole batch; embeddings of another dtype; W local batches.
VARIANTS = ("whole", "float32", "bfloat16", "float16", "local_2", "local_4", "local_8")
VALUES_PER_BATCH = 1_000_000
LESS_LOSS = "loss less that of float64"
LESS_GRADIENT = "gradient less that of float64"
LESS_ROUNDED_GRADIENT = "rounded gradient less that of float64"
GRID = EppsPulley().nodes()


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    variant, n, sd = str(cell["variant"]), int(cell["n"]), float(cell["sd"])
    rng = np.random.default_rng(seed)
    replicates = settings["replicates" if variant == "whole" else "paired_replicates"]
    parts: dict[tuple[str, str], list[Real]] = {}
    per_batch = max(1, VALUES_PER_BATCH // n)
    for start in range(0, replicates, per_batch):
        z = torch.from_numpy(rng.standard_normal((n, min(per_batch, replicates - start))))
        for key, values in _batch(variant, z, sd).items():
            parts.setdefault(key, []).append(values)
    return [_row(variant, *key, np.concatenate(values), sd, n) for key, values in parts.items()]


def _batch(variant: str, z: torch.Tensor, sd: float) -> dict[tuple[str, str], Real]:
    """Numbers of each replicate, a column of ``z``, by estimator and quantity."""
    n = z.shape[0]
    aim = n * population(sd, GRID).distance_slope
    if variant == "whole":
        found = {name: _loss_and_gradient(name, z, sd) for name in ESTIMATORS}
        errors = {name: (gradient - aim) ** 2 for name, (_, gradient) in found.items()}
        values = {(name, "loss"): loss for name, (loss, _) in found.items()}
        values |= {(name, "gradient"): gradient for name, (_, gradient) in found.items()}
        values |= {(name, "squared error"): error for name, error in errors.items()}
        return values | {(name, "squared error less that of v"): errors[name] - errors["v"] for name in ("u", "split")}
    if variant.startswith("local"):
        shards = int(variant.partition("_")[2])
        values = {}
        for name in ("v", "u"):
            whole = _loss_and_gradient(name, z, sd)
            loss, gradient = (part.mean(0) for part in _loss_and_gradient(name, z.unflatten(0, (shards, -1)), sd))
            values |= {(name, "loss"): loss, (name, "gradient"): gradient}
            # In the units of the whole batch, W times those of a local one.
            values[(name, "squared error less that of the whole")] = (shards * gradient - aim) ** 2 - (
                whole[1] - aim
            ) ** 2
            values[(name, "rounding: reduced sums less whole")] = _reduced_error(name, z, sd, shards, whole)
        return values
    exact = _loss_and_gradient("v", z, sd)
    rounded = _loss_and_gradient("v", z, sd, getattr(torch, variant), round_gradient=False)
    values = {("v", LESS_LOSS): rounded[0] - exact[0], ("v", LESS_GRADIENT): rounded[1] - exact[1]}
    both = _loss_and_gradient("v", z, sd, getattr(torch, variant))
    return values | {("v", LESS_ROUNDED_GRADIENT): both[1] - exact[1]}


def _loss_and_gradient(
    estimator: str, z: torch.Tensor, sd: float, dtype: torch.dtype = torch.float64, *, round_gradient: bool = True
) -> tuple[Real, Real]:
    """T and its slope in sd, for z of shape (..., N, replicates), embeddings in ``dtype``.

    The gradient that is handed back through the conversion to ``dtype`` is rounded too, unless told otherwise.
    """
    scale = torch.full((*z.shape[:-2], 1, z.shape[-1]), sd, dtype=torch.float64, requires_grad=True)
    x = scale * z
    x = x.to(dtype) if round_gradient else (x + (x.to(dtype).double() - x).detach()).float()
    value = EppsPulley(estimator=estimator).unchecked(x)  # type: ignore[arg-type]
    (slope,) = torch.autograd.grad(value.sum(), scale)
    return value.detach().double().numpy(), slope.squeeze(-2).numpy()


def _reduced_error(estimator: str, z: torch.Tensor, sd: float, shards: int, whole: tuple[Real, Real]) -> Real:
    """Relative error of value and gradient from the shards' reduced sums against those of the whole batch."""
    form = EppsPulley(estimator=estimator).sum_form()  # type: ignore[arg-type]
    assert form is not None
    scale = torch.full((1, z.shape[-1]), sd, dtype=torch.float64, requires_grad=True)
    means = form.means((scale * z).unflatten(0, (shards, -1))).mean(0)
    value = form.value(means, torch.tensor(float(z.shape[0]), dtype=torch.float64))
    (slope,) = torch.autograd.grad(value.sum(), scale)
    errors = (value.detach().numpy() - whole[0], slope.squeeze(0).numpy() - whole[1])
    return np.maximum(*(np.abs(e) / np.abs(w).max() for e, w in zip(errors, whole, strict=True)))


def _row(variant: str, estimator: str, quantity: str, sample: Real, sd: float, n: int) -> Row:
    shards = int(variant.partition("_")[2] or 1)
    distance, distance_slope, excess, excess_slope = population(sd, GRID)
    target, exact = 0.0, float("nan")
    if quantity in ("loss", "gradient"):
        target = n / shards * (distance if quantity == "loss" else distance_slope)
        exact = (excess if quantity == "loss" else excess_slope) if estimator == "v" else 0.0
    elif variant in ("bfloat16", "float16") and quantity in (LESS_LOSS, LESS_GRADIENT):
        whole = (n * distance + excess, n * distance_slope + excess_slope)
        which = 0 if quantity == LESS_LOSS else 1
        exact = rounded_mean(getattr(torch, variant), sd, n, GRID)[which] - whole[which]
    rounding = quantity.startswith("rounding")
    return {
        "estimator": estimator,
        "quantity": quantity,
        "replicates": len(sample),
        "mean": sample.max() if rounding else sample.mean(),
        "standard_error": 0.0 if rounding else sample.std(ddof=1) / np.sqrt(len(sample)),
        "standard_deviation": sample.std(ddof=1),
        "population": target,
        "exact_bias": 0.0 if rounding else exact,
    }
