"""How many slices: errors of value and gradient against the mean over all directions."""

import functools
import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from sigreg_lab.experiment import Claim, Decision, Picture, Study, Verdict, every, some
from sigreg_lab.experiment.cells import Cell, Config, Row
from sigreg_lab.experiment.estimates import Estimates, about, exactly, interval, ratio
from sigreg_lab.experiment.power_laws import PowerLaw, power_law
from sigreg_lab.figures.kinds import curves
from sigreg_lab.slicing import DIRECTIONS

from .measure import GROUPS, measure

KINDS = ["iid", "orthogonal", "sobol", "hd3", "fixed"]
UNIFORM = ("iid", "orthogonal", "sobol")  # every direction is uniform on the sphere
TARGETS = (1.0, 0.3, 0.1)  # of the gradient's norm
AXES = ["law", "directions", "dim", "num_slices"]


def estimate(rows: pd.DataFrame, settings: Config) -> list[Row]:
    """Errors, with Student's interval on the logarithm of the mean square; rates; slices for a given error."""
    found: list[Row] = []
    for row in rows.to_dict("records"):
        place, draws = {axis: row[axis] for axis in AXES}, int(row["draws"])
        for name in ("value", "gradient"):
            square, error = row[f"{name}_square"], row[f"{name}_square_error"]
            found.append(about(f"{name}, mean square", square, error, draws, row[f"exact_{name}_square"], **place))
            rms, factor = math.sqrt(square), math.exp(stats.t.ppf(0.975, draws - 1) * error / square / 2)
            found.append(interval(name, rms, rms / factor, rms * factor, draws, **place))
        unbiased = 0.0 if row["directions"] in UNIFORM else math.nan
        found.append(about("bias of the value", row["value_bias"], row["value_bias_error"], draws, unbiased, **place))
        lasting, error = row["persistent_square"], row["persistent_square_error"]
        if row["directions"] == "fixed":
            share = math.sqrt(max(lasting, 0.0) / row["gradient_square"])
            found.append(exactly("share of the error that persists", share, 1.0, 1e-9, **place))
        else:
            found.append(about("persistent error, square", lasting, error, exact=unbiased, **place))
        half = stats.t.ppf(0.975, GROUPS - 1) * error
        middle, low, high = (math.sqrt(max(0.0, lasting + shift)) for shift in (0.0, -half, half))
        found.append(interval("persistent", middle, low, high, GROUPS, **place))
    errors = Estimates(pd.DataFrame(found))
    return found + _rates(rows) + _against_independent(errors)


def _rates(rows: pd.DataFrame) -> list[Row]:
    """Power laws over M >= K, where blocks of directions are whole; the M at which the gradient's reaches a target."""
    found: list[Row] = []
    slices: dict[tuple[str, str, float], list[tuple[int, Row]]] = {}
    for (law, kind, dim), cells in rows.groupby(AXES[:3], sort=False):
        cells = cells[cells["num_slices"] >= dim]
        if len(cells) < 2 or kind == "fixed":  # the error of a fixed set is one draw of that of independent directions
            continue
        place = {"law": law, "directions": kind, "dim": dim}
        for name in ("value", "gradient"):
            line = _line(cells, name)
            known = -0.5 if kind == "iid" else math.nan
            found.append(about(f"exponent, {name}", line.slope, line.slope_error, exact=known, **place))
            if name == "gradient" and line.slope < -0.1:  # those that converge
                low, high = cells["num_slices"].min(), cells["num_slices"].max()
                for target in TARGETS:
                    row = interval("slices needed", *line.reaches(target), **place, target=target)
                    row["extrapolated"] = not low <= row["estimate"] <= high
                    found.append(row)
                    slices.setdefault((law, kind, target), []).append((dim, row))
    for (law, kind, target), needed in slices.items():
        high = [(dim, row) for dim, row in needed if dim >= 16]
        if len(high) > 1:
            errors = [math.log(row["high"] / row["low"]) / (2 * 1.959964) for _, row in high]
            line = power_law([dim for dim, _ in high], [row["estimate"] for _, row in high], errors)
            error = line.stretch * line.slope_error
            found.append(about("growth of slices with K", line.slope, error, law=law, directions=kind, target=target))
    return found


def _line(cells: pd.DataFrame, name: str) -> PowerLaw:
    square = cells[f"{name}_square"].to_numpy()
    # Directions of which there are only a few give every draw the same error: no spread, an exact slope.
    error = np.maximum(cells[f"{name}_square_error"].to_numpy() / square / 2, 1e-6)
    return power_law(cells["num_slices"], np.sqrt(square), error)


def _against_independent(errors: Estimates) -> list[Row]:
    """Error of the gradient over that of independent directions."""
    found = []
    for other in errors.of("gradient", directions=lambda kind: kind not in ("iid", "fixed")):
        place = {axis: getattr(other, axis) for axis in AXES}
        for one in errors.of("gradient", **(place | {"directions": "iid"})):
            found.append(ratio(other, one).row | place | {"quantity": "error over that of iid"})
    return found


def first_law(e: Estimates, quantity: str, **where: Any) -> Estimates:
    return e.of(quantity, law=e.axis("law")[0], **where)


def many_slices(e: Estimates) -> Decision:
    """Independent slices for an error of 100% and 30%, in the highest dimension."""
    needed = first_law(e, "slices needed", directions="iid")
    dim = needed.last("dim")
    whole, part = (next(iter(needed.of(dim=dim, target=target))) for target in TARGETS[:2])
    return every(ratio(part, whole), above=5.0).also(whole=whole, part=part, target=part.target, dim=dim)


