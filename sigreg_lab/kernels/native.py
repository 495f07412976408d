"""CPU kernels in C, built on first use and called through ctypes.

A source file is compiled by the system's compiler into ``kernels`` in the user's cache (``sigreg_lab.cache``), under a
name made of source, header, flags, compiler and processor, and of the library's own digest: a change of any of them
builds anew, and a file that is damaged is built again. The library is written beside its final name and renamed, so
that processes that start together do not see half a file. A cache that others own or can write to is not used; without
one, each process builds in a temporary folder that is gone when the library is loaded. Where nothing can be built or
loaded the reason is kept, and "auto" takes the eager implementation, with a warning unless there is no compiler.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor

from sigreg_lab.cache import cache_folder
from sigreg_lab.kernels import eager

# Never -ffast-math, which breaks the reduction of the angle. The last sets are for compilers without OpenMP.
_COMMON_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-shared", "-fPIC")
_FLAG_SETS = (("-march=native", "-fopenmp"), ("-march=native",), ("-mcpu=native", "-fopenmp"), ())
_HEADER = Path(__file__).with_name("vectors.h")
_DEFINES = {torch.float32: (), torch.float64: ("-DREAL_IS_DOUBLE",)}
LARGEST_ORDER = 512  # the accumulators lie on the stack
_LEAST_SAMPLES = 256  # that make a task
_LEAST_WORK = 1 << 15

_POINTER, _LONG, _DOUBLE, _INT = ctypes.c_void_p, ctypes.c_long, ctypes.c_double, ctypes.c_int
_ARRAY = (_POINTER, _LONG, _LONG, _LONG, _LONG, _LONG)
_HADAMARD = (_POINTER, _LONG, _LONG, _LONG, _POINTER, _LONG, _LONG, _LONG, _DOUBLE, _POINTER, _INT)
_SIGNATURES = {
    "cosine_sine_sums": (*_ARRAY, _DOUBLE, _INT, _LONG, _POINTER, _INT),
    "trigonometric_polynomial": (*_ARRAY, _DOUBLE, _INT, _POINTER, _POINTER, _LONG, _POINTER, _INT),
    "distance_and_slopes": (*(_POINTER, _LONG, _LONG, _LONG, _DOUBLE, _LONG, _LONG), *(_POINTER,) * 5),
    "hadamard_forward": _HADAMARD,
    "hadamard_transposed": _HADAMARD,
    "pair_sums": (
        *(_POINTER, _LONG, _LONG, _LONG, _POINTER, _LONG, _INT, _DOUBLE, _DOUBLE, _POINTER, _LONG),
        *(_POINTER, _POINTER, _INT),
    ),
}
#: What is summed over pairs, in the order of pairs.c.
PAIR_KINDS = ("exponential", "growing", "cosine", "chebyshev", "distance")
LARGEST_ANGLE = 1e5  # that its cosines take


class BuildError(RuntimeError):
    """A C source could not be built; the message holds the compiler's."""


def cosine_sine_sums(x: Tensor, step: float, order: int) -> Tensor:
    """Sums over samples of cos(k step x) and sin(k step x): (B, N, M) -> (2, B, order, M), float64."""
    if order > LARGEST_ORDER:
        return eager.cosine_sine_sums(x, step, order)
    batch, num_samples, num_slices = x.shape
    x = _rows_contiguous(x)
    splits = _splits(batch * num_slices, num_samples)
    sums = torch.empty(splits, 2, batch, order, num_slices, dtype=torch.float64)
    library = _library("characteristic_function.c", *_DEFINES[x.dtype])
    library.cosine_sine_sums(*_array(x), step, order, splits, sums.data_ptr(), threads(x.numel()))
    return sums[0] if splits == 1 else sums.sum(0)


