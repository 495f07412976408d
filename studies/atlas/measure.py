"""One contender on one data set: lambda tuned as ``sigreg-lab compare`` tunes it, then the reported seeds.

Runs lie in the store of ``sigreg-lab compare`` too: what was made there is not made again here, and a run that was
killed costs itself alone.
"""

import json
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sigreg_lab.compare import prepare
from sigreg_lab.compare.command import STORE
from sigreg_lab.compare.protocol import CONTROLS, lam_of
from sigreg_lab.compare.runs import all_rows, make_runs
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.experiment.store import Store

from .contenders import CONTENDERS, FIRST
from .qualities import qualities

RUNS = Path("results/runs/compare")
#: Data sets, and the recipe each goes by.
RECIPES = {
    "digits": ("digits", "digits"),
    "mnist1d": ("mnist1d", "mnist1d"),
    "cifar10-small": ("cifar10", "cifar10-small"),
}
NO_DATA = "no data"  # a regulariser's own qualities
ANEW = " on fresh seeds"  # the same data and tuning, reported seeds that nobody has looked at
FRESH = {data + ANEW: data for data in RECIPES}
FIRST_FRESH, FRESH_SEEDS, FRESH_SEEDS_IMAGES = 1000, 30, 15
#: Probes whose answers to each test image are kept.
KEPT = ("backbone_linear_all", "projector_linear_all")


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    name = str(cell["contender"])
    contender = CONTENDERS[name]
    if cell["data"] == NO_DATA:
        return [{"stage": "quality", **qualities(contender.spec, settings["draws"], seed)}]
    place = str(cell["data"])
    data, recipe = RECIPES[FRESH.get(place, place)]
    changes = [*contender.changes, *([f"steps={settings['steps']}"] if settings["steps"] else [])]
    comparison = prepare(
        [FIRST if name in CONTROLS else contender.spec],
        data=data,
        recipe=recipe,
        overrides=changes,
        seeds=seeds_of(place, settings),
        first_seed=FIRST_FRESH if place in FRESH else 0,
        tuning_seeds=settings["tuning_seeds"],
        lambdas=settings["lambdas"],
        extra=settings["extra"],
    )
    wanted = name if name in CONTROLS else comparison.candidates[0].name
    candidate = next(one for one in comparison.candidates if one.name == wanted)
    store = Store(RUNS / STORE)
    try:
        outcome = make_runs(comparison.settings, [candidate], store, _here, workers=1)
    finally:
        store.close()
    form = comparison.settings.base.form
    return [_told(row, form, [contender.spec, *changes]) for row in all_rows(outcome)]


def seeds_of(place: str, settings: Config) -> int:
    """How many seeds are reported."""
    images = place.startswith("cifar10")
    if place in FRESH:
        return FRESH_SEEDS_IMAGES if images else FRESH_SEEDS
    return int(settings["seeds_images" if images else "seeds"])


@contextmanager
def _here() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def _told(row: dict[str, Any], form: str, what: list[str]) -> Row:
    """A run as a row of the table: numbers to six digits, no curve."""
    told: Row = {"stage": row["stage"], "seed": row["seed"], "weight": row["weight"]}
    told["lam"] = None if row["weight"] is None else lam_of(row["weight"], form)
    told["run"] = json.dumps([Path(part).name for part in what])
    right = row.get("right", {})
    told |= {f"right_{probe}": right[probe] for probe in KEPT if probe in right}
    for key, value in row.items():
        if key not in (*told, "regularizer", "config", "right", "curve"):
            told[key] = float(f"{value:.6g}") if isinstance(value, float) else value
    return told