def linear(e: Estimates) -> Decision:
    """The slices needed grow in proportion to K."""
    return every(first_law(e, "growth of slices with K", directions="iid", target=1.0), above=0.9, below=1.15)


def orthogonal_saves(e: Estimates) -> Decision:
    """Orthogonal directions need fewer slices than independent ones in every dimension."""
    needed = {kind: first_law(e, "slices needed", directions=kind, target=1.0) for kind in ("orthogonal", "iid")}
    pairs = [(one, other) for one in needed["orthogonal"] for other in needed["iid"] if one.dim == other.dim > 2]
    saved = [ratio(one, other) for one, other in pairs]
    return every(saved, below=1.0)


def sobol_no_worse(e: Estimates) -> Decision:
    """Low-discrepancy directions are nowhere worse than independent ones."""
    return ~some(first_law(e, "error over that of iid", directions="sobol"), above=1.0)


def fixed_stays(e: Estimates) -> Decision:
    """The largest fixed set in the highest dimension leaves more than half of the gradient wrong, at every step."""
    fixed = first_law(e, "gradient", directions="fixed")
    dim, most = fixed.last("dim"), fixed.last("num_slices")
    return every(fixed.at("gradient", dim=dim, num_slices=most), above=0.5)


def hd3_in_the_plane(e: Estimates) -> Decision:
    """HD3 does not converge in K = 2."""
    values = first_law(e, "value", directions="hd3", dim=2)
    last = values.at("value", num_slices=values.last("num_slices"))
    return every(last, above=0.05)


def _errors(e: Estimates, law: str) -> Any:
    return curves(
        e.of(["value", "gradient"], law=law),
        x="num_slices",
        hue="directions",
        row="quantity",
        column="dim",
        titles={"dim": "K = {}"},
        x_label="slices M",
        y_label="relative error",
        log_y=True,
        share_y="row",
        size=(2.3, 2.4),
        legend_columns=5,
    )


def _needed(e: Estimates) -> Any:
    return curves(
        first_law(e, "slices needed", directions=["iid", "orthogonal", "sobol", "hd3"]),
        x="dim",
        hue="directions",
        column="target",
        titles={"target": lambda target: f"error of the gradient {target:.0%}"},
        x_label="dimension K",
        y_label="slices needed",
        log_y=True,
        size=(3.2, 3.0),
        legend_columns=4,
    )


def keep(cell: Cell, settings: Config) -> bool:
    """HD3 columns cut to fewer than 16 rows, where K is no power of two, may be 0: there are none."""
    dim = int(cell["dim"])
    return cell["directions"] != "hd3" or dim >= 16 or dim & (dim - 1) == 0


def _preset(
    law: list[str], dim: list[int], num_slices: list[int], draws: int, coordinates: int, directions: list[str] = KINDS
) -> Config:
    config = {"law": law, "directions": directions, "dim": dim, "num_slices": num_slices, "draws": draws}
    return config | {"coordinates": coordinates, "num_samples": 128, "sample_seed": 1}


DIMS, LAWS = [2, 16, 128, 512, 2048], ["null", "x", "rank_defect_1", "rank_defect_4"]

STUDY = Study(
    name="slice_concentration",
    title="How many slices: concentration on the infinite-slice value",
    question="How far is the mean over M slices, and its gradient, from the mean over all directions, and which kind "
    "of directions gives the least error?",
    expectation="M^(-1/2) for independent directions in any dimension; orthogonal blocks better by a constant, "
    "low-discrepancy directions by a rate in low dimension only. For the gradient M = O(K); a fixed set's error stays.",
    seed=20251116,
    axes=("law", "directions", "dim", "num_slices"),
    keep=keep,
    presets={
        "smoke": _preset(["null"], [2, 16], [16, 64], 24, 100_000, ["iid", "orthogonal", "fixed"]),
        "quick": _preset(["null"], [2, 16, 128], [16, 64, 256, 1024], 60, 10_000_000),
        "standard": _preset(["null", "rank_defect_1"], DIMS, [16, 64, 256, 1024, 2048, 4096], 200, 40_000_000),
        "paper": _preset(LAWS, DIMS, [16, 64, 256, 1024, 2048, 4096, 16384], 1000, 10_000_000_000),
    },
    choices={"directions": DIRECTIONS},
    measure=measure,
    estimate=estimate,
    claims=(
        Claim("many_slices", "an error of 30% takes more than five times the slices of one of 100%", many_slices),
        Claim(
            "linear_in_dimension",
            "the slices needed for the gradient grow in proportion to K, when directions are drawn anew",
            linear,
            source="Theorem 5",
            verdicts={Verdict.HOLDS: "holds for the gradient of directions drawn anew, with a large constant"},
        ),
        Claim("orthogonal_saves", "orthogonal directions need fewer slices than independent ones", orthogonal_saves),
        Claim(
            "sobol_no_worse",
            "low-discrepancy directions are no worse than random ones",
            sobol_no_worse,
            source="Low-discrepancy directions",
            verdicts={Verdict.FAILS: "false for few slices"},
        ),
        Claim("fixed_stays", "a fixed set leaves more than half of the gradient wrong, at every step", fixed_stays),
        Claim("hd3_in_the_plane", "hd3 directions do not converge in the plane", hd3_in_the_plane, detail=True),
    ),
    pictures={
        **{
            f"slice_concentration_{law}": Picture(
                f"Root mean square error of value and gradient against the number of slices, {law} law, one sample.",
                functools.partial(_errors, law=law),
            )
            for law in LAWS
        },
        "slices_needed": Picture("Slices needed for a given error of the gradient, against the dimension.", _needed),
    },
)
