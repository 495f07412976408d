"""The house: a room imports only rooms below it, and importing the package is quick."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sigreg_lab
from sigreg_lab import multivariate, regularizers, univariate

PACKAGE = Path(sigreg_lab.__file__).parent
#: From the ground up; a name is a folder or a file.
ROOMS = (
    "cache",
    "validation",
    "arrays",
    "names",
    "kernels",
    "distributed",
    "nulls",
    "alternatives",
    "experiment",
    "theory",
    "univariate",
    "slicing",
    "multivariate",
    "diagnostics",
    "regularizers",
    "pretrain",
    "adapters",
    "monitor",
    "figures",
    "check",
    "compare",
    "cli",
)


def _rooms_used(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            parts = name.split(".")
            if parts[0] == "sigreg_lab" and len(parts) > 1:
                yield parts[1]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_below_it(room):
    place = PACKAGE / room
    files = place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]
    allowed = ROOMS[: ROOMS.index(room) + 1]
    for path in files:
        above = [used for used in _rooms_used(path) if used not in allowed]
        assert not above, f"{path.relative_to(PACKAGE)} imports {above}"


def test_every_room_is_listed():
    places = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert places == {*ROOMS, "__init__"}


def test_the_page_on_the_house_names_the_rooms_in_their_order():
    page = (PACKAGE.parent / "docs" / "house.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert [room for row in rows for room in re.findall("`([^`]+)`", row)] == [*ROOMS]


def _is_set(node):
    """Whether an expression is a set as far as it can be seen: its order is another in each process."""
    match node:
        case ast.Set() | ast.SetComp() | ast.Call(func=ast.Name(id="set" | "frozenset")):
            return True
        case ast.BinOp(op=ast.Sub() | ast.BitAnd() | ast.BitOr() | ast.BitXor()):
            return _is_set(node.left) or _is_set(node.right)
        case ast.IfExp():
            return _is_set(node.body) or _is_set(node.orelse)
    return False


def _runs_through_sets(code):
    """Lines where a loop or a list takes the elements of a set in its own order."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.For(iter=taken) | ast.Starred(value=taken, ctx=ast.Load()):
                yield from [taken.lineno] if _is_set(taken) else []
            case ast.ListComp(generators=parts) | ast.GeneratorExp(generators=parts) | ast.DictComp(generators=parts):
                yield from [part.iter.lineno for part in parts if _is_set(part.iter)]
            case ast.Call(func=ast.Name(id="list" | "tuple"), args=[taken]):
                yield from [taken.lineno] if _is_set(taken) else []


def test_no_order_is_that_of_a_set():
    """Rows, and whatever is written, are the same in each process."""
    assert [*_runs_through_sets("for x in set(a) - {'b'} if c else ():\n    pass")] == [1]
    assert not [*_runs_through_sets("for x in sorted(set(a)):\n    pass")]
    files = [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "studies").rglob("*.py")]
    found = {file.name: lines for file in files if (lines := [*_runs_through_sets(file.read_text(encoding="utf-8"))])}
    assert not found


def test_importing_the_package_and_its_command_line_loads_nothing_heavy():
    code = "import sigreg_lab, sigreg_lab.cli, sys; print(*sorted(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "scipy", "pandas", "matplotlib", "sklearn", "statsmodels", "seaborn", "lightning_fabric", "timm"}
    assert not heavy & set(done.stdout.split())


def _documented_classes():
    for room in (univariate, multivariate, regularizers):
        for name in room.__all__:
            item = getattr(room, name)
            bases = (univariate.UnivariateTest, multivariate.MultivariateTest, regularizers.Regularizer)
            if isinstance(item, type) and issubclass(item, bases) and item not in bases:
                yield item
    yield multivariate.SlicingUnivariateTest


@pytest.mark.parametrize("cls", [*_documented_classes()])
def test_a_class_states_its_formula_and_its_source(cls):
    text = inspect.getdoc(cls)
    assert "\n\n    " in text, "no formula, in lines of its own after an empty one"
    assert "\n\n[1] " in text, "no source, [1], at the end"
