"""Where a number comes from: commit, versions, hardware, command."""

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "sigreg-lab",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scipy",
    "statsmodels",
    "pandas",
    "scikit-learn",
    "lightning-fabric",
    "lightly",
    "stable-pretraining",
    "triton",
)
REPOSITORY = Path(__file__).parents[2]


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def provenance() -> dict[str, Any]:
    """Git commit and whether the tree differs from it, versions, hardware, and the command, without paths."""
    return {"git": git_state(), "versions": versions(), "hardware": hardware(), "command": command()}


@cache
def git_state() -> dict[str, Any]:
    """The commit of the code, and whether the working tree differs from it (``results`` aside).

    An installed package has none: a repository that its environment lies in is another. Where there is no repository,
    as in a container, ``SIGREG_LAB_COMMIT`` may state the commit.
    """

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    root = git("rev-parse", "--show-toplevel")
    ours = root is not None and Path(root).resolve() == REPOSITORY.resolve()
    commit = git("rev-parse", "HEAD") if ours else None
    if commit is None and (stated := os.environ.get("SIGREG_LAB_COMMIT")):
        return {"commit": stated, "dirty": False, "stated": True}
    status = git("status", "--porcelain", "--", ".", ":!results") if ours else None
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, as far as they are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def hardware() -> dict[str, Any]:
    """Processor, its vector instructions as torch sees them, cores, memory, and the GPU if there is one."""
    import torch

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    found: dict[str, Any] = {
        "cpu": model,
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory_gib"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def command() -> str:
    """The command line; of a path that starts at the root only the last part, so that it tells no machine's folders."""
    return shlex.join(Path(word).name if Path(word).is_absolute() else word for word in sys.argv)
