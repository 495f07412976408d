"""The kernel cache where it is damaged, forbidden or not there: the kernels run, or the eager implementation does."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.kernels.test_native import FIRST_CALL

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="no C compiler"),
]
needs_root = pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root may do this to itself")
NOBODY = 54321
WARNED = "'auto' takes the slower eager implementation"


def first_call(before: tuple[str, ...] = (), **environment: str) -> tuple[str, str]:
    """What the first call of a process answers, and what it says on stderr."""
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    done = subprocess.run(
        [*before, sys.executable, "-c", FIRST_CALL],
        env={**kept, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def damages(whole: bytes) -> dict[str, bytes]:
    rng = random.Random(0)
    return {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "a page": whole[:4096],
        "random": rng.randbytes(len(whole)),
        "elf and random": whole[:64] + rng.randbytes(len(whole) - 64),
        "text": b"#!/bin/sh\n",
    }


def test_a_damaged_library_is_built_again(tmp_path):
    assert first_call(SIGREG_LAB_CACHE=str(tmp_path)) == ("cpu", "")
    libraries = {path: path.read_bytes() for path in (tmp_path / "kernels").glob("*.so")}
    assert libraries
    for name in damages(b"x" * 5000):
        for path, whole in libraries.items():
            path.write_bytes(damages(whole)[name])
        assert first_call(SIGREG_LAB_CACHE=str(tmp_path)) == ("cpu", ""), name
        assert {path: path.read_bytes() for path in libraries} == libraries, name


def test_kills_while_libraries_are_built_do_no_harm(tmp_path):
    rng = random.Random(0)
    start = time.monotonic()
    first_call(SIGREG_LAB_CACHE=str(tmp_path / "whole"))
    longest = time.monotonic() - start
    environment = {**os.environ, "SIGREG_LAB_CACHE": str(tmp_path / "cut"), "OMP_NUM_THREADS": "1"}
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", FIRST_CALL], env=environment, start_new_session=True)
        time.sleep(rng.uniform(longest / 2, longest))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert first_call(SIGREG_LAB_CACHE=str(tmp_path / "cut")) == ("cpu", "")


@pytest.fixture
def mounted(tmp_path):
    """A function that mounts a small file system with an option; unmounted at the end."""
    places = []

    def mount(name, option):
        place = tmp_path / name
        place.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=32m,{option}", "tmpfs", place]).returncode:
            pytest.skip("this system does not let root mount")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", "-l", place], check=True)


@needs_root
def test_a_cache_without_leave_to_load_is_passed_over(mounted, tmp_path):
    noexec, temporary = mounted("noexec", "noexec,mode=700"), tmp_path / "temporary"
    temporary.mkdir()
    assert first_call(SIGREG_LAB_CACHE=str(noexec), TMPDIR=str(temporary)) == ("cpu", "")
    assert [*temporary.iterdir()] == []
    answer, said = first_call(SIGREG_LAB_CACHE=str(noexec), TMPDIR=str(noexec))
    assert answer == "eager"
    assert said.count(WARNED) == 1


@needs_root
def test_a_read_only_cache_is_read_and_leaves_nothing_behind(mounted, tmp_path):
    place, temporary = mounted("cache", "mode=700"), tmp_path / "temporary"
    temporary.mkdir()
    first_call(SIGREG_LAB_CACHE=str(place / "filled"))
    (place / "empty").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    for name in ("filled", "empty"):
        answer = first_call(SIGREG_LAB_CACHE=str(place / name), TMPDIR=str(temporary))
        assert answer == ("cpu", "")
    assert [*temporary.iterdir()] == []


@needs_root
@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv")
def test_a_user_without_name_and_home_has_the_cache_that_the_variable_names():
    become = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    if subprocess.run([*become, sys.executable, "-c", "import torch"], capture_output=True).returncode:
        pytest.skip("another user cannot run this Python")
    with tempfile.TemporaryDirectory() as place:
        cache, temporary = Path(place, "cache"), Path(place, "temporary")
        Path(place).chmod(0o711)
        for folder in (cache, temporary):
            folder.mkdir()
            os.chown(folder, NOBODY, NOBODY)
        common = {"TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
        assert first_call(become, SIGREG_LAB_CACHE=str(cache), **common) == ("cpu", "")
        assert [*(cache / "kernels").glob("*.so")]
        assert first_call(become, **common) == ("cpu", "")
        assert [path.name for path in temporary.iterdir() if path.name.startswith("sigreg-lab-")] == []
