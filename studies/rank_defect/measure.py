"""A collapsed subspace seen through slices: how the mean over slices dilutes it, and whether the maximum finds it.

Samples of N(0, I) in R^K, of which k coordinates are then set to 0 (``theory.collapsed_subspace``). Each replicate has
directions of its own; its first M of them serve for every M. The same sample, with k coordinates dropped, serves for
every k. Thresholds at 5% are quantiles of the same statistic under N(0, I), and, for N(0, I) itself, also that of one
direction.
"""

import numpy as np
import torch

from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.slicing import iid_directions, project
from sigreg_lab.univariate import EppsPulley

ALPHA = 0.05
REDUCTIONS = ("mean", "max")
Z95 = 1.959964


def measure(cell: Cell, settings: Config, seed: np.random.SeedSequence) -> list[Row]:
    n, dim = int(cell["n"]), int(cell["dim"])
    defects = [k for k in settings["defects"] if k <= dim // 2]
    sizes = settings["num_slices"]
    most = max(sizes)
    nanoseconds = n * most * (dim / 64 + 4 * (1 + len(defects))) + 5 * dim * most  # of a replicate, about
    replicates = int(np.clip(1e9 * settings["seconds"] // nanoseconds, 100, settings["replicates"]))
    generator = torch.Generator().manual_seed(int(seed.generate_state(1)[0]))
    statistic = EppsPulley()
    of_one = float(statistic.null_law(n).critical_value(ALPHA))
    found = np.empty((replicates, 1 + len(defects), len(sizes), len(REDUCTIONS)))
    for values in found:
        directions = iid_directions(dim, most, generator=generator)
        x = torch.randn(n, dim, generator=generator)
        whole = project(x, directions)
        # What the last k coordinates add to each projection is taken away: a projection of the collapsed sample.
        lost = [project(x[:, dim - k :], directions[dim - k :]) for k in defects]
        slices = statistic.unchecked(torch.stack([whole, *(whole - part for part in lost)])).double().numpy()
        for i, size in enumerate(sizes):
            values[:, i, 0] = slices[:, :size].mean(1)
            values[:, i, 1] = slices[:, :size].max(1)
    return [
        {"num_slices": size, "reduction": reduction, **row}
        for i, size in enumerate(sizes)
        for j, reduction in enumerate(REDUCTIONS)
        for row in _rows(found[:, :, i, j], defects, of_one)
    ]


def _rows(values: np.ndarray, defects: list[int], of_one: float) -> list[Row]:
    """One row for N(0, I), of which one half gives the threshold for the other, and one for each defect.

    Rejections are counted at the threshold and at both ends of its 95% interval; under N(0, I) also at ``of_one``, the
    threshold of one direction.
    """
    null, replicates = values[:, 0], len(values)
    half = replicates // 2
    error = Z95 * np.sqrt(ALPHA * (1 - ALPHA) / replicates)
    levels = [ALPHA, max(ALPHA - error, 1 / replicates), ALPHA + error]
    thresholds = np.quantile(null, [1 - level for level in levels])
    size = int((null[half:] > np.quantile(null[:half], 1 - ALPHA)).sum())
    rows: list[Row] = []
    for k, column in zip([0, *defects], values.T, strict=True):
        shift = column - null
        counts = [size] * 3 if k == 0 else [int((column > threshold).sum()) for threshold in thresholds]
        rows.append(
            {
                "defect": k,
                "replicates": replicates - half if k == 0 else replicates,
                "mean": column.mean(),
                "mean_error": column.std(ddof=1) / np.sqrt(replicates),
                "shift": shift.mean(),
                "shift_error": shift.std(ddof=1) / np.sqrt(replicates),
                "null_spread": null.std(ddof=1),
                "rejections": counts[0],
                "rejections_strict": counts[1],
                "rejections_lax": counts[2],
            }
        )
    rows[0]["rejections_of_one"] = int((null > of_one).sum())
    rows[0]["replicates_of_one"] = replicates
    return rows
