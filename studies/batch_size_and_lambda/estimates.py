"""Gradients of the two terms beside their exact values, their ratios, exponents of N, eq. 6 over Algorithm 2."""

import pandas as pd
import torch

from sigreg_lab.experiment.cells import Config, Row
from sigreg_lab.experiment.estimates import Estimates, about, exactly, mapped, root, tabulate
from sigreg_lab.experiment.power_laws import exponents
from sigreg_lab.regularizers import prediction_loss

from .measure import DIM, KINDS


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Means over blocks; regulariser over prediction loss, mean squares by their roots; exponents of N."""
    found: list[Row] = [factor_of_algorithm_2()]
    ratios: list[Row] = []
    known = rows.set_index(["setting", "n", "quantity"])["exact"]
    for row in rows.to_dict("records"):
        kind, _, number = row["setting"].partition("_")
        if kind not in KINDS or row["quantity"].startswith("rounding"):
            continue  # measured once
        place = {"setting": row["setting"], "n": row["n"], "kind": kind, "number": float(number)}
        name, part = row["quantity"], row["quantity"].removeprefix("regulariser, ")
        found.append(about(name, row["mean"], row["standard_error"], int(row["blocks"]), row["exact"], **place))
        if part != name:  # measured, over the prediction loss's, which is exact
            over = known[(row["setting"], row["n"], f"prediction, {part}")]
            scaled = mapped(found[-1], f"ratio, {part}", over.__rtruediv__)
            ratios.append(scaled if part == "mean" else mapped(scaled, f"ratio, {part}", root))
    return found + ratios + exponents(Estimates(tabulate(ratios)), "n", ["setting"]) if ratios else found


def factor_of_algorithm_2() -> Row:
    """Eq. 6, which sums over coordinates, over Algorithm 2's loss, which takes their mean."""
    z = torch.arange(2.0 * DIM).view(2, 1, DIM) ** 2
    losses = [float(prediction_loss(z, dimensions=way)) for way in ("sum", "mean")]
    return exactly("eq. 6 over Algorithm 2", losses[0] / losses[1], DIM)
