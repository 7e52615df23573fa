"""Shards of pairs: which there are, how many samples each holds, and where in it each sample lies.

Numbers of samples come from a file beside the shards where there is one: keshin's
``manifest.json``, ``sizes.json`` (webdataset, OpenCLIP) or ``00000_stats.json`` (img2dataset). Else
each shard's headers are read once, and what they say is kept.
"""

from __future__ import annotations

import glob
import io
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from keshin.core.cache import mark_of, read_entry, write_entry
from keshin.core.kept import SHARDS
from keshin.errors import DataError
from keshin.train import remote
from keshin.train.manifest import MANIFEST, Manifest

PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "ppm", "tif", "tiff")
MEMBERS = (*PICTURES, "txt", "json")
KEPT_BYTES = 20 << 30
BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expand(paths: str | Sequence[str]) -> list[str]:
    """The files that some names, with ``{000..123}``, ``{a,b}`` and ``*`` in them, stand for.

    In the order of their names; addresses (``s3://...``) too. A name that matches nothing stands
    for itself, so that opening it says so.
    """
    found: list[str] = []
    for path in [paths] if isinstance(paths, str) else paths:
        if not remote.is_remote(path) and Path(path).exists():
            found.append(path)
            continue
        for name in _without_braces(path):
            if not glob.has_magic(name):
                found.append(name)
                continue
            hits = remote.matching(name) if remote.is_remote(name) else glob.glob(name)
            found += sorted(hits) or [name]
    return found


def _without_braces(text: str) -> Iterator[str]:
    hit = next((h for h in BRACES.finditer(text) if "," in h[1] or RANGE.fullmatch(h[1])), None)
    if hit is None:
        yield text
        return
    numbers = RANGE.fullmatch(hit[1])
    choices: Iterable[str] = hit[1].split(",")
    if numbers:
        width, first, last = len(numbers[1]), int(numbers[1]), int(numbers[2])
        choices = (f"{n:0{width}d}" for n in range(first, last + 1))
    for choice in choices:
        yield from _without_braces(text[: hit.start()] + choice + text[hit.end() :])


class BrokenShard(DataError):
    """A shard that cannot be read; nothing is known of its samples."""


def sample_counts(shards: Sequence[str], broken: list[str] | None = None) -> npt.NDArray[np.int64]:
    """The samples of each shard.

    Raises ``DataError`` if one must be read and cannot; with a list ``broken`` it has no samples
    instead, and the reason is added to the list.
    """
    known: dict[str, dict[str, int]] = {}
    counts = []
    for shard in shards:
        folder, _, name = shard.rpartition("/")
        if folder not in known:
            known[folder] = _stated(folder)
        count = known[folder].get(name)
        if count is None:
            count = _from_stats(folder, name)
        if count is None:
            try:
                count = len(index_of(shard))
            except BrokenShard as error:
                if broken is None:
                    raise
                broken.append(str(error))
                count = 0
        counts.append(count)
    return np.array(counts, np.int64)


def _beside(folder: str, name: str) -> bytes | None:
    """The content of a small file beside the shards."""
    if remote.is_remote(folder):
        return remote.small(f"{folder}/{name}")
    try:
        return (Path(folder or ".") / name).read_bytes()
    except OSError:
        return None


def _stated(folder: str) -> dict[str, int]:
    """Samples by shard, as a manifest of keshin or the ``sizes.json`` of others says."""
    try:
        if (data := _beside(folder, MANIFEST)) is not None:
            shards = msgspec.json.decode(data, type=Manifest).shards
            return {shard.name: shard.samples for shard in shards}
        if (data := _beside(folder, "sizes.json")) is not None:
            return msgspec.json.decode(data, type=dict[str, int])
    except msgspec.DecodeError:  # some other program's file of this name
        pass
    return {}


def _from_stats(folder: str, name: str) -> int | None:
    """What img2dataset noted of a shard."""
    if remote.is_remote(folder):
        return None  # a request for each shard would take as long as the shards' own headers
    data = _beside(folder, f"{name.removesuffix('.tar')}_stats.json")
    try:
        return None if data is None else int(msgspec.json.decode(data)["successes"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return None


@dataclass(frozen=True)
class Index:
    """Where the members of the n samples of a shard lie: some 70 bytes a sample."""

    keys: npt.NDArray[np.uint8]
    """The samples' names in UTF-8, a line each."""
    starts: npt.NDArray[np.int64]
    """(n + 1,) the first member of each sample."""
    kinds: npt.NDArray[np.uint8]
    """(m,) places in ``MEMBERS``."""
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def nbytes(self) -> int:
        """The memory that it takes."""
        return sum(int(getattr(self, field.name).nbytes) for field in fields(self))

    def key(self, sample: int) -> str:
        """The name of a sample."""
        lines = self.keys.tobytes().decode("utf-8", "replace").split("\n")
        return lines[sample] if sample < len(self) else ""

    def members(self, sample: int) -> dict[str, tuple[int, int]]:
        """Extension -> (offset, size)."""
        span = slice(int(self.starts[sample]), int(self.starts[sample + 1]))
        columns = (c[span].tolist() for c in (self.kinds, self.offsets, self.sizes))
        return {MEMBERS[k]: (offset, size) for k, offset, size in zip(*columns, strict=True)}


def index_of(shard: str, limit: int = remote.LIMIT) -> Index:
    """The index of a shard, kept for the next time. Raises ``BrokenShard``."""
    path = remote.local(shard, limit)
    mark = mark_of([path])
    entry = SHARDS.folder / mark
    if mark and (data := read_entry(entry)) is not None:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return Index(**{name: arrays[name] for name in arrays})
    index = _scanned(path, shard)
    if mark:
        stream = io.BytesIO()
        np.savez(stream, **{field.name: getattr(index, field.name) for field in fields(Index)})
        write_entry(entry, stream.getvalue(), at_most=KEPT_BYTES)
    return index


def _scanned(path: Path, shard: str) -> Index:
    keys, starts = list[str](), [0]
    kinds, offsets, sizes = list[int](), list[int](), list[int]()
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # it would keep all that it met
                if not member.isfile():
                    continue
                folder, _, base = member.name.rpartition("/")
                stem, _, kind = base.partition(".")
                name = f"{folder}/{stem}" if folder else stem
                if not keys or name != keys[-1]:
                    keys.append(name)
                    starts.append(starts[-1])
                if kind.lower() in MEMBERS:
                    kinds.append(MEMBERS.index(kind.lower()))
                    offsets.append(member.offset_data)
                    sizes.append(member.size)
                    starts[-1] += 1
    except (OSError, tarfile.TarError) as error:
        raise BrokenShard(
            f"Cannot read the shard {shard}: {error}. Shards are plain, uncompressed tar files."
        ) from error
    lines = "\n".join(key.replace("\n", " ") for key in keys).encode("utf-8", "replace")
    return Index(
        np.frombuffer(lines, np.uint8), np.array(starts, np.int64), np.array(kinds, np.uint8),
        np.array(offsets, np.int64), np.array(sizes, np.int64),
    )  # fmt: skip
