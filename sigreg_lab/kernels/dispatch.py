"""The choice of an implementation: one function, and an error that says why a forced one cannot run.

eager    torch operations in blocks that stay in the cache; any device, float32 and float64
compile  the same arithmetic through ``torch.compile``; tens of seconds at the first call, so never chosen by "auto"
cpu      C built on first use by the system's compiler (under a second, then kept in the user's cache)
triton   GPU kernels; also on CPU tensors under TRITON_INTERPRET=1, for tests
"""

import os
from importlib import import_module
from types import ModuleType

import torch

BACKENDS = ("auto", "eager", "compile", "cpu", "triton")
_MODULES = {"eager": "eager", "compile": "compiled", "cpu": "native", "triton": "triton_sums"}


class BackendUnavailable(RuntimeError):
    """A backend was asked for by name and cannot run here; the message says why."""


def choose_backend(
    backend: str = "auto", device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> str:
    """The backend that a call will use: "eager", "compile", "cpu" or "triton".

    Args:
        backend: a name, or "auto" for the fastest that is available without a long compilation.
        device: where the data lies.
        dtype: float32 or float64 (lower precision is lifted to float32, except inside the Triton products).

    Raises:
        ValueError: an unknown name.
        BackendUnavailable: ``backend`` is forced and cannot run for this device and dtype.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    kind = torch.device(device).type
    if backend == "auto":
        if kind == "cpu":
            return "eager" if _why_not("cpu", kind, dtype) else "cpu"
        return "eager" if _why_not("triton", kind, dtype) else "triton"
    reason = _why_not(backend, kind, dtype)
    if reason:
        raise BackendUnavailable(f"backend {backend!r} is not available for {dtype} on {kind}: {reason}")
    return backend


def available_backends(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> dict[str, str]:
    """For each backend "available", or the reason why it is not."""
    kind = torch.device(device).type
    return {name: _why_not(name, kind, dtype) or "available" for name in BACKENDS[1:]}


def implementation(name: str) -> ModuleType:
    """The module that holds ``cosine_sine_sums`` and ``trigonometric_polynomial`` of a backend that was chosen."""
    return import_module(f"sigreg_lab.kernels.{_MODULES[name]}")


def _why_not(backend: str, kind: str, dtype: torch.dtype) -> str:
    """An empty string if the backend can run, else the reason."""
    if backend == "cpu":
        if kind != "cpu":
            return "its kernels read CPU memory only"
        return implementation("cpu").why_unavailable(dtype)
    if backend == "triton":
        if dtype == torch.float64:
            return "its kernels compute in float32"
        if kind != "cuda" and not interpreting():
            return "it needs a CUDA device (or TRITON_INTERPRET=1, for tests)"
        try:
            import triton  # noqa: F401
        except ImportError as error:
            return f"triton cannot be imported ({error})"
    if backend == "compile" and not _has_compiler():
        return "torch.compile needs a C++ compiler for the CPU; none was found"
    return ""


def interpreting() -> bool:
    """Whether Triton kernels run in its interpreter."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _has_compiler() -> bool:
    import shutil

    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++") if name)
