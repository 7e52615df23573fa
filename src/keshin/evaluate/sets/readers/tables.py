"""Tables of people's own: Parquet with pictures in it, CSV with paths."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from keshin.core.pictures import Picture
from keshin.errors import DataError, PictureError, require
from keshin.evaluate.sets.labelled import IntArray, Labelled
from keshin.evaluate.sets.lazy import Lazy
from keshin.evaluate.sets.readers.lists import csv_rows
from keshin.evaluate.sets.readers.own import Own, below

PICTURES = ("image", "picture", "img", "file", "path", "filename", "file_name", "image_path")
LABELS = ("label_name", "class_name", "name", "label", "class", "target", "wnid", "fine_label")
IDS = ("key", "id", "file_name", "filename")
GROUPS = ("group",)
HELD = 2
"""Row groups of pictures held at a time."""


def read_parquet(
    path: str | Path,
    names: Sequence[str] = (),
    *,
    image: str = "image",
    label: str = "label",
    limit: int = 0,
) -> Labelled:
    """Pictures (encoded bytes) and integer labels of a Parquet file.

    ``names`` are the classes in the order of the labels; without them a column ``name`` says what
    each label is called. ``limit`` keeps about that many rows, evenly spread over the file;
    0 keeps all. Raises ``DataError``.
    """
    table = Parquet([Path(path)])
    table.expect([image, label] if names else [image, label, "name"])
    targets = np.asarray(table.column(label), np.int64)
    if not names:
        named = dict(zip(targets.tolist(), table.column("name"), strict=True))
        names = [named.get(index, "") for index in range(max(named, default=-1) + 1)]
    if len(targets) and not 0 <= targets.min() <= targets.max() < len(names):
        raise DataError(
            f"{path} has labels from {targets.min()} to {targets.max()}, but {len(names)} class "
            "names were given. Give one name for each label, in their order."
        )
    rows = np.arange(len(targets))
    if limit and limit < len(rows):
        rows = np.linspace(0, len(rows) - 1, limit).astype(np.int64)
    return Labelled(table.pictures(image).take(rows), targets[rows], tuple(names))


def read_parquet_files(
    root: Path,
    split: str,
    *,
    labels: Sequence[str] = (),
    image: str = "",
    label: str = "",
    first: int | None = None,
) -> Labelled:
    """A Parquet file, or a folder of them, with a column of pictures and one of labels.

    Columns that are not named are found by their usual names. Numbers are read as the hub's
    metadata names them, or as places from ``first`` on in ``labels``. Files whose names say a split
    (``test-00000-of-00001.parquet``) count for that split only.
    """
    files = sorted(root.glob("**/*.parquet")) if root.is_dir() else [root]
    table = Parquet(_of_split(files, split))
    picture = image or _first(PICTURES, table.columns, root, "pictures", "image")
    own = Own(labels)
    said = _said(table, own, label, first, root)
    groups = next((name for name in GROUPS if name in table.columns), None)
    ids = next((name for name in IDS if name in table.columns and name != picture), None)
    table.expect([picture])
    return own.data(
        table.pictures(picture),
        said,
        root,
        groups=[str(value) for value in table.column(groups)] if groups else None,
        ids=[str(value) for value in table.column(ids)] if ids else (),
    )


def read_csv(
    root: Path,
    split: str,
    *,
    labels: Sequence[str] = (),
    image: str = "",
    label: str = "",
    first: int | None = None,
) -> Labelled:
    """A CSV of people's own, with a head: paths of pictures, from the table's own folder on, and
    labels. A column ``split`` picks rows, ``group`` groups them."""
    rows = [row for _, row in csv_rows(root, "\t" if root.suffix == ".tsv" else ",")]
    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ()) if name}
    if "split" in columns:
        keep = [row for row, said in enumerate(columns["split"]) if said == split]
        if not keep:
            found = ", ".join(sorted(set(map(str, columns["split"]))))
            raise DataError(f"{root} has no row of the split '{split}'. It has: {found}.")
        columns = {name: [values[row] for row in keep] for name, values in columns.items()}
    picture = image or _first(PICTURES, columns, root, "paths of pictures", "image")
    own = Own(labels)
    table = Columns(root, columns)
    table.expect([picture])
    files = [_path(root, str(value)) for value in columns[picture]]
    groups = [str(value) for value in columns["group"]] if "group" in columns else None
    return own.data(files, _said(table, own, label, first, root), root, groups=groups)


class Columns:
    """Columns by name."""

    def __init__(self, where: Path, columns: Mapping[str, list[Any]]) -> None:
        self.where, self.columns = where, list(columns)
        self._values = columns

    def expect(self, names: Iterable[str]) -> None:
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise DataError(
                f"Cannot read the columns {', '.join(map(repr, missing))} of {self.where}. It has: "
                f"{', '.join(self.columns)}."
            )

    def column(self, name: str) -> list[Any]:
        return self._values[name]

    def names_of(self, column: str) -> list[str]:
        return []


class Parquet(Columns):
    """Parquet files as one table, whose pictures are read a row group at a time."""

    def __init__(self, files: Sequence[Path]) -> None:
        parquet: Any = require("pyarrow.parquet", extra="eval")
        if not files:
            raise DataError("There is no Parquet file to read.")
        try:
            self._files = [parquet.ParquetFile(path) for path in files]
        except Exception as error:  # pyarrow raises anything on damaged files
            raise DataError(f"Cannot read {files[0]} as Parquet: {error}.") from error
        super().__init__(files[0], {name: [] for name in self._files[0].schema_arrow.names})
        counts: list[int] = []
        self._parts: list[tuple[Any, int]] = []
        for file in self._files:
            for part in range(file.metadata.num_row_groups):
                counts.append(file.metadata.row_group(part).num_rows)
                self._parts.append((file, part))
        self._starts: IntArray = np.cumsum([0, *counts])
        self._held: OrderedDict[tuple[str, int], Any] = OrderedDict()
        self._lock = threading.Lock()

    def column(self, name: str) -> list[Any]:
        return [
            value
            for file in self._files
            for value in self._read(file.read, columns=[name]).column(0).to_pylist()
        ]

    def names_of(self, column: str) -> list[str]:
        """The class names that the hub's metadata give to the numbers of a column."""
        metadata = self._files[0].schema_arrow.metadata or {}
        try:
            content: Any = msgspec.json.decode(metadata.get(b"huggingface", b"{}"))
            found = content["info"]["features"][column]["names"]
        except (KeyError, TypeError, msgspec.DecodeError):
            return []
        return [str(name) for name in found] if isinstance(found, list) else []

    def pictures(self, column: str) -> Lazy:
        def get(row: int) -> Picture:
            part = int(np.searchsorted(self._starts, row, "right")) - 1
            value = self._part(column, part)[row - int(self._starts[part])].as_py()
            return _encoded(value, row, self.where)

        return Lazy(get, int(self._starts[-1]))

    def _part(self, column: str, part: int) -> Any:
        with self._lock:
            key = (column, part)
            if key not in self._held:
                file, group = self._parts[part]
                while len(self._held) >= HELD:
                    self._held.popitem(last=False)
                table = self._read(file.read_row_group, group, columns=[column])
                self._held[key] = table.column(0)
            self._held.move_to_end(key)
            return self._held[key]

    def _read(self, how: Any, *what: Any, **more: Any) -> Any:
        try:
            return how(*what, **more)
        except Exception as error:  # pyarrow raises anything on damaged files
            raise DataError(f"Cannot read {self.where}: {error}. Fetch it again.") from error


