"""What a lambda means: the balance of regulariser and prediction loss against batch size, views and notation.

Embeddings are z = A x, with views x_v = sqrt(rho) s + sqrt(1 - rho) e_v of a sample, s and e_v standard normal. The
regulariser is SIGReg with the implemented Epps-Pulley statistic, which carries the factor N. Settings, by name:

scale_<sd>, defect_<sd>   A = sd I, or I with its last entry replaced (a weak rank defect). Gradients of regulariser
    and prediction loss for A, whose mean over batches and whose noise (root mean square about the mean, over batches at
    fixed slices) are measured, and for one embedding.
rho_<rho>   each view's N embeddings (per view) against all V N at once (flattened), in one dimension, sd = 1.
global_<V_g>   eq. 5 (pairwise) against eq. 6 (centroid), the first V_g of V views global, and the mean squared lengths
    and the inner product of their gradients for the embeddings.

Exact values are in ``theory.views``.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.regularizers import SIGReg, prediction_loss
from sigreg_lab.slicing import iid_directions, seeded_generator
from sigreg_lab.theory.views import embedding_square, flattened_mean, mean_gradient, prediction_gradients
from sigreg_lab.univariate import EppsPulley

Real = NDArray[np.float64]

BATCH = ("scale_1", "scale_0.8", "scale_1.25", "defect_0.1")
VIEWS = ("rho_0", "rho_0.25", "rho_0.5", "rho_0.75", "rho_0.9", "rho_0.99")
EQUATIONS = ("global_1", "global_2", "global_4", "global_10")
DIM = 8
NUM_SLICES = 32
#: In the settings "scale", "defect" and "rho".
NUM_VIEWS = 4
#: In the settings "global": the paper's 2 global and 8 local views.
MANY_VIEWS = 10
#: Correlation of two views of a sample, where the setting does not say it.
RHO = 0.8
#: Nodes, targets and weights of the default Epps-Pulley statistic.
GRID = EppsPulley().nodes()


def scales_of(kind: str, number: float) -> Real:
    """Diagonal of A."""
    return np.full(DIM, number) if kind == "scale" else np.append(np.ones(DIM - 1), number)


def _views(rng: np.random.Generator, shape: tuple[int, ...], rho: float, num_views: int) -> torch.Tensor:
    """Views of standard normal samples, which correlate; shape (num_views, *shape)."""
    shared, own = rng.standard_normal(shape), rng.standard_normal((num_views, *shape))
    return torch.from_numpy(np.sqrt(rho) * shared + np.sqrt(1 - rho) * own)


def _exact_gradients(kind: str, number: float, n: int) -> dict[str, float]:
    scales = scales_of(kind, number)
    scatter, size = (1 - RHO) / NUM_VIEWS, float(np.linalg.norm(scales))
    square = embedding_square(number, n, DIM, NUM_SLICES, GRID) / NUM_VIEWS**2 if kind == "scale" else float("nan")
    return {
        "regulariser, mean": float(np.linalg.norm(mean_gradient(scales, n, GRID))),
        "regulariser, noise": float("nan"),
        "regulariser, embedding": square,
        "prediction, mean": 2 * scatter * (NUM_VIEWS - 1) * size,
        "prediction, noise": 4 / n * scatter**2 * (NUM_VIEWS - 1) * (DIM + 1) * size**2,
        "prediction, embedding": 4 / (n * NUM_VIEWS) ** 2 * scatter * (NUM_VIEWS - 1) * size**2,
    }


def _gradients(kind: str, number: float, n: int, replicates: int, seed: np.random.SeedSequence) -> dict[str, float]:
    scales = scales_of(kind, number)
    x = _views(np.random.default_rng(seed), (replicates, n, DIM), RHO, NUM_VIEWS)
    generator = seeded_generator(*(int(word) for word in seed.generate_state(2)))
    directions = iid_directions(DIM, NUM_SLICES, generator=generator, dtype=torch.float64)
    a = torch.diag(torch.from_numpy(scales)).repeat(replicates, 1, 1).requires_grad_()
    z = x @ a.mT
    # Sums over the replicates of a loss each, so that a slice of the gradient is that of one replicate.
    losses = {
        "regulariser": SIGReg(EppsPulley(), NUM_SLICES)(z.flatten(0, 1), generator, directions=directions),
        "prediction": prediction_loss(z.flatten(1, 2), dimensions="sum"),
    }
    towards = {"regulariser": mean_gradient(scales, n, GRID), "prediction": scales}
    found = {}
    for name, loss in losses.items():
        for_a, for_z = torch.autograd.grad(loss * replicates, [a, z], retain_graph=True)
        unit = torch.from_numpy(towards[name] / np.linalg.norm(towards[name]))
        found[f"{name}, mean"] = float((for_a.diagonal(dim1=1, dim2=2) @ unit).mean())
        found[f"{name}, noise"] = float(for_a.var(0).sum())
        found[f"{name}, embedding"] = float(for_z.square().sum(-1).mean())
    return found


def _exact_views(kind: str, rho: float, n: int) -> dict[str, float]:
    exact: dict[str, float] = {}
    for name, views in (("per view", 1), ("flattened", NUM_VIEWS)):
        value, _, in_rho = flattened_mean(1.0, rho, n, views, GRID)
        exact |= {f"{name}, value": value, f"{name}, slope in rho": in_rho}
    return exact | {"prediction, slope in rho": -(1 - 1 / NUM_VIEWS)}


def _correlated_views(kind: str, rho: float, n: int, replicates: int, seed: np.random.SeedSequence) -> dict[str, float]:
    # Each coordinate is a replicate in one dimension, and its own slice.
    rng = np.random.default_rng(seed)
    shared = torch.from_numpy(rng.standard_normal((n, replicates)))
    own = torch.from_numpy(rng.standard_normal((NUM_VIEWS, n, replicates)))
    correlation = torch.tensor(rho, dtype=torch.float64, requires_grad=True)
    z = correlation.sqrt() * shared + (1 - correlation).sqrt() * own
    directions = torch.eye(replicates, dtype=torch.float64)
    found: dict[str, float] = {}
    for name, per_view in (("per view", True), ("flattened", False)):
        regularizer = SIGReg(EppsPulley(), replicates, per_view=per_view)
        value = regularizer(z, torch.Generator(), directions=directions)
        (in_rho,) = torch.autograd.grad(value, correlation, retain_graph=True)
        found |= {f"{name}, value": float(value.detach()), f"{name}, slope in rho": float(in_rho)}
    (in_rho,) = torch.autograd.grad(prediction_loss(z, dimensions="mean"), correlation)
    found["prediction, slope in rho"] = float(in_rho)
    # The square root of rho has no slope at 0.
    return {quantity: v for quantity, v in found.items() if rho > 0 or "rho" not in quantity}


def _exact_equations(kind: str, number: float, n: int) -> dict[str, float]:
    exact = prediction_gradients(int(number), MANY_VIEWS)
    lengths = exact["eq. 5, gradient"] * exact["eq. 6, gradient"]
    return exact | {"cosine": exact["product of gradients"] / np.sqrt(lengths)}


def _equations(kind: str, number: float, n: int, replicates: int, seed: np.random.SeedSequence) -> dict[str, float]:
    count, unit = replicates * n, DIM * (1 - RHO)
    z = _views(np.random.default_rng(seed), (count, DIM), RHO, MANY_VIEWS).requires_grad_()
    values, gradients = {}, {}
    for name, prediction in (("eq. 5", "pairwise"), ("eq. 6", "centroid")):
        value = prediction_loss(z, int(number), prediction=prediction, dimensions="sum")  # type: ignore[arg-type]
        (gradients[name],) = torch.autograd.grad(value, z)
        values[name] = float(value.detach())
    squares = {name: float(g.square().sum()) for name, g in gradients.items()}
    product = float((gradients["eq. 5"] * gradients["eq. 6"]).sum())
    found = {name: value / unit for name, value in values.items()}
    found |= {f"{name}, gradient": square * count / unit for name, square in squares.items()}
    found["product of gradients"] = product * count / unit
    found["cosine"] = product / np.sqrt(squares["eq. 5"] * squares["eq. 6"])
    return found


Block = Callable[[str, float, int, int, np.random.SeedSequence], dict[str, float]]
Exact = Callable[[str, float, int], dict[str, float]]
KINDS: dict[str, tuple[Block, Exact]] = {
    "scale": (_gradients, _exact_gradients),
    "defect": (_gradients, _exact_gradients),
    "rho": (_correlated_views, _exact_views),
    "global": (_equations, _exact_equations),
}


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    kind, _, number = str(cell["setting"]).partition("_")
    block, exactly = KINDS[kind]
    arguments = (kind, float(number), int(cell["n"]))
    samples = settings["samples" if kind in ("scale", "defect") else "samples_elsewhere"]
    replicates = max(settings["least_replicates"], samples // int(cell["n"]))
    blocks = [block(*arguments, replicates, child) for child in seed.spawn(settings["blocks"])]
    exact = exactly(*arguments)
    values = {quantity: np.array([found[quantity] for found in blocks]) for quantity in blocks[0]}
    return [
        {
            "quantity": quantity,
            "blocks": len(drawn),
            "mean": drawn.mean(),
            "standard_error": drawn.std(ddof=1) / np.sqrt(len(drawn)),
            "exact": exact[quantity],
        }
        for quantity, drawn in values.items()
    ]
