"""Sets whose classes are worked out from annotations of scenes: VOC 2007, CLEVR, KITTI, ILSVRC."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np

from keshin.core.pictures import find_pictures
from keshin.errors import DataError
from keshin.evaluate.sets.labelled import Labelled
from keshin.evaluate.sets.readers.matlab import variable
from keshin.evaluate.sets.readers.own import Own, below, drawn, needed, read_lines

DISTANCE = 13
"""The column of KITTI's labels that is the distance ahead, in metres."""


def read_voc(root: Path, split: str, *, labels: Sequence[str], folder: str, file: str) -> Labelled:
    """Targets (n, 20): 1 where an object of the class is shown, -1 where all of its objects are
    marked difficult, else 0."""
    place, own = needed(root, folder), Own(labels)
    names = [line.split()[0] for line in read_lines(needed(place, file))]
    targets = np.zeros((len(names), len(labels)), np.int64)
    for row, name in enumerate(names):
        path = below(place / "Annotations", f"{name}.xml", file)
        for label, difficult in _objects(path):
            column = own.place(label, path)
            targets[row, column] = (
                max(targets[row, column], 1) if not difficult else (targets[row, column] or -1)
            )
    pictures = [place / "JPEGImages" / f"{name}.jpg" for name in names]
    return Labelled(pictures, targets, own.labels)


def _objects(path: Path) -> list[tuple[str, bool]]:
    try:
        text = path.read_bytes()
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise DataError(f"{path} defines entities, which annotations of VOC do not.")
        tree = ElementTree.fromstring(text)  # noqa: S314 - without entities nothing can expand
    except (OSError, ElementTree.ParseError) as error:
        raise DataError(f"Cannot read the annotation {path}: {error}.") from error
    return [
        (entry.findtext("name", ""), entry.findtext("difficult", "0").strip() == "1")
        for entry in tree.findall("object")
    ]


class _Scene(msgspec.Struct):
    image_filename: str
    objects: list[msgspec.Raw]


class _Scenes(msgspec.Struct):
    scenes: list[_Scene]


def read_clevr(
    root: Path,
    split: str,
    *,
    labels: Sequence[str] = (),
    file: str,
    folder: str,
    seed: str,
    take: int,
) -> Labelled:
    """The number of objects in each scene; ``take`` scenes, drawn by hash."""
    path, place = needed(root, file), needed(root, folder)
    try:
        scenes = msgspec.json.decode(path.read_bytes(), type=_Scenes).scenes
    except (OSError, msgspec.MsgspecError) as error:
        raise DataError(f"{path} is not a file of CLEVR's scenes: {error}.") from error
    counts = {scene.image_filename: str(len(scene.objects)) for scene in scenes}
    names = drawn(counts, seed)[:take]
    files = [below(place, name, path) for name in names]
    return Own(labels).data(files, [counts[name] for name in names], path)


def read_kitti(
    root: Path,
    split: str,
    *,
    labels: Sequence[str] = (),
    pictures: str,
    texts: str,
    mapping: str,
    order: str,
    vehicles: Sequence[str],
    metres: Sequence[float],
    share: int,
    seed: int,
) -> Labelled:
    """The distance to the nearest vehicle in bins (beyond ``metres[0]``, ``metres[1]``, ...), as
    VTAB does; a tenth (``share`` per cent) of the drives for validation and for the test."""
    place, folder = needed(root, pictures), needed(root, texts)
    drives = _drives(needed(root, mapping), needed(root, order))
    chosen = _drawn_drives(drives, share, seed)[split]
    rows = [row for row, drive in enumerate(drives) if drive in chosen]
    files = [place / f"{row:06d}.png" for row in rows]
    bins = [str(_bin(folder / f"{row:06d}.txt", vehicles, metres)) for row in rows]
    return Own(labels).data(files, bins, folder, groups=[drives[row] for row in rows])


def _drives(mapping: Path, order: Path) -> list[str]:
    """The drive of each picture: line ``order[i]`` (from 1) of ``mapping`` is picture i."""
    lines = read_lines(mapping)
    try:
        places = [int(word) for word in order.read_text(encoding="ascii").split(",")]
        if min(places) < 1:
            raise IndexError("a number below 1")
        return [lines[place - 1].split()[1] for place in places]
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{order} does not fit {mapping}: {error}.") from error


def _drawn_drives(drives: Sequence[str], share: int, seed: int) -> dict[str, set[str]]:
    """The drives of each split, with the numbers that TensorFlow Datasets draws."""
    every = sorted(set(drives))
    count = max(1, share * len(every) // 100)
    draw = np.random.RandomState(seed)
    test = set(draw.choice(every, count, replace=False).tolist())
    rest = [drive for drive in every if drive not in test]
    val = set(draw.choice(rest, count, replace=False).tolist()) if rest else set[str]()
    return {"test": test, "val": val, "train": set(every) - test - val}


def _bin(path: Path, vehicles: Sequence[str], metres: Sequence[float]) -> int:
    try:
        ahead = [
            float(words[DISTANCE])
            for words in (line.split() for line in path.read_text(encoding="ascii").splitlines())
            if words and words[0] in vehicles
        ]
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{path} is no list of KITTI's objects: {error}.") from error
    return sum(min(ahead, default=float("inf")) > limit for limit in metres)


def read_ilsvrc(
    root: Path, split: str, *, labels: Sequence[str], folder: str, devkit: str = ""
) -> Labelled:
    """ImageNet's validation pictures in one folder, with the devkit's ground truth, which numbers
    the classes in another order than that of their WordNet ids."""
    if not devkit:
        raise DataError(f"{root / folder} has no folders of classes. Make one per WordNet id.")
    place, kit = needed(root, folder), needed(root, devkit)
    synsets = np.atleast_1d(variable(needed(kit, "meta.mat"), "synsets"))
    wnids = {int(entry["ILSVRC2012_ID"]): str(entry["WNID"]) for entry in synsets}
    path = needed(kit, "ILSVRC2012_validation_ground_truth.txt")
    files = list(find_pictures([place]))
    truth = read_lines(path)
    if len(files) != len(truth):
        raise DataError(f"{place} has {len(files):,} pictures, {path} {len(truth):,} labels.")
    try:
        said = [wnids[int(line)] for line in truth]
    except (ValueError, KeyError) as error:
        raise DataError(f"{path} has a line that is no class of meta.mat: {error}.") from error
    return Own(labels).data(files, said, path)
