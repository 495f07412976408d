"""Directions on which a multivariate sample is projected: columns of unit length, shape (K, M).

    iid          standard normal vectors, normalised: independent and uniform on the sphere
    orthogonal   blocks of K orthonormal columns, each block a uniform (Haar) rotation                              [1]
    sobol        scrambled Sobol points -> normal quantile -> normalised                                    [2, app. D]
    hd3          blocks of n columns of (D1 H D2 H D3 H) / n^(3/2): H a Hadamard matrix, D random signs, n the power
                 of two from K up; the first K rows, normalised. Needs 3 n random bits a block, and its product with a
                 sample n log n operations a row; K from 16 up, or a power of two                                   [3]
    fixed        iid directions from one seed, the same at every call

Every column of the first three kinds is uniform on the sphere (Sobol's up to its 2^-32 grid), so that their mean over
slices is unbiased; HD3 columns are nearly so. All but "fixed" draw from the generator handed in, in float32 unless
float64 is asked for: the same generator state gives the same directions on every rank.

[1] Mezzadri (2007), Notices of the AMS 54, 592-604: QR with the signs of R's diagonal.
[2] Balestriero & LeCun (2025), arXiv:2511.08544.
[3] Yu et al. (2016), Orthogonal random features, NeurIPS; Choromanski et al. (2017), The unreasonable effectiveness of
    structured random orthogonal embeddings, NeurIPS.
"""

import dataclasses
import functools
from collections.abc import Callable

import torch
from torch import Tensor

from sigreg_lab.kernels.hadamard import hadamard_transform
from sigreg_lab.validation import on_device

FIXED_SEED = 0
_SMALLEST = 2.0**-33  # half a step of the Sobol grid: keeps the normal quantile finite


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
    _check(dim, num_slices)
    draw = torch.float64 if dtype == torch.float64 else torch.float32
    normal = torch.randn(dim, num_slices, generator=generator, dtype=draw, device=generator.device)
    return on_device((normal / normal.norm(dim=0)).to(dtype), device or generator.device)


