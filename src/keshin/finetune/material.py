"""What a fine-tune learns from: pictures with classes, or pictures with captions."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keshin.core.pictures import Picture, find_pictures
from keshin.errors import DataError, require
from keshin.evaluate.sets.datasets import open_dataset
from keshin.evaluate.sets.labelled import Labelled
from keshin.evaluate.sets.lazy import Lazy, take
from keshin.evaluate.sets.readers.tables import LABELS

IntArray = npt.NDArray[np.int64]
CAPTIONS = ("captions", "caption", "text")
"""Columns that hold captions where nobody says which."""
TABLES = (".csv", ".tsv", ".parquet")
REPEATED = 3
"""Captions of which each belongs to so many pictures on average are names of classes."""


@dataclass(frozen=True, eq=False)
class Material:
    """n pictures with classes, or with captions of their own."""

    pictures: Sequence[Picture]
    files: tuple[str, ...]
    """(n,) what a report calls each."""
    targets: IntArray
    """(n,) indices into ``names``; all 0 where there are captions."""
    names: tuple[str, ...]
    """The k classes, as prompts say them; none where there are captions."""
    captions: tuple[tuple[str, ...], ...] = ()
    """(n,) the captions of each picture; none where there are classes."""
    groups: IntArray | None = None
    """(n,) equal where pictures come together, by what the data say."""
    templates: tuple[str, ...] | None = None
    """Of the data themselves: of a known set, or of captions that are classes."""
    source: str = ""

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: IntArray) -> Material:
        """The pictures of these rows."""
        return replace(
            self,
            pictures=take(self.pictures, rows),
            files=tuple(self.files[row] for row in rows),
            targets=self.targets[rows],
            captions=tuple(self.captions[row] for row in rows) if self.captions else (),
            groups=None if self.groups is None else self.groups[rows],
        )


def open_material(
    source: str | os.PathLike[str] | Labelled,
    *,
    captions: Sequence[str] = (),
    image: str = "image",
    split: str = "train",
) -> Material:
    """The pictures of a folder, a table or a known data set.

    A folder with ``x.txt`` beside ``x.jpg``, and a table with a column of ``CAPTIONS`` and none of
    labels, or with ``captions`` named, holds captions; all else holds classes. Captions that repeat
    (``REPEATED``) are taken as classes. Raises ``DataError``.
    """
    if isinstance(source, Labelled):
        return _classes(source, None, "pictures")
    path = Path(source)
    columns = tuple(captions)
    if path.is_dir():
        if columns or any(file.with_suffix(".txt").is_file() for file in find_pictures([path])):
            return _captions(path, columns, image)
    elif path.suffix.lower() in TABLES:
        columns = columns or _columns_of_captions(path)
        if columns:
            return _captions(path, columns, image)
    elif columns:
        raise DataError(
            f"{path} is neither a folder nor a table, so it has no column {columns[0]!r}."
        )
    opened = open_dataset(source if isinstance(source, str) else path, split)
    if opened.labelled.targets.ndim != 1:
        raise DataError(
            f"The pictures of {source} show several classes each. Fine-tuning needs one a picture."
        )
    names = tuple(said[0] for said in opened.labels.names.values())
    return _classes(replace(opened.labelled, names=names), opened.templates, str(source))


def _classes(data: Labelled, templates: tuple[str, ...] | None, source: str) -> Material:
    if data.targets.ndim != 1:
        raise DataError("Fine-tuning needs one class a picture, targets of shape (n,).")
    counts = np.bincount(data.targets, minlength=len(data.names))
    kept = np.flatnonzero(counts)
    if len(kept) < 2:
        raise DataError(
            f"{source} has pictures of {len(kept)} class(es). Give at least two, each with a "
            "folder of its own."
        )
    places = np.searchsorted(kept, data.targets)
    return Material(
        pictures=data.pictures,
        files=tuple(map(str, data.ids)) or _called(data.pictures),
        targets=np.asarray(places, np.int64),
        names=tuple(data.names[place] for place in kept),
        groups=data.groups,
        templates=templates,
        source=source,
    )


def _called(pictures: Sequence[Picture]) -> tuple[str, ...]:
    """Paths, and the numbers of pictures that have none; lazy ones are not made for that."""
    if isinstance(pictures, Lazy):
        return tuple(f"picture {row}" for row in range(len(pictures)))
    return tuple(
        str(picture) if isinstance(picture, str | os.PathLike) else f"picture {row}"
        for row, picture in enumerate(pictures)
    )


def _columns_of_captions(path: Path) -> tuple[str, ...]:
    """The columns with captions of a table that has none with labels."""
    if path.suffix.lower() == ".parquet":
        parquet = require("pyarrow.parquet", extra="eval")
        try:
            known: list[Any] = list(parquet.read_schema(path).names)
        except (OSError, ValueError) as error:
            raise DataError(f"Cannot read {path}: {error}.") from error
    else:
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
                known = next(csv.reader(file, delimiter=delimiter), [])
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"Cannot read {path}: {error}.") from error
    if any(name in known for name in LABELS):
        return ()
    return tuple(name for name in CAPTIONS if name in known)[:1]


def _captions(path: Path, columns: tuple[str, ...], image: str) -> Material:
    """Pairs as the training layer reads them."""
    from keshin.train.pairs import open_source
    from keshin.train.recipe import Source

    pairs = open_source(Source(path=str(path), captions=columns or ("captions",), image=image))
    texts = [pairs[row].captions for row in range(len(pairs))]
    files = tuple(pairs.name(row) for row in range(len(pairs)))
    without = [file for file, found in zip(files, texts, strict=True) if not found]
    if without:
        raise DataError(
            f"{len(without)} pictures of {path} have no caption, the first is {without[0]}. "
            "Write one for each, or leave them out."
        )
    pictures = Lazy(lambda row: pairs[row].picture, len(pairs))
    distinct = sorted({found[0] for found in texts})
    single = all(len(found) == 1 for found in texts)
    if single and 2 <= len(distinct) <= len(texts) / REPEATED:
        places = {text: place for place, text in enumerate(distinct)}
        targets = np.array([places[found[0]] for found in texts], np.int64)
        return Material(
            pictures, files, targets, tuple(distinct), templates=("{}",), source=str(path)
        )
    return Material(
        pictures,
        files,
        np.zeros(len(texts), np.int64),
        (),
        captions=tuple(texts),
        source=str(path),
    )
