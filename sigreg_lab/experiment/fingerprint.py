"""Which code and which library versions a study's numbers depend on."""

import ast
import hashlib
from importlib import metadata
from pathlib import Path

from sigreg_lab.experiment.study import canonical

LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch")
PACKAGE = Path(__file__).parents[1]
#: Modules that cannot change a row: they schedule, store and draw.
ENGINE = ("executor", "fingerprint", "progress", "provenance", "run", "store")
WITHOUT_EFFECT = ("sigreg_lab.figures", *(f"sigreg_lab.experiment.{name}" for name in ENGINE))
#: The module that makes a cell's seed, and what of a study's declaration enters its rows.
SEEDS = "sigreg_lab.experiment.study"
ENTERS_ROWS = ("measure", "seed", "axes", "paired")
#: Names through which code reaches others without naming them.
UNDECIDABLE = {"STUDY", "eval", "exec", "globals", "locals", "modules", "vars"}
UNDECIDABLE |= {"__dict__", "__globals__", "__import__", "__name__"}


def fingerprint(study_file: Path) -> dict[str, str]:
    """A digest of the code that a study's rows depend on, and the versions it ran with.

    Of the study's file that is what ``measure`` reaches by name and what enters a cell's seed: no summary, figure or
    report. Of the library it is the modules that this code imports, and all that these import in turn, with the C
    that lies beside them; functions' own imports are among them. Comments, docstrings and layout do not count.
    """
    study = reached(_parse(study_file))
    files = _imported(study) | {SEEDS: PACKAGE / "experiment" / "study.py"}
    pending = list(files.values())
    while pending:
        for name, path in _imported(_parse(pending.pop())).items():
            if name not in files:
                files[name] = path
                pending.append(path)
    digest = hashlib.sha256(f"{study_file.stem}:{ast.dump(study)}\n".encode())
    for name in sorted(files):
        digest.update(f"{name}:{ast.dump(_parse(files[name]))}\n".encode())
    for source in sorted({source for path in files.values() for source in path.parent.glob("*.[ch]")}):
        digest.update(source.read_bytes())
    return {"code": digest.hexdigest()[:16], "versions": canonical({lib: _version(lib) for lib in LIBRARIES})}


def reached(module: ast.Module) -> ast.Module:
    """The statements of a study's file that can change a row, ``STUDY`` cut to what enters one.

    A statement counts if one that counts names what it binds, or if it may do more than bind names. All count if there
    is no telling: with ``globals()`` and its like, ``import *``, or a ``STUDY`` that is no plain ``Study(...)``.
    """
    statements = [part for statement in module.body for part in _one_import_each(statement)]
    binding: dict[str, list[ast.stmt]] = {}
    for statement in statements:
        for name in _bound(statement):
            binding.setdefault(name, []).append(statement)
    match binding.get("STUDY"), binding.get("Study"):
        case [ast.Assign([ast.Name()], ast.Call(ast.Name("Study"), [], given))], [ast.ImportFrom()]:
            declared = [keyword for keyword in given if keyword.arg in ENTERS_ROWS]
        case _:
            return module
    if "*" in binding or not all(keyword.arg for keyword in given):
        return module
    named = _named(module)
    own = {name for name, found in binding.items() if {type(s) for s in found} - {ast.Import, ast.ImportFrom}}
    counted = {s for s in statements if not _only_binds(s, named, own)} - {*binding["STUDY"]}
    pending: list[ast.AST] = [*declared, *counted]
    while pending:
        names = _named(pending.pop())
        if names & UNDECIDABLE:
            return module
        found = {s for name in names for s in binding.get(name, [])} - counted
        counted |= found
        pending += found
    study = ast.Assign([ast.Name("STUDY", ast.Store())], ast.Call(ast.Name("Study", ast.Load()), [], declared))
    return ast.Module([*(s for s in statements if s in counted), study], [])


def _one_import_each(statement: ast.stmt) -> list[ast.stmt]:
    if not isinstance(statement, ast.ImportFrom):
        return [statement]
    return [ast.ImportFrom(statement.module, [alias], statement.level) for alias in statement.names]


def _bound(statement: ast.stmt) -> set[str]:
    """The names of the module that a statement binds."""
    parts: list[ast.AST] = [statement]
    match statement:
        case ast.FunctionDef(name) | ast.ClassDef(name):
            return {name}
        case ast.Assign() | ast.AnnAssign():
            parts = list(statement.targets if isinstance(statement, ast.Assign) else [statement.target])
    nodes = [node for part in parts for node in ast.walk(part)]
    aliases = {node.asname or node.name.split(".")[0] for node in nodes if isinstance(node, ast.alias)}
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return aliases | defined | {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _named(tree: ast.AST) -> set[str]:
    """Names in a piece of code, whether its own or the module's."""
    nodes = [*ast.walk(tree)]
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names.union(attributes & UNDECIDABLE, *(node.names for node in nodes if isinstance(node, ast.Global)))


def _only_binds(statement: ast.stmt, named: set[str], own: set[str]) -> bool:
    """Whether a statement changes nothing that is there: it stores in names alone and calls none of the file's own."""
    match statement:
        case ast.Expr(ast.Constant()) | ast.Pass():
            return True
        case ast.Import() | ast.ImportFrom():
            return not named.isdisjoint(_bound(statement))  # one that nothing names is there for what it does
        case ast.FunctionDef():
            run = [statement.args, *(ast.Call(decorator, [], []) for decorator in statement.decorator_list)]
        case ast.ClassDef() if all(_only_binds(part, named, own) for part in statement.body):
            run = [ast.Call(part, [], []) for part in (*statement.decorator_list, *statement.bases)]
            run += [keyword.value for keyword in statement.keywords]
        case ast.Assign() | ast.AnnAssign():
            run = [statement]
        case _:
            return False
    for node in (node for part in run for node in ast.walk(part)):
        match node:
            case ast.Attribute(ctx=ast.Store()) | ast.Subscript(ctx=ast.Store()):
                return False
            case ast.Call(function) if own & _named(function):
                return False
    return True


def _parse(path: Path) -> ast.Module:
    """A file without its docstrings."""
    module = ast.parse(path.read_text())
    for node in ast.walk(module):
        match getattr(node, "body", None):
            case [ast.Expr(ast.Constant(str())), *_] as body:
                body[0] = ast.Pass()
    return module


def _imported(tree: ast.AST) -> dict[str, Path]:
    """Modules of this package that a piece of code imports, by their dotted names."""
    names: list[str] = []
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                names += [alias.name for alias in node.names]
            case ast.ImportFrom(str(source)):
                names += [source, *(f"{source}.{alias.name}" for alias in node.names)]
    found = {}
    for name in names:
        if name.split(".")[0] == PACKAGE.name and not name.startswith(WITHOUT_EFFECT):
            module = PACKAGE.parent.joinpath(*name.split("."))
            for candidate in (module.with_suffix(".py"), module / "__init__.py"):
                if candidate.is_file():
                    found[name] = candidate
    return found


def _version(library: str) -> str:
    return metadata.version(library).split("+")[0]