def orthogonal_directions(
    dim: int,
    num_slices: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Blocks of orthonormal directions, each block uniform among rotations; the last may be cut short.

    Arguments, result and errors as for ``iid_directions``. At equal M the mean over slices varies less than over
    independent directions.
    """
    _check(dim, num_slices)
    draw = torch.float64 if dtype == torch.float64 else torch.float32
    blocks, width = -(-num_slices // dim), min(dim, num_slices)
    normal = torch.randn(blocks, dim, width, generator=generator, dtype=draw, device=generator.device)
    q, r = torch.linalg.qr(normal)
    q = q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]
    columns = q.transpose(0, 1).reshape(dim, blocks * width)[:, :num_slices]
    return on_device(columns.to(dtype).contiguous(), device or generator.device)


def sobol_directions(
    dim: int,
    num_slices: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Low-discrepancy directions: scrambled Sobol points through the normal quantile, normalised.

    Arguments and result as for ``iid_directions``; the generator draws the seed of the scrambling, and the points are
    computed on the CPU.

    Raises:
        ValueError: as ``iid_directions``; ``dim`` above 21201, the end of the direction numbers' table.
    """
    _check(dim, num_slices)
    if dim > torch.quasirandom.SobolEngine.MAXDIM:
        raise ValueError(f"dim must be at most {torch.quasirandom.SobolEngine.MAXDIM} for Sobol points, got {dim}")
    seed = int(torch.randint(2**31 - 1, (), generator=generator, device=generator.device))
    points = torch.quasirandom.SobolEngine(dim, scramble=True, seed=seed).draw(num_slices, dtype=torch.float64)
    normal = torch.special.ndtri(points.clamp(_SMALLEST, 1 - _SMALLEST)).T
    return on_device((normal / normal.norm(dim=0)).to(dtype).contiguous(), device or generator.device)


def hd3_signs(dim: int, num_slices: int, *, generator: torch.Generator) -> Tensor:
    """The random signs of structured directions, shape (blocks, 3, n) of +-1 in int8, n the power of two from K up.

    Block b's directions are the columns of D1 H D2 H D3 H with ``D_i = diag(signs[b, i - 1])``: a row x of a sample,
    filled with zeros to n, is projected on them by x -> H D3 H D2 H D1 x, three sign flips and three fast Hadamard
    transforms.

    Raises:
        ValueError: ``dim`` or ``num_slices`` below 1; ``dim`` below 16 and no power of two, where a column cut to K
            coordinates may be 0.
    """
    _check(dim, num_slices)
    n = 1 << (dim - 1).bit_length()
    if dim != n and dim < 16:
        raise ValueError(f"dim must be a power of two or at least 16 for HD3 directions, got {dim}; use 'orthogonal'")
    blocks = -(-num_slices // n)
    bits = torch.randint(2, (blocks, 3, n), generator=generator, device=generator.device, dtype=torch.int8)
    return 2 * bits - 1


def hd3_directions(
    dim: int,
    num_slices: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Structured directions as a dense matrix, from the signs of ``hd3_signs``.

    Arguments, result and errors as for ``iid_directions``. Where K is a power of two the columns of a block are
    orthonormal; elsewhere they are cut to K coordinates and normalised. ``StructuredDirections`` holds the same
    directions without the matrix.
    """
    signs = hd3_signs(dim, num_slices, generator=generator)
    n = signs.shape[-1]
    # Integers, exact in float64. Entries of few sizes round alike in every column: lengths in float32 are wrong
    # together, and no mean mends that.
    rows = torch.eye(dim, n, dtype=torch.float64, device=signs.device).expand(len(signs), dim, n)
    for i in range(3):
        rows = hadamard_transform(rows * signs[:, i, None])
    directions = rows.transpose(0, 1).reshape(dim, -1)[:, :num_slices]
    lengths = torch.linalg.vector_norm(directions, dim=0)
    return on_device((directions / lengths).to(dtype).contiguous(), device or generator.device)


@dataclasses.dataclass(frozen=True)
class StructuredDirections:
    """HD3 directions by their signs alone: they stand for a matrix of shape (K, M) that is never made.

    ``project`` takes them for the matrix that ``hd3_directions`` makes of the same signs, with the same result.

    Attributes:
        signs: shape (blocks, 3, n), see ``hd3_signs``.
        shape: (K, M).
        skipped: directions of the first block that come before the M.
    """

    signs: Tensor
    shape: tuple[int, int]
    skipped: int = 0

    def columns(self, start: int, stop: int) -> "StructuredDirections":
        """Directions start .. stop - 1, of which there is at least one; signs of other blocks are left out."""
        n = self.signs.shape[-1]
        first, skipped = divmod(self.skipped + start, n)
        last = (self.skipped + stop - 1) // n
        return StructuredDirections(self.signs[first : last + 1], (self.shape[0], stop - start), skipped)


def fixed_directions(
    dim: int,
    num_slices: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """The same iid directions at every call: the generator is not used.

    Arguments, result and errors as for ``iid_directions``.
    """
    return _fixed(dim, num_slices, dtype, torch.device(device or generator.device))


@functools.lru_cache(maxsize=16)
def _fixed(dim: int, num_slices: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Made once: nothing is copied to the device at later calls."""
    return iid_directions(dim, num_slices, generator=seeded_generator(FIXED_SEED), dtype=dtype, device=device)


#: Every kind of directions, by its name.
DIRECTIONS: dict[str, Callable[..., Tensor]] = {
    "iid": iid_directions,
    "orthogonal": orthogonal_directions,
    "sobol": sobol_directions,
    "hd3": hd3_directions,
    "fixed": fixed_directions,
}


def make_directions(
    kind: str,
    dim: int,
    num_slices: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Directions of a kind named in ``DIRECTIONS``, shape (K, M); see ``iid_directions`` for the other arguments.

    Raises:
        ValueError: an unknown kind, ``dim`` or ``num_slices`` below 1.
    """
    if kind not in DIRECTIONS:
        raise ValueError(f"kind must be one of {', '.join(DIRECTIONS)}, got {kind!r}")
    return DIRECTIONS[kind](dim, num_slices, generator=generator, dtype=dtype, device=device)


def _check(dim: int, num_slices: int) -> None:
    if dim < 1 or num_slices < 1:
        raise ValueError(f"dim and num_slices must be at least 1, got dim={dim}, num_slices={num_slices}")


def generator_device(device: torch.device) -> str:
    """Where to draw what is used on a device: on a GPU itself, so that nothing is copied to it; else on the CPU."""
    return str(device) if device.type == "cuda" else "cpu"


def seeded_generator(*seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator whose stream depends on all the integers given, such as (run seed, step).

    The integers are mixed by ``numpy.random.SeedSequence``: neighbouring seeds and steps give unrelated streams, and
    every rank that hands in the same integers gets the same stream.
    """
    import numpy as np

    state = int(np.random.SeedSequence(list(seed)).generate_state(1, np.uint64)[0])
    return torch.Generator(device=device).manual_seed(state >> 1)
