"""Stored embeddings: vectors of picture files, kept on disk, so that no file is encoded twice.

Two kinds of file lie in one folder, and they are plain SQLite:

- ``files.sqlite``: path -> size, time, inode -> sha256 of the content. A file whose state is as it
  was need not be opened. It serves every model.
- ``<model>-<key>.sqlite``: sha256 of the content -> vector, float32, with a checksum. The key is
  made of all that changes a vector: weights and facts (the fingerprint), which features, how
  pictures are read, how the towers compute. So no vector is ever taken for another model's, and a
  renamed file is known. Pictures in memory (bytes, arrays) are kept here too.

A state is trusted only if the file was at rest when it was read: one that was changed less than
two seconds before might change again without its time showing it (file systems count time in steps
of up to two seconds), so it is read once more in the next run.

Files that cannot be read are not remembered: they are tried and named in every run, since what is
missing may be a plugin. Vectors are as the towers gave them, bit for bit.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from keshin.core.pictures import Failure, Picture
from keshin.encode.database import Database, look
from keshin.encode.embedded import Counts, Embedded, Held, Kept, Known
from keshin.encode.encoder import Encoder
from keshin.encode.picture_encoder import PictureEncoder
from keshin.encode.pipeline import Vector, grouped

FORMAT = 2
"""Raise it when preprocessing or a graph changes vectors for the same facts."""
AT_ONCE = 500
REST_NS = 2_000_000_000
FLUSH_SECONDS = 2.0
FILE = (str, os.PathLike)
FILES = "files.sqlite"
FILES_SCHEMA = (
    "CREATE TABLE files(path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER, "
    "read_ns INTEGER, content BLOB) WITHOUT ROWID"
)
VECTORS_SCHEMA = (
    "CREATE TABLE vectors(content BLOB PRIMARY KEY, vector BLOB, checksum INTEGER);"
    "CREATE TABLE facts(name TEXT PRIMARY KEY, value TEXT)"
)
PUT_FILE = "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)"
PUT_VECTOR = "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)"
PUT_FACT = "INSERT OR REPLACE INTO facts VALUES (?, ?)"
GET_FACTS = "SELECT name, value FROM facts WHERE name IN ({})"
GET_FILES = "SELECT * FROM files WHERE path IN ({})"
GET_VECTORS = "SELECT content, vector, checksum FROM vectors WHERE content IN ({})"

Some = TypeVar("Some", bound=Kept)


class Store:
    """The stored embeddings of one encoder. ``open_store`` makes one; use it in a ``with``."""

    def __init__(
        self, folder: Path, encoder: PictureEncoder, on_warning: Callable[[str], None]
    ) -> None:
        self.encoder = replace(encoder)  # its key must fit, whatever is set on the other
        self.counts = Counts()
        facts = facts_of(encoder)
        key = hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()[:16]
        name = re.sub(r"[^\w.-]+", "-", encoder.name)[:60]
        self._on_warning = on_warning
        self._unkept = False
        self._files = Database(folder / FILES, FILES_SCHEMA, FORMAT, self._said)
        path = folder / f"{name}-{key}.sqlite"
        self._vectors = Database(path, VECTORS_SCHEMA, FORMAT, self._said)
        if not self._vectors.select(GET_FACTS, ["format"]):
            for fact in facts.items():
                self._vectors.add(PUT_FACT, fact)
        self._flushed = time.monotonic()
        self._damaged = False

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *how: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is not yet written."""
        self._vectors.close()
        self._files.close()

    @property
    def keeps(self) -> bool:
        """Whether new vectors are written."""
        return self._vectors.writable

    def embed(
        self,
        paths: Iterable[str | os.PathLike[str]],
        *,
        progress: Callable[[Counts], None] | None = None,
        also: Known | None = None,
    ) -> Generator[Embedded, None, None]:
        """Each file in order, with its vector or its error; encoded only if it is not known.

        ``paths`` is taken from as needed, memory is bounded whatever its length. What was encoded
        is on disk after ``FLUSH_SECONDS`` or when the iterator ends, also by an interrupt.
        ``progress`` is called after each file. ``also`` knows more vectors by their content, from
        any thread: an index of this encoder, say. They are given out and not kept here.
        """
        yield from self._run(self._items(paths, also=also), progress)

    def embed_pictures(
        self,
        pictures: Iterable[Picture],
        *,
        progress: Callable[[Counts], None] | None = None,
    ) -> Generator[Kept, None, None]:
        """The same for pictures of any kind: files, bytes of files, arrays; see ``Held``."""
        yield from self._run(self._kept(pictures), progress)

    def _run(
        self, items: Iterable[Some], progress: Callable[[Counts], None] | None
    ) -> Generator[Some, None, None]:
        counts = self.counts = Counts()
        try:
            for item in self.encoder.pipeline().run(items):
                self._keep(item)
                counts.add(item)
                if progress:
                    progress(counts)
                yield item
        finally:
            self._flush()

    def try_images(
        self,
        paths: Iterable[str | os.PathLike[str]],
        *,
        progress: Callable[[Counts], None] | None = None,
    ) -> Iterator[tuple[list[int], Vector, list[Failure]]]:
        """The same in groups, as ``Encoder.try_images`` gives them."""
        items = self.embed(paths, progress=progress)
        return grouped(items, self.encoder.batch_size, self.encoder.width)

    def vectors_of(self, contents: list[bytes]) -> dict[bytes, Vector]:
        """The vectors that are known, by sha256 of the content. May be called from any thread."""
        known: dict[bytes, Vector] = {}
        length = 4 * self.encoder.width
        for content, vector, checksum in self._vectors.select(GET_VECTORS, contents):
            if len(vector) == length and _checksum(content, vector) == checksum:
                known[content] = np.frombuffer(vector, "<f4").astype(np.float32, copy=False)
            elif not self._damaged:
                self._damaged = True
                self._on_warning(
                    f"The cache '{self._vectors.path}' has damaged vectors; they are made anew."
                )
        return known

    def _kept(self, pictures: Iterable[Picture]) -> Iterator[Kept]:
        """Files in groups, since one question to the database does for many; the rest one by one,
        so that no more of them are in memory than are being read."""
        index = 0
        for are_files, some in groupby(pictures, lambda picture: isinstance(picture, FILE)):
            if are_files:
                for item in self._items(some, index):  # type: ignore[arg-type]  # they are FILEs
                    index = item.index + 1
                    yield item
                continue
            for picture in some:
                yield Held(index, picture, self.encoder, self.vectors_of)
                index += 1

    def _items(
        self, paths: Iterable[str | os.PathLike[str]], index: int = 0, also: Known | None = None
    ) -> Iterator[Embedded]:
        """The files, those that are known done already; ``index`` is that of the first."""

        def known_of(contents: list[bytes]) -> dict[bytes, Vector]:
            known = also(contents) if also else {}
            return known | self.vectors_of([one for one in contents if one not in known])

        source = iter(paths)
        folders: dict[str, str] = {}
        while some := [os.fspath(path) for path in islice(source, AT_ONCE)]:
            items = [
                Embedded(index + n, path, self.encoder, known_of)
                for n, path in enumerate(some)
            ]
            index += len(items)
            keys = [_key(item.path, folders) for item in items]
            rows = {row[0]: row[1:] for row in self._files.select(GET_FILES, keys)}
            for item, key in zip(items, keys, strict=True):
                *state, read_ns, content = rows.get(key, (None, None, None, 0, b""))
                if tuple(state) == item.state and read_ns - item.mtime_ns > REST_NS:
                    item.content = content
            known = known_of(list({item.content for item in items if item.content}))
            for item in items:
                item.vector = known.get(item.content)
                item.cached = item.vector is not None
            yield from items

    def _said(self, message: str, last: bool) -> None:
        """One sentence that nothing is kept is enough for both files."""
        if not (last and self._unkept):
            self._on_warning(message)
        self._unkept |= last

    def _keep(self, item: Kept) -> None:
        if item.vector is None:
            return
        if not item.cached and item.content:
            data = item.vector.astype("<f4").tobytes()
            self._vectors.add(PUT_VECTOR, (item.content, data, _checksum(item.content, data)))
        if isinstance(item, Embedded) and item.fresh:
            row = (_key(item.path, {}), *item.state, item.read_ns, item.content)
            self._files.add(PUT_FILE, row)
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        """Vectors first: a hash without a vector would be read again, but cheaply."""
        self._vectors.flush()
        self._files.flush()
        self._flushed = time.monotonic()


