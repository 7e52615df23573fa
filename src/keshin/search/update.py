"""Bring an index up to date with its folder: only what is new or changed is read.

A file whose size, time and inode are as they were is not opened, under the rule of the stored
embeddings (``encode.embeddings``): the state counts only if the file was at rest when it was read.
A file that is new is read and hashed; if its content is known to the index or to the stored
embeddings, as after a rename, it is not encoded. Every ``COMMIT_SECONDS`` what was done is written:
first the rows, then, in one transaction, the table that says that they count. So a run that ends in
the middle, however it ends, leaves an index that is whole, and the next run goes on there.

Files that cannot be read are named in every run and remembered in none. What lies under a folder
that may not be listed stays as it was.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Protocol

import numpy as np

from keshin.core.picture_details import Details, picture_details
from keshin.core.pictures import Failure, find_pictures
from keshin.encode.embedded import Embedded, Known
from keshin.encode.embeddings import REST_NS
from keshin.encode.pipeline import Vector
from keshin.errors import SearchError
from keshin.search import rows as row_files
from keshin.search.rows import Ints, Rows, open_rows
from keshin.search.table import PUT_FILE, Table

AT_ONCE = 500
COMMIT_SECONDS = 5.0
WASTE = 0.25
"""Share of rows that no file shows from which the rows are written anew."""
WASTE_ROWS = 1024
GET_FILES = "SELECT path, size, mtime_ns, inode, read_ns, id, vector FROM files WHERE path IN ({})"
GET_IDS = "SELECT content, id FROM vectors WHERE content IN ({})"


@dataclass
class Changes:
    """What an update found and did."""

    unchanged: int = 0
    added: int = 0
    changed: int = 0
    renamed: int = 0
    """New names of contents whose old file is gone."""
    removed: int = 0
    encoded: int = 0
    """Pictures that the model looked at; the others' vectors were known."""
    failed: list[Failure] = field(default_factory=list)
    """Files that could not be read."""

    @property
    def done(self) -> int:
        """Files seen."""
        return self.unchanged + self.added + self.changed + self.renamed + len(self.failed)


class Embed(Protocol):
    """Encodes files as they are asked for, in order; ``also`` knows vectors by content."""

    def __call__(self, paths: Iterable[str], also: Known) -> Generator[Embedded, None, None]: ...


@dataclass(frozen=True)
class _Old:
    """A file as the table has it."""

    id: int
    vector: int


