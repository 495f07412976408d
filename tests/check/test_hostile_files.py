"""Files that are damaged, odd or too large: sizes are known before they are loaded, and no other numbers are read."""

import io
import os
import resource
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sigreg_lab.check import read_sample

ROWS = np.random.default_rng(0).standard_normal((40, 3))


def _refusal(path, **options):
    with pytest.raises(ValueError, match=r"^/") as caught:
        read_sample(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def _npy(shape, content=b""):
    file = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + content


def _archive(path, members, compression=zipfile.ZIP_STORED):
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of names that come twice
        for name, content in members:
            archive.writestr(name, content)
    return path


def _marked(path, local, central, value):
    """The archive with one byte of both headers of its first member set."""
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"PK\x03\x04") + local] = value
    whole[whole.index(b"PK\x01\x02") + central] = value
    path.write_bytes(whole)
    return path


def test_odd_archives_are_refused_by_name(tmp_path):
    path, good = tmp_path / "e.npz", _npy((40, 3), ROWS.tobytes())
    assert "holds 0 arrays" in _refusal(_archive(path, [("readme.txt", "x")]))
    assert "several members of one name" in _refusal(_archive(path, [("a.npy", good), ("a.npy", good)]))
    assert "pickles are never loaded" in _refusal(_archive(path, [("a.npy", "no array")]))
    assert "longer than its header says" in _refusal(_archive(path, [("a.npy", _npy((39, 3), ROWS.tobytes()))]))
    assert "encrypted" in _refusal(_marked(_archive(path, [("a.npy", good)]), 6, 8, 1))
    assert "compression method" in _refusal(_marked(_archive(path, [("a.npy", good)]), 8, 10, 77))
    _archive(path, [("notes.txt", "foreign"), ("a.npy", good)], zipfile.ZIP_LZMA)
    assert np.array_equal(read_sample(path).x.numpy(), ROWS)


