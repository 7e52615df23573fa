"""Image-text pairs from webdataset tars, tables and folders, by index.

Everything is a sequence of ``Pair``: any pair can be asked for at any time, which makes shuffling,
repeats and exact resumption a matter of indices. Picture bytes are read when a pair is used.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import tarfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from keshin.core.pictures import find_pictures
from keshin.errors import DataError, require
from keshin.train.recipe import Source

PICTURE_MEMBERS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "ppm", "tif", "tiff")


@dataclass(frozen=True)
class Pair:
    """A picture and its captions."""

    picture: bytes | Path
    captions: tuple[str, ...]
    weights: tuple[float, ...] | None = None
    """How often each caption is drawn; ``None``: all alike."""
    teacher: npt.NDArray[np.float16] | None = None
    """A teacher's logits."""


class Pairs(Protocol):
    """Pairs by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Pair: ...

    def name(self, index: int) -> str:
        """Where pair ``index`` comes from, for people."""
        ...


def open_source(source: Source, *, whole: bool = True) -> Pairs:
    """The pairs of one source of a recipe. Raises ``DataError``.

    ``whole``: see ``ParquetPairs``.
    """
    path = Path(source.path)
    readers: dict[str, Callable[[Source], Pairs]] = {
        ".parquet": partial(ParquetPairs, whole=whole),
        ".csv": CsvPairs,
        ".tsv": CsvPairs,
        ".tar": TarPairs,
    }
    reader = FolderPairs if path.is_dir() else readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path} is neither a folder nor one of {', '.join(readers)}. "
            "Convert it, or correct the path in the recipe."
        )
    pairs = reader(source)
    if len(pairs) == 0:
        raise DataError(f"{path} holds no pairs. Correct the path or the columns in the recipe.")
    return pairs


class ParquetPairs:
    """A Parquet file; pictures are bytes, or paths relative to the file.

    ``whole``: all of it is held for random access; else one group of rows, for whoever walks it in
    order.
    """

    def __init__(self, source: Source, *, whole: bool = True) -> None:
        parquet = require("pyarrow.parquet", extra="train")
        self.source, self.path = source, Path(source.path)
        self.columns = [source.image, *source.captions]
        self.columns += [c for c in (source.caption_weights, source.teacher) if c]
        try:
            self.file = parquet.ParquetFile(self.path, memory_map=True)
            known = self.file.schema_arrow.names
            missing = [c for c in self.columns if c not in known]
            if missing:
                raise DataError(
                    f"{self.path} has no column {missing[0]!r}. Its columns are {', '.join(known)}."
                )
            groups = range(self.file.num_row_groups)
            rows = [self.file.metadata.row_group(group).num_rows for group in groups]
            self.starts = [sum(rows)] if whole else list(accumulate(rows))
            self.held, self.table = -1, None
            if whole:
                self.held, self.table = 0, self.file.read(columns=self.columns)
                self.file.close()
        except (OSError, ValueError) as error:
            raise DataError(f"Cannot read {self.path}: {error}.") from error

    def __len__(self) -> int:
        return self.starts[-1] if self.starts else 0

    def name(self, index: int) -> str:
        return f"{self.path}, row {index}"

    def __getitem__(self, index: int) -> Pair:
        group = bisect_right(self.starts, index)
        if group != self.held:
            try:
                self.table = self.file.read_row_group(group, columns=self.columns)
            except (OSError, ValueError) as error:
                raise DataError(f"Cannot read {self.path}: {error}.") from error
            self.held = group
        table, source = self.table, self.source
        row = index - (self.starts[group - 1] if group else 0)
        picture = table[source.image][row].as_py()
        captions = flatten(table[column][row].as_py() for column in source.captions)
        weights = table[source.caption_weights][row].as_py() if source.caption_weights else None
        teacher = None
        if source.teacher and table[source.teacher][row].is_valid:
            teacher = np.asarray(table[source.teacher][row].values, dtype=np.float16)
        if isinstance(picture, str):
            picture = self.path.parent / picture
        return Pair(picture or b"", captions, tuple(weights) if weights else None, teacher)


class CsvPairs:
    """A CSV or TSV file with a header; pictures are paths relative to the file."""

    def __init__(self, source: Source) -> None:
        self.path = Path(source.path)
        delimiter = "\t" if self.path.suffix.lower() == ".tsv" else ","
        columns = (source.image, *source.captions)
        self.rows: list[tuple[str, tuple[str, ...]]] = []
        try:
            with self.path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file, delimiter=delimiter)
                known = reader.fieldnames or []
                missing = [c for c in columns if c not in known]
                if missing:
                    raise DataError(
                        f"{self.path} has no column {missing[0]!r}. "
                        f"Its columns are {', '.join(known)}."
                    )
                for row in reader:
                    captions = flatten(row[c] for c in source.captions)
                    self.rows.append((row[source.image], captions))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"Cannot read {self.path}: {error}.") from error

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        return f"{self.path}, row {index}: {self.rows[index][0]}"

    def __getitem__(self, index: int) -> Pair:
        picture, captions = self.rows[index]
        return Pair(self.path.parent / picture, captions)


class FolderPairs:
    """A folder of pictures.

    The captions of ``x.jpg`` are the lines of ``x.txt`` beside it; where there is none, the name of
    the folder it lies in, with blanks for underscores.
    """

    def __init__(self, source: Source) -> None:
        self.files = list(find_pictures([source.path]))

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return str(self.files[index])

    def __getitem__(self, index: int) -> Pair:
        file = self.files[index]
        beside = file.with_suffix(".txt")
        if beside.exists():
            lines = beside.read_text(encoding="utf-8", errors="replace").splitlines()
            return Pair(file, flatten(lines))
        return Pair(file, (file.parent.name.replace("_", " "),))


class TarPairs:
    """Webdataset shards: members of one sample share a name up to the first dot.

    Captions are the lines of ``.txt`` and the recipe's caption fields of ``.json``, each once. Only the
    headers are read at the start; a picture is then read at its offset.
    """

    def __init__(self, source: Source) -> None:
        shards = sorted(glob.glob(source.path)) or [source.path]
        self.fields = source.captions
        self.samples: list[tuple[Path, str, dict[str, tuple[int, int]]]] = []
        for shard in map(Path, shards):
            self.samples.extend(_index_shard(shard))

    def __len__(self) -> int:
        return len(self.samples)

    def name(self, index: int) -> str:
        shard, key, _ = self.samples[index]
        return f"{shard}: {key}"

    def __getitem__(self, index: int) -> Pair:
        shard, _, members = self.samples[index]
        with shard.open("rb") as file:
            read = {
                kind: _read_at(file, *place)
                for kind, place in members.items()
                if kind in (*PICTURE_MEMBERS, "txt", "json")
            }
        picture = next((read[kind] for kind in PICTURE_MEMBERS if kind in read), b"")
        captions = flatten(read.get("txt", b"").decode("utf-8", "replace").splitlines())
        if "json" in read:
            captions += self._from_json(read["json"])
        return Pair(picture, tuple(dict.fromkeys(captions)))

    def _from_json(self, data: bytes) -> tuple[str, ...]:
        try:
            values = json.loads(data)
        except ValueError:
            return ()
        return flatten(values.get(field) for field in self.fields) if values else ()


def _index_shard(shard: Path) -> Iterator[tuple[Path, str, dict[str, tuple[int, int]]]]:
    """(shard, key, {extension: (offset, size)}) of each sample, in the shard's order."""
    try:
        with tarfile.open(shard, "r:") as archive:
            key, members = "", dict[str, tuple[int, int]]()
            for member in archive:
                if not member.isfile():
                    continue
                folder, _, base = member.name.rpartition("/")
                stem, _, kind = base.partition(".")
                name = f"{folder}/{stem}" if folder else stem
                if name != key and members:
                    yield shard, key, members
                    members = {}
                key = name
                members[kind.lower()] = (member.offset_data, member.size)
            if members:
                yield shard, key, members
    except (OSError, tarfile.TarError) as error:
        raise DataError(
            f"Cannot read the shard {shard}: {error}. Shards are plain, uncompressed tar files."
        ) from error


def _read_at(file: io.BufferedReader, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def flatten(values: Any) -> tuple[str, ...]:
    """Captions of columns that hold one text, a list of texts or nothing."""
    found: list[str] = []
    for value in values:
        if isinstance(value, str):
            found.append(value.strip())
        elif isinstance(value, Sequence) and not isinstance(value, bytes):
            found.extend(v.strip() for v in value if isinstance(v, str))
    return tuple(text for text in found if text)
