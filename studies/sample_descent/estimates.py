"""What training leaves, means over seeds; fixed directions less those drawn anew; the points of one seed."""

import itertools
import math
from typing import Any

import pandas as pd

from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import exactly, mean
from sigreg_lab.theory import null_means
from sigreg_lab.univariate import EppsPulley

AXES = ("statistic", "num_samples", "dim", "directions", "training", "num_slices")
FEW = 16  # the paper's number of resampled directions
ROUNDING = 1e-5  # of gradients, float32; of plain descent far above what float64 leaves
MEASURES = ["infinite", "plane", "covariance", "effective_rank", "start_plane", "gradient_outside", "motion_outside"]
AHEAD_FEW, AHEAD_EQUAL = f"fixed, less {FEW} drawn anew", "fixed, less as many drawn anew"
STEPS = {"adam": "steps of one length", "adam_cosine": "steps shrinking to 0"}


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Means over seeds; differences of paired seeds; the points of one seed as text."""
    found: list[Row] = []
    for key, cells in rows.groupby(list(AXES), sort=False):
        where: dict[str, Any] = dict(zip(AXES, key, strict=True))
        null = {"infinite": null_means.epps_pulley(*EppsPulley().nodes()[1:]), "plane": null_means.energy_of_plane(),
                "covariance": null_means.covariance_distance(where["dim"], where["num_samples"])}  # fmt: skip
        known = null if where["training"] == "none" else {}
        for name in (name for name in MEASURES if name in cells and cells[name].notna().all()):
            if name == "gradient_outside" or (name == "motion_outside" and where["training"] == "gradient_descent"):
                found.append(exactly(name, cells[name].max(), 0.0, ROUNDING, **where))
            else:
                found.append(mean(name, cells[name], known.get(name, math.nan), **where))
        for name in ("points", "start_points"):
            if name in cells and isinstance(cells[name].iloc[0], str):
                found.append(exactly(name, math.nan, **where) | {"text": cells[name].iloc[0]})
    runs = rows[(rows["statistic"] == "epps_pulley") & rows["training"].isin(STEPS)]
    for key, part in runs.groupby(["num_samples", "dim", "training"], sort=False):
        ends = part.pivot(index="seed", columns=["directions", "num_slices"], values="infinite")
        place = dict(zip(("num_samples", "dim", "training"), key, strict=True)) | {"statistic": "epps_pulley"}
        for (kind, size), (name, few) in itertools.product(ends.columns, ((AHEAD_FEW, FEW), (AHEAD_EQUAL, 0))):
            if kind == "fixed" and ("iid", few or size) in ends.columns:
                gaps = ends[(kind, size)] - ends[("iid", few or size)]
                found.append(mean(name, gaps, **place, directions="fixed", num_slices=size))
    return found
