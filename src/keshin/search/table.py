"""The table of an index, ``pictures.sqlite``: which file shows which vector, and what rows count.

Plain SQLite with a rollback journal (WAL does not work on network drives). For people and other
programs there is the view ``pictures``: path, content, size, mtime_ns, width, height, orientation,
taken, vector. A vector's id is given once and never again, so a reader that holds an older state of
the rows can still ask which files show a vector.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keshin.errors import SearchError
from keshin.search.rows import Ints

FORMAT = 1
NAME = "pictures.sqlite"
PATIENCE = 20.0
MANY = 500
SCHEMA = """
CREATE TABLE facts(name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE state(generation INTEGER, rows INTEGER, version INTEGER);
CREATE TABLE vectors(id INTEGER PRIMARY KEY AUTOINCREMENT, content BLOB UNIQUE, used INTEGER);
CREATE INDEX unused ON vectors(id) WHERE NOT used;
CREATE TABLE files(
  id INTEGER PRIMARY KEY, path BLOB UNIQUE, size INTEGER, mtime_ns INTEGER, inode INTEGER,
  read_ns INTEGER, vector INTEGER REFERENCES vectors(id), width INTEGER, height INTEGER,
  orientation INTEGER, taken TEXT);
CREATE INDEX showing ON files(vector);
CREATE VIEW pictures AS SELECT CAST(path AS TEXT) AS path, lower(hex(content)) AS content, size,
  mtime_ns, width, height, orientation, taken, vector
  FROM files JOIN vectors ON files.vector = vectors.id;
INSERT INTO state VALUES (0, 0, 0)
"""
PUT_FILE = (
    "INSERT INTO files(path, size, mtime_ns, inode, read_ns, vector, width, height, orientation, "
    "taken) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(path) DO UPDATE SET "
    "size=excluded.size, mtime_ns=excluded.mtime_ns, inode=excluded.inode, "
    "read_ns=excluded.read_ns, vector=excluded.vector, width=excluded.width, "
    "height=excluded.height, orientation=excluded.orientation, taken=excluded.taken"
)
MARK = (
    "UPDATE vectors SET used = EXISTS(SELECT 1 FROM files WHERE vector = vectors.id) "
    "WHERE id IN ({})"
)


@dataclass(frozen=True)
class State:
    """Which rows count."""

    generation: int = 0
    rows: int = 0
    version: int = 0
    """Rises with each change."""


@dataclass(frozen=True)
class Shown:
    """A picture file as the table knows it."""

    path: bytes
    """Below the indexed folder, as the system writes it."""
    size: int
    mtime_ns: int
    vector: int
    width: int
    """Upright, in pixels; 0 is unknown."""
    height: int
    orientation: int
    """The EXIF tag; 1 is upright."""
    taken: str
    """The EXIF time, ``YYYY-MM-DDTHH:MM:SS``; "" is unknown."""


class Table:
    """A connection; ``open_table`` makes one. Safe to use from several threads."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[None]:
        """All that happens inside happens at one moment, or not at all."""
        with self._lock, _explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def state(self) -> State:
        """Which rows count now."""
        return State(*self.rows("SELECT generation, rows, version FROM state")[0])

    def facts(self) -> dict[str, str]:
        """What the index was made of."""
        return dict(self.rows("SELECT name, value FROM facts"))

    def set_facts(self, facts: Mapping[str, str]) -> None:
        """Within a transaction."""
        self.write("INSERT OR REPLACE INTO facts VALUES (?, ?)", facts.items())

    def set_state(self, generation: int, rows: int) -> None:
        """Within a transaction."""
        self.write(
            "UPDATE state SET generation = ?, rows = ?, version = version + 1",
            [(generation, rows)],
        )

    def unused(self) -> Ints:
        """The ids of vectors that no file shows, rising."""
        return self.column("SELECT id FROM vectors WHERE NOT used ORDER BY id")

    def files_of(self, vectors: Sequence[int]) -> dict[int, list[Shown]]:
        """The files that show these vectors, in the order of their paths."""
        question = (
            "SELECT path, size, mtime_ns, vector, width, height, orientation, taken FROM files "
            "WHERE vector IN ({}) ORDER BY path"
        )
        found: dict[int, list[Shown]] = {}
        for row in self.among(question, vectors):
            found.setdefault(row[3], []).append(Shown(*row))
        return found

    def count(self) -> int:
        """The files in the index."""
        return int(self.rows("SELECT count(*) FROM files")[0][0])

    def rows(self, question: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The answer to a question."""
        with self._lock, _explained(self.path):
            return self._connection.execute(question, values).fetchall()

    def column(self, question: str) -> Ints:
        """The answer to a question for one column of numbers, however many."""
        with self._lock, _explained(self.path):
            found = self._connection.execute(question)
            return np.fromiter((row[0] for row in found), np.int64)

    def among(self, question: str, keys: Sequence[object]) -> Iterator[tuple[Any, ...]]:
        """The rows for which ``question``, with ``{}`` for the keys, holds."""
        for start in range(0, len(keys), MANY):
            some = keys[start : start + MANY]
            yield from self.rows(question.format(",".join("?" * len(some))), some)

    def write(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Within a transaction."""
        with _explained(self.path):
            self._connection.executemany(statement, rows)

    def mark_used(self, vectors: Sequence[int]) -> None:
        """Note anew which of these vectors a file shows; within a transaction."""
        for start in range(0, len(vectors), MANY):
            some = vectors[start : start + MANY]
            with _explained(self.path):
                self._connection.execute(MARK.format(",".join("?" * len(some))), some)


def open_table(folder: Path, *, write: bool) -> Table:
    """The table of an index; made if it is to be written and is not there.

    Raises ``SearchError`` where there is none, or one that cannot be read.
    """
    path = folder / NAME
    if not write and not path.exists():
        raise SearchError(f"There is no index in '{folder}'. Make it with an update.")
    with _explained(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={'rwc' if write else 'ro'}", uri=True,
            timeout=PATIENCE, isolation_level=None, check_same_thread=False,
        )  # fmt: skip
        try:
            if write and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                connection.execute("BEGIN IMMEDIATE")
                for statement in SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {FORMAT}")
                connection.execute("COMMIT")
            found = connection.execute("PRAGMA user_version").fetchone()[0]
        except BaseException:
            connection.close()
            raise
    if found != FORMAT:
        connection.close()
        raise SearchError(
            f"The index '{path}' has format {found}, this keshin reads {FORMAT}. Build it anew "
            "(--rebuild)."
        )
    return Table(path, connection)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        damaged = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        hint = "Build it anew (--rebuild)" if damaged else "Check the disk and who may use the file"
        raise SearchError(f"The index '{path}' cannot be used: {error}. {hint}.") from error
