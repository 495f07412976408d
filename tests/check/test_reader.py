"""Reading embeddings: every format gives the same sample; what cannot be read is refused in one line."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from sigreg_lab.check import read_sample
from sigreg_lab.check.features import discrete_features

ROWS = np.random.default_rng(0).standard_normal((20, 3))


def _write(path, rows):
    match path.suffix:
        case ".npy":
            np.save(path, rows)
        case ".npz":
            np.savez(path, embeddings=rows)
        case ".pt":
            torch.save(torch.from_numpy(rows), path)
        case ".parquet":
            pd.DataFrame(rows, columns=list("abc")).to_parquet(path)
        case ".csv":
            pd.DataFrame(rows, columns=list("abc")).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".parquet", ".csv"])
def test_every_format_gives_the_same_sample(tmp_path, suffix):
    sample = read_sample(_write(tmp_path / f"e{suffix}", ROWS))
    assert sample.x.dtype == torch.float64
    assert np.abs(sample.x.numpy() - ROWS).max() < 1e-15
    assert sample.total_rows == 20
    assert sample.notes == ()
    assert sample.features == (("a", "b", "c") if suffix in (".parquet", ".csv") else ("0", "1", "2"))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".parquet", ".csv"])
def test_rows_that_are_not_finite_are_excluded_and_stated(tmp_path, suffix):
    rows = ROWS.copy()
    rows[3, 1], rows[7, 0] = np.nan, np.inf
    sample = read_sample(_write(tmp_path / f"e{suffix}", rows))
    assert np.abs(sample.x.numpy() - np.delete(ROWS, [3, 7], 0)).max() < 1e-15
    assert any("excluded 2 of 20 rows" in note for note in sample.notes)


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".csv"])
def test_large_files_are_sampled_uniformly_without_replacement_and_say_so(tmp_path, suffix):
    rows = np.arange(600.0).reshape(200, 3)
    path = _write(tmp_path / f"e{suffix}", rows)
    counts = np.zeros(200)
    for seed in range(60):
        sample = read_sample(path, max_rows=50, seed=seed)
        index = (sample.x[:, 0] / 3).long().numpy()
        assert (np.diff(index) > 0).all()
        assert any(f"sampled 50 of 200 rows at random, seed {seed}" in note for note in sample.notes)
        counts[index] += 1
    assert counts.sum() == 60 * 50
    # Each row is in with probability 1/4; halves of the file within 4 standard errors, hypergeometric.
    error = np.sqrt(60 * 50 * 0.25 * 150 / 199)
    assert abs(counts[:100].sum() - 1500) < 4 * error
    assert torch.equal(read_sample(path, max_rows=50, seed=1).x, read_sample(path, max_rows=50, seed=1).x)


def test_half_precision_and_integers_are_converted(tmp_path):
    torch.save({"z": torch.from_numpy(ROWS).bfloat16()}, tmp_path / "b.pt")
    assert torch.equal(read_sample(tmp_path / "b.pt").x, torch.from_numpy(ROWS).bfloat16().double())
    np.save(tmp_path / "i.npy", np.arange(30).reshape(10, 3))
    assert "type int64" in read_sample(tmp_path / "i.npy").notes[0]


def test_one_dimension_is_one_feature(tmp_path):
    np.save(tmp_path / "e.npy", ROWS[:, 0])
    assert read_sample(tmp_path / "e.npy").x.shape == (20, 1)


def test_lists_beside_numbers_in_a_parquet_are_a_choice(tmp_path):
    pd.DataFrame({"label": range(20), "z": list(ROWS)}).to_parquet(tmp_path / "e.parquet")
    with pytest.raises(ValueError, match=r"lists \(z\) beside columns of numbers \(label\); .*--key z, or .*--drop"):
        read_sample(tmp_path / "e.parquet")
    assert read_sample(tmp_path / "e.parquet", key="z").x.shape == (20, 3)
    assert read_sample(tmp_path / "e.parquet", drop=("z",)).features == ("label",)


def test_lists_in_a_parquet_column_are_rows(tmp_path):
    pd.DataFrame({"id": list("abcdefghij") * 2, "z": list(ROWS)}).to_parquet(tmp_path / "e.parquet")
    assert np.array_equal(read_sample(tmp_path / "e.parquet").x.numpy(), ROWS)
    assert np.array_equal(read_sample(tmp_path / "e.parquet", key="z").x.numpy(), ROWS)


def test_columns_of_text_are_excluded_and_columns_dropped(tmp_path):
    frame = pd.DataFrame(ROWS, columns=list("abc"))
    frame.insert(0, "name", [f"row {i}" for i in range(20)])
    frame["label"] = np.arange(20)
    for path in (tmp_path / "e.csv", tmp_path / "e.parquet"):
        frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path)
        sample = read_sample(path)
        assert sample.features == ("a", "b", "c", "label")
        assert any("not numbers: name" in note for note in sample.notes)
        assert sample.features[discrete_features(sample.x)[0]] == "label"
        assert read_sample(path, drop=("label",)).features == ("a", "b", "c")


def test_a_csv_without_names_and_with_a_stray_word(tmp_path):
    path = tmp_path / "e.csv"
    lines = [",".join(map(str, row)) for row in ROWS]
    path.write_text("\n".join(lines))
    assert read_sample(path).x.shape == (20, 3)
    lines[5] = "1.0,broken,2.0"
    path.write_text("\n".join(lines))
    sample = read_sample(path)
    assert sample.x.shape == (19, 3)
    assert "excluded 1 of 20 rows" in sample.notes[-1]


class _Trap:
    def __reduce__(self):
        return (print, ("a pickle was executed",))


def _bad_files(folder):
    (folder / "folder.npy").mkdir()
    (folder / "empty.npy").touch()
    (folder / "text.txt").write_text("1,2")
    for name in ("noise.npy", "noise.npz", "noise.pt", "noise.parquet"):
        (folder / name).write_bytes(b"\x93certainly not " + bytes(range(256)))
    (folder / "noise.csv").write_bytes(b"\xff\xfe\x00,\n\x81\x8d" * 30)
    (folder / "words.csv").write_text("a,b\n" + "x,y\n" * 20)
    (folder / "names.csv").write_text("a,b\n")
    (folder / "ragged.csv").write_text("a,b\n" + "1,2\n" * 10 + "1,2,3,4\n")
    np.save(folder / "object.npy", np.array([_Trap(), 1], dtype=object), allow_pickle=True)
    np.savez(folder / "object.npz", a=np.array([_Trap()], dtype=object))
    (folder / "pickle.npy").write_bytes(pickle.dumps(_Trap()))
    (folder / "pickle.pt").write_bytes(pickle.dumps(_Trap()))
    torch.save(_Trap(), folder / "object.pt")
    torch.save({"step": 3}, folder / "nothing.pt")
    torch.save([1, 2], folder / "list.pt")
    np.savez(folder / "two.npz", a=ROWS, b=ROWS)
    np.save(folder / "cube.npy", np.zeros((10, 4, 3)))
    np.save(folder / "words.npy", np.array(["a"] * 20))
    np.save(folder / "complex.npy", ROWS * 1j)
    np.save(folder / "seven.npy", ROWS[:7])
    np.save(folder / "one.npy", ROWS[:1])
    np.save(folder / "nan.npy", np.where(np.arange(20)[:, None] < 15, np.nan, ROWS))
    np.save(folder / "huge.npy", ROWS * 1e200)
    np.save(folder / "none.npy", np.zeros((0, 4)))
    whole = folder / "whole.npy"
    np.save(whole, ROWS)
    (folder / "cut.npy").write_bytes(whole.read_bytes()[:300])


REASONS = {
    "missing.npy": "no such file",
    "folder.npy": "is a directory",
    "empty.npy": "the file is empty",
    "text.txt": "unknown type '.txt'",
    "noise.npy": "pickles are never loaded",
    "noise.npz": "",
    "noise.pt": "is not loaded",
    "noise.parquet": "not a readable .parquet file",
    "noise.csv": "",
    "words.csv": "has no column of numbers",
    "names.csv": "no rows",
    "ragged.csv": "line 12 has 4 field(s), the first line has 2 (a, b); mend the line, or give the file's separator "
    "and decimal sign, such as --separator semicolon --decimal comma",
    "object.npy": "pickles are never loaded",
    "object.npz": "pickles are never loaded",
    "pickle.npy": "pickles are never loaded",
    "pickle.pt": "is not loaded",
    "object.pt": "is not loaded",
    "nothing.pt": "holds 0 tensors",
    "list.pt": "holds a list, not a tensor",
    "two.npz": "choose one with --key: a, b",
    "cube.npy": "has shape (10, 4, 3)",
    "words.npy": "not real numbers",
    "complex.npy": "not real numbers",
    "seven.npy": "7 usable rows, at least 8 are needed",
    "one.npy": "1 usable row, at least 8 are needed",
    "nan.npy": "5 usable rows (excluded 15 of 20 rows",
    "huge.npy": "drop rows beyond 1e+60",
    "none.npy": "nothing to check",
    "cut.npy": "",
}


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    _bad_files(folder)
    return folder


@pytest.mark.parametrize("name", REASONS)
def test_what_cannot_be_read_is_refused_in_one_line(bad_files, capsys, name):
    with pytest.raises(ValueError) as caught:
        read_sample(bad_files / name)
    message = str(caught.value)
    assert message.startswith(str(bad_files / name))
    assert REASONS[name] in message
    assert "\n" not in message
    assert "executed" not in capsys.readouterr().out


def test_a_feature_without_values_is_named_with_the_way_to_leave_it_out(tmp_path):
    import pandas as pd

    frame = pd.DataFrame(ROWS, columns=list("abc"))
    frame["e 9"] = np.nan
    frame.loc[:4, "e 9"] = 1.0
    for name in ("e.csv", "e.parquet"):
        path = tmp_path / name
        frame.to_csv(path, index=False) if name == "e.csv" else frame.to_parquet(path)
        with pytest.raises(ValueError, match=r"5 usable rows .*; leave it out: --drop 'e 9'$"):
            read_sample(path)
        assert read_sample(path, drop=("e 9",)).x.shape == ROWS.shape
    np.save(tmp_path / "e.npy", frame.to_numpy())
    with pytest.raises(ValueError, match=r"in feature '3'.*; leave it out of the array$"):
        read_sample(tmp_path / "e.npy")


def test_more_columns_than_rows_may_be_a_transposed_table(tmp_path):
    hint = "is the table transposed? Each row is taken as a sample"
    for shape, told in (((20, 16), False), ((16, 16), False), ((16, 20), True)):
        np.save(tmp_path / "e.npy", np.random.default_rng(0).standard_normal(shape))
        assert (hint in " ".join(read_sample(tmp_path / "e.npy").notes)) == told
    np.save(tmp_path / "e.npy", np.zeros((4, 500)))
    with pytest.raises(ValueError, match=r"4 usable rows, .*more columns \(500\) than rows \(4\): is the table transp"):
        read_sample(tmp_path / "e.npy")
    np.save(tmp_path / "e.npy", np.zeros((40, 20)))
    assert not any(hint in note for note in read_sample(tmp_path / "e.npy", max_rows=10).notes)


def test_options_that_do_not_fit_are_refused(tmp_path, bad_files):
    np.save(tmp_path / "e.npy", ROWS)
    for options, reason in (
        ({"max_rows": 7}, "max_rows must be at least 8"),
        ({"key": "a"}, "--key names an array"),
        ({"drop": ("a",)}, "--drop names columns"),
    ):
        with pytest.raises(ValueError, match=reason):
            read_sample(tmp_path / "e.npy", **options)
    with pytest.raises(ValueError, match="has no array 'c'; it has a, b"):
        read_sample(bad_files / "two.npz", key="c")
    assert np.array_equal(read_sample(bad_files / "two.npz", key="b").x.numpy(), ROWS)
