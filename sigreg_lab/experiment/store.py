"""Where finished cells lie: one SQLite file per study, one record per cell.

A record is written in one transaction when its cell is finished, so it is there whole or not at all, whatever kills
the process. A record holds the fingerprint of the code that computed it; one of another fingerprint is stale.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sigreg_lab.experiment.study import Cell, Config, Row, StudyError, canonical

VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    id INTEGER PRIMARY KEY, started TEXT NOT NULL, provenance TEXT NOT NULL, wall_seconds REAL
);
CREATE TABLE IF NOT EXISTS cells (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, rows TEXT NOT NULL, seconds REAL NOT NULL,
    session INTEGER NOT NULL REFERENCES sessions (id)
);
"""


class Record(NamedTuple):
    """A finished cell: its rows, the seconds it took, and the session that computed it."""

    rows: list[Row]
    seconds: float
    session: int
    fingerprint: dict[str, str]


def cell_key(seed: int, cell: Cell, settings: Config) -> str:
    """What identifies a cell in its store: the study's seed, the cell, and the settings it was computed with."""
    return canonical({"seed": seed, "cell": cell, "settings": settings})


class Store:
    """Finished cells of one study.

    Args:
        path: the SQLite file; made if it is not there.

    Raises:
        StudyError: the file is no store, is damaged, is of another version, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=30)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            is_new = not self._db.execute("SELECT name FROM sqlite_master").fetchall()
            if not is_new and version != VERSION:
                raise StudyError(
                    f"the store {path} is of version {version}, this program reads version {VERSION}; "
                    f"give another --out, or move the file away to compute anew"
                )
            with self._db:
                self._db.executescript(_SCHEMA)
                self._db.execute(f"PRAGMA user_version={VERSION}")
        except (sqlite3.Error, OSError) as error:
            raise StudyError(f"cannot open the store {path}: {error}; give another --out, or move it away") from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def start_session(self, started: str, provenance: dict[str, Any]) -> int:
        """Record that a run begins; returns its number."""
        with self._write() as db:
            cursor = db.execute(
                "INSERT INTO sessions (started, provenance) VALUES (?, ?)", (started, canonical(provenance))
            )
        return int(cursor.lastrowid or 0)

    def end_session(self, session: int, wall_seconds: float) -> None:
        """Record how long a run took."""
        with self._write() as db:
            db.execute("UPDATE sessions SET wall_seconds = ? WHERE id = ?", (wall_seconds, session))

    def sessions(self, numbers: set[int]) -> list[dict[str, Any]]:
        """The runs of these numbers; ``wall_seconds`` is None for one that was killed."""
        found = self._db.execute("SELECT id, started, provenance, wall_seconds FROM sessions ORDER BY id")
        return [
            {"session": number, "started": started, "wall_seconds": wall, **json.loads(provenance)}
            for number, started, provenance, wall in found
            if number in numbers
        ]

    def put(self, key: str, record: Record) -> None:
        """Keep a finished cell, in place of an older record of the same cell."""
        values = (key, canonical(record.fingerprint), json.dumps(record.rows), record.seconds, record.session)
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?)", values)

    def get(self, key: str) -> Record | None:
        """The record of a cell, or None."""
        found = self._db.execute(
            "SELECT rows, seconds, session, fingerprint FROM cells WHERE key = ?", (key,)
        ).fetchone()
        if found is None:
            return None
        return Record(json.loads(found[0]), found[1], found[2], json.loads(found[3]))

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._db as db:
                yield db
        except sqlite3.Error as failure:
            raise StudyError(
                f"cannot write the store {self.path}: {failure}; the cells written before are kept: "
                f"make room or mend the file's permissions, then run the same command again"
            ) from failure
