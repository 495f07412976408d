"""What was measured of biases, variances and errors, and what is computed: ridge biases, least J, bounds, limits."""

import itertools

import numpy as np
import pandas as pd

from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import about, exactly
from sigreg_lab.theory import probes
from sigreg_lab.theory.probes import CONDITIONS, CONSTRAINTS

RIDGES = (0.1, 1.0, 4.0)  # of the variance of a coordinate
CORRELATION = 0.1
AXES = ("dim", "length", "law", "probe", "prior", "noise", "n", "at")


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """What was measured, with Student's intervals; and what is computed."""
    found = []
    for row in rows.to_dict("records"):
        place = {axis: row[axis] for axis in AXES if axis in row}
        found.append(
            about(row["quantity"], row["estimate"], row["standard_error"], row["count"], row["exact"], **place)
        )
    for dim in map(int, rows["dim"].unique()):
        for condition, ridge in itertools.product(CONDITIONS, RIDGES):
            isotropic, place = (ridge / (1 + ridge)) ** 2, {"dim": dim, "law": f"condition {condition}", "at": ridge}
            for what, bias in probes.ridge_biases(probes.spectrum(dim, condition), ridge).items():
                for task, value in (("mean", bias.mean()), ("best", bias.min()), ("worst", bias.max())):
                    found.append(exactly(f"ridge bias of {what}, {task} task", value / isotropic, **place))
        for constraint in CONSTRAINTS:
            least = probes.least_trace(dim, constraint, np.random.default_rng(dim)) / dim
            found.append(exactly("least J over the printed", least, 1.0, 1e-3, dim=dim, law=constraint))
        for length in rows["length"].unique():
            found.append(exactly("bound for kernels", probes.kernel_bound(dim, length), dim=dim, length=length))
        correlated = np.eye(dim)
        found.append(
            exactly("slices of N(0, I)", probes.limit_of_slices(np.zeros(dim), correlated), 0.0, 1e-9, dim=dim)
        )
        correlated[0, 1] = correlated[1, 0] = CORRELATION
        price = 2 * CORRELATION**2 / dim / probes.limit_of_slices(np.zeros(dim), correlated)
        found.append(exactly("VICReg's price of a correlation over that of slices", price, dim=dim))
    return found
