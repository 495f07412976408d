"""Pulls, rates and exponents near collapse, steps of escape, and values on a grid, beside their exact ones."""

import pandas as pd

from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import about, mapped, rate

#: Told, each with what may separate it from its exact value beside chance: the next order in eps, or rounding.
QUANTITIES = {"gradient": 0.0, "exponent": 0.03, "growth rate": 1e-6, "value": 1e-9, "value on the full line": 0.0}
QUANTITIES |= dict.fromkeys(["escaped", "steps"], 0.0)


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Means with Student's intervals, shares with Wilson's; sizes are geometric means."""
    found = []
    for row in rows[rows["quantity"].isin([*QUANTITIES]) & (rows["part"] != "period")].to_dict("records"):
        place = {axis: row[axis] for axis in ("part", "statistic", "dim", "case", "at")}
        name, value, error, count = row["quantity"], row["estimate"], row["standard_error"], int(row["count"])
        if name == "escaped":
            found.append(rate(name, round(value * count), count, **place))
        elif name == "gradient":
            found.append(mapped(about("log", value, error, count, **place), name, lambda log: 10.0**log))
        else:
            found.append(about(name, value, error, count, row["exact"], **place))
        found[-1]["tolerance"] = QUANTITIES[name]
    return found
