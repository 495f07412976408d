"""Which standard deviation does a loss want on a batch of N? The minimiser of E R(sd z), z standard normal.

Univariate statistics that are usable as losses, and regularisers in K = 8 dimensions, where the question is well posed;
exact minimisers are in ``theory.minimizers``. VISReg holds sd fixed in its shape term: for it, and for losses with
several minima, the largest sd at which the mean gradient turns from outwards to inwards counts. Where there is none,
the loss pulls every such sample together.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy import optimize

from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.regularizers import MultivariateRegularizer, Regularizer
from sigreg_lab.slicing import seeded_generator
from sigreg_lab.theory.minimizers import RANGE
from sigreg_lab.univariate import UnivariateTest

from .exact import DIM, STATISTICS, make_loss

LOSSES = (
    *STATISTICS,
    *("sigreg-ep", "sigreg-ep-paper-grid", "sigreg-ep-full-line", "sigreg-ep-unbiased", "bhep", "ksd", "ksd-gaussian"),
    *("sigreg-ksd", "sigreg-ad", "sigreg-cvm", "sigreg-watson", "sigreg-ejb", "sigreg-vcreg", "sigreg-moments"),
    *("sigreg-mean-std", "sliced-wasserstein", "visreg", "vicreg", "covariance-identity"),
)
#: They see angles or standardised samples alone.
SCALE_FREE = (
    *("shapiro_wilk", "shapiro_francia", "jarque_bera", "dagostino_k2", "entropy"),
    *("sigreg-sw", "barlow-twins", "w-mse", "uniformity", "koleo"),
    *("sphere-slicing", "sphere-mmd", "sphere-ksd", "sphere-kl"),
)
#: The control; those that have the minimum of one above, all slices for far more time; those with another question: of
#: past batches, of the views' residuals, of a rectified target.
LEFT_OUT = (
    *("none", "sigreg-ep-infinite", "sigreg-ep-cv", "sigreg-ksd-infinite", "subspace-sigreg", "weak-sigreg"),
    *("sigreg-ep-queue", "tc-sigreg", "rdmreg"),
)
MINIMISER = "minimiser"
#: In a block, at the least: the minimiser of a block is biased by a multiple of its variance.
LEAST_SAMPLES = 2048


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    n, name = int(cell["n"]), str(cell["loss"])
    loss = make_loss(name)
    rows: list[Row] = []
    for block, child in enumerate(seed.spawn(settings["blocks"])):
        if isinstance(loss, UnivariateTest):
            value = _univariate(loss, np.random.default_rng(child), n, settings["values_per_block"])
        else:
            value = _regularizer(loss, child, n, settings["values_per_block"] // 4)
        rows.append({"block": block, "quantity": MINIMISER, "value": _largest_root(value)})
    return rows


def _univariate(
    test: UnivariateTest, rng: np.random.Generator, n: int, values: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    z = rng.standard_normal((max(1, values // n), n))
    z.sort(axis=1)
    columns = torch.from_numpy(z).T
    return lambda sd: test.unchecked(sd * columns, presorted=True).mean()


def _regularizer(
    loss: Regularizer, seed: np.random.SeedSequence, n: int, values: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Replicates are views to a regulariser of one view; one of two views gets two that correlate."""
    quadratic = isinstance(loss, MultivariateRegularizer)
    views = getattr(loss, "min_views", 1)  # one's own need not say
    count = max(LEAST_SAMPLES // n, values // (4 * n * n if quadratic else n * DIM), 1) if views == 1 else 2
    state = [int(word) for word in seed.generate_state(2)]
    z = torch.from_numpy(np.random.default_rng(seed).standard_normal((count, n, DIM)))
    if views == 2:
        z[1] = 0.9 * z[0] + np.sqrt(1 - 0.9**2) * z[1]
    return lambda sd: loss(sd * z, seeded_generator(*state))


def _largest_root(value: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """The largest sd in ``RANGE`` at which the slope turns from negative to positive; NaN if there is none."""

    def slope(sd: float) -> float:
        scale = torch.tensor(sd, dtype=torch.float64, requires_grad=True)
        return float(torch.autograd.grad(value(scale), scale)[0])

    upper, places = RANGE[1], (1.1, 0.8, 0.5, RANGE[0])
    if slope(upper) <= 0:
        return float("nan")
    for lower in places:
        if slope(lower) < 0:
            return float(optimize.brentq(slope, lower, upper, xtol=1e-6))
        upper = lower
    return float("nan")
