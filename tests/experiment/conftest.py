"""A folder with the toy study, as the working directory; in this process the toy is the only study there is."""

import shutil
from pathlib import Path

import pytest

from sigreg_lab.experiment.study import forget


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    shutil.copytree(Path(__file__).parent / "toy", tmp_path / "studies" / "toy", ignore=shutil.ignore_patterns("__*"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sigreg_lab.experiment.study.studies_folder", lambda: tmp_path / "studies")
    yield tmp_path
    forget("toy")
