"""Arrays from .npy, .npz and .pt files. Sizes are read from headers before anything is loaded; no pickle is executed.

A .npy is read through a memory map. Checksums of .npz and .pt archives are verified: neither NumPy nor PyTorch does so
for all that it reads.
"""

import math
import pickle
import warnings
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigreg_lab.check.request import Array, Index, Request, Sampler, Table, choose, line, one_row_a_sample

_BLOCK = 2**20  # rows that get their random keys at once
_NO_PICKLES = "holds pickled objects, or is no .npy file; pickles are never loaded: save a plain array of numbers"


def read_npy(request: Request) -> Table:
    """An array in a file of its own."""
    try:
        array = np.load(request.path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise request.refuse(_numpy_reason(error)) from error
    if not isinstance(array, np.memmap):
        raise request.refuse("is an archive, no .npy file; name it .npz")
    surplus = request.path.stat().st_size - array.offset - array.nbytes
    if surplus:
        raise request.refuse(f"damaged, or several arrays in one file ({surplus:,} bytes follow the first array)")
    return _table_of_numpy(array, request, request.path.name)


def read_npz(request: Request) -> Table:
    """An array of an archive."""
    with _archive(request) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist() if _is_array(info)}
        name = choose(members, request, "array")
        array = _member(archive, members[name], request)
        labels = None
        if request.group is not None:
            if request.group not in members:
                raise request.refuse(f"--group {request.group}: no such array")
            labels = _member(archive, members[request.group], request)
    return _table_of_numpy(array, request, f"{request.path.name}, array '{name}'", labels)


def _is_array(info: zipfile.ZipInfo) -> bool:
    return info.filename.endswith(".npy")


def _archive(request: Request) -> zipfile.ZipFile:
    """The zip file, of which no member is encrypted or of another's name."""
    try:
        archive = zipfile.ZipFile(request.path)
    except zipfile.BadZipFile as error:
        raise request.refuse(f"not a readable archive ({line(error)})") from error
    names = archive.namelist()
    if len(set(names)) < len(names):
        raise request.refuse("holds several members of one name; save the arrays again")
    if any(info.flag_bits & 1 for info in archive.infolist()):
        raise request.refuse("holds encrypted members; save it without a password")
    return archive


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, request: Request) -> np.ndarray[Any, Any]:
    with archive.open(info) as stream:
        try:
            version = np.lib.format.read_magic(stream)
            read_header = np.lib.format.read_array_header_1_0
            if version != (1, 0):
                read_header = np.lib.format.read_array_header_2_0
            shape, _, dtype = read_header(stream)
        except ValueError as error:
            raise request.refuse(_numpy_reason(error)) from error
    request.allow(math.prod(shape) * dtype.itemsize, f"array '{info.filename.removesuffix('.npy')}'")
    with archive.open(info) as stream:
        try:
            array = np.lib.format.read_array(stream, allow_pickle=False)
        except ValueError as error:
            raise request.refuse(_numpy_reason(error)) from error
        if stream.read(1):  # read to the end the member's checksum is verified
            raise request.refuse(f"damaged: '{info.filename}' is longer than its header says")
    return array


def _numpy_reason(error: Exception) -> str:
    if any(word in str(error).lower() for word in ("pickle", "object array", "python objects", "magic string")):
        return _NO_PICKLES
    return f"damaged, or no .npy file ({line(error)})"


