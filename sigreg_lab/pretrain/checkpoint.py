"""Checkpoints: written whole or not at all, verified by their digest, read without running code.

A checkpoint is a zip of ``torch.save`` whose comment is the SHA-256 of all bytes before it. PyTorch does not look at
the CRCs of such a zip: a changed byte of a weight would be believed.
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch

from sigreg_lab.pretrain.config import PARTS, PretrainConfig, as_dict, from_dict

FORMAT = 1
#: What may differ between the run that wrote a checkpoint and the one that goes on from it.
FREE = (
    "device", "checkpoint_minutes", "log_every", "diagnose_every", "memory_gib", "compile", "graph", "data",
    "probe_epochs", "wait_seconds", "probe_draws",
)  # fmt: skip


#: What a checkpoint holds at least.
_HELD = {"step": int, "config": dict, "image_shape": list, "encoder": dict}
_MARK = b"sha256:"
_COMMENT = len(_MARK) + 64


@contextlib.contextmanager
def locked(folder: Path, name: str = ".lock") -> Iterator[None]:
    """Make the folder and hold it for this process; the system lets go of it however the process ends.

    Raises:
        ValueError: another process holds it, or it cannot be written to.
    """
    with contextlib.ExitStack() as stack:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((folder / name).open("w"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise ValueError(
                    f"another process writes to {folder} now; wait until it has ended, or choose another folder"
                ) from None
            # else the file system has no locks: as if there were none
        yield


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system has against writing to ``path`` (full, read-only, no folder) becomes a ``ValueError``."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__  # torch.save lays its own over the file's
        if not isinstance(cause, OSError):
            raise
        raise ValueError(
            f"cannot write {path}: {cause.strerror or cause}; make room there, or choose another folder"
        ) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write what ``path`` is to become, at the end and whole; a failure leaves the old file alone.

    Raises:
        ValueError: it cannot be written.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write the state beside ``path``, to the disk, then rename: a kill leaves the old file or the new one.

    Raises:
        ValueError: it cannot be written, for example because the disk is full.
    """
    with replacing(path) as partial, partial.open("w+b") as file:
        torch.save({"format": FORMAT, **state}, file)
        size = file.seek(0, os.SEEK_END)
        file.seek(size - 2)
        file.write(_COMMENT.to_bytes(2, "little"))  # the last field of a zip: its comment's length
        file.write(_MARK + _digest(file, size))
        file.flush()
        os.fsync(file.fileno())


def _digest(file: BinaryIO, size: int) -> bytes:
    """SHA-256 of the first ``size`` bytes, in hexadecimal; the file then stands after them."""
    digest = hashlib.sha256()
    file.seek(0)
    while size > 0 and (part := file.read(min(size, 2**20))):
        digest.update(part)
        size -= len(part)
    return digest.hexdigest().encode()


def _verify(path: Path) -> None:
    """Refuse a file that is not as it was written, or that would unfold to more than its size."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _COMMENT))
        comment = file.read()
        if comment.startswith(_MARK):
            whole = comment == _MARK + _digest(file, size - _COMMENT)
        else:  # of an earlier version, or foreign: the CRCs of its members are all there is
            file.seek(0)
            if file.read(2) != b"PK":
                raise ValueError(f"{path} is no checkpoint of sigreg-lab pretrain (no file of torch.save)")
            try:
                with zipfile.ZipFile(file) as archive:
                    unfolded = sum(member.file_size for member in archive.infolist())
                    whole = unfolded > size or (not archive.comment and archive.testzip() is None)
            except Exception:  # zipfile raises half a dozen kinds for a broken file
                whole, unfolded = False, 0
            if unfolded > size:
                raise ValueError(f"{path} is no checkpoint of sigreg-lab pretrain (compressed)")
    if not whole:
        raise ValueError(
            f"{path} is damaged: it is not as it was written; put a copy there, or delete it and start again"
        )


def is_checkpoint(path: Path) -> bool:
    """Whether it is a run's folder, or a file that ``save_checkpoint`` wrote; by its end alone, nothing is verified."""
    try:
        if path.is_dir():
            return (path / "checkpoint.pt").is_file()
        if not path.is_file() or path.stat().st_size <= _COMMENT:
            return False
        with path.open("rb") as file:
            file.seek(-_COMMENT, os.SEEK_END)
            return file.read(len(_MARK)) == _MARK
    except (OSError, ValueError):
        return False


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state, its tensors on the CPU; ``weights_only``, so that a file cannot run code.

    Raises:
        ValueError: there is no such file, it is damaged, or it is no checkpoint of ours.
    """
    try:
        if not path.is_file():
            raise ValueError(f"no checkpoint {path} there; give the file checkpoint.pt of a pretraining run")
        _verify(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a broken or foreign file
        raise ValueError(f"{path} is no checkpoint of sigreg-lab pretrain: {type(error).__name__}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{path} is no checkpoint of sigreg-lab pretrain (format {FORMAT})")
    lacking = [key for key, kind in _HELD.items() if not isinstance(state.get(key), kind)]
    if lacking:
        raise ValueError(f"{path} is no checkpoint of sigreg-lab pretrain: it lacks {', '.join(lacking)}")
    return state


def read_config(saved: dict[str, Any]) -> PretrainConfig:
    """The config that a checkpoint or ``config.json`` holds.

    Raises:
        ValueError: it has settings that this version does not know; the message names them.
    """
    known = PretrainConfig()
    unknown = [key for key in saved if key not in {field.name for field in dataclasses.fields(known)}]
    parts = {part: saved.get(part, {}) for part in PARTS}
    for part, own in parts.items():
        unknown += [f"{part}.{key}" for key in own if key not in getattr(known, part)._fields]
    if unknown:
        raise ValueError(
            f"the run was made by a newer version of sigreg-lab, with the setting(s) {', '.join(unknown)}; update "
            "sigreg-lab, or choose another --out"
        )
    return from_dict({**saved, **parts})


def check_same_run(saved: dict[str, Any], config: PretrainConfig, what: str = "the checkpoint") -> None:
    """Refuse to go on from another run, or to replace it.

    Raises:
        ValueError: a setting that matters differs; the message names them.
    """
    mine = as_dict(config)
    theirs = as_dict(read_config(saved))
    different = [
        f"{key}={theirs[key]!r} (now {mine[key]!r})" for key in mine if key not in FREE and theirs[key] != mine[key]
    ]
    if different:
        raise ValueError(f"{what} is of another run: it has {', '.join(different)}; change --out or the settings")


def check_same_data(state: dict[str, Any], identity: dict[str, Any]) -> None:
    """Refuse to go on with other data, or to replace a run on them.

    A checkpoint of an earlier version says nothing of its data, and is believed.

    Raises:
        ValueError: classes or labels differ from those that the checkpoint was trained with.
    """
    different = [key for key, value in identity.items() if state.get(key, value) != value]
    if different:
        raise ValueError(
            f"the checkpoint is of other data of the same name: its {' and '.join(different)} differ; change --out or "
            "--data"
        )


def load_weights(module: torch.nn.Module, weights: dict[str, Any], what: str) -> None:
    """Load weights.

    Raises:
        ValueError: they belong to another architecture; the message names the first difference.
    """
    own = module.state_dict()
    for name in own.keys() | weights.keys():
        if name not in own or name not in weights or own[name].shape != weights[name].shape:
            here = tuple(own[name].shape) if name in own else "absent"
            there = tuple(weights[name].shape) if name in weights else "absent"
            raise ValueError(
                f"the checkpoint is of another architecture than {what}: {name} is {there} there, {here} here"
            )
    module.load_state_dict(weights)
