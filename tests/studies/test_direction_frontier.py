"""The study of directions at the least time: a wrong row is refused, its claims can be turned, its times are ratios."""

import math

import numpy as np
import pytest

from sigreg_lab.experiment.estimates import Estimates, tabulate
from sigreg_lab.experiment.study import load_study
from sigreg_lab.slicing import cheapest_directions
from sigreg_lab.theory import slices
from sigreg_lab.univariate import EppsPulley
from tests.studies.turn import complaints, measured

STUDY = load_study("direction_frontier")
SETTINGS = ["n=32,64", "dim=16,256", "operations=67108864", "pairs=1024"]


@pytest.fixture(scope="module")
def smoke():
    config = STUDY.configure("smoke", SETTINGS)
    settings = STUDY.settings(config)
    return measured(STUDY, STUDY.cells(config), settings), settings


def estimates(rows, settings):
    return Estimates(tabulate(STUDY.estimate(rows, settings)))


def test_every_kind_has_its_numbers(smoke):
    rows, _ = smoke
    where = rows.groupby("quantity")["directions"].unique()
    assert {*where["time"]} == {
        "iid",
        "orthogonal",
        "sobol",
        "hd3",
        "fixed",
        "exact",
        "iid, short grid",
        "hd3, short grid",
    }
    assert {*where["gradient"]} == {"iid", "orthogonal", "sobol", "hd3", "fixed", "auto"}
    assert (rows["value"] >= 0).all()
    large = rows[rows["n"] == 64]
    assert {*large["quantity"]} <= {"time", "memory"}  # beyond ``pairs`` there is no exact gradient
    assert "exact" not in {*large["directions"]}
    itself = rows[(rows["quantity"] == "time") & (rows["directions"] == "iid")]
    assert (itself["value"] == 1).all()


@pytest.mark.parametrize(
    ("directions", "factor", "complaint"),
    [
        (None, 1.0, ""),
        ("iid", 0.4, "gradient, mean square"),
        ("orthogonal", 1.6, "gradient, mean square"),
        ("hd3", 1.8, "gradient, mean square"),
        ("auto", 2.0, "error over the stated one"),
    ],
)
def test_what_was_measured_is_accepted_and_a_wrong_row_is_not(smoke, directions, factor, complaint):
    rows, settings = smoke
    changed = rows.copy()
    changed.loc[(changed["quantity"] == "gradient") & (changed["directions"] == directions), "value"] *= factor
    found = " ".join(complaints(STUDY, changed, settings))
    assert complaint in found
    assert bool(found) == bool(complaint)


def test_time_at_equal_error_multiplies_time_and_error(smoke):
    """Over independent slices: the ratio of times at the same M, times that of squared errors; of the exact mean the
    time over that of as many independent slices as the error takes."""
    rows, settings = smoke
    changed = rows.copy()
    times = {"orthogonal": 3.0, "hd3": 0.5, "sobol": 2.0, "exact": 7.0}
    for kind, ratio in times.items():
        changed.loc[(changed["quantity"] == "time") & (changed["directions"] == kind), "value"] = ratio
    found = estimates(changed, settings)
    rho = slices.spread(32, 16, EppsPulley().nodes())
    for kind in ("orthogonal", "hd3"):
        share = slices.squared_error(rho, 16, 32, orthogonal=True) / ((rho - 1) / 32)
        at = found.at("time at equal error", n=32, dim=16, directions=kind, error=1.0)
        assert at.value == pytest.approx(times[kind] * share)
    square = rows[(rows["quantity"] == "gradient") & (rows["directions"] == "sobol")]
    square = square[(square["n"] == 32) & (square["dim"] == 16) & (square["num_slices"] == 32)]["value"].mean()
    at = found.at("time at equal error", n=32, dim=16, directions="sobol", error=1.0)
    assert at.value == pytest.approx(2.0 * square / ((rho - 1) / 32))
    at = found.at("time at equal error", n=32, dim=16, directions="exact", error=1.0)
    assert at.value == pytest.approx(7.0 * 32 / (rho - 1))


def test_what_was_reached_is_that_of_the_choice(smoke):
    rows, settings = smoke
    found = estimates(rows, settings)
    for dim in (16, 256):
        choice = cheapest_directions(32, dim, 1.0)
        one = found.at("error over the stated one", n=32, dim=dim)
        assert (one.directions, one.num_slices) == choice[:2]
        assert one.exact == pytest.approx(choice.error)
        squares = rows[(rows["directions"] == "auto") & (rows["quantity"] == "gradient") & (rows["dim"] == dim)]
        assert one.value == pytest.approx(math.sqrt(squares["value"].mean()))


CLAIMS = [
    ("hd3_in_time", {"quantity": "time at equal error", "directions": "hd3"}, 0.1, 9.0),
    ("rule_is_fast", {"quantity": "time at equal error", "directions": "iid"}, 9.0, 0.01),
    ("error_is_reached", {"quantity": "error over the stated one"}, 1.0, 2.0),
    ("exact_for_small_batches", {"quantity": "time at equal error", "directions": "exact"}, 0.01, 99.0),
    ("cheapest_grid", {"quantity": "error of the grid's gradient", "grid": "auto"}, 0.005, 0.02),
    ("grid_saves_time", {"quantity": "time over the official grid"}, 0.8, 1.2),
    ("sobol_is_no_faster", {"quantity": "time at equal error", "directions": "sobol"}, 9.0, 0.01),
]


@pytest.mark.parametrize(("name", "place", "holds", "fails"), CLAIMS, ids=[claim[0] for claim in CLAIMS])
def test_each_claim_can_be_turned_round(smoke, name, place, holds, fails):
    table = estimates(*smoke).table
    (claim,) = (claim for claim in STUDY.claims if claim.id == name)
    every_time = table["quantity"] == "time at equal error"
    found = []
    for value in (holds, fails):
        changed = table.copy()
        changed.loc[every_time, ["estimate", "low", "high"]] = 0.5
        at = np.logical_and.reduce([changed[column] == wanted for column, wanted in place.items()])
        changed.loc[at, ["estimate", "low", "high"]] = value
        found.append(str(claim.decision(Estimates(changed)).verdict))
    assert found == ["holds", "fails"]
    assert {claim.id for claim in STUDY.claims} == {claim[0] for claim in CLAIMS}
