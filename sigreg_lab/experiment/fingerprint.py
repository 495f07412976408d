"""Which code and which library versions a study's numbers depend on."""

import ast
import hashlib
from importlib import metadata
from pathlib import Path

from sigreg_lab.experiment.study import canonical

LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch")
#: Rooms that cannot change a row: they schedule, store and draw. Seeds are the exception.
WITHOUT_EFFECT = ("sigreg_lab.experiment", "sigreg_lab.figures")
WITH_EFFECT = "sigreg_lab.experiment.study"
PACKAGE = Path(__file__).parents[1]


def fingerprint(study_file: Path) -> dict[str, str]:
    """A digest of the study's code and of the library's code that it imports, and the versions it ran with.

    Comments, docstrings and layout do not count. Code counts if the study reaches it by imports, functions' own
    imports included; so does C that lies beside it.
    """
    files = {study_file.stem: study_file}
    pending = [study_file]
    while pending:
        for name, path in _imported(pending.pop()).items():
            if name not in files:
                files[name] = path
                pending.append(path)
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}:{_meaning(files[name])}\n".encode())
    for source in sorted({c for path in files.values() if path != study_file for c in path.parent.glob("*.c")}):
        digest.update(source.read_bytes())
    return {"code": digest.hexdigest()[:16], "versions": canonical({lib: _version(lib) for lib in LIBRARIES})}


def _version(library: str) -> str:
    return metadata.version(library).split("+")[0]


def _meaning(path: Path) -> str:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                body[0] = ast.Pass()
    return ast.dump(tree)


def _imported(path: Path) -> dict[str, Path]:
    """Modules of this package that a file imports, a module's packages included, by their dotted names."""
    found: dict[str, Path] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.split(".")[0] != PACKAGE.name:
                continue
            if name.startswith(WITHOUT_EFFECT) and name != WITH_EFFECT:
                continue
            module = PACKAGE.parent.joinpath(*name.split("."))
            for candidate in (module.with_suffix(".py"), module / "__init__.py"):
                if candidate.is_file():
                    found[name] = candidate
    return found
