"""The store: records survive, are whole, and bad files are refused."""

import sqlite3
from contextlib import closing

import pytest

from sigreg_lab.experiment.store import DamagedRecord, Record, Store, cell_key
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
    with pytest.raises(StudyError, match="version 99, this program reads version 2; give another --out"):
        Store(path)


def test_a_file_that_is_no_store_is_refused_and_untouched(tmp_path):
    path = tmp_path / "s"
    path.write_text("not a database, but long enough to be read as one" * 50)
    before = path.read_bytes()
    with pytest.raises(StudyError, match="is damaged, or is no store: file is not a database; give another --out"):
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


#: A store as version 1 made it.
FIRST_SCHEMA = """
CREATE TABLE sessions (id INTEGER PRIMARY KEY, started TEXT NOT NULL, provenance TEXT NOT NULL, wall_seconds REAL);
CREATE TABLE cells (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, rows TEXT NOT NULL, seconds REAL NOT NULL,
    session INTEGER NOT NULL REFERENCES sessions (id)
);
"""


def _filled(path):
    store = Store(path)
    session = store.start_session("then", {"command": "x"})
    store.put("a", RECORD._replace(rows=[{"x": 0.25}], session=session))
    store.put("b", RECORD._replace(rows=[{"x": 0.5}], session=session))
    store.end_session(session, 2)
    store.close()


def _change(path, statement):
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute(statement).rowcount == 1


@pytest.mark.parametrize(
    "change",
    [
        "rows = replace(rows, '0.25', '0.26')",
        "rows = CAST(x'5bff5d' AS TEXT)",  # no UTF-8
        "rows = CAST(rows AS BLOB) || x'00'",
        "seconds = 2.5",
        "seconds = 'long'",
        "fingerprint = '{}'",
        "session = 9",
        "digest = ''",
    ],
)
def test_a_changed_record_is_noticed_and_the_others_stay(tmp_path, change):
    path = tmp_path / "s"
    _filled(path)
    _change(path, f"UPDATE cells SET {change} WHERE key = 'a'")
    store = Store(path)
    with pytest.raises(DamagedRecord, match=r"the store .*s is damaged"):
        store.get("a")
    assert store.get("b").rows == [{"x": 0.5}]
    store.put("a", RECORD)
    assert store.get("a").rows[1] == {"x": 1 / 3}


@pytest.mark.parametrize("change", ["provenance = '{}'", "started = x'ff'", "wall_seconds = 3"])
def test_a_changed_session_is_noticed_in_all_its_records(tmp_path, change):
    path = tmp_path / "s"
    _filled(path)
    _change(path, f"UPDATE sessions SET {change} WHERE id = 1")
    store = Store(path)
    for key in "ab":
        with pytest.raises(DamagedRecord, match="is damaged"):
            store.get(key)
    with pytest.raises(DamagedRecord, match="is damaged"):
        store.sessions({1})


def test_records_under_each_others_names_are_noticed(tmp_path):
    path = tmp_path / "s"
    _filled(path)
    for old, new in (("a", "c"), ("b", "a"), ("c", "b")):
        _change(path, f"UPDATE cells SET key = '{new}' WHERE key = '{old}'")
    with pytest.raises(DamagedRecord, match="is damaged"):
        Store(path).get("a")


def test_a_malformed_file_is_called_damaged(tmp_path):
    path = tmp_path / "s"
    _filled(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + bytes(len(whole) - 4096))
    with pytest.raises(StudyError, match=r"the store .*s is damaged: .*; move it away to compute anew"):
        Store(path).get("a")


def test_a_store_of_version_1_keeps_its_records_and_gets_digests(tmp_path):
    path = tmp_path / "s"
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(f"PRAGMA journal_mode=WAL; {FIRST_SCHEMA} PRAGMA user_version=1;")
        db.execute("INSERT INTO sessions VALUES (4, 'then', '{\"command\":\"x\"}', 2.0)")
        db.execute("""INSERT INTO cells VALUES ('a', '{"code":"a"}', '[{"x": 0.1}]', 1.5, 4)""")
    store = Store(path)
    assert store.get("a") == Record([{"x": 0.1}], 1.5, 4, {"code": "a"})
    assert store.sessions({4})[0] == {"session": 4, "started": "then", "wall_seconds": 2.0, "command": "x"}
    store.close()
    _change(path, "UPDATE cells SET rows = replace(rows, '0.1', '0.2')")
    with pytest.raises(DamagedRecord, match="is damaged"):
        Store(path).get("a")


def test_a_store_that_was_killed_between_its_tables_and_its_version_is_completed(tmp_path):
    path = tmp_path / "s"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(FIRST_SCHEMA)
    _filled(path)
    assert Store(path).get("b").rows == [{"x": 0.5}]


def test_a_file_of_another_program_is_refused_and_untouched(tmp_path):
    path = tmp_path / "s"
    with closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TABLE songs (name TEXT);")
    before = path.read_bytes()
    with pytest.raises(StudyError, match="is no store; give another --out"):
        Store(path)
    assert path.read_bytes() == before


def test_a_new_store_is_made_in_one_transaction(tmp_path, monkeypatch):
    path = tmp_path / "s"
    connect = sqlite3.connect

    class Killed(sqlite3.Connection):
        def execute(self, statement, *values):
            if statement.startswith("PRAGMA user_version="):
                raise KeyboardInterrupt
            return super().execute(statement, *values)

    monkeypatch.setattr(sqlite3, "connect", lambda *given, **options: connect(*given, **options, factory=Killed))
    with pytest.raises(KeyboardInterrupt):
        Store(path)
    monkeypatch.undo()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT * FROM sqlite_master").fetchall() == []
    _filled(path)
    assert Store(path).get("b").rows == [{"x": 0.5}]
