"""The SHA-256 of large files, computed once for as long as they are left alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

from keshin.core.cache import mark_of, read_entry, write_entry
from keshin.core.kept import HASHES

SMALL = 1 << 20
"""Bytes up to which reading a file costs no more than looking for its hash."""
AT_MOST = 1 << 20
"""Bytes that are kept: some ten thousand hashes."""


def sha256_of(path: Path) -> bytes:
    """The digest of a file's content, 32 bytes. Raises ``OSError``."""
    mark = mark_of([path]) if path.stat().st_size > SMALL else ""
    entry = HASHES.folder / mark
    if mark and (known := read_entry(entry)) is not None and len(known) == 32:
        return known
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").digest()
    if mark and mark == mark_of([path]):
        write_entry(entry, found, at_most=AT_MOST)
    return found