def read_pt(request: Request) -> Table:
    """A tensor, or one of a dictionary of tensors, by PyTorch's loader for tensors and plain containers alone."""
    path = request.path
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    size = path.stat().st_size
    if zipped:
        with _archive(request) as archive:
            size = sum(info.file_size for info in archive.infolist())
            request.allow(size, "its content")
            stored = any(info.CRC for info in archive.infolist())  # torch.serialization.set_crc32_options(False): none
            if stored and archive.testzip() is not None:
                raise request.refuse("damaged: its content does not match its checksum; save or copy it again")
    request.allow(size, "its content")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols: what they lead to is reported below
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # the unpickler of a damaged file raises anything
        raise request.refuse(_not_loaded(error)) from error
    source, labels = path.name, None
    if isinstance(loaded, dict):
        tensors = {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
        name = choose(tensors, request, "tensor")
        if request.group is not None:
            if request.group not in tensors:
                raise request.refuse(f"--group {request.group}: no such tensor")
            labels = _plain_tensor(tensors[request.group], request)
        loaded, source = tensors[name], f"{path.name}, tensor '{name}'"
    elif request.key is not None or request.group is not None:
        raise request.refuse(f"--key and --group name entries of a dictionary, it holds a {type(loaded).__name__}")
    if not isinstance(loaded, Tensor):
        raise request.refuse(f"holds a {type(loaded).__name__}, not a tensor; save the embeddings as one tensor")
    tensor = _plain_tensor(loaded, request)
    kind = "f" if tensor.is_floating_point() else "i"

    def take(index: Index) -> Array:
        # NumPy has no bfloat16 and no float8: rows are picked first, then converted.
        return tensor[torch.from_numpy(index)].double().numpy()

    return _table(request, tensor.shape, kind, str(tensor.dtype).removeprefix("torch."), take, source, labels)


def _not_loaded(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):
        return (
            "holds pickled objects other than tensors, or is damaged; it is not loaded: save the tensor alone, "
            "torch.save(embeddings, ...)"
        )
    return f"is not loaded: damaged, or not written by torch.save ({line(error)})"


def _plain_tensor(x: Tensor, request: Request) -> Tensor:
    """A dense tensor of real numbers that lies in memory."""
    if x.layout != torch.strided or x.is_quantized or x.is_nested:
        raise request.refuse("holds a sparse, nested or quantised tensor; save it dense, as floating point")
    if x.is_meta:
        raise request.refuse(
            "holds a tensor on the meta device, of a shape but no values; save it after it is computed"
        )
    if x.is_complex():
        raise request.refuse(f"holds values of type {x.dtype}, not real numbers; save the embeddings as floats")
    return x.detach().resolve_neg()


def _table_of_numpy(array: Any, request: Request, source: str, labels: Any = None) -> Table:
    def take(index: Index) -> Array:
        with np.errstate(over="ignore"):  # of long doubles: infinite then, and excluded
            return np.asarray(array[index] if array.ndim == 2 else array[index, None], dtype=np.float64)

    return _table(request, array.shape, array.dtype.kind, str(array.dtype), take, source, labels)


def _table(
    request: Request,
    shape: Sequence[int],
    kind: str,
    dtype: str,
    take: Callable[[Index], Array],
    source: str,
    labels: Any,
) -> Table:
    if kind not in "fiub":
        raise request.refuse(f"holds values of type {dtype}, not real numbers; save the embeddings as floats")
    if len(shape) not in (1, 2):
        raise request.refuse(f"has shape {tuple(shape)}; {one_row_a_sample(len(shape), 'embeddings', '--group')}")
    total, dim = shape[0], math.prod(shape[1:])
    if dim == 0 or total == 0:
        raise request.refuse(f"has shape {tuple(shape)}, nothing to check")
    if labels is not None and tuple(labels.shape) != (total,):
        raise request.refuse(f"--group {request.group}: has shape {tuple(labels.shape)}, one value a row is needed")
    sampler = Sampler(request, dim)
    for start in range(0, total, _BLOCK):
        stop = min(start + _BLOCK, total)
        some_labels = None if labels is None else labels[start:stop].tolist()
        sampler.add(stop - start, lambda index, start=start: take(index + start), some_labels)  # type: ignore[misc]
    notes = [f"values are of type {dtype}: taken as numbers"] if kind in "iub" else []
    return sampler.table([str(i) for i in range(dim)], notes, source)
