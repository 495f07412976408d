"""Which code and which library versions a study's numbers depend on."""

import ast
import functools
import hashlib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from sigreg_lab.experiment.cells import Cell, canonical
from sigreg_lab.experiment.study import Study

LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch")
PACKAGE = Path(__file__).parents[1]
MEASURE = "measure.py"
#: Modules of the engine that can change a row; the others schedule, store, estimate and tell.
ENTERS_ROWS = ("cells", "intervals", "reference")


def fingerprint(study: Study) -> dict[str, str]:
    """A digest of the code that a study's rows depend on, and the versions it ran with.

    That is ``measure.py``, the files beside it and the modules of the library that it imports, and all that these
    import in turn, with the C that lies beside them; functions' own imports are among them. Comments, docstrings and
    layout do not count. Claims, figures, texts and presets do not enter.
    """
    return file_fingerprint(study.folder / MEASURE, [study.name, study.axes, study.paired], study.packages)


def cell_fingerprint(code: Mapping[str, str], sources: Mapping[str, str], cell: Cell) -> dict[str, str]:
    """That of one cell: the study's, and of the code that the cell's own values name (``Study.sources``)."""
    own = {str(value): sources[str(value)] for value in cell.values() if str(value) in sources}
    return {**code, **({"own": canonical(own)} if own else {})}


def file_fingerprint(file: Path, also: object = None, packages: tuple[str, ...] = ()) -> dict[str, str]:
    """The same of rows that the code of one file makes, beside other libraries' ``packages``, if they are installed."""
    versions = {lib: _version(lib) for lib in (*LIBRARIES, *packages)}
    return {"code": code_digest(file, also), "versions": canonical(versions)}


def code_digest(file: Path, also: object = None) -> str:
    """A digest of a file, of all code that it imports, and of what it is given."""
    seen: dict[Path, _Code] = {}
    pending = [file, PACKAGE / "experiment" / "cells.py"]
    while pending:
        path = pending.pop()
        if path not in seen:
            seen[path] = _read(path.read_text(encoding="utf-8"))
            pending += _imported(seen[path], path)
    digest = hashlib.sha256(canonical(also).encode())
    for name, path in sorted((_name(path, file.parent), path) for path in seen):
        digest.update(f"{name}:{seen[path].tree}\n".encode())
    for source in sorted({source for path in seen for source in path.parent.glob("*.[ch]")}):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _name(path: Path, folder: Path) -> str:
    """The same for a study in a clone and in an installed package."""
    library = PACKAGE in path.parents and PACKAGE / "studies" not in path.parents
    return path.relative_to(PACKAGE.parent if library else folder).as_posix()


class _Code(NamedTuple):
    tree: str  # without docstrings
    modules: list[str]  # that it imports
    beside: list[str]  # files of its own folder that it imports


@functools.cache  # a library of two hundred files takes a second
def _read(source: str) -> _Code:
    tree = ast.parse(source)
    code = _Code("", [], [])
    for node in ast.walk(tree):
        match getattr(node, "body", None):
            case [ast.Expr(ast.Constant(str())), *_] as body:
                body[0] = ast.Pass()
        match node:
            case ast.Import():
                code.modules.extend(alias.name for alias in node.names)
            case ast.ImportFrom(module=None, level=1):
                code.beside.extend(alias.name for alias in node.names)
            case ast.ImportFrom(module=str(source), level=1):
                code.beside.append(source)
            case ast.ImportFrom(module=str(source)):
                code.modules.extend([source, *(f"{source}.{alias.name}" for alias in node.names)])
    return code._replace(tree=ast.dump(tree))


def _imported(code: _Code, file: Path) -> list[Path]:
    """Files of this package, and files beside ``file``, that a piece of code imports."""
    found = [file.parent / f"{name}.py" for name in code.beside]
    for name in code.modules:
        parts = name.split(".")
        if parts[0] != PACKAGE.name or not _enters_rows(parts):
            continue
        module = PACKAGE.parent.joinpath(*parts)
        found += [module.with_suffix(".py"), module / "__init__.py"]
    return [path for path in found if path.is_file()]


def _enters_rows(parts: list[str]) -> bool:
    match parts[1:]:
        case ["figures", *_]:
            return False
        case ["experiment", *rest]:
            return bool(rest) and rest[0] in ENTERS_ROWS
    return True


def _version(library: str) -> str:
    try:
        return metadata.version(library).split("+")[0]
    except metadata.PackageNotFoundError:
        return "not installed"
