"""Batches whose rows come in clusters: Epps-Pulley's mean and tests under the null, and where its descent ends.

A batch has N rows in C clusters of N/C. Without training (``loss`` none), in one dimension, b u_c + s e_ci with
b^2 = rho and s^2 = 1 - rho: each row is N(0, 1), two rows of a cluster have the correlation rho. Over many batches,

    statistic, centred      its mean; of the rows less the mean of their cluster
    all rows, centred rows  how often a test at 5% rejects: of all rows as if they were independent; of the centred ones
    batches together        of several batches' rows in one test, as in a queue or gathered from workers
    batches combined        of each batch apart, p-values combined (``nulls.combine_pvalues``)
    one a cluster           of one row of each cluster at a time, p-values combined

Training: a linear map A of inputs in K dimensions, rho K of them the same for all rows of a cluster, is descended
from A = I, at which its outputs are N(0, I), on SIGReg of fresh batches, each replicate with directions of its own:

    batch                   of the batch
    queue                   and of earlier batches: ``QueuedRegularizer``
    workers_gathered        of several workers' batches as one; the value on W processes is that of the union
    workers_averaged        of each worker's batch apart, averaged
    centred                 of the rows less the mean of their cluster: ``CentredResiduals``

Workers are simulated in one process. With A = [B, S], the variance of the outputs is |B|^2 between clusters and |S|^2
within, here divided by the number of inputs: 1 and 1 at N(0, I).
"""

import math

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.nulls import combine_pvalues
from sigreg_lab.regularizers import CentredResiduals, QueuedRegularizer, Regularizer
from sigreg_lab.slicing import seeded_generator
from sigreg_lab.univariate import EppsPulley

LEVEL = 0.05
LEAST_SLICES = 8  # else K
RATE_PER_DIM = 1 / 8  # of plain descent on T/N, whose curvature falls as 1/K


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    return _null(cell, settings, seed) if cell["loss"] == "none" else _descent(cell, settings, seed)


def _null(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    clusters, rho, replicates = int(cell["clusters"]), float(cell["rho"]), int(settings["replicates"])
    size, rng, test = settings["num_samples"] // clusters, np.random.default_rng(seed), EppsPulley()
    u, e = (torch.from_numpy(rng.standard_normal((replicates, clusters, width))) for width in (1, size))
    x, centred = math.sqrt(rho) * u + math.sqrt(1 - rho) * e, math.sqrt(1 - rho) * (e - e.mean(-1, keepdim=True))

    def pvalues(rows: Tensor) -> Tensor:
        return torch.as_tensor(test.test(rows[..., None]).pvalue)[..., 0]

    every = pvalues(x.flatten(1))
    found = {
        "all rows": every,
        "centred rows": pvalues(centred.flatten(1)),
        "batches together": pvalues(x.reshape(-1, settings["batches"] * clusters * size)),
        "batches combined": combine_pvalues(every.reshape(-1, settings["batches"]), dim=1),
        "one a cluster": combine_pvalues(pvalues(x.mT), dim=1),
    }
    rows = [{"quantity": name, "value": float((p <= LEVEL).sum()), "error": 0.0} for name, p in found.items()]
    for name, sample in (("statistic", x), ("centred", centred)):
        values = test.unchecked(sample.flatten(1)[..., None]).numpy()
        rows.append({"quantity": name, "value": values.mean(), "error": values.std(ddof=1) / math.sqrt(replicates)})
    return rows


class _Apart(Regularizer):
    """SIGReg whose views are replicates: each with directions of its own."""

    def _value(self, z: Tensor, generator: torch.Generator) -> Tensor:
        drawn = torch.randn(len(z), z.shape[2], max(LEAST_SLICES, z.shape[2]), generator=generator)
        return EppsPulley().unchecked(z @ torch.nn.functional.normalize(drawn, dim=1)).mean()


def _descent(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    clusters, dim, loss, count = int(cell["clusters"]), int(cell["dim"]), str(cell["loss"]), settings["descents"]
    size, between = settings["num_samples"] // clusters, round(float(cell["rho"]) * dim)
    workers = settings["batches"] if loss.startswith("workers") else 1
    regularizer: Regularizer = _Apart()
    if loss == "queue":
        regularizer = QueuedRegularizer(regularizer, num_batches=settings["batches"] - 1)
    if loss == "centred":
        regularizer = CentredResiduals(regularizer, window=size)
    generator = seeded_generator(*(int(word) for word in seed.generate_state(4)))
    linear = torch.eye(dim).repeat(count, 1, 1).requires_grad_()
    optimizer = torch.optim.SGD([linear])
    for step in range(settings["steps"]):
        optimizer.param_groups[0]["lr"] = RATE_PER_DIM * dim * (1 + math.cos(math.pi * step / settings["steps"])) / 2
        x = torch.randn(count, workers, clusters, size, dim, generator=generator)
        x[..., :between] = x[..., :1, :between]
        z = x.flatten(2, 3) @ linear[:, None]
        z = z.flatten(0, 1) if loss == "workers_averaged" else z.flatten(1, 2)
        optimizer.zero_grad()
        (count * regularizer(z, generator) / z.shape[1]).backward()
        optimizer.step()
    squares = linear.detach().double().square().sum(2)
    variances = squares[:, :between].mean(1), squares[:, between:].mean(1)
    found = {"between": variances[0].sqrt(), "ratio": variances[0] / variances[1]}
    return [{"quantity": name, "value": value, "error": 0.0} for name in found for value in found[name].tolist()]
