"""What lies in a folder of shards: ``manifest.json``, as ``keshin data convert`` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from keshin.errors import DataError

MANIFEST = "manifest.json"
Struct = TypeVar("Struct", bound=msgspec.Struct)


class Shard(msgspec.Struct, frozen=True):
    """One shard that is whole."""

    name: str
    samples: int
    bytes: int
    sha256: str
    start: int
    """The first row of the source that is in it."""
    stop: int
    """The row after its last one."""
    mark: str = ""
    """Of the source and settings it was written with."""
    left_out: tuple[str, ...] = ()
    """Why rows between ``start`` and ``stop`` are not in it."""


class Manifest(msgspec.Struct, frozen=True):
    """All shards of a folder."""

    mark: str
    source: str
    pairs: int
    """Of the source; those that are not samples were left out."""
    samples: int
    bytes: int
    shards: tuple[Shard, ...]
    left_out: tuple[str, ...] = ()
    """Why, the first thousand."""


def read_json(path: Path, kind: type[Struct]) -> Struct:
    """A manifest or entry. Raises ``DataError``."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"Cannot read {path}: {error}. Remove it to begin anew.") from error