def test_sizes_are_read_from_headers_before_anything_is_loaded(tmp_path):
    """3.5 GB of zeros in 3.5 MB, and headers that speak of far more, are not read."""
    path = tmp_path / "e.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        member.write(_npy((437_500, 1000)))
        member.write(bytes(10**7))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "array 'a' takes 3.50 GB, the limit is 2 GB (--max-gb)" in _refusal(path)
    assert "the limit is 3 GB" in _refusal(path, max_gigabytes=3)
    _archive(path, [("a.npy", _npy((10**30, 3)))])
    assert "the limit is 2 GB (--max-gb)" in _refusal(path)
    torch.save(torch.zeros(1, dtype=torch.bfloat16).expand(20, 10**9), tmp_path / "e.pt")
    assert "8 rows x 1,000,000,000 features takes 64.00 GB, the limit is 2" in _refusal(tmp_path / "e.pt")
    torch.save(torch.ones(1, dtype=torch.bfloat16).expand(10**6, 4000), tmp_path / "e.pt")
    sample = read_sample(tmp_path / "e.pt")
    assert sample.total_rows == 10**6
    assert sample.x.shape == (2097, 4000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1e6  # kB


def test_an_archive_of_torch_that_expands_is_refused(tmp_path):
    torch.save(torch.from_numpy(ROWS), tmp_path / "whole.pt")
    with (
        zipfile.ZipFile(tmp_path / "whole.pt") as whole,
        zipfile.ZipFile(tmp_path / "e.pt", "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in whole.namelist():
            archive.writestr(name, bytes(10**7) if name.endswith("data/0") else whole.read(name))
    assert "its content takes 0.01 GB, the limit is 0.005 GB (--max-gb)" in _refusal(
        tmp_path / "e.pt", max_gigabytes=0.005
    )


def test_wide_and_endless_lines_are_refused_before_they_are_cut(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("1,2\n" * 9 + "1" * 20_000)
    assert "line 10 of more than 15,625 characters takes" in _refusal(path, max_gigabytes=1e-3)
    path.write_text("\n".join(",".join(map(str, row)) for row in np.tile(ROWS[:10], (1, 5000))))
    assert read_sample(path).x.shape == (10, 15_000)


def test_only_regular_files_are_opened(tmp_path):
    pipe, endless = tmp_path / "pipe.npy", tmp_path / "endless.csv"
    os.mkfifo(pipe)
    endless.symlink_to("/dev/zero")
    for path in (pipe, endless):
        assert "is a device, pipe or socket" in _refusal(path)
    assert "File name too long" in _refusal(tmp_path / ("a" * 300 + ".npy"))
    link = tmp_path / "link.npy"
    np.save(tmp_path / "e.npy", ROWS)
    link.symlink_to("e.npy")
    assert np.array_equal(read_sample(link).x.numpy(), ROWS)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "bfloat16", "float16"])
def test_every_floating_type_is_read_exactly(tmp_path, dtype):
    x = torch.from_numpy(ROWS).to(getattr(torch, dtype))
    torch.save(x, tmp_path / "e.pt")
    assert torch.equal(read_sample(tmp_path / "e.pt").x, x.double())


def test_odd_tensors_are_read_as_they_are_or_refused_by_name(tmp_path):
    path = tmp_path / "e.pt"
    x = torch.from_numpy(ROWS)
    torch.save(torch.complex(x, -x).conj().imag, path)  # a view that is marked as negative
    assert torch.equal(read_sample(path).x, x)
    for odd, reason in (
        (torch.empty(10, 3, device="meta"), "on the meta device"),
        (torch.complex(x, x).conj(), "type torch.complex128, not real numbers"),
        (x.to_sparse(), "sparse, nested or quantised"),
        ({"\x1b[31m": x, "b": x}, "choose one with --key: \\x1b[31m, b"),
    ):
        torch.save(odd, path)
        assert reason in _refusal(path)


def test_arrays_that_follow_the_first_in_one_file_are_not_overlooked(tmp_path):
    with (tmp_path / "e.npy").open("wb") as file:
        np.save(file, ROWS)
        np.save(file, ROWS)
    assert "several arrays in one file" in _refusal(tmp_path / "e.npy")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    frame = pd.DataFrame(ROWS, columns=list("abc"))
    np.save(folder / "e.npy", ROWS)
    np.savez(folder / "e.npz", a=ROWS)
    np.savez_compressed(folder / "c.npz", a=ROWS)
    torch.save(torch.from_numpy(ROWS), folder / "e.pt")
    torch.save(torch.from_numpy(ROWS), folder / "l.pt", _use_new_zipfile_serialization=False)
    frame.to_parquet(folder / "e.parquet")
    pd.DataFrame({"z": list(ROWS)}).to_parquet(folder / "l.parquet")
    frame.to_csv(folder / "e.csv")
    frame.to_csv(folder / "d.csv", sep=";", decimal=",")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


NAMES = ("e.npy", "e.npz", "c.npz", "e.pt", "l.pt", "e.parquet", "l.parquet", "e.csv", "d.csv")


@settings(max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck])
@given(st.sampled_from(NAMES), st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=4), st.data())
def test_a_damaged_file_is_refused_in_one_line_or_gives_its_numbers(tmp_path, files, name, changes, data):
    """Those without checksums may give others."""
    whole = bytearray(files[name])
    for place, value in changes:
        whole[int(place * len(whole))] = value
    cut = data.draw(st.sampled_from((None, None, None, 0.2, 0.6, 0.99)))
    path = tmp_path / name
    path.write_bytes(whole[: int(cut * len(whole))] if cut else whole)
    refusal, sample = "", None
    try:
        sample = read_sample(path)
    except ValueError as error:
        refusal = str(error)
    if sample is None:
        assert cut or changes
        assert refusal.startswith(str(path))
        assert refusal.isprintable()
    elif name in ("e.npz", "c.npz", "e.pt"):
        assert np.array_equal(sample.x.numpy(), ROWS)
