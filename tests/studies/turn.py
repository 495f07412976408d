"""What tests of studies share: rows measured here, what contradicts exact values, claims turned round."""

from pathlib import Path

import numpy as np
import pandas as pd

from sigreg_lab.experiment.estimates import Estimates, contradictions, tabulate
from sigreg_lab.experiment.results import read_estimates, read_manifest
from sigreg_lab.experiment.tell import TEMPLATE, tell

RESULTS = Path(__file__).parents[2] / "results"


def measured(study, cells, settings):
    """The rows of some cells, measured in this process."""
    rows = ({**cell, **row} for cell in cells for row in study.measure(cell, settings, study.cell_seed(cell)))
    return pd.DataFrame(list(rows))


def complaints(study, rows, settings=None):
    """What contradicts exact values in rows."""
    return contradictions(Estimates(tabulate(study.estimate(rows, settings or {}))))


def verdicts(study, name, *changes):
    """The verdict on a claim by the committed estimates, and by those in which all at a place are another number."""
    committed = read_estimates(RESULTS / study.name)
    (claim,) = (claim for claim in study.claims if claim.id == name)
    table = committed.table.copy()
    for place, value in changes:
        at = np.logical_and.reduce([table[column] == wanted for column, wanted in place.items()])
        assert at.any(), place
        table.loc[at, ["estimate", "low", "high"]] = value
    return str(claim.decision(committed).verdict), str(claim.decision(Estimates(table)).verdict)


def words(study, name):
    """Today's words for a claim, by the committed estimates."""
    folder, template = RESULTS / study.name, (study.folder / TEMPLATE).read_text(encoding="utf-8")
    settings = study.settings(read_manifest(folder)["config"])
    told = tell(study.claims, template, read_estimates(folder), settings)
    return next(one.words for one in told if one.claim.id == name)
