"""Epps-Pulley of batches whose rows come in clusters: its mean, its pull, its test, and its minimum.

A batch has N rows in C clusters, b u_c + s e_ci in one dimension with b^2 = rho and s^2 = 1 - rho: each row is N(0, 1),
two rows of a cluster have the correlation rho. Measured over many batches:

    statistic, centred      mean of the statistic; of the rows less the mean of their cluster
    slope                   mean of its derivative by b
    all rows, one a cluster how often a test at 5% rejects: of all rows as if they were independent; of one row of each
                            cluster at a time, p-values combined (``nulls.combine_pvalues``)
    minimiser               of the mean over a block of batches, the b at which it is least, s as it is
"""

import math

import numpy as np
import torch
from scipy import optimize

from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.nulls import combine_pvalues
from sigreg_lab.univariate import EppsPulley

LEVEL = 0.05
BLOCKS = 12


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    clusters, rho, replicates = int(cell["clusters"]), float(cell["rho"]), int(settings["replicates"])
    size, rng, test = settings["num_samples"] // clusters, np.random.default_rng(seed), EppsPulley()
    b, s = torch.tensor(math.sqrt(rho), dtype=torch.float64), math.sqrt(1 - rho)
    u, e = (torch.from_numpy(rng.standard_normal((replicates, clusters, width))) for width in (1, size))

    def statistic(rows: torch.Tensor) -> torch.Tensor:
        return test.unchecked(rows.flatten(1)[..., None])[..., 0]

    scatter = b.expand(replicates, 1, 1).clone().requires_grad_()
    values = statistic(scatter * u + s * e)
    (slopes,) = torch.autograd.grad(values.sum(), scatter)
    centred = statistic(s * (e - e.mean(-1, keepdim=True)))
    rows = [
        _row(name, found.detach().numpy())
        for name, found in (("statistic", values), ("slope", slopes), ("centred", centred))
    ]
    x = b * u + s * e
    pvalues = {
        "all rows": torch.as_tensor(test.test(x.flatten(1)[..., None]).pvalue)[..., 0],
        "one a cluster": combine_pvalues(torch.as_tensor(test.test(x.mT[..., None]).pvalue)[..., 0], dim=1),
    }
    rows += [{"quantity": name, "value": float((p <= LEVEL).sum()), "error": 0.0} for name, p in pvalues.items()]
    least = [
        float(optimize.minimize_scalar(lambda a, u=u, e=e: float(statistic(a * u + s * e).mean()), bounds=(0, 2)).x)
        for u, e in zip(u.chunk(BLOCKS), e.chunk(BLOCKS), strict=True)
    ]
    return [*rows, *({"quantity": "minimiser", "value": value, "error": 0.0} for value in least)]


def _row(quantity: str, values: np.ndarray) -> Row:
    return {"quantity": quantity, "value": values.mean(), "error": values.std(ddof=1) / math.sqrt(len(values))}
