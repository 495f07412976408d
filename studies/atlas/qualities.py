"""What a regulariser is like on its own, without any encoder: what may be hoped to predict how well it trains.

All at the digits' size: batches of N = 128 embeddings in K = 32 dimensions, one view, 256 slices where there are any.

    power   how often a batch of an alternative has a larger value than one of N(0, I): mean over three alternatives
            (half of the variances at 0.5; correlations of 0.3; independent Laplace variables), ties counted as half
    noise   E|g - Eg|^2 / |Eg|^2 of the gradient g with respect to a linear map of the batch, over batches and slices
    bias    1 - cos(Eg, Eg of batches of 4,096), the same gradient; the noise of both taken out
    pull    1 - cos(-g, z) near a collapse to three directions: how far the gradient is from blowing the batch up
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.experiment.cells import Row
from sigreg_lab.regularizers import resolve_regularizer
from sigreg_lab.slicing import seeded_generator

N, MANY, DIM, SLICES = 128, 4096, 32, 256
Draw = Callable[[int, torch.Generator], Tensor]


def _normal(n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, DIM, generator=generator, dtype=torch.float64)


def _unequal(n: int, generator: torch.Generator) -> Tensor:
    scale = torch.ones(DIM, dtype=torch.float64)
    scale[: DIM // 2] = math.sqrt(0.5)
    return _normal(n, generator) * scale


def _correlated(n: int, generator: torch.Generator) -> Tensor:
    common = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    return math.sqrt(0.7) * _normal(n, generator) + math.sqrt(0.3) * common


def _laplace(n: int, generator: torch.Generator) -> Tensor:
    return _normal(n, generator) * torch.empty(n, DIM, dtype=torch.float64).exponential_(generator=generator).sqrt()


def _collapsed(n: int, generator: torch.Generator) -> Tensor:
    z = 0.05 * _normal(n, generator)
    z[:, :3] *= 20
    return z


ALTERNATIVES: dict[str, Draw] = {"unequal": _unequal, "correlated": _correlated, "laplace": _laplace}


def qualities(spec: str, draws: int, seed: np.random.SeedSequence) -> Row:
    """Of one regulariser, from ``draws`` batches each; ``broke`` with the reason if it takes no such batch."""
    numbers = seed.generate_state(2)
    batches, slices = (seeded_generator(int(number)) for number in numbers)
    regularizer = resolve_regularizer(spec).build(num_slices=SLICES, directions="iid")

    def value(z: Tensor) -> Tensor:
        return regularizer(z.unsqueeze(0), slices)

    def gradient(z: Tensor, of: Tensor) -> Tensor:
        return torch.autograd.grad(value(z), of)[0].flatten()

    def of_a_map(n: int) -> Tensor:
        weight = torch.eye(DIM, dtype=torch.float64, requires_grad=True)
        return gradient(_unequal(n, batches) @ weight, weight)

    def towards_the_batch() -> Tensor:
        z = _collapsed(N, batches).requires_grad_()
        return torch.cosine_similarity(-gradient(z, z), z.detach().flatten(), 0)

    try:
        null = torch.stack([value(_normal(N, batches)) for _ in range(draws)])
        row: Row = {}
        for name, draw in ALTERNATIVES.items():
            other = torch.stack([value(draw(N, batches)) for _ in range(draws)])
            more = (other[:, None] > null).double() + 0.5 * (other[:, None] == null)
            row[f"power_{name}"] = float(more.mean())
        small = torch.stack([of_a_map(N) for _ in range(draws)])
        large = torch.stack([of_a_map(MANY) for _ in range(max(2, draws // 8))])
        pull = torch.stack([towards_the_batch() for _ in range(max(2, draws // 8))])
    except (ValueError, RuntimeError) as error:
        return {"broke": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    (spread, square), (_, square_of_many) = _parts(small), _parts(large)
    row["power"] = float(np.mean([row[f"power_{name}"] for name in ALTERNATIVES]))
    row["noise"] = spread / square
    row["bias"] = 1 - float(small.mean(0) @ large.mean(0)) / math.sqrt(square * square_of_many)
    row["pull"] = 1 - float(pull.mean())
    return {key: float(f"{number:.6g}") for key, number in row.items()}


def _parts(gradients: Tensor) -> tuple[float, float]:
    """E|g - Eg|^2 and |Eg|^2 of independent gradients (B, n), both without bias; the latter at least 1e-12."""
    spread = float(gradients.var(0).sum())
    return spread, max(float(gradients.mean(0).square().sum()) - spread / len(gradients), 1e-12)
