"""Lists of files: a path a line, CSV rows, JSON lines."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from keshin.core.pictures import Picture
from keshin.errors import DataError
from keshin.evaluate.sets.labelled import Labelled
from keshin.evaluate.sets.readers.own import Own, below, needed, read_lines
from keshin.evaluate.sets.readers.video import frames

Line = tuple[str, str]
"""A path and a label."""


def _parent(line: str) -> Line:
    name = line.split()[0]
    return name, PurePosixPath(name).parent.name


def _scene(line: str) -> Line:
    """``/a/apartment_building/outdoor/sun_x.jpg``: all folders below the letter."""
    name = line.split()[0]
    return name, "/".join(PurePosixPath(name.lstrip("/")).parts[1:-1])


def _stem(line: str) -> Line:
    """``yorkshire_terrier_12 37 2 25``."""
    name = line.split()[0]
    return name, PurePosixPath(name).name.rpartition("_")[0]


def _rest(line: str) -> Line:
    """``1025794 Cessna 172``."""
    name, _, label = line.strip().partition(" ")
    return name, label


def _second(line: str) -> Line:
    name, label = line.split()[:2]
    return name, label


RULES: dict[str, Callable[[str], Line]] = {
    "parent": _parent,
    "scene": _scene,
    "stem": _stem,
    "rest": _rest,
    "second": _second,
}


def read_lists(
    root: Path,
    split: str,
    *,
    labels: Sequence[str] = (),
    files: Sequence[str],
    folder: str = ".",
    suffix: str = "",
    label: str,
    skip: int = 0,
    missing: str = "keep",
    video: bool = False,
    group: str = "",
) -> Labelled:
    """A path a line below ``folder``, without its ``suffix`` in some sets.

    ``label``: which part of a line says the class, a key of ``RULES``. ``skip``: lines at the head.
    ``missing``: ``skip`` leaves out files that are not there. ``group``: ``clip`` for names that
    end in ``_cNN``, the parts of one long video.
    """
    place, found = needed(root, folder), []
    for name in files:
        path = needed(root, name)
        for number, line in enumerate(read_lines(path)[skip:], start=skip + 1):
            try:
                file, said = RULES[label](line)
            except (ValueError, IndexError) as error:
                raise DataError(f"Line {number} of {path} is not a path and a label.") from error
            found.append((_there(below(place, file + suffix, path), place), said))
    groups = [str(file).rpartition("_c")[0] for file, _ in found] if group == "clip" else None
    return _data(Own(labels), found, place, missing, video, groups)


def read_rows(
    root: Path,
    split: str,
    *,
    labels: Sequence[str] = (),
    files: Sequence[str],
    folder: str = ".",
    delimiter: str = ",",
    pictures: Sequence[str],
    label: str,
    missing: str = "keep",
    video: bool = False,
    without: Sequence[str] = (),
) -> Labelled:
    """CSV with a head. ``pictures``: how the columns make a path below ``folder``; the first way
    that leads to a file counts. ``label``: a column, or ``parent`` for the path's folder.
    ``without``: lists of paths that are left out."""
    place, found = needed(root, folder), []
    left_out = {line.strip() for name in without for line in read_lines(needed(root, name))}
    for name in files:
        path = needed(root, name)
        for number, row in csv_rows(path, delimiter):
            try:
                ways = [way.format_map(row) for way in pictures]
                said = PurePosixPath(ways[0]).parent.name if label == "parent" else row[label]
            except KeyError as error:
                columns = ", ".join(row)
                raise DataError(
                    f"{path} has no column {error}. Its columns are: {columns}."
                ) from error
            if not said or None in row.values():
                raise DataError(f"Row {number} of {path} is short of columns.")
            if ways[0] in left_out:
                continue
            paths = [below(place, way, path) for way in ways]
            found.append((next((p for p in paths if p.is_file()), paths[0]), said))
    return _data(Own(labels), found, place, missing, video, None)


def read_jsonl(
    root: Path,
    split: str,
    *,
    labels: Sequence[str] = (),
    file: str,
    folder: str = ".",
    picture: str,
    label: str,
) -> Labelled:
    """An object a line, whose entry ``picture`` is a path below ``folder``."""
    path, place, found = needed(root, file), needed(root, folder), []
    for number, line in enumerate(read_lines(path), start=1):
        try:
            row: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
            found.append((below(place, str(row[picture]), path), str(row[label])))
        except (msgspec.DecodeError, msgspec.ValidationError, KeyError) as error:
            raise DataError(
                f"Line {number} of {path} is not an object with '{picture}' and '{label}': {error}."
            ) from error
    return _data(Own(labels), found, place, "keep", False, None)


def csv_rows(path: Path, delimiter: str = ",") -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with their numbers, by the names of the head. Raises ``DataError``."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from enumerate(csv.DictReader(file, delimiter=delimiter), start=2)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"Cannot read the table {path}: {error}.") from error


def _there(path: Path, place: Path) -> Path:
    """The file, or the one of its name right in the folder, as where an archive has no folders."""
    flat = place / path.name
    return flat if flat != path and not path.exists() and flat.exists() else path


def _data(
    own: Own,
    found: Sequence[tuple[Path, str]],
    place: Path,
    missing: str,
    video: bool,
    groups: list[str] | None,
) -> Labelled:
    kept = [row for row, (file, _) in enumerate(found) if missing != "skip" or file.is_file()]
    if not kept:
        raise DataError(f"None of the {len(found)} files that the lists name is in {place}.")
    files = [found[row][0] for row in kept]
    pictures: Sequence[Picture] = frames(files) if video else files
    return own.data(
        pictures,
        [found[row][1] for row in kept],
        place,
        groups=[groups[row] for row in kept] if groups else None,
        ids=[str(file) for file in files] if video else (),
    )
