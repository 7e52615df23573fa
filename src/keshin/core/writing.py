"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to, which takes its place in one step at the end.

    If the block raises, what was at ``path`` before is unchanged. Whoever needs the content to
    outlast a crash of the machine flushes it (``os.fsync``) within the block.
    """
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield scratch
        scratch.replace(path)
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


@contextmanager
def whole_folder(directory: Path) -> Iterator[Path]:
    """A new folder beside ``directory`` to fill, which takes its place in one step at the end.

    All that lay at ``directory`` before is then gone; if the block raises, it is unchanged.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}.tmp")
    try:
        scratch.mkdir()
        yield scratch
        for path in scratch.iterdir():
            _flush_file(path)
        flush_folder(scratch)
        replace_folder(scratch, directory)
        flush_folder(directory.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _flush_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def entries(directory: Path) -> Iterator[Path]:
    """What lies in a folder; nothing if there is none."""
    return directory.iterdir() if directory.is_dir() else iter(())


def flush_folder(directory: Path) -> None:
    """Make the names in a directory last; not every system lets a directory be opened."""
    with suppress(PermissionError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def replace_folder(new: Path, old: Path) -> None:
    """Put ``new`` in the place of ``old``; what was there is then at ``new``, to be discarded."""
    if not any(entries(old)):
        if old.is_dir() and os.name == "nt":
            old.rmdir()
        new.rename(old)
    elif not _exchange(new, old):
        aside = new.with_suffix(".old")
        old.rename(aside)
        try:
            new.rename(old)
        except OSError:
            aside.rename(old)
            raise
        aside.rename(new)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two directories in one step, where the system can (Linux, macOS)."""
    if os.name != "posix":
        return False
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(first), os.fsencode(second)
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(*paths, 2)  # RENAME_SWAP
    elif hasattr(libc, "renameat2"):
        here = -100  # AT_FDCWD
        failed = libc.renameat2(here, paths[0], here, paths[1], 2)  # RENAME_EXCHANGE
    else:
        return False
    code = ctypes.get_errno()
    if failed and code not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV):
        raise OSError(code, os.strerror(code))
    return not failed
