"""One writer at a time: a lock that the system takes back when its process ends in any way."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keshin.errors import IndexBusy, SearchError

NAME = "writer.lock"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Be the one writer of this index. Raises ``IndexBusy`` if another process (or another object
    of this one) is, and ``SearchError`` if the folder cannot be written."""
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise SearchError(
            f"The index '{folder}' cannot be written ({error.strerror}). Name another folder for "
            "it (--index), or search it without an update (--no-update)."
        ) from error
    try:
        if not _taken(handle):
            raise IndexBusy(
                f"Another process is updating the index '{folder}'. Wait until it is done, or "
                "search without an update (--no-update)."
            )
        yield
    finally:
        os.close(handle)  # the lock goes with it


def _taken(handle: int) -> bool:
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
