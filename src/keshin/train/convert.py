"""Pairs of any source as webdataset shards: processes read and reduce, this one writes.

So shards are filled in the order of the rows up to their size, and the same source and settings
give the same bytes, whatever the number of processes and however often the work was interrupted. A
shard gets its name when it is whole, then its entry (``000000.json``); at the end ``manifest.json``
takes the place of all entries.

A sample is the picture (``.jpg``, ``.png``, ...), its first caption (``.txt``), as webdataset's
readers expect, and all of its captions (``.json``, field ``captions``) where there are several.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import numpy as np
from PIL import Image

from keshin.core.pictures import open_picture, to_rgb
from keshin.core.writing import whole
from keshin.errors import DataError, PictureError
from keshin.train.manifest import MANIFEST, Manifest, Shard, read_json
from keshin.train.pairs import Pair, Pairs, open_source
from keshin.train.parallel import in_order
from keshin.train.recipe import Source
from keshin.train.survey import picture_bytes

CHUNK = 32
QUALITY = 92
"""Of JPEGs that were reduced; the others keep their bytes."""
LISTED = 1000
KINDS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp",
         "PPM": "ppm", "TIFF": "tif"}  # fmt: skip
BLOCK = 512


class Settings(msgspec.Struct, frozen=True):
    """What decides the content of the shards."""

    source: Source
    shard_size: int = 1 << 30
    """Bytes that no shard exceeds, unless one sample does."""
    max_side: int | None = None
    """Pictures whose longer side is longer are reduced to it, as JPEG."""
    shuffle: int | None = None
    """Seed of the order of the rows; ``None``: as they are."""


@dataclass(frozen=True)
class Task:
    """Some rows for one process."""

    settings: Settings
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """The members of a sample by extension, or why there is none."""

    row: int
    members: tuple[tuple[str, bytes], ...]
    error: str = ""


def convert(
    settings: Settings,
    folder: Path,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Manifest:
    """Write the shards of a source; goes on after the last whole shard in ``folder``.

    Pictures that cannot be read and pairs without a caption are left out, counted and named. Raises
    ``DataError`` if ``folder`` holds shards of other settings, or the source cannot be read.
    """
    total = len(open_source(settings.source, whole=False))
    mark = hashlib.sha256(msgspec.json.encode([settings, total])).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    done = _finished(folder, mark)
    if isinstance(done, Manifest):
        return done
    for scratch in folder.glob(".[0-9]*.tmp"):  # of a process that was killed
        scratch.unlink()
    start = done[-1].stop if done else 0
    order = _order(settings, total)
    chunks = (order[i : min(i + CHUNK, total)] for i in range(start, total, CHUNK))
    tasks = (Task(settings, tuple(map(int, chunk))) for chunk in chunks)

    def samples() -> Iterator[Sample]:
        for group in in_order(read, tasks, min(workers, max(1, (total - start) // CHUNK))):
            yield from group

    shards = list(done)
    for shard in _write_shards(samples(), settings, folder, len(shards), start, mark):
        shards.append(shard)
        progress(shard.stop, total)
    manifest = Manifest(
        mark=mark,
        source=str(settings.source.path),
        pairs=total,
        samples=sum(shard.samples for shard in shards),
        bytes=sum(shard.bytes for shard in shards),
        left_out=tuple(reason for shard in shards for reason in shard.left_out)[:LISTED],
        shards=tuple(
            msgspec.structs.replace(shard, left_out=()) for shard in shards if shard.samples
        ),
    )
    _write_json(folder / MANIFEST, manifest)
    for shard in shards:
        _entry(folder, shard.name).unlink(missing_ok=True)
    return manifest


def _finished(folder: Path, mark: str) -> Manifest | list[Shard]:
    """All, if all is done; else the shards that are whole."""
    if (folder / MANIFEST).exists():
        manifest = read_json(folder / MANIFEST, Manifest)
        _same(manifest.mark, mark, folder)
        return manifest
    shards: list[Shard] = []
    while (entry := _entry(folder, f"{len(shards):06d}.tar")).exists():
        shard = read_json(entry, Shard)
        _same(shard.mark, mark, folder)
        tar = folder / shard.name
        if not tar.exists() or tar.stat().st_size != shard.bytes:
            break  # removed or damaged: written again, as what comes after it
        shards.append(shard)
    if (
        not shards
        and next(folder.glob("*.tar"), None)
        and not _entry(folder, "000000.tar").exists()
    ):
        raise DataError(f"{folder} holds tars that keshin did not write. Choose another folder.")
    return shards


def _same(found: str, wanted: str, folder: Path) -> None:
    if found != wanted:
        raise DataError(
            f"{folder} holds shards of another source or of other settings. Choose another folder, "
            "or remove it."
        )


def _order(settings: Settings, total: int) -> Any:
    if settings.shuffle is None:
        return range(total)
    return np.random.default_rng(settings.shuffle).permutation(total)


def read(task: Task) -> list[Sample]:
    """The samples of some rows, their pictures reduced."""
    settings = task.settings
    pairs = _opened(settings.source, settings.shuffle is not None)
    found = []
    for row in task.rows:
        try:
            found.append(Sample(row, _members(pairs[row], settings)))
        except (PictureError, DataError, OSError) as error:
            found.append(Sample(row, (), f"{pairs.name(row)}: {error}"))
    return found


@lru_cache(maxsize=2)
def _opened(source: Source, random: bool) -> Pairs:
    return open_source(source, whole=random)


def _members(pair: Pair, settings: Settings) -> tuple[tuple[str, bytes], ...]:
    if not pair.captions:
        raise DataError("it has no caption")
    kind, data = _picture(picture_bytes(pair), settings.max_side)
    captions = [" ".join(caption.split()) for caption in pair.captions]
    members = [(kind, data), ("txt", captions[0].encode("utf-8", "replace"))]
    if len(captions) > 1:
        values: dict[str, Any] = {"captions": captions}
        if pair.weights is not None:
            values["caption_weights"] = pair.weights
        members.append(("json", json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")))
    return tuple(members)


def _picture(data: bytes, max_side: int | None) -> tuple[str, bytes]:
    """The extension and the bytes of a picture that can be decoded. Raises ``PictureError``."""
    image = open_picture(data)
    with Image.open(io.BytesIO(data)) as stored:
        kind = KINDS.get(stored.format or "")
    longer = max(image.size)
    if kind is not None and (max_side is None or longer <= max_side):
        return kind, data
    image = to_rgb(image)
    if max_side is not None and longer > max_side:
        width, height = (max(1, round(side * max_side / longer)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY)
    return "jpg", stream.getvalue()


def _write_shards(
    samples: Iterator[Sample], settings: Settings, folder: Path, number: int, start: int, mark: str
) -> Iterator[Shard]:
    """Each shard as it is whole, on the disk and with its entry."""
    waiting, row = next(samples, None), start
    while waiting is not None:
        name, first, left_out, count = f"{number:06d}.tar", row, list[str](), 0
        with whole(folder / name) as scratch, scratch.open("wb") as file:
            hashed = _Hashed(file)
            with tarfile.open(
                fileobj=cast(IO[bytes], hashed), mode="w|", format=tarfile.PAX_FORMAT
            ) as archive:
                while waiting is not None:
                    if count and _size_with(archive, waiting) > settings.shard_size:
                        break
                    if waiting.error:
                        left_out.append(waiting.error)
                    else:
                        _add(archive, waiting)
                        count += 1
                    row, waiting = row + 1, next(samples, None)
            file.flush()
            os.fsync(file.fileno())
        if count == 0:  # nothing but broken pictures is left
            (folder / name).unlink()
        shard = Shard(
            name, count, hashed.count, hashed.digest.hexdigest(), first, row, mark, tuple(left_out)
        )
        _write_json(_entry(folder, name), shard)
        yield shard
        number += 1


def _size_with(archive: tarfile.TarFile, sample: Sample) -> int:
    """The bytes of the finished tar if the sample is the last one."""
    content = sum(BLOCK + -(-len(data) // BLOCK) * BLOCK for _, data in sample.members)
    return -(-(archive.offset + content + 2 * BLOCK) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


class _Hashed:
    """A file for writing that hashes and counts."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.count, self.digest = file, 0, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.count += len(data)
        return self.file.write(data)


def _add(archive: tarfile.TarFile, sample: Sample) -> None:
    for kind, data in sample.members:
        member = tarfile.TarInfo(f"{sample.row:09d}.{kind}")  # time 0: the same bytes every time
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))


def _entry(folder: Path, name: str) -> Path:
    return (folder / name).with_suffix(".json")


def _write_json(path: Path, value: msgspec.Struct) -> None:
    with whole(path) as scratch, scratch.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(value), indent=1))
        file.flush()
        os.fsync(file.fileno())
