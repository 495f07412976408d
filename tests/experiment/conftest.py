"""A folder with the toy study, as the working directory."""

import shutil
import sys
from pathlib import Path

import pytest


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    (tmp_path / "studies").mkdir()
    shutil.copy(Path(__file__).parent / "toy_study.py", tmp_path / "studies" / "toy.py")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("studies.toy", None)
