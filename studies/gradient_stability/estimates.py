"""Sizes of gradients and their exponents; the largest gradient and curvature beside their bounds."""

import math

import pandas as pd

from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import about, exactly, mapped
from sigreg_lab.theory.gradients import printed_bounds

from .measure import EPPS_PULLEY, OCTAVES

QUANTITIES = ["gradient", "gradient exponent", "largest gradient", "largest curvature"]
REMAINDER = 0.02  # of an exponent fitted at finite |x|, and beside it 2 N/|x|: the next term is of relative size N/|x|
SEARCH = 0.01  # relative: how far below a bound the largest value found may lie


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Means and exponents with Student's intervals; sizes are geometric means; largest values and bounds are exact."""
    found = []
    for row in rows[rows["quantity"].isin(QUANTITIES)].to_dict("records"):
        place = {axis: row[axis] for axis in ("part", "statistic", "n", "at")}
        name, value, error, count = row["quantity"], row["estimate"], row["standard_error"], int(row["count"])
        if name == "gradient":
            found.append(mapped(about("log", value, error, count, **place), name, lambda log: 2.0**log))
        elif name.startswith("largest"):
            found.append(exactly(name, value, row["exact"], SEARCH * row["exact"], **place))
            found.append(exactly(f"{name}, above its bound", max(0.0, value / row["exact"] - 1), 0.0, 1e-6, **place))
            if row["statistic"] in EPPS_PULLEY:
                printed = printed_bounds(EPPS_PULLEY[row["statistic"]]().sigma)[name == "largest curvature"]
                found.append(exactly(f"{name}, bound over the printed", row["exact"] / printed, **place))
        else:
            count = 0 if math.isinf(value) else count
            exponent = about(name, value, error, count, row["exact"], **place)
            found.append(exponent | {"tolerance": REMAINDER + 2 * row["n"] / 2**OCTAVES})
    return found
