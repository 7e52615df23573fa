"""A SQLite file that holds what can be made again: whatever happens to it, the program goes on.

SQLite makes it safe for several processes and against ``kill -9``. What is added here: a file that
is damaged, or from another version, is made anew; a folder that may not be written is only read; a
full disk ends the writing; each is said once, in a sentence. A rollback journal and not WAL, since
WAL does not work on network drives. Rows are kept in memory until ``flush``, so that other
processes never wait longer than one short transaction takes.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

Row: TypeAlias = tuple[Any, ...]
MANY = 500
"""Values in one question; old SQLites take up to 999."""
PATIENCE = 20.0
"""Seconds that another process may hold the file."""
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Database:
    """One file with the tables of ``schema``. Safe to use from several threads."""

    def __init__(
        self, path: Path, schema: str, version: int, on_warning: Callable[[str, bool], None]
    ) -> None:
        """``on_warning`` gets a sentence, and whether nothing more is kept from then on."""
        self.path = path
        self.writable = True
        self._schema, self._version, self._on_warning = schema, version, on_warning
        self._table = schema.split("(")[0].split()[-1]
        self._lock = threading.RLock()
        self._pending: dict[str, list[Row]] = {}
        self._connection: sqlite3.Connection | None = None
        self._open()

    def select(self, question: str, keys: Sequence[object]) -> list[Row]:
        """The rows for which ``question``, with ``{}`` for the keys, holds; none if the file cannot
        be read. What waits for ``flush`` is not among them."""
        rows: list[Row] = []
        for start in range(0, len(keys), MANY):
            some = keys[start : start + MANY]
            rows += self._do(_ask, question.format(",".join("?" * len(some))), some) or []
        return rows

    def add(self, statement: str, row: Row) -> None:
        """Keep a row for the next ``flush``."""
        if self.writable:
            with self._lock:
                self._pending.setdefault(statement, []).append(row)

    def flush(self) -> None:
        """Write what waits, all of it or nothing."""
        with self._lock:
            if self._pending and self.writable:
                self._do(_write, self._pending)
            self._pending = {}  # not reached by an interrupt: the next flush has them then

    def close(self) -> None:
        """Write what waits and let go of the file."""
        self.flush()
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _do(self, work: Callable[..., Any], *arguments: object) -> Any:
        """``work`` on the file; None where that fails, after a sentence about it."""
        with self._lock:
            if self._connection is None:
                return None
            try:
                return work(self._connection, *arguments)
            except sqlite3.Error as error:
                self._failed(error)
                return None

    def _failed(self, error: sqlite3.Error) -> None:
        if _code(error) in _DAMAGED:
            self._rebuild()
        elif self.writable:
            self.writable = False
            self._say(f"cannot be written any more ({error}); what is new is not kept", last=True)

    def _open(self) -> None:
        with self._lock:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._connect("rwc")
            except (sqlite3.Error, OSError) as error:
                if isinstance(error, sqlite3.Error) and _code(error) in _DAMAGED:
                    self._rebuild()
                else:
                    self._open_to_read(error)

    def _open_to_read(self, error: Exception) -> None:
        self.writable = False
        try:
            self._connect("ro")
            said = f"may not be written ({error}); it is used, but what is new is not kept"
            self._say(said, last=True)
        except (sqlite3.Error, OSError):
            self._connection = None
            self._say(f"cannot be used ({error}); the work is done without it", last=True)

    def _connect(self, mode: str) -> None:
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}", uri=True, timeout=PATIENCE,
            isolation_level=None, check_same_thread=False,
        )  # fmt: skip
        try:
            if mode == "rwc":
                connection.execute("BEGIN IMMEDIATE")
                if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    for statement in self._schema.split(";"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {self._version}")
                # SQLite opens a file that may not be written for reading; this is what it refuses.
                connection.execute(f"DELETE FROM {self._table} WHERE 0")  # noqa: S608 - ours
                connection.execute("COMMIT")
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found != self._version:
                error = sqlite3.DatabaseError(f"its version is {found}, not {self._version}")
                error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
                raise error
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _rebuild(self) -> None:
        """Begin with an empty file. The journal goes first: it must not be applied to a new file.
        A process that still has the old one open goes on writing to nowhere, which is harmless."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        if not self.writable:
            self._say("is damaged; the work is done without it", last=True)
            return
        try:
            for path in (self.path.with_name(self.path.name + "-journal"), self.path):
                path.unlink(missing_ok=True)
            self._connect("rwc")
            self._say("was damaged or of another version, and is made anew")
        except (sqlite3.Error, OSError) as error:
            self.writable = False
            said = f"is damaged and cannot be made anew ({error}); the work is done without it"
            self._say(said, last=True)

    def _say(self, what: str, *, last: bool = False) -> None:
        self._on_warning(f"The cache '{self.path}' {what}.", last)


def look(path: Path, question: str) -> list[Row]:
    """The answer of a file that is only read, as it is; nothing if it has none."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)
        try:
            return connection.execute(question).fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        return []


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; Python's own errors have none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _ask(connection: sqlite3.Connection, question: str, keys: Sequence[Any]) -> list[Row]:
    return connection.execute(question, keys).fetchall()


def _write(connection: sqlite3.Connection, pending: dict[str, list[Row]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement, rows in pending.items():
            connection.executemany(statement, rows)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