def trigonometric_polynomial(x: Tensor, step: float, a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """sum_k a_k sin(k step x) + b_k cos(k step x); ``a``, ``b``: (B, order, M), of x's dtype; ``out`` may be ``x``."""
    if a.shape[1] > LARGEST_ORDER:
        return eager.trigonometric_polynomial(x, step, a, b, out)
    batch, num_samples, num_slices = x.shape
    x = _rows_contiguous(x)
    out = torch.empty_like(x, memory_format=torch.contiguous_format) if out is None else out
    if out.stride() != x.stride():
        x = x.contiguous()
    a, b = a.contiguous(), b.contiguous()
    splits = _splits(batch * num_slices, num_samples)
    library = _library("characteristic_function.c", *_DEFINES[x.dtype])
    library.trigonometric_polynomial(
        *_array(x), step, a.shape[1], a.data_ptr(), b.data_ptr(), splits, out.data_ptr(), threads(x.numel())
    )
    return out


def distance_and_slopes(
    sums: Tensor,
    step: float,
    num_samples: int,
    num_slices: int,
    target: Tensor,
    weight: Tensor,
    dtype: torch.dtype | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted distance of sums from their targets, (2, B, order, M) -> (B,), and the coefficients a and b.

    Of ``dtype``; empty if None. Formulas: see characteristic_function.c; target, weight: (order,), float64.
    """
    sums = sums.contiguous()
    batch, order, columns = sums.shape[1:]
    distance = sums.new_empty(batch)
    a, b = (sums.new_empty((batch, order, columns) if dtype else 0, dtype=dtype) for _ in range(2))
    target, weight = target.contiguous(), weight.contiguous()
    slopes = (a.data_ptr(), b.data_ptr()) if dtype else (None, None)
    library = _library("characteristic_function.c", *_DEFINES[dtype or torch.float32])
    numbers = (batch, order, columns, step, num_samples, num_slices, target.data_ptr(), weight.data_ptr())
    library.distance_and_slopes(sums.data_ptr(), *numbers, distance.data_ptr(), *slopes)
    return distance, a, b


def hadamard(x: Tensor, signs: Tensor, num_slices: int, transposed: bool, scale: float) -> Tensor:
    """Scaled rounds of signs and Hadamard transforms: (rows, K) -> (rows, M); transposed (rows, M) -> (rows, n)."""
    x, signs = x.contiguous(), signs.contiguous()
    blocks, rounds, n = signs.shape
    library = _library("hadamard.c", *_DEFINES[x.dtype])
    out = x.new_empty(x.shape[0], n if transposed else num_slices)
    function = library.hadamard_transposed if transposed else library.hadamard_forward
    shape = (x.shape[0], n if transposed else x.shape[1], n)
    function(
        x.data_ptr(), *shape, signs.data_ptr(), blocks, rounds, num_slices, scale, out.data_ptr(), threads(out.numel())
    )
    return out


def pair_sums(
    kind: str, x: Tensor, *beside: Tensor, c: float = 0.0, a: float = 0.0, coefficients: Tensor | None = None
) -> Tensor:
    """Sums over all ordered pairs of rows, (B, N, K) -> (B,), float64; formulas and ``beside``, (B, N): see pairs.c."""
    batch, n, dim = x.shape
    x, columns = x.contiguous(), torch.stack(beside, 1) if beside else x.new_empty(0)
    coefficients = x.new_zeros(1) if coefficients is None else coefficients
    scratch, sums = x.new_empty(batch, dim + len(beside) + 1, n + 7), x.new_empty(batch)
    sample, numbers = (x.data_ptr(), batch, n, dim), (columns.data_ptr(), len(beside))
    series, results = (coefficients.data_ptr(), len(coefficients) - 1), (scratch.data_ptr(), sums.data_ptr())
    function = (PAIR_KINDS.index(kind), c, a, *series)
    _library("pairs.c").pair_sums(*sample, *numbers, *function, *results, threads(batch * n * n))
    return sums


def threads(work: int) -> int:
    """As many as torch uses, for ``work`` elements; one for a call that is over before a second thread has woken."""
    return torch.get_num_threads() if work >= _LEAST_WORK else 1


def why_unavailable(dtype: torch.dtype) -> str:
    """An empty string if the kernels for ``dtype`` can run here, else the reason. Builds them if need be."""
    if dtype not in _DEFINES:
        return f"it computes in float32 and float64, not {dtype}"
    return _why_not_built("characteristic_function.c", *_DEFINES[dtype])


def has_pair_sums() -> bool:
    """Whether ``pair_sums`` can run here. Builds it if need be."""
    return not _why_not_built("pairs.c")


def _why_not_built(source: str, *defines: str) -> str:
    try:
        _library(source, *defines)
    except BuildError as error:
        return str(error)
    return ""


def _rows_contiguous(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def _array(x: Tensor) -> tuple[int, ...]:
    return (x.data_ptr(), *x.shape, x.stride(0), x.stride(1))


def _splits(columns: int, num_samples: int) -> int:
    """Parts into which the samples are cut so that every thread has work; 128 slices make one task."""
    tasks, available = -(-columns // 128), threads(columns * num_samples)
    wanted = -(-available // tasks) if tasks < 2 * available else 1
    return max(1, min(wanted, num_samples // _LEAST_SAMPLES))


@functools.cache
def _library(source: str, *defines: str) -> ctypes.CDLL:
    built = _build_or_reason(source, defines)
    if isinstance(built, str):
        raise BuildError(built)
    return built


@functools.cache
def _build_or_reason(source: str, defines: tuple[str, ...]) -> ctypes.CDLL | str:
    """The library, or why there is none: a failed build is not tried twice in a process."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        return "no C compiler was found (cc, gcc, clang, or the one that CC names)"
    code = (Path(__file__).parent / source).read_bytes()
    complaint = ""
    for machine_flags in _FLAG_SETS:
        flags = (*_COMMON_FLAGS, *machine_flags, *defines)
        try:
            return _load(compiler, code, flags, Path(source).stem)
        except (OSError, subprocess.SubprocessError) as error:
            stderr = getattr(error, "stderr", None)
            complaint = complaint or (stderr.decode(errors="replace").strip() if stderr else str(error))
    _warn_of_eager()
    return f"no library could be built with {compiler}: {complaint[-500:]}"


@functools.cache
def _warn_of_eager() -> None:
    warnings.warn(
        "the CPU kernels cannot be built or loaded here, so that 'auto' takes the slower eager implementation; "
        "sigreg_lab.kernels.available_backends() says why",
        stacklevel=2,
    )


def _load(compiler: str, code: bytes, flags: tuple[str, ...], stem: str) -> ctypes.CDLL:
    """The library from the cache, or from a folder that is gone once it is loaded."""
    cache = _cache_folder()
    if cache is not None:
        try:
            return _open(_build(compiler, code, flags, stem, cache))
        except OSError:
            pass  # nothing can be written there, or what was written is no library
    with tempfile.TemporaryDirectory(prefix="sigreg-lab-") as private:
        if _forbids_code(Path(private)):
            raise OSError(
                f"no library may be loaded from {Path(private).parent}; set SIGREG_LAB_CACHE to a folder of your own"
            )
        return _open(_build(compiler, code, flags, stem, Path(private)))


def _open(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    for name, signature in _SIGNATURES.items():
        if hasattr(library, name):
            getattr(library, name).argtypes = signature
            getattr(library, name).restype = None
    return library


def _build(compiler: str, code: bytes, flags: tuple[str, ...], stem: str, folder: Path | None = None) -> Path:
    """Path of a library in ``folder``, the cache if None: one that is there and as it was built, or a new one."""
    folder = folder or _cache_folder()
    if folder is None:
        raise OSError("there is no cache of libraries; set SIGREG_LAB_CACHE to a folder of your own")
    parts = [code, _HEADER.read_bytes(), repr((compiler, flags, _machine())).encode()]
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    name = f"{stem}-{key}"
    for path in sorted(folder.glob(f"{name}-*.so")):
        if _is_ours(path) and path.is_file() and path.name == f"{name}-{_digest(path)}.so":
            return path
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        source, fresh = Path(scratch, f"{stem}.c"), Path(scratch, f"{stem}.so")
        source.write_bytes(code)
        command = [compiler, *flags, f"-I{_HEADER.parent}", str(source), "-o", str(fresh), "-lm"]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        fresh.chmod(0o755)  # whatever the umask: one that its group can write would be refused
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        library = folder / f"{name}-{_digest(fresh)}.so"
        os.replace(fresh, library)
    return library


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def _cache_folder() -> Path | None:
    """The folder of the built libraries; None if there can be none that may be trusted and loaded from."""
    try:
        folder = cache_folder() / "kernels"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ours, forbidden = _is_ours(folder), _forbids_code(folder)
    except (OSError, RuntimeError):  # RuntimeError: a user without a home
        return None
    if not ours:
        warnings.warn(
            f"the kernel cache {folder} is not used, since others own it or can write to it; make it yours alone "
            f"(chmod 700), or set SIGREG_LAB_CACHE to another folder",
            stacklevel=2,
        )
    return folder if ours and not forbidden else None


def _is_ours(path: Path) -> bool:
    """Whether none but this user and root can have written the file, or files into the folder."""
    if not hasattr(os, "geteuid"):
        return True
    found = path.stat()
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _forbids_code(folder: Path) -> bool:
    """Whether no library may be loaded from there: a file system that is mounted noexec."""
    return bool(hasattr(os, "ST_NOEXEC") and os.statvfs(folder).f_flag & os.ST_NOEXEC)


@functools.cache
def _machine() -> tuple[str, ...]:
    """What "native" means here: a cache on a shared disk serves machines that differ."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = platform.processor()
    return (platform.machine(), platform.system(), flags)
