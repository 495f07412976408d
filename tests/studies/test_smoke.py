"""Every study runs at a tiny size, and its figures and report come from its rows."""

import numpy as np
import pandas as pd
import pytest

from sigreg_lab.experiment.run import run_study
from sigreg_lab.experiment.study import PRESETS, list_studies, load_study


@pytest.mark.parametrize("name", list_studies())
def test_a_study_runs_whole(name, tmp_path):
    outcome = run_study(name, preset="smoke", out=tmp_path, workers=1)
    summary = pd.read_csv(outcome.folder / "summary.csv", keep_default_na=False, na_values=["nan", ""])
    assert len(summary) > 0
    assert {"low", "high"} <= set(summary.columns), "every number has an interval"
    assert list(outcome.folder.glob("*.png"))
    assert load_study(name).title in (tmp_path / "smoke" / "REPORT.md").read_text()


@pytest.mark.parametrize("name", list_studies())
def test_every_preset_has_cells_with_seeds_of_their_own(name):
    study = load_study(name)
    for preset in PRESETS:
        cells = study.cells(study.configure(preset))
        unpaired = {tuple(v for k, v in cell.items() if k not in study.paired) for cell in cells}
        states = {tuple(study.cell_seed(cell).generate_state(4)) for cell in cells}
        assert len(cells) > 0
        assert len(states) == len(unpaired)


def _power_rows(**changes):
    rows = {"alternative": "null", "n": 50, "statistic": "epps_pulley", "replicates": 10_000, "rejections": 500}
    rows |= {"critical_value": 1.0, "calibration_error": 0.0, "alpha": 0.05}
    return pd.DataFrame([{**rows, **changes}])


def test_power_accepts_a_right_size_and_fails_loudly_at_a_wrong_one():
    study = load_study("power")
    assert study.verify(study.summarize(_power_rows(), {})) == []
    assert "size of epps_pulley" in study.verify(study.summarize(_power_rows(rejections=600), {}))[0]
    assert "size of epps_pulley" in study.verify(study.summarize(_power_rows(rejections=410), {}))[0]


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


def test_lambda_is_chosen_on_the_tuning_seeds_and_reported_on_the_others():
    study = load_study("regularizers_digits")
    summary = study.summarize(_digit_rows(), {"tuning_seeds": 2}).set_index(["regularizer", "measure"])
    assert summary.loc[("sigreg-ep", "test_1"), "lam"] == 0.1
    assert summary.loc[("sigreg-ep", "test_1"), "seeds"] == 3
    assert summary.loc[("sigreg-ep", "test_1"), "mean"] == pytest.approx(0.9, abs=0.03)
    assert "chosen on other seeds' validation accuracy, out of 2" in study.report(summary.reset_index())
