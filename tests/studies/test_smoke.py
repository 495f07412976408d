"""Every study runs at a tiny size, and its figures and report come from its rows."""

from contextlib import nullcontext

import pytest

from sigreg_lab import cli
from sigreg_lab.experiment.estimates import COLUMNS
from sigreg_lab.experiment.results import read_estimates
from sigreg_lab.experiment.study import PRESETS, list_studies, load_study
from tests.compare.surrogate import Inline


@pytest.mark.long
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
