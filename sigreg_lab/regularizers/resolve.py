"""Regularisers as a person names them: by the registry, by a class in a file or module, by an entry point.

    sigreg-ep                        a name of the registry
    sigreg-ep:num_slices=64,t_max=5  with options
    my_loss.py:MyRegularizer         a class in a file, or a function of (z, generator)
    my_package.losses:MyRegularizer  a class in a module
    my-name                          an entry point of the group ``sigreg_lab.regularizers``

From Python a class, an object or a function will do as well. A class of one's own is called with its options as
keywords, and its object as ``regularizer(z, generator)``: embeddings (V, N, K) to a scalar. A subclass of
``Regularizer`` that writes ``_value`` has its input checked as well.
"""

import ast
import contextlib
import copy
import copyreg
import dataclasses
import functools
import hashlib
import importlib
import importlib.util
import inspect
import marshal
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.experiment.cells import canonical
from sigreg_lab.experiment.study import parse_like
from sigreg_lab.regularizers.base import Regularizer
from sigreg_lab.regularizers.registry import REGISTRY, Option, make_regularizer, regularizer_options
from sigreg_lab.slicing import seeded_generator
from sigreg_lab.validation import did_you_mean

#: Where packages announce their regularisers: name = module:Class.
ENTRY_POINTS = "sigreg_lab.regularizers"
_NOT_OPTIONS = ("name", "training", "capturable")  # of an object's attributes
_LIBRARIES = ("builtins", "collections", "functools", "numpy", "torch")  # whose code is told by their versions
_HERE = Path(__file__).resolve().parents[1]
#: How Python shows where something lies in memory, which is another place in each process.
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_TRIED_SCALES = (1.0, 0.3, 3.0)  # of the samples that a regulariser is tried on: a hinge may be flat at one of them
_SAME = 1e-4  # largest difference of two values of one generator state, over the largest value: less is rounding


@dataclasses.dataclass(frozen=True)
class ResolvedRegularizer:
    """A regulariser that a name or a class was found for, not built yet.

    Attributes:
        head: the registry's or entry point's name, or file (without its folder) or module and class. That of a class
            or function handed in is its name, that of an object its attribute ``name`` if it is a text, else its
            class's.
        options: the options given.
        known: all options with their defaults, as far as there are; plain attributes of an object.
        digest: of the source of one's own, SHA-256, and of what an object holds; empty for a name of the registry.
        spec: what finds it from any folder: a text, or what was handed in.
    """

    head: str
    options: dict[str, Option]
    known: dict[str, Option]
    digest: str
    spec: Any
    _make: Callable[..., Any] = dataclasses.field(repr=False)

    @property
    def name(self) -> str:
        """What it is called in results: ``head``, then the options given, in alphabetical order."""
        told = ",".join(f"{key}={value}" for key, value in sorted(self.options.items()))
        return f"{self.head}:{told}" if told else self.head

    @property
    def slug(self) -> str:
        """The name as a part of a file's name."""
        return re.sub(r"[^\w.=+-]", "-", self.name)

    def identity(self, **defaults: Option) -> dict[str, Any]:
        """What makes it another regulariser: its head, all options with their values, the digest.

        Args:
            defaults: as ``build`` takes them.
        """
        return {"head": self.head, "options": self.known | self._taken(defaults) | self.options, "source": self.digest}

    def _taken(self, defaults: dict[str, Option]) -> dict[str, Option]:
        return {} if self.digest else {key: value for key, value in defaults.items() if key in self.known}

    def build(self, **defaults: Option) -> Any:
        """The regulariser; None for "none".

        Args:
            defaults: options for a name of the registry that takes them, where the name gives no others, such as
                ``num_slices``; classes of one's own keep theirs.

        Raises:
            ValueError: the class cannot be made with its options.
        """
        if not self.digest:
            return self._make(**(self._taken(defaults) | self.options))
        try:
            built = self._make(**self.options)
        except (Exception, SystemExit) as error:
            raise ValueError(f"{self.name} cannot be made: {type(error).__name__}: {error}") from error
        if not callable(built):
            raise ValueError(f"{self.name} cannot be called; give its class __call__ or forward (z, generator)")
        if not any("capturable" in vars(kind) for kind in type(built).__mro__ if kind is not Regularizer):
            with contextlib.suppress(AttributeError):
                built.capturable = False  # it has not said that a CUDA graph may hold it
        return built


