"""A picture on its way to a vector: its content, what a store knows of it, and a file's state."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from keshin.core.content import content_of
from keshin.core.picture_files import name_of
from keshin.core.pictures import Picture, fitted
from keshin.encode.encoder import Encoder
from keshin.encode.picture_encoder import PictureEncoder
from keshin.encode.pipeline import Item, Pixels, Vector

Known = Callable[[list[bytes]], dict[bytes, Vector]]
"""sha256 of contents -> the vectors of those that are known."""

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

    def add(self, item: Kept) -> None:
        """Count one more."""
        self.failed += item.error is not None
        self.cached += item.cached
        self.new += item.vector is not None and not item.cached


class Kept(Item):
    """A picture whose ``vector`` is kept by its content."""

    def __init__(self, index: int, name: str, encoder: PictureEncoder, known: Known) -> None:
        super().__init__(index, name)
        self.content: bytes = b""
        """sha256 of the picture; empty if it could not be read, or is not kept."""
        self.cached = False
        """Whether the vector was there already."""
        self._facts, self._mode, self._known = encoder.preprocess, encoder.decode, known

    def _found(self) -> bool:
        """Whether the content is known; then the vector is taken."""
        if self.content and (known := self._known([self.content])):
            self.vector, self.cached = known[self.content], True
        return self.cached


class Held(Kept):
    """A picture in memory: bytes of a file, which share their vector with the file itself, or an
    array. A Pillow image is encoded each time: what it shows is not in its pixels alone."""

    def __init__(self, index: int, picture: Picture, encoder: PictureEncoder, known: Known) -> None:
        super().__init__(index, name_of(picture), encoder, known)
        self._picture: Picture | None = picture

    def read(self) -> Pixels | None:
        """In some thread: hash the picture, and decode it if its content is not known."""
        picture, self._picture = self._picture, None  # done with: the caller may let go of it
        assert picture is not None  # noqa: S101 - an item is read once
        if isinstance(picture, bytes | bytearray | memoryview | np.ndarray):
            self.content = content_of(picture)
        return None if self._found() else fitted(picture, self._facts, mode=self._mode)


class Embedded(Kept):
    """A picture file and its ``vector`` or ``error``."""

    def __init__(self, index: int, path: str, encoder: PictureEncoder, known: Known) -> None:
        super().__init__(index, name_of(path), encoder, known)
        self.path = path
        """As it was given."""
        self.size = self.mtime_ns = self.inode = self.read_ns = -1
        self.fresh = False
        """Whether the content was read in this run."""
        with suppress(OSError, ValueError):  # reading it says why
            self._at_rest(os.stat(path))

    @property
    def state(self) -> tuple[int, int, int]:
        """What tells that a file is as it was: size, time of change, inode."""
        return self.size, self.mtime_ns, self.inode

    def read(self) -> Pixels | None:
        """In some thread: hash the file, and decode it if its content is not known."""
        source = self._content()
        if self._found():
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
    also: Known | None = None,
) -> Generator[Embedded, None, None]:
    """The same as ``Store.embed`` without anything stored."""
    counts, pictures = Counts(), encoder.pictures()
    known: Known = also or (lambda contents: {})
    items = (Embedded(n, os.fspath(path), pictures, known) for n, path in enumerate(paths))
    for item in pictures.pipeline().run(items):
        counts.add(item)
        if progress:
            progress(counts)
        yield item
