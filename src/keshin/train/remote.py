"""Shards behind addresses (``s3://``, ``gs://``, ``https://``): fetched whole, in bounded room.

fsspec does the fetching, with the package of each kind of store (s3fs, gcsfs) installed beside it.
All processes of a machine share what was fetched; what was not used for longest goes first.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path
from typing import Any

from keshin.core.kept import FETCHED
from keshin.core.writing import whole
from keshin.errors import DataError, require

TRIES, PAUSE = 3, 0.5
LIMIT = 100 << 30
"""Bytes of fetched shards that are kept."""
SMALLEST = 4
"""Shards that are kept though they exceed the limit: other processes may be about to read them."""


def is_remote(place: str) -> bool:
    """Whether this is an address and no path."""
    return "://" in place


def matching(pattern: str) -> list[str]:
    """The addresses that match ``*``, ``?`` and ``[...]``. Raises ``DataError``."""
    system, path = _opened(pattern)
    try:
        return [system.unstrip_protocol(found) for found in system.glob(path)]
    except Exception as error:  # each store has its own errors
        raise DataError(f"Cannot list {pattern}: {_said(error)}.") from error


def small(address: str) -> bytes | None:
    """The content of a small file; ``None`` if there is none, or it cannot be had."""
    system, path = _opened(address)
    try:
        content: bytes = system.cat_file(path)
    except Exception:  # each store has its own errors
        return None
    return content


def local(place: str, limit: int = LIMIT) -> Path:
    """The file of a shard, fetched if it is an address. Raises ``DataError``.

    Fetched files are kept by address, so what an address names must not change.
    """
    if not is_remote(place):
        return Path(place)
    path = FETCHED.folder / hashlib.sha256(place.encode()).hexdigest()
    if path.exists():
        with contextlib.suppress(OSError):
            os.utime(path)  # used: the last to go
        return path
    system, there = _opened(place)
    for tries in range(1, TRIES + 1):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole(path) as scratch:
                system.get_file(there, str(scratch))
            break
        except FileNotFoundError as error:
            raise DataError(f"There is no {place}. Correct the path in the recipe.") from error
        except Exception as error:  # each store has its own errors
            if tries == TRIES:
                why = f"{_said(error)}, {TRIES} times"
                raise DataError(f"Cannot fetch {place}: {why}. Try again later.") from error
            time.sleep(PAUSE * 2**tries)
    _prune(limit)
    return path


def _opened(address: str) -> tuple[Any, str]:
    core = require("fsspec.core", extra="remote")
    try:
        system, path = core.url_to_fs(address)
    except (ImportError, ValueError) as error:  # s3fs is not installed; no such protocol
        raise DataError(f"Cannot open {address}: {_said(error)}.") from error
    return system, path


def _said(error: Exception) -> str:
    return (str(error) or repr(error)).rstrip(".")


def _prune(limit: int) -> None:
    found = []
    for path in FETCHED.files():
        with contextlib.suppress(OSError):  # another process has just deleted it
            state = path.stat()
            found.append((state.st_mtime, state.st_size, path))
    total = 0
    for place, (_, size, path) in enumerate(sorted(found, reverse=True)):
        total += size
        if total > limit and place >= SMALLEST and path.suffix != ".tmp":
            path.unlink(missing_ok=True)
