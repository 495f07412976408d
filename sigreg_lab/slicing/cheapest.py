"""Which directions, and how many, reach a stated error of SIGReg's gradient in the least time.

The error is the root of E |gradient - exact gradient|^2 / E |exact gradient|^2 over samples from N(0, I), the exact
gradient being that of the mean over all directions. For Epps-Pulley it is known in closed form for each kind, and so is
the least number of slices (``theory.slices``):

    iid          independent directions
    orthogonal   blocks of K
    hd3          blocks of n, the power of two from K up; from K = 16 on, see below
    exact        all directions: ``infinite_slice_epps_pulley``, without error

Time is a sum of operations, each weighed by how many operations of a large matrix product, multiplications and
additions, one core of a CPU does in that time (``WEIGHTS``: study ``direction_frontier``, rounded). For V views of N
samples on W ranks, rows = V N/W, P nodes and M slices:

    iid          M (4 K rows + node P rows + draw K)
    orthogonal   the same, and M K^2 turn
    hd3          M node P rows + b n log2(n) step (rows + (n - K)/2), b blocks
    exact        V N^2 (pair + coordinate K)

and a constant for each call. The choice is a function of these numbers and the type of device alone, never of a clock,
so that all ranks choose alike. dtypes are chosen for alike. On other devices than a CPU the weights are not measured;
the exact form, whose sums are float64, is left out there.

Independent and orthogonal directions, and all of them, are unbiased. Columns of hd3 are uniform only nearly. For a
sample of 128 from N(0, I) the bias of the gradient, relative, was 0.56 in K = 2, 0.30 in K = 4 and 0.05 in K = 8, and
below 0.01 from K = 16 on; below 16 hd3 is no candidate. Nor are Sobol points, whose error no formula tells, and fixed
directions, whose error no number of steps averages out.
"""

import functools
import math
from collections.abc import Sequence
from numbers import Real
from typing import NamedTuple

from sigreg_lab.slicing.directions import DIRECTIONS
from sigreg_lab.theory import slices
from sigreg_lab.univariate import EppsPulley, UnivariateTest

EXACT = "exact"
#: What is chosen from, on a CPU and elsewhere.
CANDIDATES = ("iid", "orthogonal", "hd3", EXACT)
#: The least K of hd3.
LEAST_HD3 = 16
#: The most slices of one call.
MOST_SLICES = 1 << 22


class Weights(NamedTuple):
    """Operations of a large matrix product that take as long."""

    draw: float = 2000.0  #: a normal number, and its normalisation
    node: float = 15.0  #: a node at a projection, forward and backward
    turn: float = 10.0  #: of Householder's factorisation, an entry of a column by a column
    step: float = 40.0  #: an element and factor of two of the fast transform, there and back
    pair: float = 17000.0  #: the two radial functions of a pair of samples
    coordinate: float = 33.0  #: a coordinate of a pair, float64
    call: float = 1e8  #: a call
    exact_call: float = 4e8  #: a call of the exact form


WEIGHTS = Weights()


class Choice(NamedTuple):
    """What ``cheapest_directions`` found.

    Attributes:
        kind: a key of ``DIRECTIONS``, or "exact": all directions.
        num_slices: M; 0 of "exact".
        error: of the gradient at N(0, I), relative; at most the stated one.
        cost: what the call takes, in operations of a large matrix product.
    """

    kind: str
    num_slices: int
    error: float
    cost: float


