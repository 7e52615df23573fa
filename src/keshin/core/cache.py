"""What can be made again is kept in the user's cache folder, and never trusted more than made anew.

An entry is one file: the SHA-256 of its content, then the content. A file that is damaged counts as
missing; a folder that is read-only, full or not there is done without. ``KESHIN_CACHE`` names
another folder. Deleting any of it is safe at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

from keshin.core.writing import whole

SETTLED = 2.0
"""Seconds after which a file that is changed again has another time: the coarsest clock of a file
system in use (FAT) ticks that slowly."""
SAMPLES, SAMPLE = 16, 4096
SMALL = 1 << 16
LARGEST_ENTRY = 1 << 30


def cache_folder() -> Path:
    """Where what can be made again is kept: ``KESHIN_CACHE``, or the user's cache folder."""
    if own := os.environ.get("KESHIN_CACHE"):
        return Path(own)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "keshin"


def mark_of(files: Iterable[Path]) -> str:
    """A mark of these files that changes when one of them does, though they are hardly read.

    It is made of what the system notes of each file (path, inode, size, times of the last change of
    content and of state) and of samples of the content. A program can set back the first time, but
    not the second; where a system has no such second time, the samples stand against a file that
    was exchanged with its time kept. Files that changed within the last two seconds have no mark
    (""), since they might change again within one tick of the clock, as git knows of its index.
    """
    digest = hashlib.sha256()
    try:
        for path in files:
            with path.open("rb") as file:
                state = os.fstat(file.fileno())
                if time.time() - max(state.st_mtime, state.st_ctime) < SETTLED:
                    return ""
                times = (state.st_mtime_ns, state.st_ctime_ns)
                digest.update(repr((path.resolve(), state.st_ino, state.st_size, times)).encode())
                digest.update(file.read(SMALL))
                for index in range(1, SAMPLES + 1):
                    file.seek(max(0, index * state.st_size // SAMPLES - SAMPLE))
                    digest.update(file.read(SAMPLE))
    except OSError:
        return ""
    return digest.hexdigest()


def read_entry(path: Path) -> bytes | None:
    """The content of an entry, or None if there is no sound one."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > LARGEST_ENTRY:
                return None
            digest, data = file.read(hashlib.sha256().digest_size), file.read()
    except OSError:
        return None
    if hashlib.sha256(data).digest() != digest:
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # used: the last to go
    return data


def write_entry(path: Path, data: bytes, *, at_most: int) -> bool:
    """Keep an entry, whole or not at all; the folder keeps its latest used ``at_most`` bytes.

    False where it cannot be written, which is no error: it will be made again.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as scratch:  # not flushed to the disk: after a crash the digest tells
            scratch.write_bytes(hashlib.sha256(data).digest() + data)
    except OSError:
        return False
    _prune(path.parent, at_most)
    return True


def _prune(folder: Path, at_most: int) -> None:
    """Delete what was not used for longest, and what an ended process left half written."""
    found: list[tuple[float, int, Path]] = []
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                state = path.stat()
                found.append((state.st_mtime, state.st_size, path))
    total = 0
    for when, size, path in sorted(found, reverse=True):
        total += size
        if total > at_most or (path.suffix == ".tmp" and time.time() - when > 3600):
            with contextlib.suppress(OSError):
                path.unlink()
