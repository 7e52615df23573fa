"""Image-text pairs from tables and folders, and of ``tars`` from shards, by index.

Everything is a sequence of ``Pair``: any pair can be asked for at any time, which makes shuffling,
repeats and exact resumption a matter of indices. Picture bytes are read when a pair is used.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from keshin.core.pictures import find_pictures
from keshin.errors import DataError, require
from keshin.train.recipe import Source
from keshin.train.remote import is_remote


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


def open_source(source: Source, *, whole: bool = True, tolerant: bool = False) -> Pairs:
    """The pairs of one source of a recipe. Raises ``DataError``.

    ``whole``: see ``ParquetPairs``. ``tolerant``: see ``TarPairs``.
    """
    from keshin.train.shards import expand

    places = expand(source.path)
    if places and all(place.lower().endswith(".tar") for place in places):
        from keshin.train.tars import TarPairs  # which makes pairs

        tars = TarPairs(source, places, tolerant=tolerant)
        if tars.broken and len(tars) == 0:
            raise DataError(tars.broken[0])
        pairs: Pairs = tars
    else:
        parts = [_open_one(replace(source, path=place), whole) for place in places]
        pairs = parts[0] if len(parts) == 1 else JoinedPairs(parts)
    if len(pairs) == 0:
        raise DataError(
            f"{source.path} holds no pairs. Correct the path or the columns in the recipe."
        )
    return pairs


def _open_one(source: Source, whole: bool) -> Pairs:
    path = Path(str(source.path))
    readers: dict[str, Callable[[Source], Pairs]] = {
        ".parquet": partial(ParquetPairs, whole=whole),
        ".csv": CsvPairs,
        ".tsv": CsvPairs,
    }
    if is_remote(str(source.path)):
        raise DataError(
            f"{source.path}: only tars are read from addresses. Make some: keshin data convert."
        )
    reader = FolderPairs if path.is_dir() else readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path} is neither a folder nor one of {', '.join(readers)}, .tar. "
            "Convert it, or correct the path in the recipe."
        )
    return reader(source)


class ParquetPairs:
    """A Parquet file; pictures are bytes, or paths relative to the file.

    ``whole``: all of it is held for random access; else one group of rows, for whoever walks it in
    order.
    """

    def __init__(self, source: Source, *, whole: bool = True) -> None:
        parquet = require("pyarrow.parquet", extra="train")
        self.source, self.path = source, Path(str(source.path))
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
            self.held = -1
            self.table: Any = None
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
        self.path = Path(str(source.path))
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
        self.files = list(find_pictures([str(source.path)]))

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


class JoinedPairs:
    """Several tables or folders after one another."""

    def __init__(self, parts: Sequence[Pairs]) -> None:
        self.parts = parts
        self.ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self.ends[-1]

    def _place(self, index: int) -> tuple[Pairs, int]:
        number = bisect_right(self.ends, index)
        return self.parts[number], index - (self.ends[number - 1] if number else 0)

    def name(self, index: int) -> str:
        part, row = self._place(index)
        return part.name(row)

    def __getitem__(self, index: int) -> Pair:
        part, row = self._place(index)
        return part[row]


def flatten(values: Any) -> tuple[str, ...]:
    """Captions of columns that hold one text, a list of texts or nothing."""
    found: list[str] = []
    for value in values:
        if isinstance(value, str):
            found.append(value.strip())
        elif isinstance(value, Sequence) and not isinstance(value, bytes):
            found.extend(v.strip() for v in value if isinstance(v, str))
    return tuple(text for text in found if text)
