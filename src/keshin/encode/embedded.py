"""A picture file on its way to a vector: its state, its content, what a store knows of it."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass

from keshin.core.picture_files import name_of
from keshin.core.pictures import fitted
from keshin.encode.encoder import Encoder
from keshin.encode.pipeline import Item, Pixels, Vector

WHOLE = 64 << 20
"""Files up to this size are read once, into memory, for the hash and the decoder."""


@dataclass
class Counts:
    """How far a run is."""

    cached: int = 0
    new: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        """All of them."""
        return self.cached + self.new + self.failed

    def add(self, item: Embedded) -> None:
        """Count one more."""
        self.failed += item.error is not None
        self.cached += item.cached
        self.new += item.vector is not None and not item.cached


class Embedded(Item):
    """A picture file and its ``vector`` or ``error``."""

    def __init__(
        self,
        index: int,
        path: str,
        encoder: Encoder,
        known: Callable[[list[bytes]], dict[bytes, Vector]],
    ) -> None:
        super().__init__(index, name_of(path))
        self.path = path
        """As it was given."""
        self.content: bytes = b""
        """sha256 of the file; empty if it could not be read."""
        self.cached = False
        """Whether the vector was there already."""
        self.size = self.mtime_ns = self.inode = self.read_ns = -1
        self.fresh = False
        """Whether the content was read in this run."""
        self._facts, self._mode, self._known = encoder.config.preprocess, encoder.decode, known
        with suppress(OSError, ValueError):  # reading it says why
            self._at_rest(os.stat(path))

    @property
    def state(self) -> tuple[int, int, int]:
        """What tells that a file is as it was: size, time of change, inode."""
        return self.size, self.mtime_ns, self.inode

    def read(self) -> Pixels | None:
        """In some thread: hash the file, and decode it if its content is not known."""
        source = self._content()
        if self.content and (known := self._known([self.content])):
            self.vector, self.cached = known[self.content], True
            return None
        given = self.path if source is None else source
        return fitted(given, self._facts, mode=self._mode, name=self.name)

    def _at_rest(self, found: os.stat_result) -> bool:
        """Take the state of a regular file; whether it is the one already taken."""
        before = self.state
        if stat.S_ISREG(found.st_mode):
            self.size, self.mtime_ns = found.st_size, found.st_mtime_ns
            self.inode = found.st_ino & 0x7FFF_FFFF_FFFF_FFFF  # what SQLite can hold
        return before == self.state

    def _content(self) -> bytes | None:
        """Set ``content``; gives the file's bytes if it is not too large to be held. What cannot be
        read here cannot be decoded either, and that has the better sentence."""
        if self.size < 0:
            return None
        try:
            with open(self.path, "rb") as file:
                self.read_ns = time.time_ns()
                still = self._at_rest(os.fstat(file.fileno()))
                data = file.read() if self.size <= WHOLE else None
                digest = (
                    hashlib.sha256(data)
                    if data is not None
                    else hashlib.file_digest(file, "sha256")
                )
                still = self._at_rest(os.fstat(file.fileno()))
        except (OSError, ValueError):
            return None
        self.content, self.fresh = digest.digest(), still
        return data


def embed(
    encoder: Encoder,
    paths: Iterable[str | os.PathLike[str]],
    *,
    progress: Callable[[Counts], None] | None = None,
) -> Generator[Embedded, None, None]:
    """The same as ``Store.embed`` without anything stored."""
    counts = Counts()
    items = (
        Embedded(n, os.fspath(path), encoder, lambda contents: {}) for n, path in enumerate(paths)
    )
    for item in encoder.pipeline().run(items):
        counts.add(item)
        if progress:
            progress(counts)
        yield item
