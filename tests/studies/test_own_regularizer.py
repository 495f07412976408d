"""A study of regularisers takes one's own as ``compare`` does; its cells are those of its code."""

import json
from contextlib import nullcontext

import pandas as pd
import pytest

from sigreg_lab.experiment.run import run_study
from sigreg_lab.experiment.study import StudyError, load_study
from tests.compare.surrogate import Inline

MINE = """
import torch

class Mine(torch.nn.Module):
    def __init__(self, weight: float = 1.0, shift: float = 0.0):
        super().__init__()
        self.weight, self.shift = weight, shift

    def forward(self, z, generator):
        return self.weight * (z.mean(1).square() + (z.var(1) - 1).square()).mean() + self.shift
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sigreg_lab.experiment.run.local_executor", lambda workers: nullcontext(Inline()))
    return tmp_path


def test_cells_of_ones_own_class_are_measured_named_and_computed_anew_when_its_code_changes(place):
    names = ["mine.py:Mine:weight=2.0,shift=1.0", "sigreg-ep"]
    overrides = [f"regularizer={','.join(names)}"]

    def run():
        return run_study("loss_and_accuracy", preset="smoke", out=place / "runs", overrides=overrides)

    first = run()
    rows = pd.read_csv(first.folder / "rows.csv", keep_default_na=False)
    assert {*rows["regularizer"]} == {*names}
    manifest = json.loads((first.folder / "manifest.json").read_text())
    assert list(manifest["own"]) == [names[0]]
    assert run().computed == 0
    (place / "mine.py").write_text(MINE.replace("- 1)", "- 2)"))
    again = run()
    assert (again.computed, again.reused) == (8, 8), "those of one's own; the library's stay"
    changed = pd.read_csv(again.folder / "rows.csv", keep_default_na=False)
    mine = rows["regularizer"] == names[0]
    assert (rows[~mine] == changed[~mine]).all(axis=None)
    assert (rows[mine]["penalty"] != changed[mine]["penalty"]).all()


@pytest.mark.parametrize(
    ("study", "key"),
    [
        ("loss_and_accuracy", "regularizer"),
        ("finite_sample_minimizer", "loss"),
    ],
)
def test_all_studies_of_regularisers_take_ones_own_and_say_what_is_wrong(place, study, key):
    declared = load_study(study)
    config = declared.configure("smoke", [f"{key}=sigreg-ep,mine.py:Mine,sigreg-ep:num_slices=8"])
    assert config[key] == ["sigreg-ep", "mine.py:Mine", "sigreg-ep:num_slices=8"]
    assert list(declared.sources(config)) == ["mine.py:Mine"]
    for wrong, message in (
        ("sigreg", "unknown regularizer 'sigreg'; did you mean sigreg-ep"),
        ("mine.py:Yours", "mine.py holds no class Yours; it holds Mine"),
        ("mine.py:Mine:speed=1", "unknown option speed"),
    ):
        with pytest.raises(StudyError, match=f"--set {key}={wrong}: .*{message}"):
            declared.configure("smoke", [f"{key}={wrong}"])


def test_the_minimiser_of_ones_own_loss_is_that_of_its_formula(place):
    """E (var(1) - 1)^2 + mean^2 per coordinate: sd^2 = (1 - 1 / (2 n)) / (1 + 2 / (n - 1)) is its minimiser."""
    n = 16
    settings = ["loss=mine.py:Mine", f"n={n}", "blocks=8"]
    out = run_study("finite_sample_minimizer", preset="smoke", out=place / "runs", overrides=settings)
    rows = pd.read_csv(out.folder / "rows.csv")
    values = rows[rows["quantity"] == "minimiser"]["value"]
    expected = ((1 - 1 / (2 * n)) / (1 + 2 / (n - 1))) ** 0.5
    assert abs(values.mean() - expected) < 4 * values.std() / len(values) ** 0.5
    assert values.std() < 0.05