def resolve_regularizer(spec: Any) -> ResolvedRegularizer:
    """Find what ``spec`` names, or take it as it is; see the module's text.

    Args:
        spec: a text, a class that is made without options, an object, or a function of (z, generator). An object is
            copied for each run, so that none keeps what another has seen.

    Raises:
        ValueError: an unknown name or option, a file or class that is not there or cannot be loaded, an option that
            is missing, an entry point that hides a name of the registry, something that cannot be called.
        StudyError: an option of another type than its default.
    """
    if not isinstance(spec, str):
        return _handed_in(spec)
    head, given = _split(spec)
    points = [point for point in metadata.entry_points(group=ENTRY_POINTS) if point.name == head]
    if len(points) + (head in REGISTRY) > 1:
        places = ", ".join(point.value for point in points)
        raise ValueError(f"{head!r} is the name of two regularisers, of packages too: {places}; write MODULE:CLASS")
    if head in REGISTRY:
        known = dict(regularizer_options(head))
        unknown = [key for key in given if key not in known]
        if unknown:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise ValueError(
                f"unknown option {', '.join(unknown)} of regularizer {head!r}; {did_you_mean(unknown[0], known)}{takes}"
            )
        options = {key: _parsed(known[key], text, f"{spec}: {key}") for key, text in given.items()}
        return ResolvedRegularizer(head, options, known, "", spec, lambda **o: make_regularizer(head, **o))
    if points:
        return _own(spec, head, f"{points[0].module}:{points[0].attr}", given)
    if ":" in head or head.endswith(".py"):
        place, _, kind = head.rpartition(":") if ":" in head else (head, "", "")
        if not kind.isidentifier() or not place:
            raise ValueError(f"{spec}: names no class; write {place or 'FILE.py'}:CLASS")
        return _own(spec, f"{Path(place).name if place.endswith('.py') else place}:{kind}", head, given)
    names = [*REGISTRY, *(point.name for point in metadata.entry_points(group=ENTRY_POINTS))]
    raise ValueError(
        f"unknown regularizer {head!r}; {did_you_mean(head, names)}known: {', '.join(names)}; "
        "a class of your own goes by FILE.py:CLASS or MODULE:CLASS"
    )


def check_regularizer(
    chosen: ResolvedRegularizer, shape: tuple[int, int, int], device: torch.device | str = "cpu", **defaults: Option
) -> None:
    """Try a regulariser on random embeddings of ``shape`` (V, N, K) before any run.

    Raises:
        ValueError: it cannot be built or called, it changes its input, its value is no finite scalar or another one
            for a generator in the same state, or it has no gradient that is finite and not 0.
    """
    regularizer = chosen.build(**defaults)
    if regularizer is None:
        return
    _check_signature(chosen.name, regularizer)
    where = f"{chosen.name}: on random embeddings of shape {shape}"
    sample = torch.randn(shape, generator=seeded_generator(0)).to(device)
    values, moved = [], False
    for scale in _TRIED_SCALES:
        z = (scale * sample).requires_grad_()
        value = _tried(regularizer, z, where)
        if not isinstance(value, Tensor) or value.ndim:
            found = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            remedy = "is `return` missing?" if value is None else "end with .mean() or .sum()"
            raise ValueError(f"{where} its value must be a scalar tensor, got {found}; {remedy}")
        if value.is_complex():
            raise ValueError(f"{where} its value must be a real number, got {value.dtype}; take its .real or .abs()")
        if not bool(value.isfinite()):
            raise ValueError(f"{where} its value must be finite, got {value.item()}")
        if not value.requires_grad:
            raise ValueError(
                f"{where} its value has no gradient; compute it from z without .detach(), .item() or numpy"
            )
        if not z.equal(scale * sample):
            raise ValueError(f"{where} it changes z, which others take too; compute with a copy, z.clone()")
        with _said(f"{where} its gradient fails", regularizer):
            (gradient,) = torch.autograd.grad(value, z, allow_unused=True)
        if gradient is not None and not bool(gradient.isfinite().all()):
            raise ValueError(f"{where} its gradient must be finite; it holds NaN or infinity")
        moved = moved or (gradient is not None and bool(gradient.any()))
        values.append(value.item())
    if not moved:
        raise ValueError(f"{where} its gradient is 0 everywhere; compute the value from z")
    anew = chosen.build(**defaults)  # what it keeps from call to call begins again; global generators have gone on
    again = [_tried(anew, (scale * sample).requires_grad_(), where).item() for scale in _TRIED_SCALES]
    for one, other in zip(values, again, strict=True):
        if not abs(one - other) <= _SAME * max(map(abs, values)):
            raise ValueError(
                f"{where} its value is {one:.6g}, then {other:.6g} with a generator in the same state; draw from the "
                "generator that is handed in, as torch.randn(..., generator=generator), and in __init__ from a seed"
            )