def open_store(
    folder: str | os.PathLike[str],
    encoder: Encoder | PictureEncoder,
    *,
    on_warning: Callable[[str], None] | None = None,
) -> Store | None:
    """The stored embeddings of ``encoder`` in ``folder``, which is made if it is not there.

    None if the encoder has no fingerprint, so that its vectors belong to no model. Nothing that
    happens to the folder stops the work: ``on_warning`` gets the sentence, by default a warning.
    """
    if not encoder.fingerprint:
        return None
    pictures = encoder.pictures() if isinstance(encoder, Encoder) else encoder
    return Store(Path(folder), pictures, on_warning or _warn)


def stored_files(folder: Path) -> list[dict[str, str | int]]:
    """What lies in a folder of stored embeddings: a row for each file, with its facts."""
    rows: list[dict[str, str | int]] = []
    for path in sorted(folder.glob("*.sqlite")):
        table = "files" if path.name == FILES else "vectors"
        count = look(path, f"SELECT count(*) FROM {table}")  # noqa: S608 - one of these two
        facts: dict[str, str] = {}
        if table == "vectors":
            facts.update(look(path, "SELECT name, value FROM facts"))
        rows.append({
            "file": path.name, "holds": table, "rows": count[0][0] if count else 0,
            "bytes": path.stat().st_size,
            **{name: str(facts.get(name, "")) for name in ("model", "decode", "mode")},
        })  # fmt: skip
    return rows


def facts_of(encoder: PictureEncoder) -> dict[str, str]:
    """All that changes a vector, and what people want to know: two encoders whose facts are equal
    give equal vectors."""
    preprocess: Any = msgspec.json.encode(encoder.preprocess).decode()
    facts = {
        "decode": encoder.decode,
        "dimensions": str(encoder.width),
        "fingerprint": encoder.fingerprint,
        "format": str(FORMAT),
        "model": encoder.name,
        "mode": encoder.mode,
        "preprocess": preprocess,
    }
    if encoder.kind != "joint":  # what is kept of older versions is all of this kind
        facts["kind"] = encoder.kind
    return facts


def _key(path: str, folders: dict[str, str]) -> bytes:
    """The absolute path; ``folders`` remembers those of folders, which repeat."""
    folder, name = os.path.split(path)
    if (absolute := folders.get(folder)) is None:
        folders.clear() if len(folders) > 1000 else None
        absolute = folders[folder] = os.path.abspath(folder)  # noqa: PTH100 - for speed
    return os.fsencode(os.path.join(absolute, name))


def _checksum(content: bytes, vector: bytes) -> int:
    return zlib.crc32(vector, zlib.crc32(content))


def _warn(message: str) -> None:
    import warnings

    warnings.warn(message, stacklevel=3)
