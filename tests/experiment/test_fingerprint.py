"""The fingerprint follows code that can change a row, and nothing else."""

import ast
import sys
import types
from pathlib import Path

import pytest

from sigreg_lab.experiment.fingerprint import PACKAGE, _bound, _parse, fingerprint, reached
from sigreg_lab.experiment.study import list_studies, load_study, studies_folder

BASE = '''"""Doc."""

import numpy as np

from sigreg_lab.experiment import Study
from sigreg_lab.figures.theme import themed
from sigreg_lab.slicing import project
from sigreg_lab.univariate import EppsPulley

AXES = ("n",)
SIZE = 1  # one
WIDTH = 3
COLOURS = {"a": "red"}


def _a(x=SIZE):
    return np.array(x)


def _b():
    from sigreg_lab.nulls import MonteCarlo

    return EppsPulley


PARTS = {"a": _a, "b": _b}


def measure(cell, settings, seed):
    """What is measured."""
    return [{"value": PARTS[cell["part"]]()}]


def summarize(rows, settings):
    return project(rows)


@themed()
def figures(summary):
    return {"figure": WIDTH, **COLOURS}


def report(summary):
    return "A sentence."


STUDY = Study(
    name="s",
    seed=7,
    axes=AXES,
    paired=("part",),
    measure=measure,
    summarize=summarize,
    figures=figures,
    report=report,
)
'''
#: Changes that leave every row what it was.
NOTHING = [
    ('"""Doc."""', '"""Another."""'),
    ("  # one\n", "\n\n"),
    ('"""What is measured."""', '"""What one cell measures."""'),
    ("A sentence.", "Another sentence."),
    ('"red"', '"blue"'),
    ("WIDTH = 3", "WIDTH = 4"),
    ("project(rows)", "project(2 * rows)"),
    ('{"figure": WIDTH', '{"figure": 2 * WIDTH'),
    ('name="s"', 'name="t"'),
    ("import project", "import iid_directions as project"),
    ("def report", "class Part(dict):\n    size = 1\n\n    def clear(self):\n        return PARTS\n\n\ndef report"),
    ("import themed", "import new_figure as themed"),
]
#: Changes of what ``measure`` reaches, or of what may change that.
SOMETHING = [
    ('{"value": ', '{"name": '),
    ("SIZE = 1", "SIZE = 2"),  # by a default argument, of a function in a table
    ("np.array(x)", "np.array(2 * x)"),
    ('{"a": _a, "b": _b}', '{"a": _a, "b": _a}'),
    ("nulls import MonteCarlo", "nulls import ChiSquared"),
    ("import EppsPulley", "import Watson as EppsPulley"),
    ("seed=7", "seed=8"),
    ('("n",)', '("n", "part")'),
    ('paired=("part",)', "paired=()"),
    ("def measure", "@project\ndef measure"),
    ("def summarize", "SIZE = 2\n\n\ndef summarize"),
    ("def summarize", "SIZE += 1\n\n\ndef summarize"),
    ("def summarize", "for key in PARTS:\n    PARTS[key] = _b\n\n\ndef summarize"),
    ("def summarize", 'PARTS["a"] = _b\n\n\ndef summarize'),
    ("def summarize", "SAME = PARTS\nSAME.limit = 3\n\n\ndef summarize"),
    ("def summarize", "LAST = PARTS.popitem()\n\n\ndef summarize"),
    ("def summarize", "np.seterr(all='raise')\n\n\ndef summarize"),
    ("def report", "@PARTS.setdefault\ndef report"),
    ("def report", "def later(x=PARTS.clear()):\n    return x\n\n\ndef report"),
    ("def report", "class Part(dict):\n    PARTS.clear()\n\n\ndef report"),
    ("def report", "class Other(PARTS):\n    size = 1\n\n\ndef report"),
    ("def report", "class Other:\n    size = PARTS.pop('a')\n\n\ndef report"),
    ("import numpy as np", "import numpy as np\nimport sigreg_lab.pretrain as _"),  # imported for what it does
]
#: Changes after which there is no telling what ``measure`` reaches.
UNDECIDABLE = [
    ("return EppsPulley", 'return globals()["EppsPulley"]'),
    ("import numpy as np", "from numpy import *"),
    ("    seed=7,\n", "    **{'seed': 7},\n"),
    ("STUDY = Study(", "STUDY = dict("),
    ("def report", "STUDY = None\n\n\ndef report"),
    ("def report", "def Study(**given):\n    return given\n\n\ndef report"),
    ("return EppsPulley", "return STUDY"),
]
#: Ways to hand ``measure`` in.
GIVEN = ["other", "lambda *given: other(*given)", "functools.partial(other, extra=1)"]


def _change(text, change):
    assert change[0] in text
    return text.replace(*change, 1)


