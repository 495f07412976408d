"""SIGReg: the mean over random slices of a univariate statistic of the embeddings, on any number of processes."""

from numbers import Integral

import torch
from torch import Tensor

from sigreg_lab.distributed import all_reduce_sum, gather_samples, rank, world_size
from sigreg_lab.regularizers.base import Regularizer
from sigreg_lab.regularizers.sums import reduced_statistic
from sigreg_lab.slicing import DIRECTIONS, StructuredDirections, hd3_signs, make_directions, project, sliced_statistic
from sigreg_lab.univariate import UnivariateTest
from sigreg_lab.validation import at_least_float32


class SIGReg(Regularizer):
    """Sketched isotropic-Gaussian regularisation with any univariate statistic.

        SIGReg(z) = 1/V sum_v 1/M sum_m T({a_m'z_vn}_n),   a_m unit vectors                                 [1, Def. 2]

    It carries the factor N if T does. Gradient: that of T, on the M directions of this call. Cost O(V N K M) for the
    projections, and V M times that of T. Shapes, dtypes and errors of a call: ``Regularizer``.

    Args:
        statistic: the univariate statistic T.
        num_slices: M, directions drawn at each call.
        per_view: True takes the statistic of each view's N embeddings and averages over the V views (the paper's
            loss); False takes it once over all V N embeddings (``flattened``), which a statistic that carries the
            factor N makes about V times stronger.
        directions: kind of the directions drawn, a key of ``DIRECTIONS``. "hd3" projects by fast Hadamard transforms,
            O(log K) operations a slice and sample instead of O(K), without the matrix (K, M), but with the projections
            in memory; there is nothing to gain for small K, where the statistic takes the time.

    Raises:
        TypeError: ``statistic`` is no ``UnivariateTest``, or is the class instead of an instance.
        ValueError: ``num_slices`` below 1 or no whole number, unknown ``directions``.

    [1] Balestriero & LeCun (2025), arXiv:2511.08544.
    """

    def __init__(
        self, statistic: UnivariateTest, num_slices: int = 1024, *, per_view: bool = True, directions: str = "iid"
    ) -> None:
        super().__init__()
        if not isinstance(statistic, UnivariateTest):
            raise TypeError(f"statistic must be an instance of UnivariateTest, such as EppsPulley(), got {statistic!r}")
        check_slices(num_slices, directions)
        self.statistic = statistic
        self.num_slices = num_slices
        self.per_view = per_view
        self.directions = directions
        self.capturable = directions != "sobol"  # whose points the host computes

    def extra_repr(self) -> str:
        return f"num_slices={self.num_slices}, per_view={self.per_view}, directions={self.directions!r}"

    def forward(
        self, z: Tensor, generator: torch.Generator, *, directions: Tensor | StructuredDirections | None = None
    ) -> Tensor:
        """The regulariser's value.

        Args:
            z: embeddings, shape (V, N, K). Of one process on a GPU, bfloat16 embeddings enter the products of
                Epps-Pulley as they are, see ``kernels.sliced_epps_pulley``; in all other cases they are lifted to
                float32, as ``Regularizer`` says.
            generator: draws the directions; in the same state on all ranks.
            directions: used instead of drawn ones, shape (K, M), a matrix or structured.

        Returns:
            A scalar, float32 (float64 for float64 embeddings), whatever autocast says.

        Raises:
            ValueError: ``z`` is not a finite floating-point tensor of shape (V, N, K) with enough samples, or K is
                not among those of the kind of directions.
        """
        self._check(z, self.statistic.min_samples)
        if directions is None:
            directions = draw_directions(self.directions, z, self.num_slices, generator, torch.float32)
        if not self.per_view:
            z = z.flatten(0, -2)
        return mean_over_slices(z, self.statistic, directions)


def check_slices(num_slices: int, directions: str) -> None:
    """Raise ``ValueError`` for a number of slices below 1 or not whole, or an unknown kind of directions."""
    if not isinstance(num_slices, Integral) or num_slices < 1:
        raise ValueError(f"num_slices must be at least 1, a whole number, got {num_slices!r}")
    if directions not in DIRECTIONS:
        raise ValueError(f"directions must be one of {', '.join(DIRECTIONS)}, got {directions!r}")


def draw_directions(
    kind: str, z: Tensor, num_slices: int, generator: torch.Generator, dtype: torch.dtype
) -> Tensor | StructuredDirections:
    """Directions for embeddings ``z`` (..., K): a matrix (K, M) of ``dtype`` on their device, "hd3" structured.

    Raises:
        TypeError: ``generator`` is none.
    """
    if not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator must be a torch.Generator, got {generator!r}; slicing.seeded_generator(run, step) is one"
        )
    dim = z.shape[-1]
    if kind == "hd3":
        return StructuredDirections(hd3_signs(dim, num_slices, generator=generator), (dim, num_slices))
    return make_directions(kind, dim, num_slices, generator=generator, dtype=dtype, device=z.device)


def mean_over_slices(z: Tensor, statistic: UnivariateTest, directions: Tensor | StructuredDirections) -> Tensor:
    """Mean over slices, and over batch dimensions, of a statistic of the embeddings of all ranks.

    A statistic that is a function of sample means costs one reduction of those means. Any other costs a gather of the
    embeddings; then each rank takes a W-th of the slices, so that the sorting is shared out. A rank's slices follow one
    another, because structured directions come in blocks.

    Args:
        z: this rank's embeddings, shape (..., N, K).
        statistic: the univariate statistic.
        directions: shape (K, M), a matrix or structured; the same on all ranks.
    """
    if world_size() == 1:
        return sliced_statistic(z, statistic, directions).mean()
    z = at_least_float32(z)  # what ranks add up, and the gradients that they add up, are no low precision
    form = statistic.sum_form()
    if form is not None:
        with torch.autocast(device_type=z.device.type, enabled=False):
            return reduced_statistic(project(z, directions), form).mean()
    samples = gather_samples(z).samples
    num_slices = directions.shape[1]
    share = -(-num_slices // world_size())
    start, stop = rank() * share, min((rank() + 1) * share, num_slices)
    if start < stop:
        own = directions[:, start:stop] if isinstance(directions, Tensor) else directions.columns(start, stop)
        total = sliced_statistic(samples, statistic, own, reduction="sum").sum()
    else:  # a rank without a slice still takes part in the backward pass of the gather
        total = 0 * samples.sum()
    return all_reduce_sum(total) / (num_slices * samples.shape[:-2].numel())