def _encoded(value: Any, row: int, where: Path) -> Picture:
    """Bytes, or the hub's structure of bytes and path."""
    if isinstance(value, dict):
        value = value.get("bytes")
    if not isinstance(value, bytes):
        raise PictureError(f"Row {row} of {where} holds no bytes of a picture.")
    return value


def _said(table: Columns, own: Own, label: str, first: int | None, where: Path) -> list[str]:
    """The label of each row as text: from the column named, or the first usual one whose values
    are all known."""
    candidates = [label] if label else [name for name in LABELS if name in table.columns]
    if not candidates:
        _first(LABELS, table.columns, where, "labels", "label")
    table.expect(candidates)
    unknown = ""
    for name in candidates:
        said = _texts(table, own, name, first)
        unknown = next((value for value in dict.fromkeys(said) if not own.knows(value)), "")
        if not unknown:
            return said
    raise DataError(
        f"{where} has the label '{unknown}' in its column '{candidates[-1]}', which is none of the "
        f"{len(own.labels)} that this data set has. Name another column with label=."
    )


def _texts(table: Columns, own: Own, name: str, first: int | None) -> list[str]:
    values = table.column(name)
    if any(value is None for value in values):
        raise DataError(f"{table.where} has rows without a value in its column '{name}'.")
    numbers = all(isinstance(value, int | np.integer) for value in values)
    named: Sequence[str] = table.names_of(name)
    start = 0
    if not named and first is not None and not all(own.knows(str(v)) for v in set(values)):
        named, start = own.labels, first
    if numbers and named and all(0 <= value - start < len(named) for value in values):
        return [named[value - start] for value in values]
    return [str(value) for value in values]


def _first(usual: Sequence[str], there: Iterable[str], where: Path, what: str, option: str) -> str:
    found = next((name for name in usual if name in set(there)), None)
    if found is None:
        raise DataError(
            f"{where} has no column of {what} under a usual name ({', '.join(usual[:5])}, ...). It "
            f"has: {', '.join(there)}. Name the column with {option}=."
        )
    return found


def _of_split(files: Sequence[Path], split: str) -> Sequence[Path]:
    """The files whose names say the split; all, if none says any."""
    known = {"test", "train", "val", "validation", "dev"}
    wanted = {"val", "validation"} if split in ("val", "validation") else {split}
    told = {file: known & set(file.stem.replace("_", "-").split("-")) for file in files}
    if len(files) > 1 and any(told.values()):
        return [file for file in files if told[file] & wanted]
    return files


def _path(table: Path, name: str) -> Path:
    path = Path(name)
    return path if path.is_absolute() else below(table.parent, name, table)
