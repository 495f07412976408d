"""SIGReg: the mean over random slices of a univariate statistic of the embeddings, on any number of processes."""

from collections.abc import Callable
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.distributed import all_reduce_sum, gather_samples, rank, total_samples, world_size
from sigreg_lab.kernels.operation import untraced
from sigreg_lab.regularizers.base import Regularizer
from sigreg_lab.regularizers.multivariate import mean_over_views
from sigreg_lab.regularizers.sums import reduced_statistic
from sigreg_lab.slicing import (
    DIRECTIONS,
    StructuredDirections,
    cheapest_directions,
    hd3_signs,
    infinite_slice_epps_pulley,
    make_directions,
    project,
    sliced_statistic,
)
from sigreg_lab.slicing.cheapest import EXACT, Choice, check_error, check_statistic
from sigreg_lab.univariate import EppsPulley, UnivariateTest
from sigreg_lab.validation import at_least_float32, table

#: What ``torch.compile`` with ``fullgraph=True`` and ``torch.export`` say where a generator would draw.
UNTRACEABLE = (
    "a torch.Generator cannot be part of a graph; draw the directions outside, slicing.make_directions('iid', K, M, "
    "generator=...), and hand them in: directions= of SIGReg and LeJEPALoss; or compile without fullgraph=True"
)


AUTO = "auto"


