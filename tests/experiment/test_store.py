"""The store: records survive, are whole, and bad files are refused."""

import sqlite3

import pytest

from sigreg_lab.experiment.store import Record, Store, cell_key
from sigreg_lab.experiment.study import StudyError

RECORD = Record(rows=[{"x": 0.1, "y": float("nan")}, {"x": 1 / 3}], seconds=1.5, session=1, fingerprint={"code": "a"})


def test_a_record_comes_back_bit_for_bit(tmp_path):
    store = Store(tmp_path / "deep" / "store.sqlite")
    store.start_session("then", {"command": "x"})
    store.put("key", RECORD)
    store.close()
    found = Store(tmp_path / "deep" / "store.sqlite").get("key")
    assert found is not None
    assert found.rows[1]["x"] == 1 / 3
    assert found.rows[0]["x"] == 0.1
    assert found.rows[0]["y"] != found.rows[0]["y"]
    assert found._replace(rows=[]) == RECORD._replace(rows=[])


def test_a_missing_record_is_none(tmp_path):
    assert Store(tmp_path / "s").get("key") is None


def test_the_key_holds_the_seed_the_cell_and_the_settings():
    keys = {cell_key(s, {"a": a}, {"b": b}) for s in (1, 2) for a in (1, 2) for b in (1, 2)}
    assert len(keys) == 8


def test_sessions_keep_their_provenance(tmp_path):
    store = Store(tmp_path / "s")
    first = store.start_session("then", {"command": "x"})
    second = store.start_session("now", {"command": "y"})
    store.end_session(second, 2.0)
    assert [s["wall_seconds"] for s in store.sessions({first, second})] == [None, 2.0]
    assert store.sessions({second})[0]["command"] == "y"


def test_a_store_of_another_version_is_refused_and_untouched(tmp_path):
    path = tmp_path / "s"
    Store(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(StudyError, match="version 99, this program reads version 1; give another --out"):
        Store(path)


def test_a_file_that_is_no_store_is_refused_and_untouched(tmp_path):
    path = tmp_path / "s"
    path.write_text("not a database, but long enough to be read as one" * 50)
    before = path.read_bytes()
    with pytest.raises(StudyError, match="cannot open the store"):
        Store(path)
    assert path.read_bytes() == before


def test_a_full_disk_is_reported_and_loses_nothing(tmp_path):
    store = Store(tmp_path / "s")
    store.start_session("then", {})
    store.put("kept", RECORD)
    store._db.execute("PRAGMA max_page_count=1")  # SQLite's own "disk full"
    big = RECORD._replace(rows=[{"x": "y" * 100_000}])
    with pytest.raises(StudyError, match=r"cannot write the store .* full; the cells written before are kept"):
        store.put("lost", big)
    store.close()
    again = Store(tmp_path / "s")
    assert again.get("kept") is not None
    assert again.get("lost") is None
