"""Directions on which a multivariate sample is projected: columns of unit length, shape (K, M)."""

import torch
from torch import Tensor


def iid_directions(
    dim: int,
    num_slices: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Independent directions, uniform on the unit sphere: standard normal vectors, normalised.

    Args:
        dim: K, the dimension of the space.
        num_slices: M, the number of directions.
        generator: source of the randomness; the same generator state gives the same directions. It draws on its own
            device, and the result moves to ``device``: a CPU generator gives the same directions on every machine.
        dtype: dtype of the result; drawn in that dtype if it is float64, else in float32.
        device: device of the result; the generator's if not given.

    Returns:
        Shape (K, M), columns of Euclidean length 1.

    Raises:
        ValueError: ``dim`` or ``num_slices`` below 1.
    """
    if dim < 1 or num_slices < 1:
        raise ValueError(f"dim and num_slices must be at least 1, got dim={dim}, num_slices={num_slices}")
    draw = torch.float64 if dtype == torch.float64 else torch.float32
    normal = torch.randn(dim, num_slices, generator=generator, dtype=draw, device=generator.device)
    return (normal / normal.norm(dim=0)).to(dtype=dtype, device=device or generator.device)


def seeded_generator(*seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator whose stream depends on all the integers given, such as (run seed, step).

    The integers are mixed by ``numpy.random.SeedSequence``: neighbouring seeds and steps give unrelated streams, and
    every rank that hands in the same integers gets the same stream.
    """
    import numpy as np

    state = int(np.random.SeedSequence(list(seed)).generate_state(1, np.uint64)[0])
    return torch.Generator(device=device).manual_seed(state >> 1)
