"""Where finished cells lie: one SQLite file per study, one record per cell.

A record is written in one transaction when its cell is finished, so it is there whole or not at all, whatever kills
the process; so are the tables and the version of a new file. A record holds the fingerprint of the code that computed
it; one of another fingerprint is stale. It also holds a digest of all its values, by which a change is noticed that
the disk or another program has made.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sigreg_lab.experiment.cells import Cell, Config, Row, canonical
from sigreg_lab.experiment.study import StudyError

VERSION = 2  # 1 had no digests

_TABLES = {
    "sessions": "id INTEGER PRIMARY KEY, started TEXT NOT NULL, provenance TEXT NOT NULL, wall_seconds REAL",
    "cells": (
        "key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, rows TEXT NOT NULL, seconds REAL NOT NULL, "
        "session INTEGER NOT NULL REFERENCES sessions (id)"
    ),
}
_SESSION = "id, started, provenance, wall_seconds"
_CELL = "key, fingerprint, rows, seconds, session"


class Record(NamedTuple):
    """A finished cell: its rows, the seconds it took, and the session that computed it."""

    rows: list[Row]
    seconds: float
    session: int
    fingerprint: dict[str, str]


class DamagedRecord(StudyError):
    """A record is not as it was written."""


def cell_key(seed: int, cell: Cell, settings: Config) -> str:
    """What identifies a cell in its store: the study's seed, the cell, and the settings it was computed with."""
    return canonical({"seed": seed, "cell": cell, "settings": settings})


class Store:
    """Finished cells of one study; many processes may read and write one at a time.

    Args:
        path: the SQLite file; made if it is not there. One of version 1 becomes one of version 2.

    Raises:
        StudyError: the file is no store, is damaged, is of another version, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=60, isolation_level=None)  # _write begins the transactions
        except (sqlite3.Error, OSError) as error:
            raise StudyError(f"cannot open the store {path}: {error}; give another --out") from error
        try:
            self._db.text_factory = bytes  # what is no UTF-8 is met by the digest, not by SQLite
            self._db.execute("PRAGMA synchronous=EXTRA")
            if self._version() != VERSION:
                self._db.execute("BEGIN IMMEDIATE")
                with self._db:
                    self._set_up()
        except (sqlite3.Error, StudyError) as error:
            self._db.close()
            if isinstance(error, StudyError):
                raise
            raise StudyError(f"{self._complaint(error)}; give another --out, or move it away") from error

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _set_up(self) -> None:
        """Make a new file a store, or add the digests to one of version 1: inside one transaction."""
        version = self._version()
        if version == VERSION:
            return  # another process was first
        names = {name.decode() for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if version not in (0, 1) or names - {*_TABLES}:
            found = f"is of version {version}, this program reads version {VERSION}" if version else "is no store"
            raise StudyError(
                f"the store {self.path} {found}; give another --out, or move the file away to compute anew"
            )
        for table, columns in _TABLES.items():
            self._db.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
            self._db.execute(f"ALTER TABLE {table} ADD COLUMN digest TEXT NOT NULL DEFAULT ''")
        for table, columns in (("sessions", _SESSION), ("cells", _CELL)):
            for (row,) in self._db.execute(f"SELECT rowid FROM {table}").fetchall():
                values = self._db.execute(f"SELECT {columns} FROM {table} WHERE rowid = ?", (row,)).fetchone()
                self._db.execute(f"UPDATE {table} SET digest = ? WHERE rowid = ?", (_digest(*values), row))
        self._db.execute(f"PRAGMA user_version={VERSION}")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def start_session(self, started: str, provenance: dict[str, Any]) -> int:
        """Record that a run begins; returns its number."""
        told = canonical(provenance)
        with self._write() as db:
            session = int(db.execute("SELECT coalesce(max(id), 0) + 1 FROM sessions").fetchone()[0])
            values = (session, started, told, None)
            db.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?)", (*values, _digest(*values)))
        return session

    def end_session(self, session: int, wall_seconds: float) -> None:
        """Record how long a run took."""
        with self._write() as db:
            values = db.execute("SELECT id, started, provenance FROM sessions WHERE id = ?", (session,)).fetchone()
            digest = _digest(*values, float(wall_seconds))
            db.execute("UPDATE sessions SET wall_seconds = ?, digest = ? WHERE id = ?", (wall_seconds, digest, session))

    def sessions(self, numbers: set[int]) -> list[dict[str, Any]]:
        """The runs of these numbers; ``wall_seconds`` is None for one that was killed.

        Raises:
            StudyError: the file is damaged or cannot be read.
        """
        with self._read() as db:
            rows = db.execute(f"SELECT {_SESSION}, digest FROM sessions ORDER BY id").fetchall()
        found = []
        for number, started, provenance, wall, digest in rows:
            if number in numbers:
                self._check(digest, number, started, provenance, wall)
                told = json.loads(provenance)
                found.append({"session": number, "started": started.decode(), "wall_seconds": wall, **told})
        return found

    def put(self, key: str, record: Record) -> None:
        """Keep a finished cell, in place of an older record of the same cell."""
        rows, seconds = json.dumps(record.rows), float(record.seconds)
        values = (key, canonical(record.fingerprint), rows, seconds, record.session)
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?, ?)", (*values, _digest(*values)))

    def get(self, key: str) -> Record | None:
        """The record of a cell, or None.

        Raises:
            DamagedRecord: there is one, but it or that of its session is not as it was written.
            StudyError: the file is damaged or cannot be read.
        """
        with self._read() as db:
            cell = db.execute(f"SELECT {_CELL}, digest FROM cells WHERE key = ?", (key,)).fetchone()
            if cell is None:
                return None
            session = db.execute(f"SELECT {_SESSION}, digest FROM sessions WHERE id = ?", (cell[4],)).fetchone()
        *values, digest = cell
        self._check(digest, *values)
        if session is None:
            raise DamagedRecord(f"the store {self.path} is damaged: a record's session is missing")
        self._check(session[-1], *session[:-1])
        return Record(json.loads(cell[2]), cell[3], cell[4], json.loads(cell[1]))

    def _complaint(self, failure: sqlite3.Error) -> str:
        kinds = {sqlite3.SQLITE_CORRUPT: "is damaged", sqlite3.SQLITE_NOTADB: "is damaged, or is no store"}
        return f"the store {self.path} {kinds.get(failure.sqlite_errorcode & 0xFF, 'cannot be used')}: {failure}"

    def _check(self, digest: bytes, *values: Any) -> None:
        if digest != _digest(*values).encode():
            raise DamagedRecord(f"the store {self.path} is damaged: a record is not as it was written")

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._db
        except sqlite3.Error as failure:
            raise StudyError(f"{self._complaint(failure)}; move it away to compute anew") from failure

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            with self._db as db:
                yield db
        except sqlite3.Error as failure:
            raise StudyError(
                f"cannot write the store {self.path}: {failure}; the cells written before are kept: "
                f"make room or mend the file's permissions, then run the same command again"
            ) from failure


def _digest(*values: Any) -> str:
    """Of a record's values, as SQLite gives them back: texts as bytes."""
    parts = [value.encode() if isinstance(value, str) else value for value in values]
    return hashlib.sha256(repr(parts).encode()).hexdigest()