def cheapest_directions(
    num_samples: int,
    dim: int,
    error: float,
    statistic: UnivariateTest | None = None,
    *,
    num_views: int = 1,
    ranks: int = 1,
    device_type: str = "cpu",
    kinds: Sequence[str] = CANDIDATES,
) -> Choice:
    """The kind of directions and their number that take the least time for a stated error of the gradient.

    Args:
        num_samples: N, of all ranks.
        dim: K.
        error: the root mean square error of the gradient at N(0, I) that is accepted, over the exact gradient's root
            mean square: 1 is an error as large as the gradient.
        statistic: Epps-Pulley on a grid, ``estimator="v"``; the default half-grid if not given.
        num_views: V, each N samples.
        ranks: W, that share the samples.
        device_type: "cpu", "cuda", ... as ``torch.device.type``.
        kinds: what to choose from.

    Raises:
        ValueError: an error that is no positive number, or that none of the kinds meets with ``MOST_SLICES`` or fewer;
            an unknown kind; none of the kinds to be had for this K and device; a statistic whose error is not known.
    """
    check_error(error)
    unknown = [kind for kind in kinds if kind not in CANDIDATES]
    if unknown or not kinds:
        why = "whose error no formula tells" if unknown and unknown[0] in DIRECTIONS else "no kind"
        named = f"{unknown[0]!r}, {why}" if unknown else "none"
        raise ValueError(f"kinds must be among {', '.join(CANDIDATES)}, got {named}")
    statistic = check_statistic(statistic or EppsPulley())
    able = [kind for kind in kinds if _is_able(kind, dim, device_type)]
    if not able:
        raise ValueError(
            f"kinds {', '.join(kinds)} cannot be had for K = {dim} on {device_type}: hd3 is biased below "
            f"K = {LEAST_HD3}, and the exact form is chosen on a CPU alone; add 'iid' or 'orthogonal'"
        )
    rho = _spread(num_samples, dim, statistic.t_max, statistic.n_points, statistic.sigma)
    rows, nodes = num_views * num_samples / ranks, statistic.n_points - 1
    found, least = [], math.inf
    for kind in able:
        if kind == EXACT:
            pairs = num_views * num_samples**2
            cost = pairs * (WEIGHTS.pair + WEIGHTS.coordinate * dim) + WEIGHTS.exact_call
            found.append(Choice(kind, 0, 0.0, cost))
            continue
        block = 1 << (dim - 1).bit_length() if kind == "hd3" else dim
        count = slices.least_slices(rho, dim, error, orthogonal=kind != "iid", block=block)
        least = min(least, count)
        if count <= MOST_SLICES:
            square = slices.squared_error(rho, dim, count, orthogonal=kind != "iid", block=block)
            found.append(Choice(kind, count, math.sqrt(max(square, 0.0)), _cost(kind, rows, dim, nodes, count, block)))
    if not found:
        raise ValueError(
            f"error={error:g} cannot be met by {', '.join(able)}: K = {dim} takes {least:,} slices or more, and "
            f"{MOST_SLICES:,} are the most; state a larger error, or take 'sigreg-ep-infinite', which has none"
        )
    return min(found, key=lambda choice: choice.cost)


def check_error(error: float | None) -> float:
    """The error; ``ValueError`` for what no number of slices meets."""
    if not isinstance(error, Real) or not 0 < error < math.inf:
        raise ValueError(
            f"error must be a positive number, the gradient's relative error such as 0.3, got {error!r}; for none at "
            "all take 'sigreg-ep-infinite', the exact mean over all directions"
        )
    return float(error)


def check_statistic(statistic: UnivariateTest) -> EppsPulley:
    """The statistic; ``ValueError`` for one whose error is not known."""
    if not isinstance(statistic, EppsPulley) or (statistic.integration, statistic.estimator) != ("trapezoid", "v"):
        raise ValueError(
            "the error of slices is known for EppsPulley on a grid (integration='trapezoid', estimator='v'), "
            f"got {statistic!r}; name a kind of directions and num_slices"
        )
    return statistic


def _is_able(kind: str, dim: int, device_type: str) -> bool:
    return {"hd3": dim >= LEAST_HD3, EXACT: device_type == "cpu"}.get(kind, True)


def _cost(kind: str, rows: float, dim: int, nodes: int, count: int, block: int) -> float:
    w, sums = WEIGHTS, WEIGHTS.node * nodes
    if kind == "hd3":
        transforms = -(-count // block) * block * math.log2(block) * w.step
        return count * sums * rows + transforms * (rows + (block - dim) / 2) + w.call
    turned = w.turn * dim**2 if kind == "orthogonal" else 0.0
    return count * ((4 * dim + sums) * rows + w.draw * dim + turned) + w.call


@functools.lru_cache(maxsize=256)
def _spread(num_samples: int, dim: int, t_max: float, n_points: int, sigma: float) -> float:
    """rho at N(0, I); 1 on a line, where all directions are alike."""
    if dim == 1:
        return 1.0
    return slices.spread(num_samples, dim, EppsPulley(t_max, n_points, sigma=sigma).nodes())
