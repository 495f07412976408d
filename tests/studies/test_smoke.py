"""Every study runs at a tiny size, and its figures and report come from its rows."""

from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest

from sigreg_lab import cli
from sigreg_lab.experiment.claims import Verdict
from sigreg_lab.experiment.estimates import COLUMNS, Estimates, tabulate
from sigreg_lab.experiment.results import read_estimates
from sigreg_lab.experiment.study import PRESETS, list_studies, load_study
from tests.compare.surrogate import Inline


def test_study_run_all_as_a_command(monkeypatch, capsys, tmp_path):
    """One command for all studies; each leaves estimates with intervals, figures and its part of the report.

    Cells are computed in this process, which spares the start of one for each study; their warnings are errors here.
    """
    monkeypatch.setattr("sigreg_lab.experiment.run.local_executor", lambda workers: nullcontext(Inline()))
    command = ["sigreg-lab", "study", "run", "all", "--preset", "smoke", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    captured = capsys.readouterr()
    assert not stop.value.code, captured.err
    report = (tmp_path / "smoke" / "REPORT.md").read_text()
    for name in list_studies():
        folder = tmp_path / "smoke" / name
        assert str(folder) in captured.out
        estimates = read_estimates(folder).table
        assert len(estimates) > 0, name
        assert set(COLUMNS) <= set(estimates.columns), f"{name}: every number has an interval"
        finite = estimates[["estimate", "low", "high"]].dropna()
        assert ((finite["low"] <= finite["estimate"]) & (finite["estimate"] <= finite["high"])).all(), name
        assert list(folder.glob("*.png")), f"{name}: no figure"
        assert load_study(name).title in report


@pytest.mark.parametrize("name", list_studies())
def test_every_preset_has_cells_with_seeds_of_their_own(name):
    study = load_study(name)
    for preset in PRESETS:
        cells = study.cells(study.configure(preset))
        unpaired = {tuple(v for k, v in cell.items() if k not in study.paired) for cell in cells}
        states = {tuple(study.cell_seed(cell).generate_state(4)) for cell in cells}
        assert len(cells) > 0
        assert len(states) == len(unpaired)


def _digit_rows():
    rng = np.random.default_rng(0)
    rows = []
    for name, lams in {"sigreg-ep": (0.01, 0.1), "sigreg-ad": (0.01, 0.1), "none": (0.0,), "untrained": (0.0,)}.items():
        for lam in lams:
            for seed in range(5):
                row = {"regularizer": name, "lam": lam, "seed": seed, "effective_rank": 9.0, "projection_rank": 5.0}
                good = 0.9 if lam == 0.1 else 0.5
                for shots in ("1", "5", "all"):
                    row[f"validation_{shots}"] = good
                    row[f"test_{shots}"] = good + 0.01 * rng.standard_normal() if seed >= 2 else -1.0
                rows.append(row)
    return pd.DataFrame(rows)


def _digits(rows):
    study = load_study("regularizers_digits")
    estimates = Estimates(tabulate(study.estimate(rows, {"tuning_seeds": 2})))
    return estimates, {claim.id: claim.decision(estimates) for claim in study.claims}


def test_lambda_is_chosen_on_the_tuning_seeds_and_reported_on_the_others():
    estimates, decisions = _digits(_digit_rows())
    assert estimates.at("lambda", regularizer="sigreg-ep").value == 0.1
    reported = estimates.at("test_1", regularizer="sigreg-ep")
    assert reported.replicates == 3
    assert reported.value == pytest.approx(0.9, abs=0.03)
    assert decisions["lambda_inside"].verdict == Verdict.FAILS, "of two lambdas each is at an edge"


def test_a_regulariser_that_loses_to_a_control_is_said_to_lose():
    rows = _digit_rows()
    rows.loc[(rows["regularizer"] == "none") & (rows["seed"] >= 2), "test_1"] += 0.45
    assert _digits(_digit_rows())[1]["regulariser_needed"].verdict == Verdict.HOLDS
    assert _digits(rows)[1]["regulariser_needed"].verdict == Verdict.FAILS


def test_statistics_that_differ_by_more_than_a_point_are_said_to():
    rows = _digit_rows()
    rows.loc[(rows["regularizer"] == "sigreg-ad") & (rows["seed"] >= 2), "test_all"] -= 0.2
    assert _digits(rows)[1]["statistics_alike"].verdict == Verdict.FAILS
