"""Sizes, powers, values and gradients of each grid beside exact ones; its error and the two terms of it."""

import math

import pandas as pd

from sigreg_lab import alternatives
from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import about, exactly, mapped, rate
from sigreg_lab.theory.epps_pulley import expected_slope, expected_value
from sigreg_lab.theory.quadrature import aliasing, end_term, null_expectation

from .measure import ALPHA, LINE, statistic

LINE_TOLERANCE = 1e-10
#: Published accuracy on ImageNet with 2048 slices (Table 1a), by range and points.
PUBLISHED = {(1, 5): 72.88, (1, 17): 72.30, (1, 41): 72.69, (3, 5): 75.02, (3, 17): 74.68, (3, 41): 74.77}
PUBLISHED |= {(5, 5): 74.50, (5, 17): 74.80, (5, 41): 74.77}


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Of each grid, law and N; exact values of size, mean value, mean slope, and of the line itself."""
    found = [one for row in rows.to_dict("records") for one in _of_one(row, settings)]
    for (t_max, points), accuracy in PUBLISHED.items():
        found.append(exactly("published top-1", accuracy, t_max=t_max, sigma2=2.0, points=points))
    for (t_max, sigma2, points), _ in rows[rows["t_max"] != LINE].groupby(["t_max", "sigma2", "points"], sort=False):
        whole, within = null_expectation(math.inf, sigma2), null_expectation(t_max, sigma2)
        t, _, weight = statistic(t_max, sigma2, points).nodes()
        error = expected_value(alternatives.REGISTRY["null"], 1, t, weight) - within
        step = t_max / (points - 1)
        terms = {"exact error": error, "end term": end_term(t_max, sigma2, step), "aliasing": aliasing(sigma2, step)}
        for name, value in terms.items():
            found.append(exactly(name, abs(value) / whole, t_max=t_max, sigma2=sigma2, points=points, step=step))
    return found


def _of_one(row: Row, settings: Config) -> list[Row]:
    total, law, n = settings["replicates"], alternatives.REGISTRY[row["law"]], row["n"]
    place = {axis: row[axis] for axis in ("t_max", "sigma2", "points", "n", "law")}
    t, _, weight = statistic(row["t_max"], row["sigma2"], row["points"]).nodes()
    null = row["law"] == "null"
    found = [
        rate("power", row["rejections"], total, ALPHA if null else math.nan, row["size_error"] if null else 0, **place),
        about("mean value", row["value"], row["value_se"], exact=expected_value(law, n, t, weight), **place),
        about("mean slope", row["slope"], row["slope_se"], exact=expected_slope(law, n, t, weight), **place),
        exactly("line off its closed form", row["line_gap"], 0.0, LINE_TOLERANCE, **place),
    ]
    if row["gradient_error"] > 0:  # 0 on the line, which is its own yardstick
        error = row["gradient_error_se"] / row["gradient_error"]
        log = about("log", math.log(row["gradient_error"]), error, settings["gradients"], **place)
        found.append(mapped(log, "gradient error", lambda square: math.exp(square / 2)))
    if not null:  # whose population gradient is 0
        gain, spread = row["only_this"] - row["only_default"], row["only_this"] + row["only_default"]
        error = math.sqrt(max(spread - gain**2 / total, 0.0)) / total
        found.append(about("power less the default's", gain / total, error, **place))
        log = about("log", math.log(row["snr_ratio"]), row["snr_ratio_log_se"], **place)
        found.append(mapped(log, "SNR over the default's", math.exp))
    return found