def _tried(regularizer: Any, z: Tensor, where: str) -> Any:
    """The value of a first try, without the warnings that its steps would give again."""
    with _said(f"{where} it fails", regularizer), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return regularizer(z, seeded_generator(1, device=z.device))


@contextlib.contextmanager
def _said(what: str, regularizer: Any) -> Iterator[None]:
    """Whatever ends the block, ``sys.exit`` too, becomes a ``ValueError``: ``what``, where, and why."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise ValueError(f"{what}{_line_of(error, regularizer)}: {type(error).__name__}: {error}") from error


def _check_signature(name: str, regularizer: Any) -> None:
    """Raise ``ValueError`` where it cannot be called with embeddings and a generator."""
    function = inspect.isfunction(regularizer) or isinstance(regularizer, functools.partial)
    method = "forward" if isinstance(regularizer, torch.nn.Module) else "__call__"
    called = regularizer if function else getattr(regularizer, method)
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):
        return  # code that is not Python's does not say
    try:
        signature.bind(None, None)
    except TypeError:
        takes = ", ".join(signature.parameters) or "nothing"
        wanted = "(z, generator)" if function else f"{method}(self, z, generator)"
        raise ValueError(f"{name} takes {takes}; write it as {wanted}: it is called with both") from None


def _line_of(error: BaseException, regularizer: Any) -> str:
    """The last line of one's own code that an error came through: " at FILE.py:LINE", or ""."""
    code = regularizer.func if isinstance(regularizer, functools.partial) else regularizer
    with contextlib.suppress(TypeError, OSError, ValueError):
        file = inspect.getsourcefile(code if inspect.isfunction(code) else type(code))
        own = dict(_sources(Path(file))) if file is not None else {}
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).resolve() in own]
        if frames:
            return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
    return ""


def _split(spec: str) -> tuple[str, dict[str, str]]:
    """Name and options, as texts."""
    head, _, tail = spec.rpartition(":")
    if "=" not in tail:
        return spec, {}
    given: dict[str, str] = {}
    for part in tail.split(","):
        key, equals, text = part.partition("=")
        if not head or not equals or not key or key in given:
            raise ValueError(f"{spec}: write options as NAME:key=value,key=value, each key once")
        given[key] = text
    return head, given


