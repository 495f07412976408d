"""The study of clustered batches: a wrong row is refused, and its claims can be turned."""

import numpy as np
import pandas as pd
import pytest

from sigreg_lab.experiment.study import load_study
from tests.studies.turn import complaints, measured, verdicts

STUDY = load_study("clustered_batches")


@pytest.fixture(scope="module")
def rows():
    config = STUDY.configure("smoke")
    settings = STUDY.settings(config)
    return measured(STUDY, STUDY.cells(config), settings), settings


DESCENDED = "between over within, descended"


@pytest.mark.parametrize(
    ("place", "change", "quantity"),
    [
        ({}, 0.0, ""),
        ({"quantity": "statistic", "rho": 0.5}, 9.0, "statistic"),
        ({"quantity": "centred", "rho": 0.5}, -9.0, "centred"),
        ({"quantity": "all rows", "rho": 0.0}, 90.0, "rejection rate, all rows"),
        ({"quantity": "batches together", "rho": 0.0}, 30.0, "rejection rate, batches together"),
        *(({"quantity": "ratio", "loss": loss}, 0.5, DESCENDED) for loss in ("batch", "queue", "workers_averaged")),
        ({"quantity": "between", "loss": "centred"}, -0.1, "scatter between"),
    ],
)
def test_what_was_measured_is_accepted_and_a_wrong_row_is_not(rows, place, change, quantity):
    table, settings = rows
    wrong = table.copy()
    at = np.logical_and.reduce([wrong[axis] == value for axis, value in {"dim": wrong["dim"], **place}.items()])
    wrong.loc[at, "value"] += change
    found = complaints(STUDY, wrong, settings)
    assert bool(found) == bool(change)
    assert all(text.startswith(quantity) for text in found)


RATE = "rejection rate, "


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("scatter_shrinks", {"quantity": DESCENDED}, 1.0),
        ("dimension_costs", {"quantity": "between over within, at the minimum"}, 0.6),
        ("queue_mends", {"quantity": DESCENDED, "loss": "queue"}, 0.1),
        ("workers_need_gathering", {"quantity": DESCENDED, "loss": "workers_gathered"}, 0.1),
        ("workers_need_gathering", {"quantity": DESCENDED, "loss": "workers_averaged"}, 1.2),
        ("centred_leave", {"quantity": "scatter between", "loss": "centred"}, 0.5),
        ("level_lost", {"quantity": f"{RATE}all rows"}, 0.05),
        ("level_of_several_lost", {"quantity": f"{RATE}batches together"}, 0.05),
        ("one_a_cluster_holds", {"quantity": f"{RATE}one a cluster"}, 0.2),
    ],
)
def test_each_claim_can_be_turned_round(name, place, value):
    assert verdicts(STUDY, name, (place, value)) == ("holds", "fails")


def test_a_descent_of_independent_rows_keeps_the_ratio_at_one():
    """One row a cluster: no scatter within clusters but that of the rows."""
    settings = STUDY.settings(STUDY.configure("smoke"))
    cell = {"clusters": settings["num_samples"], "rho": 0.5, "loss": "batch", "dim": 4}
    found = pd.DataFrame(STUDY.measure(cell, settings | {"descents": 24}, STUDY.cell_seed(cell)))
    ratios = found.loc[found["quantity"] == "ratio", "value"]
    assert ratios.mean() == pytest.approx(1, abs=4 * ratios.std() / 24**0.5)
    assert ratios.std() < 0.1
