"""What a study measures in: cells of a grid, each with a seed of its own, that give rows."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

Value = str | int | float | bool
Cell = dict[str, Value]
Row = dict[str, Any]
Config = dict[str, Any]


def canonical(value: Any) -> str:
    """One text for equal values: JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def cell_seed(study_seed: int, cell: Cell, paired: Sequence[str] = ()) -> np.random.SeedSequence:
    """The cell's own seed: it depends on the study's seed and the cell, not on the grid around it.

    Args:
        study_seed: the study's seed.
        cell: the cell.
        paired: axes that do not enter, so that cells which differ in them alone share their random numbers.
    """
    key = canonical({axis: value for axis, value in cell.items() if axis not in paired})
    words = np.frombuffer(hashlib.sha256(key.encode()).digest(), dtype=np.uint32)
    return np.random.SeedSequence([study_seed, *(int(word) for word in words)])
