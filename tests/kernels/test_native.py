import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sigreg_lab.kernels
from sigreg_lab.kernels import BackendUnavailable, available_backends, choose_backend, native

needs_compiler = pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="no C compiler")

FIRST_CALL = """
import torch
from sigreg_lab.kernels import characteristic_function, choose_backend
x = torch.linspace(-3, 3, 1001)[:, None].expand(-1, 3)
c, s = characteristic_function(x, 3.0, 17)
angle = torch.arange(1, 17)[:, None, None] * (3 / 16) * x.double()
assert (c - angle.cos().mean(1)).abs().max() < 1e-7
assert (s - angle.sin().mean(1)).abs().max() < 1e-7
print(choose_backend())
"""


def run(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", FIRST_CALL],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@needs_compiler
def test_processes_that_start_together_build_into_one_cache(tmp_path):
    command = [sys.executable, "-c", FIRST_CALL]
    environment = {**os.environ, "SIGREG_LAB_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in processes] == ["cpu", "cpu"]
    assert len(list((tmp_path / "kernels").iterdir())) == 1


def test_without_a_compiler_auto_is_eager(tmp_path):
    assert run(SIGREG_LAB_CACHE=str(tmp_path), CC="/nonexistent/cc") == "eager"


@needs_compiler
def test_a_cache_that_cannot_be_written_does_not_matter(tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    assert run(SIGREG_LAB_CACHE=str(blocked / "folder"), TMPDIR=str(tmp_path)) == "cpu"


def test_forced_backends_say_why_they_cannot_run(monkeypatch):
    monkeypatch.setattr(native, "_library", lambda *_: (_ for _ in ()).throw(native.BuildError("no C compiler")))
    with pytest.raises(BackendUnavailable, match=r"'cpu' is not available for torch\.float32 on cpu: no C compiler"):
        choose_backend("cpu")
    assert choose_backend("auto") == "eager"
    assert available_backends()["cpu"] == "no C compiler"
    with pytest.raises(BackendUnavailable, match="CPU memory"):
        choose_backend("cpu", "cuda")
    with pytest.raises(BackendUnavailable, match="float32"):
        choose_backend("triton", "cuda", torch.float64)
    assert choose_backend("eager", "cuda") == "eager"
    assert choose_backend("auto", "cuda", torch.float64) == "eager"


@needs_compiler
def test_a_changed_source_gets_another_name(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGREG_LAB_CACHE", str(tmp_path))
    compiler = str(shutil.which("cc") or shutil.which("gcc"))
    built = {native._build(compiler, code, ("-shared", "-fPIC"), "a") for code in (b"int f;", b"int g;", b"int f;")}
    assert len(built) == 2


def test_sources_travel_with_the_package():
    assert {path.name for path in Path(sigreg_lab.kernels.__file__).parent.glob("*.[ch]")} == {
        "characteristic_function.c",
        "hadamard.c",
        "pairs.c",
        "vectors.h",
    }
