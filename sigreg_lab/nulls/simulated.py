"""Simulated laws by what their values are made of: each is made once, and anew when its formula changes."""

import functools
import hashlib
import inspect
import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.nulls.monte_carlo import MonteCarlo, Simulator

#: The laws that this process has read or simulated already.
_LAWS: dict[Hashable, MonteCarlo] = {}
#: Whose files are known by their versions: they change with the installation, not with a formula.
_FOREIGN = frozenset(sys.stdlib_module_names) | {"torch"}
_OF_EVERY_MODULE = frozenset(vars(torch.nn.Module()))


def simulated_law(
    simulate: Simulator, name: str, *made_of: object, replicates: int, seed: int, chunk: int
) -> MonteCarlo:
    """The Monte-Carlo law of ``simulate``'s values, kept for the rest of the process and in the cache.

    Args:
        simulate: see ``MonteCarlo``.
        name: what ``made_of`` does not tell, such as the number of samples.
        made_of: what the values come from, see ``fingerprint``. The law is not kept in the cache where a part of it was
            typed in, at a prompt or in a notebook: no file tells when that changes.
        replicates: see ``MonteCarlo``, as ``seed``; ``chunk`` is lowered to it if larger.
    """
    found = fingerprint(*made_of)
    chunk = min(chunk, replicates)
    kept = (name, found, replicates, seed, chunk)
    if kept not in _LAWS:
        key = "" if found.typed_in else f"{name}|{found.digest}"
        _LAWS[kept] = MonteCarlo(simulate, key, replicates=replicates, seed=seed, chunk=chunk)
    return _LAWS[kept]


def forget_laws() -> None:
    """Forget the laws that this process has read or simulated; those in the cache stay."""
    _LAWS.clear()


class Fingerprint(NamedTuple):
    """What tells one formula from another.

    Attributes:
        digest: of the files that hold it, and of its parameters.
        typed_in: the classes and functions that no file holds; typed in again, each is another.
    """

    digest: str
    typed_in: tuple[object, ...]


def fingerprint(*made_of: object) -> Fingerprint:
    """The fingerprint of what numbers are made of.

    Args:
        made_of: instances of ``torch.nn.Module``, by their attributes, parameters and buffers, and by the classes that
            they and their parts are of; classes and functions, by the files that hold them, their bases, and the
            functions and classes of the same folder that they use; Python modules, by their files; and files.
    """
    parameters: list[object] = []
    code: dict[Any, Path | None] = {}
    for part in made_of:
        if isinstance(part, torch.nn.Module):
            parameters.append(_parameters(part))
            kinds: list[Any] = [type(module) for module in part.modules()]
        else:
            kinds = [part]
        for kind in kinds:
            code |= _code(kind)
    contents = sorted({_digest(file) for file in code.values() if file is not None})
    digest = hashlib.sha256(b"".join(contents) + repr(parameters).encode()).hexdigest()[:16]
    return Fingerprint(digest, tuple(part for part, file in code.items() if file is None))


@functools.cache
def _code(part: Any) -> dict[Any, Path | None]:
    """What a part stands on, itself included, and the file that holds each."""
    found: dict[Any, Path | None] = {}
    pending = [part]
    while pending:
        part = pending.pop()
        if part not in found and not _is_foreign(part):
            found[part] = _file(part)
            pending += [*(inspect.getmro(part) if inspect.isclass(part) else ()), *_beside(part, found[part])]
    return found


def _beside(part: Any, file: Path | None) -> list[Any]:
    """The functions and classes of other files of the same folder that the part's file uses."""
    if file is None or not (inspect.isclass(part) or inspect.isfunction(part)):
        return []
    names = vars(sys.modules[part.__module__]).values()
    files = [(value, _file(value)) for value in names if inspect.isclass(value) or inspect.isfunction(value)]
    return [value for value, its in files if its is not None and its != file and its.parent == file.parent]


def _is_foreign(part: Any) -> bool:
    return inspect.isclass(part) and part.__module__.split(".")[0] in _FOREIGN


def _file(part: Any) -> Path | None:
    """The file that holds a class, a function or a module, or the file itself; None if there is none."""
    try:
        file = part if isinstance(part, Path) else Path(inspect.getfile(part))
    except (OSError, TypeError):
        return None
    return file if file.is_file() else None


@functools.cache
def _digest(file: Path) -> bytes:
    """Read once in a process, whose code stays what it was when it was imported."""
    return hashlib.sha256(file.read_bytes()).digest()


def _parameters(module: torch.nn.Module) -> list[tuple[str, object]]:
    """What tells instances of a class apart, whether or not ``extra_repr`` shows it: attributes, parameters and
    buffers, those of the modules that it is made of too."""
    found = {
        f"{name}.{key}": value
        for name, part in module.named_modules()
        for key, value in vars(part).items()
        if key not in _OF_EVERY_MODULE
    }
    found |= dict(module.named_parameters()) | dict(module.named_buffers())
    return sorted((key, _content(value)) for key, value in found.items())


def _content(value: object) -> object:
    """``value``, or where its text might not show all of it a digest: that of an array leaves out digits and values."""
    if isinstance(value, list | tuple):
        return [_content(item) for item in value]
    if isinstance(value, dict):
        return [(key, _content(item)) for key, item in value.items()]
    if isinstance(value, Tensor):
        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    elif isinstance(value, np.ndarray):
        data = value
    else:
        return value
    return str(value.dtype), tuple(value.shape), hashlib.sha256(data.tobytes()).hexdigest()
