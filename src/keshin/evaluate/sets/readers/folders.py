"""A folder with one folder of pictures per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from keshin.core.pictures import Picture, find_pictures, open_picture
from keshin.errors import DataError, PictureError
from keshin.evaluate.sets.labelled import Labelled
from keshin.evaluate.sets.lazy import Lazy
from keshin.evaluate.sets.readers.own import Own, drawn, holds, in_order, needed

ALL = (0, -1)


def read_folder(path: str | Path) -> Labelled:
    """A folder with one folder of pictures per class, sorted by name; ``_`` is said as a space.

    Raises ``DataError``.
    """
    root = Path(path)
    found = [(file, folder.name) for folder in _folders(root) for file in find_pictures([folder])]
    if not found:
        raise DataError(
            f"{root} holds no folders with pictures. Give a folder with one per class. "
            f"{holds(root)}"
        )
    order = in_order(name for _, name in found)
    places = {name: place for place, name in enumerate(order)}
    targets = np.array([places[name] for _, name in found], np.int64)
    names = tuple(name.replace("_", " ") for name in order)
    return Labelled([file for file, _ in found], targets, names)


def read_folders(
    root: Path,
    split: str,
    *,
    labels: Sequence[str] = (),
    folder: str = ".",
    seed: str = "",
    take: Sequence[int] = ALL,
    others: str = "refuse",
    border: int = 0,
    group: str = "",
) -> Labelled:
    """Folders of a known data set.

    ``seed`` with ``take = [from, to]`` keeps a part of each class, in an order drawn by hash;
    ``to`` -1 is the end. ``others``: ``skip`` leaves out folders of no label. ``border``: pixels
    cut off on all sides. ``group``: ``track`` for names TRACK_NUMBER, whose track within the class
    is one group.
    """
    place, own = needed(root, folder), Own(labels)
    found = _folders(place)
    if others == "skip":
        found = [entry for entry in found if own.knows(entry.name)]
    files: list[str] = []  # below the folder: a million paths in full would take a gigabyte
    names: list[str] = []
    for entry in sorted(found, key=lambda entry: own.place(entry.name, place) if labels else 0):
        inside = [path.relative_to(place).as_posix() for path in find_pictures([entry])]
        if seed:
            end = None if take[1] == -1 else take[1]
            inside = drawn(inside, seed)[take[0] : end]
        files += inside
        names += [entry.name] * len(inside)
    if not files:
        raise DataError(f"{place} holds no folders with pictures. {holds(place)}")
    groups = [file.rpartition("_")[0] for file in files] if group == "track" else None

    def get(row: int) -> Picture:
        path = place / files[row]
        return without_border(path, border) if border else path

    ids = [str(place / file) for file in files] if border else ()
    return own.data(Lazy(get, len(files)), names, place, groups=groups, ids=ids)


def without_border(path: Path, border: int) -> Picture:
    """A picture without ``border`` pixels on each side; its path, if it cannot be read, so that
    whoever reads it says why."""
    try:
        image = open_picture(path)
    except PictureError:
        return path
    width, height = image.size
    if min(width, height) <= 2 * border:
        return path
    inner: Image.Image = image.crop((border, border, width - border, height - border))
    return inner


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
