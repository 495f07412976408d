"""The fingerprint follows code that can change a row, and nothing else."""

import ast
import dataclasses
from pathlib import Path

import pytest

from sigreg_lab.experiment.fingerprint import MEASURE, PACKAGE, _imported, _read, fingerprint
from sigreg_lab.experiment.study import list_studies, load_study

MEASURED = '''"""Doc."""

from sigreg_lab.experiment.cells import Row
from sigreg_lab.experiment.estimates import mean
from sigreg_lab.figures.theme import themed
from sigreg_lab.univariate import EppsPulley

from . import helper
from .other import value


def measure(cell, settings, seed):
    """What is measured."""
    from sigreg_lab.nulls import MonteCarlo

    return [{"value": value()}]  # one
'''
#: Changes that leave every row what it was, and changes that may not.
NOTHING = [('"""Doc."""', '"""Another."""'), ("  # one\n", "\n\n"), ("What is measured", "What one cell measures")]
SOMETHING = [('{"value": ', '{"name": '), ("nulls import MonteCarlo", "nulls import ChiSquared")]


@pytest.fixture
def study(workplace):
    folder = workplace / "studies" / "toy"
    (folder / MEASURE).write_text(MEASURED)
    (folder / "other.py").write_text("def value():\n    return 1\n")
    (folder / "helper.py").write_text("")
    return dataclasses.replace(load_study("toy"), folder=folder)


def _change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("change", NOTHING, ids=lambda change: change[1])
def test_what_changes_no_row_does_not_count(study, change):
    before = fingerprint(study)
    _change(study.folder / MEASURE, *change)
    assert fingerprint(study) == before


@pytest.mark.parametrize("change", SOMETHING, ids=lambda change: change[1])
def test_what_may_change_a_row_counts(study, change):
    before = fingerprint(study)
    _change(study.folder / MEASURE, *change)
    assert fingerprint(study)["code"] != before["code"]


def test_files_beside_it_count_if_they_are_imported(study):
    before = fingerprint(study)
    (study.folder / "study.py").write_text("claims = 1")
    (study.folder / "findings.md.j2").write_text("text")
    assert fingerprint(study) == before
    _change(study.folder / "other.py", "return 1", "return 2")
    assert fingerprint(study)["code"] != before["code"]


@pytest.mark.parametrize("change", [{"axes": ("shift",)}, {"paired": ()}, {"name": "other"}])
def test_what_makes_cells_and_their_seeds_counts(study, change):
    assert fingerprint(dataclasses.replace(study, **change))["code"] != fingerprint(study)["code"]


def test_of_the_library_counts_what_is_imported_and_what_that_imports(study, monkeypatch):
    read, read_text = [], Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, **options: read.append(path) or read_text(path, **options))
    fingerprint(study)
    files = {path.relative_to(PACKAGE).as_posix() for path in read if path.is_relative_to(PACKAGE)}
    assert {"univariate/__init__.py", "univariate/epps_pulley.py", "nulls/__init__.py"} <= files
    assert "experiment/cells.py" in files, "seeds come from there"
    assert not {"figures/theme.py", "experiment/run.py", "experiment/estimates.py", "experiment/study.py"} & files


def test_a_changed_header_counts(study, monkeypatch):
    header, read = PACKAGE / "kernels" / "vectors.h", Path.read_bytes
    before = fingerprint(study)
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b" " * (path == header))
    assert fingerprint(study)["code"] != before["code"]


@pytest.mark.parametrize("name", list_studies())
def test_measuring_imports_no_declaration_and_no_drawing(name):
    """What stands in measure.py makes cells stale; claims, estimates and pictures have no business there."""
    study = load_study(name)
    text = (study.folder / MEASURE).read_text(encoding="utf-8")
    assert study.folder / "study.py" not in _imported(_read(text), study.folder / MEASURE)
    named = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    assert not {"Claim", "Picture", "Estimates", "Study", "themed", "markdown_table"} & named
    assert study.measure.__module__ == f"sigreg_lab.studies.{name}.measure"
