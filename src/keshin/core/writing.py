"""Files that are there whole or not at all."""

from __future__ import annotations

import secrets
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