class SIGReg(Regularizer):
    """Sketched isotropic-Gaussian regularisation with any univariate statistic.

        SIGReg(z) = 1/V sum_v 1/M sum_m T({a_m'z_vn}_n),   a_m unit vectors                                 [1, Def. 2]

    It carries the factor N if T does. Gradient: that of T, on the M directions of this call. Cost O(V N K M) for the
    projections, and V M times that of T. Shapes, dtypes and errors of a call: ``Regularizer``.

    Args:
        statistic: the univariate statistic T.
        num_slices: M, directions drawn at each call; not used by ``directions="auto"``.
        per_view: True takes the statistic of each view's N embeddings and averages over the V views (the paper's
            loss); False takes it once over all V N embeddings (``flattened``), which a statistic that carries the
            factor N makes about V times stronger.
        directions: kind of the directions drawn, a key of ``DIRECTIONS``. "hd3" projects by fast Hadamard transforms,
            O(log K) operations a slice and sample instead of O(K), without the matrix (K, M), but with the projections
            in memory; there is nothing to gain for small K, where the statistic takes the time. "auto" chooses kind
            and number, or all directions, by ``slicing.cheapest_directions``: the least time for ``error``, a function
            of V, N, K, the number of ranks and the type of device alone. Several ranks tell each other their N first,
            for which a GPU waits.
        error: of "auto" alone, which needs it: the root mean square error of the gradient at N(0, I) that is accepted,
            over the exact gradient's: 1 is as large as the gradient.

    Raises:
        TypeError: ``statistic`` is no ``UnivariateTest``, or is the class instead of an instance.
        ValueError: ``num_slices`` below 1 or no whole number, unknown ``directions``; ``error`` without "auto", "auto"
            without a positive ``error`` or for a statistic other than ``EppsPulley`` on a grid with ``estimator="v"``;
            in use, an ``error`` that cannot be met.

    [1] Balestriero & LeCun (2025), arXiv:2511.08544.
    """

    def __init__(
        self,
        statistic: UnivariateTest,
        num_slices: int = 1024,
        *,
        per_view: bool = True,
        directions: str = "iid",
        error: float | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(statistic, UnivariateTest):
            raise TypeError(f"statistic must be an instance of UnivariateTest, such as EppsPulley(), got {statistic!r}")
        if directions == AUTO:
            check_statistic(statistic)
            check_error(error)
        elif error is not None:
            raise ValueError(f"error is what directions='auto' reaches; directions={directions!r} takes num_slices")
        else:
            check_slices(num_slices, directions)
        self.statistic = statistic
        self.num_slices = num_slices
        self.per_view = per_view
        self.directions = directions
        self.error = error
        # The host computes Sobol points, and reads values for the mean over all directions, which "auto" may choose.
        self.capturable = directions not in ("sobol", AUTO)

    def extra_repr(self) -> str:
        slices = f"num_slices={self.num_slices}" if self.error is None else f"error={self.error:g}"
        return f"{slices}, per_view={self.per_view}, directions={self.directions!r}"

    def forward(
        self, z: Tensor, generator: torch.Generator | None, *, directions: Tensor | StructuredDirections | None = None
    ) -> Tensor:
        """The regulariser's value.

        Args:
            z: embeddings, shape (V, N, K). Of one process on a GPU, bfloat16 embeddings enter the products of
                Epps-Pulley as they are, see ``kernels.sliced_epps_pulley``; in all other cases they are lifted to
                float32, as ``Regularizer`` says.
            generator: draws the directions; in the same state on all ranks.
            directions: used instead of drawn ones, shape (K, M), a matrix or structured; ``generator`` may be None
                then, and ``torch.compile(fullgraph=True)`` and ``torch.export`` take the call.

        Returns:
            A scalar, float32 (float64 for float64 embeddings), whatever autocast says.

        Raises:
            ValueError: ``z`` is not a finite floating-point tensor of shape (V, N, K) with enough samples, or K is
                not among those of the kind of directions.
        """
        self._check(z, self.statistic.min_samples)
        kind, num_slices = self.directions, self.num_slices
        if directions is None and kind == AUTO:
            kind, num_slices, *_ = self.choice(z)
            if kind == EXACT:
                z = z if self.per_view else z.flatten(0, 1)[None]
                return mean_over_views(at_least_float32(z), self._over_all_directions)
        if directions is None:
            directions = self._draw(z, generator, kind, num_slices)
        if not self.per_view:
            z = z.flatten(0, -2)
        return self._over_slices(z, directions)

    @untraced(UNTRACEABLE)
    def choice(self, z: Tensor) -> Choice:
        """What ``directions="auto"`` chooses for embeddings ``z`` (V, N, K): kind, number, error, cost; see
        ``slicing.cheapest_directions``. Nothing is drawn; on several ranks all call together."""
        views, samples, dim = z.shape
        samples = int(total_samples(samples, z.device))
        if not self.per_view:
            views, samples = 1, views * samples
        error = check_error(self.error)  # which only "auto" has
        return cheapest_directions(
            samples, dim, error, self.statistic, num_views=views, ranks=world_size(), device_type=z.device.type
        )

    def _over_all_directions(self, z: Tensor) -> Tensor:
        assert isinstance(self.statistic, EppsPulley)
        return infinite_slice_epps_pulley(z, self.statistic)

    def _over_slices(self, z: Tensor, directions: Tensor | StructuredDirections) -> Tensor:
        return mean_over_slices(z, self.statistic, directions)

    def _draw(
        self, z: Tensor, generator: torch.Generator | None, kind: str, num_slices: int
    ) -> Tensor | StructuredDirections:
        return draw_directions(kind, z, num_slices, generator, torch.float32)


class SubspaceSIGReg(SIGReg):
    """Sub-JEPA: SIGReg on slices of a few fixed subspaces of the embeddings instead of the whole space.

        R(z) = 1/V sum_v 1/M sum_m T({u_m'P_s z_vn}_n),   s = m mod S                                               [1]

    P_s, of shape (L, K), has orthonormal rows: a random subspace of dimension L for each s = 0 .. S - 1, drawn from
    ``seed`` alone and so the same at every call, on every rank and after a restart. u_m are unit vectors of R^L, drawn
    at each call. The subspaces are independent of one another: with S L = K they need not span the space, and what lies
    outside of their span is left alone. As in [1], the target of each is N(0, I), and the projection and T are those of
    ``SIGReg``. In [1] every subspace gets M slices, here M counts those of all together. Gradient, cost, shapes, dtypes
    and errors of a call: ``SIGReg``.

    Args:
        statistic: the univariate statistic T.
        num_slices: M, slices drawn at each call, dealt to the subspaces in turn.
        num_subspaces: S.
        subspace_dim: L; K / S, rounded up, if not given. With 1 a subspace is one fixed slice.
        seed: of the subspaces.
        per_view: see ``SIGReg``.
        directions: kind of the directions u_m, see ``SIGReg``; "hd3" is made a matrix.

    Raises:
        TypeError, ValueError: as ``SIGReg``; ``num_subspaces`` or ``subspace_dim`` below 1; in use, ``subspace_dim``
            above K.

    [1] Zhao, Nie, Lin, Luo, Gu, Fan & Zeng (2026), Sub-JEPA, arXiv:2605.09241; code intcomp/Sub-JEPA,
        ``MultiSubspaceSIGReg`` with ``orthogonal_frozen``: 4 subspaces by default, 32 in the paper's runs at K = 192.
    """

    def __init__(
        self,
        statistic: UnivariateTest,
        num_slices: int = 1024,
        *,
        num_subspaces: int = 4,
        subspace_dim: int | None = None,
        seed: int = 0,
        per_view: bool = True,
        directions: str = "iid",
    ) -> None:
        check_slices(num_slices, directions)
        super().__init__(statistic, num_slices, per_view=per_view, directions=directions)
        if num_subspaces < 1:
            raise ValueError(f"num_subspaces must be at least 1, got {num_subspaces}")
        if subspace_dim is not None and subspace_dim < 1:
            raise ValueError(f"subspace_dim must be at least 1 or None, got {subspace_dim}")
        self.num_subspaces, self.subspace_dim, self.seed = num_subspaces, subspace_dim, seed

    def extra_repr(self) -> str:
        own = f"num_subspaces={self.num_subspaces}, subspace_dim={self.subspace_dim}, seed={self.seed}"
        return f"{super().extra_repr()}, {own}"

    @untraced(UNTRACEABLE)
    def _draw(self, z: Tensor, generator: torch.Generator | None, kind: str, num_slices: int) -> Tensor:
        generator = check_generator(generator)
        dim = z.shape[-1]
        size = self.subspace_dim or -(-dim // self.num_subspaces)
        if size > dim:
            raise ValueError(f"subspace_dim must be at most {dim}, the dimension of z, got {size}")
        bases = _subspaces(z.device, dim, self.num_subspaces, size, self.seed).float()  # (K, S, L)
        device, every = z.device, self.num_subspaces
        u = make_directions(kind, size, num_slices, generator=generator, dtype=torch.float32, device=device)
        with torch.autocast(device_type=device.type, enabled=False):
            return torch.cat([bases[:, s] @ u[:, s::every] for s in range(min(every, num_slices))], 1)


@table
def _subspaces(dim: int, count: int, size: int, seed: int) -> np.ndarray:
    """Orthonormal bases of random subspaces, as columns: (K, S, L)."""
    normal = np.random.default_rng(seed).standard_normal((count, dim, size))
    return np.linalg.qr(normal)[0].transpose(1, 0, 2).copy()


def check_slices(num_slices: int, directions: str) -> None:
    """Raise ``ValueError`` for a number of slices below 1 or not whole, or an unknown kind of directions."""
    if not isinstance(num_slices, Integral) or num_slices < 1:
        raise ValueError(f"num_slices must be at least 1, a whole number, got {num_slices!r}")
    if directions not in DIRECTIONS:
        raise ValueError(f"directions must be one of {', '.join(DIRECTIONS)}, got {directions!r}")


def check_generator(generator: torch.Generator | None) -> torch.Generator:
    """The generator; ``TypeError`` for what is none, such as a seed, and ``RuntimeError`` in ``torch.export``."""
    if torch.compiler.is_exporting():
        raise RuntimeError(UNTRACEABLE)
    if not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator must be a torch.Generator, got {generator!r}; slicing.seeded_generator(run, step) is one"
        )
    return generator


@untraced(UNTRACEABLE)
def draw_directions(
    kind: str, z: Tensor, num_slices: int, generator: torch.Generator | None, dtype: torch.dtype
) -> Tensor | StructuredDirections:
    """Directions for embeddings ``z`` (..., K): a matrix (K, M) of ``dtype`` on their device, "hd3" structured.

    Raises:
        TypeError: ``generator`` is none.
    """
    generator = check_generator(generator)
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
    return shared_mean_over_slices(
        z, directions, lambda samples, own: sliced_statistic(samples, statistic, own, reduction="sum").sum()
    )


def shared_mean_over_slices(
    z: Tensor,
    directions: Tensor | StructuredDirections,
    total: Callable[[Tensor, Tensor | StructuredDirections], Tensor],
) -> Tensor:
    """Mean over slices and batch dimensions, each rank taking its share of the slices of all ranks' embeddings.

    Args:
        z: this rank's embeddings, shape (..., N, K).
        directions: shape (K, M), a matrix or structured; the same on all ranks.
        total: from the embeddings of all ranks and some directions to the sum over these slices and all batches.
    """
    samples = gather_samples(z).samples
    num_slices = directions.shape[1]
    share = -(-num_slices // world_size())
    start, stop = rank() * share, min((rank() + 1) * share, num_slices)
    if start < stop:
        own = directions[:, start:stop] if isinstance(directions, Tensor) else directions.columns(start, stop)
        part = total(samples, own)
    else:  # a rank without a slice still takes part in the backward pass of the gather
        part = 0 * samples.sum()
    return all_reduce_sum(part) / (num_slices * samples.shape[:-2].numel())
