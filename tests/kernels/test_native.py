import functools
import multiprocessing
import os
import shutil
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

import sigreg_lab.kernels
from sigreg_lab.kernels import (
    BackendUnavailable,
    available_backends,
    choose_backend,
    eager,
    native,
)
from tests.processes import forked
from tests.test_cache import make_homeless

needs_compiler = pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="no C compiler")


#: Right numbers at the first call of a process, and the backend that made them.
FIRST_CALL = """
import torch
from sigreg_lab.kernels import characteristic_function, choose_backend
x = torch.linspace(-3, 3, 1001)[:, None].expand(-1, 3)
c, s = characteristic_function(x, 3.0, 17)
angle = torch.arange(1, 17)[:, None, None] * (3 / 16) * x.double()
assert (c - angle.cos().mean(1)).abs().max() < 1e-7
assert (s - angle.sin().mean(1)).abs().max() < 1e-7
backend = choose_backend()
print(backend)
"""


def first_call(environment: dict[str, str], told: Connection) -> None:
    os.environ.update(environment)
    tempfile.tempdir = None
    names: dict[str, str] = {}
    exec(FIRST_CALL, names)
    told.send(names["backend"])


def start(**environment: str) -> Connection:
    """Another process, which tells the backend of its first call."""
    here, there = multiprocessing.Pipe()
    forked().Process(target=first_call, args=(environment, there), daemon=True).start()
    there.close()
    return here


def run(**environment: str) -> str:
    return start(**environment).recv()


@needs_compiler
def test_processes_that_start_together_build_into_one_cache(tmp_path):
    processes = [start(SIGREG_LAB_CACHE=str(tmp_path)) for _ in range(2)]
    assert [process.recv() for process in processes] == ["cpu", "cpu"]
    assert len(list((tmp_path / "kernels").iterdir())) == 1


def test_without_a_compiler_auto_is_eager(tmp_path):
    assert run(SIGREG_LAB_CACHE=str(tmp_path), CC="/nonexistent/cc") == "eager"


@needs_compiler
def test_a_cache_that_cannot_be_written_does_not_matter_and_nothing_is_left_behind(tmp_path):
    blocked, temporary = tmp_path / "file", tmp_path / "temporary"
    blocked.touch()
    temporary.mkdir()
    assert run(SIGREG_LAB_CACHE=str(blocked / "folder"), TMPDIR=str(temporary)) == "cpu"
    assert [*temporary.iterdir()] == []


@needs_compiler
def test_a_truncated_library_is_built_again(tmp_path):
    assert run(SIGREG_LAB_CACHE=str(tmp_path)) == "cpu"
    (library,) = (tmp_path / "kernels").glob("characteristic_function-*.so")
    os.truncate(library, library.stat().st_size // 2)
    assert run(SIGREG_LAB_CACHE=str(tmp_path)) == "cpu"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of the libraries, and a temporary folder beside it."""
    monkeypatch.setenv("SIGREG_LAB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "cache" / "kernels"


def _tiny(answer: int = 42, load: bool = True):
    """A library that is built in a moment."""
    code = f"int answer(void) {{ return {answer}; }}".encode()
    compiler = str(shutil.which("cc") or shutil.which("gcc"))
    return (native._load if load else native._build)(compiler, code, ("-shared", "-fPIC"), "a")


@needs_compiler
@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: bytes(len(whole)),
        lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]),
        lambda whole: whole + b"\0",
    ],
    ids=["empty", "truncated", "zeros", "one bit", "longer"],
)
def test_a_damaged_library_is_built_again(cache, damage):
    library = _tiny(load=False)
    whole = library.read_bytes()
    library.write_bytes(damage(whole))
    again = _tiny(load=False)
    assert native._digest(again) in again.name
    assert again.read_bytes() == whole


@needs_compiler
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_a_cache_that_others_can_write_to_is_not_used(cache, mode, tmp_path):
    """A library that another has put there, of the right name and digest, is not loaded."""
    name = _tiny(load=False).name.split("-")[1]
    planted = _tiny(13, load=False)
    planted.rename(cache / f"a-{name}-{native._digest(planted)}.so")
    cache.chmod(mode)
    with pytest.warns(UserWarning, match=rf"the kernel cache {cache} is not used, since others own it or can write"):
        assert _tiny().answer() == 42
    assert [*(tmp_path / "temporary").iterdir()] == []


@needs_compiler
@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can give files away")
def test_a_library_of_another_user_is_not_loaded_by_root(cache):
    library = _tiny(load=False)
    library.write_bytes(b"")
    foreign = library.with_name(f"{library.name.rsplit('-', 1)[0]}-{native._digest(library)}.so")
    library.rename(foreign)
    os.chown(foreign, 54321, 54321)
    assert _tiny(load=False) != foreign
    os.chown(cache, 54321, 54321)
    with pytest.warns(UserWarning, match="is not used, since others own it"):
        assert native._cache_folder() is None


@needs_compiler
def test_a_library_can_be_used_again_whatever_the_umask(cache):
    before = os.umask(0)
    try:
        library = _tiny(load=False)
    finally:
        os.umask(before)
    written = library.stat().st_mtime_ns
    assert _tiny(load=False).stat().st_mtime_ns == written


def test_a_user_without_a_home_has_the_cache_of_the_variable(cache, monkeypatch):
    make_homeless(monkeypatch)
    monkeypatch.setenv("SIGREG_LAB_CACHE", str(cache.parent))
    assert native._cache_folder() == cache
    monkeypatch.delenv("SIGREG_LAB_CACHE")
    assert native._cache_folder() is None


@needs_compiler
def test_where_no_library_may_be_loaded_auto_is_eager_with_one_warning(cache, monkeypatch):
    monkeypatch.setattr(native, "_forbids_code", lambda folder: True)
    monkeypatch.setattr(native, "_warn_of_eager", functools.cache(native._warn_of_eager.__wrapped__))
    build = native._build_or_reason.__wrapped__
    with pytest.warns(UserWarning, match="'auto' takes the slower eager implementation"):
        reason = build("pairs.c", ())
    assert "set SIGREG_LAB_CACHE to a folder of your own" in reason
    assert build("hadamard.c", ()) == reason  # no second warning, which would be an error here


@needs_compiler
def test_a_compiler_that_writes_no_library_ends_in_a_reason(cache, monkeypatch, tmp_path):
    script = tmp_path / "cc"
    script.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\n: > "$2"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    monkeypatch.setattr(native, "_warn_of_eager", lambda: None)
    for _ in range(2):
        reason = native._build_or_reason.__wrapped__("pairs.c", ())
        assert f"no library could be built with {script}: " in reason


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, None], ids=str)
@pytest.mark.parametrize("num_slices", [1, 5, 64, 99])
def test_distance_and_slopes_are_those_of_plain_torch(dtype, num_slices, generator):
    sums = torch.randn(2, 3, 4, num_slices, generator=generator, dtype=torch.float64)
    numbers = 0.3, 7, 2 * num_slices, *torch.rand(2, 4, generator=generator, dtype=torch.float64)
    before = sums.clone()
    ours = native.distance_and_slopes(sums, *numbers, dtype)
    assert torch.equal(sums, before)
    for one, other in zip(ours, eager.distance_and_slopes(sums, *numbers, dtype), strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=1e-12 if one.dtype == torch.float64 else 2e-7, atol=0)
