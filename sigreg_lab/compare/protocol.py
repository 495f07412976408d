"""How regularisers are compared: the same for each, tuning included.

Lambda is tuned as the weight w of the regulariser against the prediction loss, lambda = w/(1 + w) in the convex form of
the loss and lambda = w in the additive one, so that a grid can be widened without end. Every regulariser gets the same
number of tuning runs:

1. one run for each w of the grid, on the first tuning seed;
2. then, one after the other, ``extra`` runs: beyond the edge while the best w lies there, else halfway (on the
   logarithm) between the best w and the better of its neighbours;
3. successive halving: the better half goes on to as many new seeds as it has had, until ``tuning_seeds`` are reached.

The best mean of ``criterion`` on validation wins; on equal means the w nearer to the middle of those tried. Test images
are looked at on other seeds only, those reported. Runs of the same seed begin with the same weights and see the same
batches and views, whatever the regulariser.
"""

import dataclasses
import math
from collections.abc import Generator, Sequence
from typing import NamedTuple

from sigreg_lab.experiment.cells import Row

#: Tuning seeds begin here; those reported stay below.
FIRST_TUNING_SEED = 1_000_000
#: Factor 4 from one to the next; lambda 0.002 .. 0.67 in the convex form.
DEFAULT_WEIGHTS = tuple(2.0**power for power in range(-9, 2, 2))
CONTROLS = ("none", "untrained")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """The rules of a comparison.

    Attributes:
        weights: the grid of w, ascending.
        extra: tuning runs beyond the grid, which widen or refine it: the stated limit.
        tuning_seeds: of the last two candidates or fewer; a power of two.
        seeds: how many are reported.
        first_seed: the first of them.
        criterion: the probe that tunes and ranks, such as "backbone_linear_all".
    """

    weights: tuple[float, ...] = DEFAULT_WEIGHTS
    extra: int = 3
    tuning_seeds: int = 4
    seeds: int = 5
    first_seed: int = 0
    criterion: str = "backbone_linear_all"

    def __post_init__(self) -> None:
        if len(self.weights) < 2 or not all(0 < w < math.inf for w in self.weights):
            raise ValueError(f"the grid of lambda needs two values or more, inside its range, got {self.weights}")
        if list(self.weights) != sorted(set(self.weights)):
            raise ValueError(f"the grid of lambda must be ascending, each value once, got {self.weights}")
        if self.tuning_seeds < 1 or self.tuning_seeds & (self.tuning_seeds - 1):
            raise ValueError(f"tuning seeds must be a power of two (1, 2, 4, ...), got {self.tuning_seeds}")
        if self.seeds < 1 or self.extra < 0:
            raise ValueError(f"seeds must be at least 1 and extra at least 0, got {self.seeds} and {self.extra}")
        if not 0 <= self.first_seed <= FIRST_TUNING_SEED - self.seeds:
            raise ValueError(f"seeds must lie in 0 .. {FIRST_TUNING_SEED - 1}, below those of tuning")

    @property
    def reported(self) -> list[int]:
        """The seeds that are reported."""
        return [*range(self.first_seed, self.first_seed + self.seeds)]

    @property
    def tuning(self) -> list[int]:
        """The seeds of tuning, none of which is reported."""
        return [*range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + self.tuning_seeds)]

    def rungs(self) -> list[tuple[int, int]]:
        """Successive halving: (candidates, seeds each has had at the end of the rung)."""
        found = [(len(self.weights) + self.extra, 1)]
        while found[-1][1] < self.tuning_seeds:
            count, seeds = found[-1]
            found.append((max(2, count // 2), 2 * seeds))
        return found

    @property
    def tuning_runs(self) -> int:
        """Runs of each regulariser's tuning."""
        total, before = 0, 0
        for count, seeds in self.rungs():
            total += count * (seeds - before)
            before = seeds
        return total


class Wanted(NamedTuple):
    """A run that a plan asks for: w (None for a control), seed, and what it is for: "tuning" or "report"."""

    weight: float | None
    seed: int
    stage: str


class Plan:
    """The way of one regulariser, or control, through a comparison; what it has found so far.

    Attributes:
        name: of the regulariser.
        tried: rows of tuning, by w and seed.
        chosen: the best w; None before it is known, for a control, and where every run broke.
        reported: rows of the reported seeds.
    """

    def __init__(self, name: str, protocol: Protocol) -> None:
        self.name, self.protocol = name, protocol
        self.tried: dict[float, dict[int, Row]] = {}
        self.chosen: float | None = None
        self.reported: dict[int, Row] = {}
        self.control = name in CONTROLS

    def batches(self) -> Generator[list[Wanted], None, None]:
        """Runs to make, batch by batch; the next one depends on what was recorded of those before."""
        if not self.control:
            yield from self._tune()
            if self.chosen is None:
                return
        yield [Wanted(self.chosen, seed, "report") for seed in self.protocol.reported]

    def record(self, wanted: Wanted, row: Row) -> None:
        """Keep the row of a run."""
        if wanted.stage == "report":
            self.reported[wanted.seed] = row
        else:
            assert wanted.weight is not None
            self.tried.setdefault(wanted.weight, {})[wanted.seed] = row

    def value(self, weight: float) -> float:
        """Mean validation accuracy of w over its tuning seeds; minus infinity where a run broke."""
        values = [score(row, f"validation_{self.protocol.criterion}") for row in self.tried[weight].values()]
        return -math.inf if None in values else sum(v for v in values if v is not None) / len(values)

    @property
    def at_edge(self) -> bool:
        """Whether the chosen w is the least or the largest that was tried."""
        return self.chosen is not None and self.chosen in (min(self.tried), max(self.tried))

    def missing(self) -> tuple[int, int]:
        """Runs that tuning and the report still lack; (0, 0) where every tuning run broke."""
        done = sum(len(rows) for rows in self.tried.values())
        tuning = 0 if self.control or self.chosen is not None else self.protocol.tuning_runs - done
        hopeless = not self.control and self.chosen is None and not tuning
        return tuning, 0 if hopeless else self.protocol.seeds - len(self.reported)

    def _tune(self) -> Generator[list[Wanted], None, None]:
        seeds = self.protocol.tuning
        yield _tuning(self.protocol.weights, seeds[:1])
        for _ in range(self.protocol.extra):
            yield _tuning([self._further()], seeds[:1])
        going, before = self._best(len(self.tried)), 1
        for count, until in self.protocol.rungs()[1:]:
            going = self._best(count, going)
            yield _tuning(going, seeds[before:until])
            before = until
        best = self._best(1, going)[0]
        self.chosen = best if self.value(best) > -math.inf else None

    def _further(self) -> float:
        """The next w: beyond the edge if the best lies there, else halfway to the better neighbour."""
        weights = sorted(self.tried)
        place = weights.index(self._best(1)[0])
        if place == 0:
            return weights[0] * weights[0] / weights[1]
        if place == len(weights) - 1:
            return weights[-1] * weights[-1] / weights[-2]
        below, above = weights[place - 1], weights[place + 1]
        return math.sqrt(weights[place] * (below if self.value(below) > self.value(above) else above))

    def _best(self, count: int, among: list[float] | None = None) -> list[float]:
        """The best w, in falling order of their means."""
        middle = math.log(min(self.tried) * max(self.tried)) / 2
        order = sorted(among or self.tried, key=lambda w: (-self.value(w), abs(math.log(w) - middle), w))
        return order[:count]


def _tuning(weights: Sequence[float], seeds: Sequence[int]) -> list[Wanted]:
    return [Wanted(weight, seed, "tuning") for weight in weights for seed in seeds]


def score(row: Row, name: str) -> float | None:
    """A number of a row; None if the run broke before it."""
    value = row.get(name)
    return None if row.get("broke") or value is None else float(value)


def lam_of(weight: float, form: str) -> float:
    """Lambda of a weight."""
    return weight / (1 + weight) if form == "convex" else weight


def weight_of(lam: float, form: str) -> float:
    """The weight of a lambda.

    Raises:
        ValueError: a lambda that weighs nothing, or leaves the prediction loss out.
    """
    if not 0 < lam < (1 if form == "convex" else math.inf):
        limits = "between 0 and 1" if form == "convex" else "above 0"
        raise ValueError(f"lambda must lie {limits}, got {lam:g}")
    return lam / (1 - lam) if form == "convex" else lam
