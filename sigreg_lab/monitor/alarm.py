"""Words for a collapse: said once, with the step, when it begins."""

import math
from collections.abc import Mapping
from typing import Any

#: Rows are all but equal where their mean variance is below this, or below this share of their mean's squared length.
POINT = 1e-4
#: Directions are being lost where the effective rank is below this share of its largest value so far,
LOST = 0.5
#: and are lost where it is below this number, if N(0, I) has twice as many.
FEW = 2.0


class CollapseWarning(UserWarning):
    """The embeddings of a run collapse, or are no numbers any more."""


class CollapseAlarm:
    """Reads the numbers of ``embedding_health`` step by step, and says when a collapse begins.

    Three things are collapses: values that are not finite; rows that are all but equal (``POINT``); and an effective
    rank that falls to half of its largest value so far, or below 2 where N(0, I) has 4 or more. Each is said when it
    begins, and again only after it has ended.

    Attributes:
        best: the largest effective rank so far, and its step.
    """

    def __init__(self) -> None:
        self.best: tuple[float, int] = (0.0, 0)
        self._ringing: set[str] = set()

    def __call__(self, step: int, numbers: Mapping[str, float]) -> list[str]:
        """What is to be said of this step's numbers; empty if nothing is new."""
        found = self._collapses(step, numbers)
        new = [f"step {step}: {text}" for kind, text in found.items() if kind not in self._ringing]
        self._ringing = set(found)
        return new

    def _collapses(self, step: int, numbers: Mapping[str, float]) -> dict[str, str]:
        found = {}
        share = numbers["nonfinite_share"]
        if share > 0:
            found["nonfinite"] = (
                f"{share:.1%} of the embeddings hold NaN or infinite values. Look at the loss and the learning rate of "
                "the steps before; mixed precision without a gradient scaler does this too."
            )
        rank, variance, length = (numbers[name] for name in ("effective_rank", "variance_mean", "distance_mean"))
        if math.isnan(rank):
            return found
        if variance <= POINT * max(1.0, length**2):
            found["point"] = (
                f"the embeddings collapse to a point: their variance is {variance:.2g} a dimension (1 under N(0, I)) "
                f"around a mean of length {length:.2g}. Raise lambda, or lower the learning rate."
            )
        elif rank < LOST * self.best[0] or (rank < FEW and numbers["effective_rank_low"] >= 2 * FEW):
            was = f", {self.best[0]:.1f} at step {self.best[1]}" if self.best[0] > rank else ""
            low, high = numbers["effective_rank_low"], numbers["effective_rank_high"]
            found["rank"] = (
                f"the embeddings collapse to few dimensions: their effective rank is {rank:.1f}{was} ({low:.1f} to "
                f"{high:.1f} under N(0, I)). Raise lambda or the number of slices, or lower the learning rate."
            )
        if rank > self.best[0]:
            self.best = (rank, step)
        return found

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on has to know."""
        return {"best": list(self.best), "ringing": sorted(self._ringing)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict``."""
        rank, step = state["best"]
        self.best, self._ringing = (float(rank), int(step)), set(state["ringing"])