def _parsed(default: Option, text: str, where: str) -> Option:
    """An option as its default's type; where that says nothing, a number if it reads as one. "auto" stays as it is: the
    class that is made with it says whether it takes that."""
    if default is not None and text != "auto":
        return parse_like(default, text, where)
    if text.lower() in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[text.lower()]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _own(spec: str, name: str, place: str, given: dict[str, str]) -> ResolvedRegularizer:
    """A class or function at ``place``, FILE.py:CLASS or MODULE:CLASS."""
    where, _, kind = place.rpartition(":")
    module = _load_file(Path(where)) if where.endswith(".py") else _load_module(where)
    cls = getattr(module, kind, None)
    if not callable(cls):
        raise ValueError(f"{spec}: {where} holds no class {kind}; it holds {_classes(module)}")
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{spec}: {kind} is no class that can be made: {error}") from error
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    needs = [p.name for p in named if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    function = inspect.isfunction(cls)
    make: Callable[..., Any] = cls
    if function and len(needs) > 1 and not {*needs[:2]} & {*given}:  # of (z, generator); else it makes a regulariser
        make, named = lambda **options: functools.partial(cls, **options), named[2:]
    known = {p.name: p.default for p in named if p.default is not p.empty}
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    takes = f"it takes {', '.join(p.name for p in named)}" if named else "it takes none"
    unknown = [key for key in given if key not in {p.name for p in named}]
    if unknown and not anything:
        raise ValueError(f"unknown option {', '.join(unknown)} of {name}; {did_you_mean(unknown[0], known)}{takes}")
    lacking = [p.name for p in named if p.default is p.empty and p.name not in given]
    if lacking:
        more = f"; a function that is a regulariser itself takes (z, generator): def {kind}(z, generator)"
        raise ValueError(
            f"{name} needs the option(s) {', '.join(lacking)}; write {spec}:{lacking[0]}=VALUE"
            + (more if function and make is cls else "")
        )
    options = {key: _parsed(_plain(known.get(key)), text, f"{spec}: {key}") for key, text in given.items()}
    plain = _shown(known)
    source = Path(str(module.__file__))
    located = f"{source.resolve() if where.endswith('.py') else where}:{kind}"
    if given:
        located += ":" + ",".join(f"{key}={text}" for key, text in given.items())
    return ResolvedRegularizer(name, options, plain, source_digest(source), located, make)


def _handed_in(thing: Any) -> ResolvedRegularizer:
    """A class, an object or a function that somebody has in hand."""
    _digest_meanwhile.cache_clear()
    built_in = type(thing).__module__ in ("builtins", "functools")
    if not callable(thing) or (built_in and not isinstance(thing, type | FunctionType)):
        raise ValueError(
            "a regularizer is a name, a class, an object of one or a function of (z, generator), "
            f"got {type(thing).__name__}"
        )
    if isinstance(thing, type):
        name, known = thing.__name__, {}
        try:
            parameters = inspect.signature(thing).parameters.values()
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} is no class that can be made: {error}") from error
        lacking = [
            p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        if lacking:
            raise ValueError(f"{name} needs {', '.join(lacking)}; make it, and hand in the object")
        known = _shown({p.name: p.default for p in parameters if p.default is not p.empty})
        return ResolvedRegularizer(name, {}, known, _code_digest(thing), thing, thing)
    own, function = getattr(thing, "name", None), inspect.isfunction(thing)
    name = own if isinstance(own, str) and own else thing.__name__ if function else type(thing).__name__
    held = (
        {}
        if function
        else {key: value for key, value in getattr(thing, "__dict__", {}).items() if not key.startswith("_")}
    )
    known = {key: value for key, value in held.items() if _plain(value) is not None and key not in _NOT_OPTIONS}
    digest = _code_digest(thing if function else type(thing))
    if not function or _bound(thing):
        digest = hashlib.sha256(f"{digest}{canonical(_described(thing, ()))}".encode()).hexdigest()
    return ResolvedRegularizer(name, {}, known, digest, thing, lambda: copy.deepcopy(thing))


#: ``source_digest`` while one object is described, which may hold many functions of one file.
_digest_meanwhile = functools.cache(lambda path: source_digest(path))


def _code_digest(code: Any) -> str:
    """Of the file of a class or function and what it imports; of a session without a file, of its compiled code."""
    with contextlib.suppress(TypeError, OSError):
        file = inspect.getsourcefile(code)
        if file is not None and Path(file).is_file():
            return _digest_meanwhile(Path(file))
    functions = [item for kind in getattr(code, "__mro__", ()) for item in vars(kind).values()] or [code]
    compiled = [item.__code__ for item in functions if inspect.isfunction(item)]
    # Format 2 has no references to what came before, which depend on what else the process holds.
    return hashlib.sha256(b"".join(marshal.dumps(one, 2) for one in compiled)).hexdigest()


def _described(value: Any, above: tuple[int, ...]) -> Any:
    """What an object holds, as JSON can hold it: the same for equal objects of any process; tensors by their bytes.

    An object is told by its class, that class's code, and what pickle would keep of it.
    """
    if value is None or _plain(value) is not None:
        return value if not isinstance(value, float) else repr(value)
    if id(value) in above:
        return "itself"
    above = (*above, id(value))
    kind = type(value)
    if isinstance(value, Tensor):
        held = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        return [str(value.dtype), list(value.shape), _described(held, above)]
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return [str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, bytes | bytearray | complex):
        return [kind.__qualname__, repr(value)]
    if isinstance(value, list | tuple):
        return [_described(item, above) for item in value]
    if isinstance(value, set | frozenset):
        return [kind.__qualname__, sorted(canonical(_described(item, above)) for item in value)]
    if isinstance(value, dict):
        return {str(key): _described(item, above) for key, item in value.items()}
    if isinstance(value, ModuleType):
        return value.__name__
    ours = (value.__module__ if isinstance(value, type) else kind.__module__).partition(".")[0] not in _LIBRARIES
    if isinstance(value, type):
        return [value.__qualname__, _code_digest(value) if ours else ""]
    if inspect.isfunction(value):
        library = str(value.__module__).partition(".")[0] in _LIBRARIES
        return [value.__qualname__, "" if library else _code_digest(value), _described(_bound(value), above)]
    return [kind.__qualname__, _code_digest(kind) if ours else "", _described(_kept(value), above)]


def _bound(function: FunctionType) -> list[Any]:
    """What a function was made with, beside its code: the variables around it and its defaults; empty for none."""
    around = []
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # a variable that is not there yet
            around.append(cell.cell_contents)
    held = [around, function.__defaults__, function.__kwdefaults__]
    return held if any(held) else []


def _kept(value: Any) -> Any:
    """What pickle would keep of an object: a function, its arguments, the state. Its attributes where it keeps none."""
    try:
        reduce = copyreg.dispatch_table.get(type(value))
        kept: Any = reduce(value) if reduce else value.__reduce_ex__(4)
    except Exception:  # an object with a lock, an open file: whatever it raises
        return getattr(value, "__dict__", None)
    return kept if isinstance(kept, str) else [list(part) if hasattr(part, "__next__") else part for part in kept]


def _shown(known: dict[str, Any]) -> dict[str, Option]:
    return {key: value if _plain(value) is not None else _ADDRESS.sub("", repr(value)) for key, value in known.items()}


def _plain(value: Any) -> Option:
    return value if isinstance(value, int | float | bool | str) else None


def _classes(module: ModuleType) -> str:
    names = [
        name
        for name, item in vars(module).items()
        if (isinstance(item, type) or inspect.isfunction(item)) and item.__module__ == module.__name__
    ]
    return ", ".join(names) or "no class"


def _load_file(path: Path) -> ModuleType:
    """The module of a file, loaded once per content and process."""
    try:
        place = path.expanduser().resolve()
        there = place.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} cannot be looked up: {error}") from error
    if not there:
        raise ValueError(f"no file {path} there; give the path of a Python file, FILE.py:CLASS")
    name = f"{place.stem}_{hashlib.sha256(str(place).encode()).hexdigest()[:8]}_{source_digest(place)[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _importable(place.parent):
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception | SystemExit):
            raise
        raise ValueError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    return module


