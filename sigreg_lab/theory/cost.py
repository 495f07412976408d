"""What one step of SIGReg, forward and backward, costs each of W ranks that share a batch.

N samples in V views, K dimensions, M slices, P nodes of the characteristic function (17 points on the half-grid: the
node 0 is known, so P = 16); a rank holds n = N/W samples. Two ways to one value:

    sums      statistics that are functions of sample means, such as Epps-Pulley: each rank projects its own samples on
              all slices, and ranks add up c and s, in float64
    gather    all others, such as those of sorted samples: each rank gets all samples, and takes M/W of the slices

                         sums                gather
    products             4 V n K M           4 V N K M/W         operations: one product forward, one backward
    evaluations          2 V n M P           -                   of a node at a projection, forward and backward
    kept                 4 V n M             4 V N (K + M/W)     bytes between forward and backward, float32
    reduced, forward     16 V M P + 8        4                   bytes that enter an all-reduce
    gathered, forward    -                   4 V N K + 8 W       bytes that an all-gather brings together
    reduced, backward    16 V M P            4 V N K + 4

Products are the same both ways, and fall as 1/W for a given N. What ranks send is not: that of sums depends on neither
N, K nor W, that of a gather grows with N. An all-reduce of B bytes by a ring sends 2 (W - 1)/W B from each rank, an
all-gather (W - 1)/W B (Thakur, Rabenseifner & Gropp 2005, Int. J. High Perform. Comput. Appl. 19).
"""

from typing import Literal, NamedTuple

_SINGLE, _DOUBLE = 4, 8  # bytes of a number


class StepCost(NamedTuple):
    """Of one rank and step.

    Attributes:
        products: operations of the matrix products, multiplications and additions.
        evaluations: of a node of the characteristic function at one projection, forward and backward.
        kept: bytes of projections and gathered samples between forward and backward.
        reduced: bytes that enter all-reduces, forward and backward together.
        gathered: bytes that all-gathers bring together.
        sent: bytes that leave the rank, by rings.
    """

    products: float
    evaluations: float
    kept: float
    reduced: float
    gathered: float
    sent: float


def step_cost(
    num_samples: int,
    dim: int,
    num_slices: int,
    *,
    num_views: int = 1,
    nodes: int = 16,
    ranks: int = 1,
    way: Literal["sums", "gather"] = "sums",
    size: int = _SINGLE,
) -> StepCost:
    """The cost of one step; formulas above.

    Args:
        num_samples: N, of all ranks; each holds as many.
        dim: K.
        num_slices: M.
        num_views: V, each a batch of its own.
        nodes: P.
        ranks: W.
        way: "sums" or "gather".
        size: bytes of a number of the embeddings, 4 of float32.

    Raises:
        ValueError: another way.
    """
    if way not in ("sums", "gather"):
        raise ValueError(f"way must be 'sums' or 'gather', got {way!r}")
    embeddings = size * num_views * num_samples * dim
    own = num_views * num_samples * num_slices / ranks  # projections of one rank, both ways
    several = ranks > 1
    if way == "sums":
        reduced = (2 * (2 * _DOUBLE * num_views * num_slices * nodes) + _DOUBLE) * several
        gathered, evaluations, kept = 0, 2 * own * nodes, size * own
    else:
        reduced = (embeddings + 2 * size) * several
        gathered, evaluations, kept = (embeddings + _DOUBLE * ranks) * several, 0, size * own + embeddings
    sent = (ranks - 1) / ranks * (2 * reduced + gathered)
    return StepCost(4 * own * dim, evaluations, kept, reduced, gathered, sent)