class Update:
    """One run over a folder, by the one writer of an index."""

    def __init__(
        self,
        table: Table,
        folder: Path,
        root: Path,
        width: int,
        progress: Callable[[Changes], None] | None = None,
    ) -> None:
        self.changes = Changes()
        self._table, self._folder, self._root, self._width = table, folder, root, width
        self._progress = progress
        state = table.state()
        row_files.clean(folder, state.generation)
        self._generation, self._count = state.generation, state.rows
        self._prefix = len(os.fsencode(os.path.join(root, "")))
        self._seen: set[int] = set()
        self._last = int(table.rows("SELECT coalesce(max(id), 0) FROM files")[0][0])
        self._old: dict[str, _Old] = {}
        self._pending: list[Embedded] = []
        self._blocked: list[bytes] = []
        self._arrived: set[int] = set()
        self._known_before: set[int] = set()
        self._committed = time.monotonic()

    def run(self, embed: Embed) -> Changes:
        """Do it. Raises ``SearchError`` where the folder cannot be walked, or is empty all of a
        sudden; nothing is changed then."""
        before = self._table.count()
        walk = self._to_do()
        first = next(walk, None)
        if first is not None:  # else neither a model nor a store is needed
            items = embed(chain([first], walk), self._known)
            with closing(items):
                self._take(items)
        if before and not self.changes.done:
            raise SearchError(
                f"'{self._root}' has no picture now, but its index knows {before:,}. If it lies on "
                "a drive, connect it. If the pictures are gone for good, build anew (--rebuild)."
            )
        self._commit(ended=True)
        self._compact()
        return self.changes

    def _take(self, items: Iterable[Embedded]) -> None:
        for item in items:
            if item.error is not None:
                self._failed(item)
            else:
                self._pending.append(item)
                self.changes.encoded += not item.cached
                if item.path in self._old:
                    self.changes.changed += 1
                else:
                    self.changes.added += 1
            if self._progress:
                self._progress(self.changes)
            if time.monotonic() - self._committed > COMMIT_SECONDS:
                self._commit()

    def _failed(self, item: Embedded) -> None:
        self._old.pop(item.path, None)
        if item.path == str(self._root):
            raise SearchError(str(item.error))
        if os.path.isdir(item.path):  # noqa: PTH112
            self._blocked.append(os.path.join(os.fsencode(item.path), b"")[self._prefix :])
        self.changes.failed.append(item.failure())

    def _to_do(self) -> Iterator[str]:
        """Files that are new or not as they were."""
        source = find_pictures([self._root])
        while some := [os.fspath(path) for path in islice(source, AT_ONCE)]:
            keys = [os.fsencode(path)[self._prefix :] for path in some]
            known = {row[0]: row[1:] for row in self._table.among(GET_FILES, keys)}
            for path, key in zip(some, keys, strict=True):
                if (old := known.get(key)) is not None:
                    if _at_rest(path, old):
                        self._seen.add(old[4])
                        self.changes.unchanged += 1
                        continue
                    self._old[path] = _Old(old[4], old[5])
                yield path
            if self._progress:
                self._progress(self.changes)

    def _known(self, contents: list[bytes]) -> dict[bytes, Vector]:
        """The vectors that the index has; from any thread."""
        if not contents or not self._count:
            return {}
        found = dict(self._table.among(GET_IDS, contents))
        if not found:
            return {}
        rows = self._rows()
        return {
            content: rows.vectors[rows.places(np.array([number], np.int64))[0]].astype(np.float32)
            for content, number in found.items()
            if number <= int(rows.ids[-1])
        }

    def _rows(self) -> Rows:
        return open_rows(self._folder, self._generation, self._count, self._width)

    def _commit(self, *, ended: bool = False) -> None:
        """Write what was done until now, whole or not at all; at the end, what is gone too."""
        pending, self._pending = self._pending, []
        known: dict[bytes, int] = dict(
            self._table.among(GET_IDS, list({item.content for item in pending}))
        )
        self._known_before |= set(known.values())
        new: dict[bytes, Vector] = {
            item.content: item.vector
            for item in pending
            if item.vector is not None and item.content not in known
        }
        details = _details(pending)
        self._seen |= {self._old[i.path].id for i in pending if i.path in self._old}
        gone = self._gone() if ended else []
        if pending or gone:
            with self._table.transaction(write=True):
                known |= self._append(new)
                self._put(pending, details, known)
                self._remove(gone)
                self._table.set_state(self._generation, self._count + len(new))
        self._count += len(new)
        self._committed = time.monotonic()

    def _append(self, new: dict[bytes, Vector]) -> dict[bytes, int]:
        """Add vectors by their content; gives their ids."""
        if not new:
            return {}
        self._table.write(
            "INSERT INTO vectors(content, used) VALUES (?, 1)", [(content,) for content in new]
        )
        added = dict(self._table.among(GET_IDS, list(new)))
        ids: Ints = np.array([added[content] for content in new], np.int64)
        order = np.argsort(ids)
        vectors = np.stack(list(new.values())).astype(np.float32)
        row_files.append(self._folder, self._generation, self._count, ids[order], vectors[order])
        return added

    def _put(
        self, pending: list[Embedded], details: list[Details], known: dict[bytes, int]
    ) -> None:
        self._table.write(
            PUT_FILE,
            [
                (os.fsencode(item.path)[self._prefix :], *item.state, _read_at(item),
                 known[item.content], about.width, about.height, about.orientation, about.taken)
                for item, about in zip(pending, details, strict=True)
            ],
        )  # fmt: skip
        touched = {known[item.content] for item in pending}
        for item in pending:
            if (old := self._old.pop(item.path, None)) is not None:
                touched.add(old.vector)
            else:
                self._arrived.add(known[item.content])
        self._table.mark_used(sorted(touched))

    def _gone(self) -> list[tuple[int, int]]:
        """Files that were there before and that the walk did not meet: their ids and vectors."""
        ids = self._table.column("SELECT id FROM files")
        missing = [int(number) for number in ids[ids <= self._last] if number not in self._seen]
        question = "SELECT id, vector, path FROM files WHERE id IN ({})"
        return [
            (number, vector)
            for number, vector, path in self._table.among(question, missing)
            if not any(path.startswith(start) for start in self._blocked)
        ]

    def _remove(self, gone: list[tuple[int, int]]) -> None:
        self._table.write("DELETE FROM files WHERE id = ?", [(number,) for number, _ in gone])
        vectors = {vector for _, vector in gone}
        self._table.mark_used(sorted(vectors))
        renamed = len(vectors & self._arrived & self._known_before)
        self.changes.renamed = renamed
        self.changes.added -= renamed
        self.changes.removed = len(gone) - renamed

    def _compact(self) -> None:
        """Write the rows anew where many show nothing."""
        unused = self._table.unused()
        if len(unused) <= max(WASTE_ROWS, WASTE * self._count):
            return
        rows = self._rows()
        kept = np.ones(len(rows), bool)
        kept[rows.places(unused)] = False
        left = row_files.rewrite(self._folder, rows, kept, self._generation + 1)
        with self._table.transaction(write=True):
            self._table.write("DELETE FROM vectors WHERE NOT used AND id = ?",
                              [(int(number),) for number in unused])  # fmt: skip
            self._table.set_state(self._generation + 1, left)
        self._generation, self._count = self._generation + 1, left
        row_files.clean(self._folder, self._generation)


def _at_rest(path: str, old: tuple[int, ...]) -> bool:
    """Whether a file is as it was when it was read."""
    size, mtime_ns, inode, read_ns = old[:4]
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return False
    return (
        stat.S_ISREG(found.st_mode)
        and (found.st_size, found.st_mtime_ns) == (size, mtime_ns)
        and found.st_ino & 0x7FFF_FFFF_FFFF_FFFF == inode
        and read_ns - mtime_ns > REST_NS
    )


def _read_at(item: Embedded) -> int:
    """When a file was read; 0 where it changed meanwhile. One that was not read is as it was."""
    if item.read_ns < 0:
        return time.time_ns()
    return item.read_ns if item.fresh else 0


def _details(items: list[Embedded]) -> list[Details]:
    """Of each file; headers are read beside each other."""
    if not items:
        return []
    with ThreadPoolExecutor(4, "keshin-details") as pool:
        return list(pool.map(lambda item: picture_details(item.path), items))