def _counted(tmp_path, text):
    path = tmp_path / "s.py"
    path.write_text(text)
    return ast.dump(reached(_parse(path)))


def _code(tmp_path, text):
    path = tmp_path / "s.py"
    path.write_text(text)
    return fingerprint(path)["code"]


@pytest.mark.parametrize("change", NOTHING, ids=lambda change: change[1])
def test_what_changes_no_row_does_not_count(tmp_path, change):
    assert _counted(tmp_path, _change(BASE, change)) == _counted(tmp_path, BASE)


@pytest.mark.parametrize("change", SOMETHING, ids=lambda change: change[1])
def test_what_measure_reaches_and_what_may_change_it_counts(tmp_path, change):
    assert _counted(tmp_path, _change(BASE, change)) != _counted(tmp_path, BASE)


@pytest.mark.parametrize("change", UNDECIDABLE, ids=lambda change: change[1])
def test_the_whole_file_counts_where_there_is_no_telling(tmp_path, change):
    changed = _change(BASE, change)
    assert _counted(tmp_path, changed) != _counted(tmp_path, _change(changed, ("A sentence.", "Another sentence.")))


@pytest.mark.parametrize("given", GIVEN)
def test_measure_may_be_handed_in_by_any_expression(tmp_path, given):
    text = _change(BASE, ("def measure", "def other")).replace("measure=measure", f"measure={given}")
    assert _counted(tmp_path, text) == _counted(tmp_path, _change(text, ("A sentence.", "Another sentence.")))
    assert _counted(tmp_path, text) != _counted(tmp_path, _change(text, ("SIZE = 1", "SIZE = 2")))


def test_the_fingerprint_follows_what_counts(tmp_path):
    before = _code(tmp_path, BASE)
    assert _code(tmp_path, _change(BASE, NOTHING[0])) == before
    assert _code(tmp_path, _change(BASE, SOMETHING[0])) != before


def test_of_the_library_counts_what_reached_code_imports_and_what_that_imports(tmp_path, monkeypatch):
    parsed = []
    monkeypatch.setattr("sigreg_lab.experiment.fingerprint._parse", lambda path: parsed.append(path) or _parse(path))
    _code(tmp_path, BASE)
    files = {path.relative_to(PACKAGE).as_posix() for path in parsed if path.is_relative_to(PACKAGE)}
    assert {"univariate/__init__.py", "univariate/epps_pulley.py", "nulls/__init__.py"} <= files
    assert "experiment/study.py" in files, "seeds come from there"
    assert not {"figures/theme.py", "experiment/run.py", "experiment/intervals.py"} & files


def test_a_changed_header_counts(tmp_path, monkeypatch):
    header, read = PACKAGE / "kernels" / "vectors.h", Path.read_bytes
    before = _code(tmp_path, BASE)
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b" " * (path == header))
    assert _code(tmp_path, BASE) != before


@pytest.mark.parametrize("name", list_studies())
def test_the_counted_statements_of_a_study_give_its_rows_without_the_rest(name, monkeypatch):
    """Alone in an empty module they compute a cell; what draws and reports is not among them."""
    path, study = studies_folder() / f"{name}.py", load_study(name)
    counted = reached(_parse(path))
    names = set().union(*map(_bound, counted.body))
    assert not {"summarize", "verify", "figures", "report", "keep", "_preset", "themed", "markdown_table"} & names
    config = study.configure("smoke")
    cell = study.cells(config)[0]
    alone = types.ModuleType("alone")
    alone.__dict__.update(Study=dict, __file__=str(path))
    monkeypatch.setitem(sys.modules, "alone", alone)
    exec(compile(ast.fix_missing_locations(counted), path, "exec"), alone.__dict__)
    assert alone.STUDY["measure"](cell, study.settings(config), study.cell_seed(cell))
    assert (alone.STUDY["seed"], alone.STUDY["axes"]) == (study.seed, study.axes)


@pytest.mark.parametrize(
    ("name", "counted", "free"),
    [
        ("batch_size_and_lambda", {"KINDS", "_views", "WithoutFactor", "convert_lambda"}, {"LABELS", "_ratios", "pd"}),
        ("power", {"_critical_values", "critical_values", "law_key"}, {"ALTERNATIVES", "exact_power", "STATISTICS"}),
        ("gradient_stability", {"OUTLIER", "_derivatives"}, {"DRAWN", "PARTS", "SMOKE", "_tails"}),
        ("sample_descent", {"AXES", "_descend", "LEARNING_RATE"}, {"JUDGES", "_scatter", "null_means"}),
    ],
)
def test_known_statements_of_studies_count_or_do_not(name, counted, free):
    names = set().union(*map(_bound, reached(_parse(studies_folder() / f"{name}.py")).body))
    assert counted <= names
    assert not free & names
