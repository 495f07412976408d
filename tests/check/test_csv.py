"""Tables from .csv and .parquet files: what pandas, NumPy and spreadsheets write is read as meant, or refused."""

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sigreg_lab.check import read_sample
from sigreg_lab.check.features import discrete_features

ROWS = np.random.default_rng(0).standard_normal((40, 4))
FRAME = pd.DataFrame(ROWS)
NAMED = pd.DataFrame(ROWS, columns=list("abcd"))
NUMBERED = ("0", "1", "2", "3")
LETTERS = tuple("abcd")


def _savetxt(**options):
    stream = io.StringIO()
    np.savetxt(stream, ROWS, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("text", "features", "note"),
    [
        (FRAME.to_csv(index=False), NUMBERED, "first line is taken as names: 0, 1, 2, 3"),
        (FRAME.to_csv(), NUMBERED, "left out 1 column(s) that hold an index"),
        (NAMED.to_csv(), LETTERS, "left out 1 column(s) that hold an index"),
        (pd.read_csv(io.StringIO(NAMED.to_csv())).to_csv(), LETTERS, "an index, as pandas writes it: , Unnamed: 0"),
        (FRAME.to_csv(header=False, index=False), NUMBERED, ""),
        (NAMED.to_csv(index=False, sep=";"), LETTERS, "semicolon as separator and decimal point"),
        (NAMED.to_csv(index=False, sep=";", decimal=","), LETTERS, "semicolon as separator and decimal comma"),
        (FRAME.to_csv(index=False, header=False, sep=";", decimal=","), NUMBERED, "semicolon as separator and decimal"),
        (NAMED.to_csv(index=False, sep="\t", decimal=","), LETTERS, "tab as separator and decimal comma"),
        (NAMED.to_csv(index=False, decimal=","), LETTERS, "comma as separator and decimal comma"),
        (NAMED.to_csv(index=False, sep=" "), LETTERS, "space as separator"),
        (NAMED.to_csv(index=False, sep="|"), LETTERS, "bar as separator"),
        ("\ufeff" + NAMED.to_csv(index=False), LETTERS, ""),
        (NAMED.to_csv(index=False, lineterminator="\r\n"), LETTERS, ""),
        (NAMED.to_csv(index=False).replace("\n", ",\n"), LETTERS, "left out 1 column(s) without name and values"),
        (_savetxt(), NUMBERED, "space as separator"),
        (_savetxt(fmt="%30.17g"), NUMBERED, "space as separator"),
        (_savetxt(delimiter=",", header="a,b,c,d"), LETTERS, ""),
        (_savetxt(header="a b c d"), LETTERS, "space as separator"),
    ],
)
def test_tables_are_read_as_their_writers_mean_them(tmp_path, text, features, note):
    path = tmp_path / "e.csv"
    path.write_text(text, encoding="utf-8", newline="")
    sample = read_sample(path)
    assert np.abs(sample.x.numpy() - ROWS).max() < 1e-15
    assert sample.features == features
    assert sample.total_rows == 40
    assert note in "; ".join(sample.notes)
    assert note or not sample.notes