def _load_module(name: str) -> ModuleType:
    """A module by its dotted name; one of the folder we are in counts too, as it does for ``python -m``."""
    try:
        with _importable(Path.cwd()):
            module = importlib.import_module(name)
    except Exception as error:
        raise ValueError(f"module {name} cannot be imported: {type(error).__name__}: {error}") from error
    if getattr(module, "__file__", None) is None:
        raise ValueError(f"module {name} has no file; give the module that holds the class")
    return module


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Have modules of a folder found, after all others."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def source_digest(path: Path) -> str:
    """SHA-256 of a Python file and of the modules beside it that it imports, and these in turn.

    Raises:
        ValueError: the file cannot be read.
    """
    digest = hashlib.sha256()
    for place, text in _sources(path):
        digest.update(f"{place.name}:{len(text)}:".encode() + text)
    return digest.hexdigest()


def _sources(path: Path) -> Iterator[tuple[Path, bytes]]:
    """A Python file and the modules beside it that it imports, and these in turn, with what they hold."""
    pending, seen = [path.resolve()], set[Path]()
    while pending:
        place = pending.pop(0)
        if place in seen:
            continue
        seen.add(place)
        try:
            text = place.read_bytes()
        except OSError as error:
            raise ValueError(f"{place.name} cannot be read: {error.strerror or error}") from error
        yield place, text
        pending += _beside(place, text)


@functools.cache
def _imports(text: bytes) -> list[tuple[int, list[str]]]:
    """What each import of a file names, and how many folders up it starts; 0: none."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return []  # loading it says what is wrong
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                found.append((0, [alias.name for alias in node.names]))
            case ast.ImportFrom():
                base = node.module or ""
                found.append((node.level, [base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)]))
    return found


def _beside(place: Path, text: bytes) -> list[Path]:
    """Files that a file imports, of its own folder or below, or of its own package.

    This library is none of them, beside it or not: a run keeps the fingerprint of that code.
    """
    root = place.parent
    while (root / "__init__.py").is_file() and root.parent != root:
        root = root.parent
    found = []
    there: dict[Path, bool] = {}  # most imports are of elsewhere: asked once a package, not once a name
    for level, names in _imports(text):
        starts = ([place.parent, *place.parents[1:]][level - 1],) * 2 if level else (place.parent, root)
        for start in dict.fromkeys(starts):
            for name in filter(None, names):
                first, *others = name.split(".")
                top = start / first
                if top not in there:
                    there[top] = top.resolve() != _HERE and (top.is_dir() or top.with_suffix(".py").is_file())
                if there[top]:
                    module = top.joinpath(*others)
                    found += [c for c in (module.with_suffix(".py"), module / "__init__.py") if c.is_file()]
    return sorted({file.resolve() for file in found})
