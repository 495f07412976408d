"""The study of clustered batches: a wrong row is refused, and its claims can be turned."""

import pandas as pd
import pytest

from sigreg_lab.experiment.study import load_study
from tests.studies.turn import complaints, verdicts

STUDY = load_study("clustered_batches")


@pytest.fixture(scope="module")
def rows():
    config = STUDY.configure("smoke")
    settings = STUDY.settings(config)
    cells = STUDY.cells(config)
    table = pd.DataFrame([{**c, **r} for c in cells for r in STUDY.measure(c, settings, STUDY.cell_seed(c))])
    return table, settings


@pytest.mark.parametrize(
    ("quantity", "rho", "change"),
    [
        (None, 0.5, 0.0),
        ("statistic", 0.5, 9.0),
        ("slope", 0.5, 60.0),
        ("centred", 0.5, -9.0),
        ("minimiser", 0.5, 0.5),
        ("all rows", 0.0, 90.0),
    ],
)
def test_what_was_measured_is_accepted_and_a_wrong_row_is_not(rows, quantity, rho, change):
    table, settings = rows
    wrong = table.copy()
    wrong.loc[(wrong["quantity"] == quantity) & (wrong["rho"] == rho), "value"] += change
    found = " ".join(complaints(STUDY, wrong, settings))
    assert bool(found) == bool(change)
    assert quantity is None or quantity in found


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("scatter_shrinks", {"quantity": "scatter kept"}, 1.0),
        ("clusters_mend", {"quantity": "scatter kept"}, 0.5),
        ("level_lost", {"quantity": "rejection rate, all rows"}, 0.05),
        ("one_a_cluster_holds", {"quantity": "rejection rate, one row a cluster"}, 0.2),
    ],
)
def test_each_claim_can_be_turned_round(name, place, value):
    assert verdicts(STUDY, name, (place, value)) == ("holds", "fails")