WHOLE = "\n".join(["0,1,2"] + ["3,4,5"] * 9)
#: text of the file: what is said of it.
REFUSED = {
    "a,b\n" + "1,2,3\n" * 20: "line 2 has 3 field(s), the first line has 2 (a, b)",
    "a;b\n" + "1;2;3\n" * 20: "line 2 has 3 field(s), the first line has 2 (a, b)",
    "a,b\n" + "1,2\n" * 15 + "3\n" + "1,2\n" * 9: "line 17 has 1 field(s), the first line has 2",
    "a,b\n" + "1,2\n" * 3000 + "1,2,3\n": "line 3,002 has 3 field(s)",
    "a,b\n" + "1.5,2,\n" * 9: "line 2 has 3 field(s)",
    "a\n" + "1,5\n" * 9: "line 2 has 2 field(s), the first line has 1 (a)",
    "1,5\n0,07\n-0,3\n" * 8: "may be decimal signs",
    'x,y\n"1,234",2.5\n' * 1 + '"1,234",2.5\n' * 9: "--decimal comma or point",
    'x,y\n"1,234","5,678"\n' + '"1,234","5,678"\n' * 9: "--decimal comma or point",
    WHOLE: "its first line (0, 1, 2) may be names or numbers",
    FRAME[[2, 0, 3, 1]].to_csv(index=False): "its first line (2, 0, 3, 1) may be names or numbers",
    "a,a\n" + "1,2\n" * 9: "has 2 columns of the name 'a'",
    "\n\n": "nothing but blank lines",
    "a,b\n" + "1,2\n" * 9 + "\0,3\n": "holds NUL characters",
    "a,b\n" + "1,2\n" * 9 + '"' + "x\n" * 100_000: "not a readable .csv file",
}


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_what_may_mean_something_else_is_refused_by_name(tmp_path, text):
    path = tmp_path / "e.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"e\.csv: ") as caught:
        read_sample(path)
    assert REFUSED[text] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_was_asked_is_done_once_the_options_say_so(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text(WHOLE)
    assert read_sample(path, header=False).x.shape == (10, 3)
    assert read_sample(path, header=True).x.shape == (9, 3)
    path.write_text("1,5\n0,07\n-0,3\n" * 8)
    assert read_sample(path, separator="comma").x[1].tolist() == [0.0, 7.0]
    assert read_sample(path, separator="semicolon", decimal="comma").x[:3, 0].tolist() == [1.5, 0.07, -0.3]
    path.write_text('x,y\n"1,234",2\n' + '"1,234",2\n' * 9)
    assert read_sample(path, decimal="comma").x[0].tolist() == [1.234, 2.0]
    for options, reason in (
        ({"separator": "x"}, "separator must be one of"),
        ({"decimal": ";"}, "decimal must be one"),
    ):
        with pytest.raises(ValueError, match=reason):
            read_sample(path, **options)


def test_numbers_too_large_for_a_float_are_excluded_and_underscores_are_no_digits(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("1,2\n" * 9 + f"1e400,3\n1{'0' * 400},3\n1_000,3\n")
    sample = read_sample(path)
    assert sample.x.shape == (9, 2)
    assert "excluded 3 of 12 rows" in sample.notes[0]


def test_a_missing_value_in_the_first_line_does_not_make_it_names(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("1.5,,2.5\n" + "1.0,2.0,3.0\n" * 9)
    assert read_sample(path).total_rows == 10


def test_booleans_are_numbers_and_noted_like_labels(tmp_path):
    frame = NAMED.assign(train=[True, False] * 20)
    frame.to_csv(tmp_path / "e.csv", index=False)
    frame.to_parquet(tmp_path / "e.parquet")
    for name in ("e.csv", "e.parquet"):
        sample = read_sample(tmp_path / name)
        assert sample.x[:2, 4].tolist() == [1.0, 0.0]
        assert sample.features[discrete_features(sample.x)[0]] == "train"


def test_an_index_in_a_parquet_is_no_feature(tmp_path):
    path = tmp_path / "e.parquet"
    shuffled = NAMED.sample(frac=1, random_state=0)
    for frame, note in (
        (NAMED, ""),
        (shuffled, "an index, as pandas writes it: __index_level_0__"),
        (shuffled.rename_axis("id"), "an index, as pandas writes it: id"),
    ):
        frame.to_parquet(path)
        sample = read_sample(path)
        assert np.array_equal(sample.x.numpy(), frame.to_numpy())
        assert sample.features == LETTERS
        assert note in "".join(sample.notes)


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float64()), pa.large_list(pa.float64()), pa.list_(pa.float64(), 4), pa.list_view(pa.float64())],
    ids=str,
)
def test_lists_of_every_kind_are_rows_and_missing_ones_are_excluded(tmp_path, kind):
    path = tmp_path / "e.parquet"
    pq.write_table(pa.table({"z": pa.array([None] * 9 + ROWS.tolist() + [None], kind)}), path)
    sample = read_sample(path)
    assert np.array_equal(sample.x.numpy(), ROWS)
    assert "excluded 10 of 50 rows" in sample.notes[0]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([[[1.0, 2.0]]] * 20, "the lists in column 'z' hold list<"),
        ([["a", "b"]] * 20, "the lists in column 'z' hold string"),
        ([[1.0, 2.0]] * 19 + [[1.0]], "differ in length"),
        ([[1.0, 2.0]] * 19 + [[]], "differ in length"),
        ([[]] * 19 + [[1.0]], "are empty, or the first of them is"),
        ([{"a": 1.0}] * 20, "has no column of numbers; it has z"),
    ],
)
def test_nested_and_ragged_lists_are_refused(tmp_path, column, message):
    path = tmp_path / "e.parquet"
    pq.write_table(pa.table({"z": pa.array(column)}), path)
    with pytest.raises(ValueError, match=r"e\.parquet: ") as caught:
        read_sample(path)
    assert message in str(caught.value)


def test_two_columns_of_one_name_are_refused_unless_dropped(tmp_path):
    path = tmp_path / "e.parquet"
    columns = [pa.array(ROWS[:, i]) for i in range(3)]
    pq.write_table(pa.table(columns, names=["a", "b", "a"]), path)
    with pytest.raises(ValueError, match="has 2 columns of the name 'a'"):
        read_sample(path)
    assert read_sample(path, drop=("a",)).features == ("b",)


def test_numbers_of_every_type_of_a_parquet_are_read_exactly(tmp_path):
    path = tmp_path / "e.parquet"
    values = [0.5, -3.0, None] + [1.0] * 9
    kinds = [pa.float16(), pa.float32(), pa.float64(), pa.decimal128(9, 2)]
    columns = [pa.array(values, pa.float64()).cast(kind) for kind in kinds]
    pq.write_table(pa.table(columns, names=[str(kind) for kind in kinds]), path)
    sample = read_sample(path)
    assert sample.x[:2].tolist() == [[0.5] * 4, [-3.0] * 4]
    assert "excluded 1 of 12" in sample.notes[0]


def test_names_are_text_in_messages(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("\x1b[31mred,\u202eb\n" + "x,y\n" * 9)
    with pytest.raises(ValueError, match=r"it has \\x1b\[31mred, \\u202eb$"):
        read_sample(path)
