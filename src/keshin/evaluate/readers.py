"""Labelled pictures: a table, or a folder per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keshin.core.pictures import find_pictures
from keshin.errors import DataError, require
from keshin.evaluate.labelled import Labelled


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
    parquet = require("pyarrow.parquet", extra="train")
    try:
        columns = [image, label] if names else [image, label, "name"]
        table: Any = parquet.read_table(path, columns=columns)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"Cannot read the columns {image!r} and {label!r} of {path}: {error}."
        ) from (error)
    targets = np.asarray(table.column(label).to_pylist(), np.int64)
    if not names:
        named = dict(zip(targets.tolist(), table.column("name").to_pylist(), strict=True))
        names = [named.get(index, "") for index in range(max(named, default=-1) + 1)]
    if len(targets) and not 0 <= targets.min() <= targets.max() < len(names):
        raise DataError(
            f"{path} has labels from {targets.min()} to {targets.max()}, but {len(names)} class "
            "names were given. Give one name for each label, in their order."
        )
    rows = np.arange(len(targets))
    if limit and limit < len(rows):
        rows = np.linspace(0, len(rows) - 1, limit).astype(np.int64)
    return Labelled(table.column(image).take(rows).to_pylist(), targets[rows], tuple(names))


def read_folder(path: str | Path) -> Labelled:
    """A folder with one folder of pictures per class. Raises ``DataError``."""
    root = Path(path)
    folders = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    found = [
        (file, index) for index, folder in enumerate(folders) for file in find_pictures([folder])
    ]
    if not found:
        raise DataError(f"{root} holds no folders with pictures. Give a folder with one per class.")
    targets = np.array([index for _, index in found], np.int64)
    names = tuple(folder.name.replace("_", " ") for folder in folders)
    return Labelled([file for file, _ in found], targets, names)
