"""KaoKore's official files as one table of faces, checked to belong together.

A folder holds ``labels.csv``, ``original_tags.txt`` and, for whoever wants the scans,
``urls.txt``, as
the makers publish them, and the pictures in ``images_256/`` or ``images/``. A table that has all
of it in
one (columns file, split, gender, status, ..., work_ja, tags_ja) is read too.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from keshin.errors import DataError
from keshin.facts import kaokore as facts

IntArray = npt.NDArray[np.int64]
FOLDERS = ("images_256", "images")
MARK = "keshin-kaokore.json"
STATUS_JA = {"貴族": 0, "武士": 1, "化身": 2, "庶民": 3}
GENDER_JA = {"男": 0, "女": 1}
SHELF = ("原典ID", "DOI", "慶応義塾大学請求記号", "京都大学貴重資料デジタルアーカイブレコードID")
"""Keys of the holder's own number, which changed its name between versions."""
FROM_BEHIND = "後"


class Face(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one labelled face."""

    file: str
    split: str
    gender: int
    status: int
    work: str
    """Title of the scroll or book (原典). Two copies of one tale have the same title."""
    shelf: str = ""
    """The holder's number of the scroll."""
    holder: str = ""
    page: str = ""
    """Address of the scan that the face was cut from, without the cut."""
    facing: str = ""
    tags: tuple[str, ...] = ()


class Mark(msgspec.Struct, frozen=True):
    """What a download notes beside its pictures, so that no version is put into another's
    folder."""

    version: str
    commit: str


@dataclass(frozen=True)
class Faces:
    """All labelled faces of one version, in the order of the labels."""

    root: Path
    version: str
    """"" where the labels are of no official version."""
    faces: tuple[Face, ...]

    def __len__(self) -> int:
        return len(self.faces)

    def rows(self, split: str) -> IntArray:
        """The rows of a split whose pictures are here. Raises ``DataError`` where there is none."""
        if split not in facts.SPLITS:
            raise DataError(
                f"KaoKore has no split '{split}'. There are: {', '.join(facts.SPLITS)}."
            )
        rows = [i for i, face in enumerate(self.faces) if face.split == split]
        here = [i for i in rows if self.path(i).is_file()]
        if not here:
            raise DataError(
                f"None of the {len(rows)} {split} pictures is in {self.root}. "
                "keshin kaokore --download fetches them from the holders."
            )
        return np.array(here, np.int64)

    def path(self, row: int) -> Path:
        """Where the picture of a row is, or should be."""
        return self.root / self.faces[row].file

    def missing(self, split: str) -> list[str]:
        """Files of a split that are not here."""
        return [
            face.file
            for row, face in enumerate(self.faces)
            if face.split == split and not self.path(row).is_file()
        ]

    def column(self, name: str) -> IntArray:
        """(n,) integers: ``gender``, ``status``, or ``work``/``shelf``/``holder`` numbered in
        order."""
        values = [getattr(face, name) for face in self.faces]
        if name in ("gender", "status"):
            return np.array(values, np.int64)
        numbers = {value: index for index, value in enumerate(dict.fromkeys(values))}
        return np.array([numbers[value] for value in values], np.int64)


def read_faces(root: str | Path) -> Faces:
    """The faces of a folder. Raises ``DataError`` if files are missing or do not belong
    together."""
    folder = Path(root)
    data = _bytes(folder / facts.LABELS)
    rows = list(csv.DictReader(io.StringIO(_text(data, folder / facts.LABELS))))
    header = tuple(rows[0]) if rows else ()
    for columns, layout in LAYOUTS.items():
        if set(columns) <= set(header):
            found = layout(folder, rows)
            break
    else:
        raise DataError(
            f"{folder / facts.LABELS} is no label file of KaoKore: its columns are "
            f"{', '.join(header) or 'none'}. The official one has image, gender, status, set."
        )
    version = version_of(data)
    _check_mark(folder, version)
    return Faces(folder, version, found)


def version_of(labels: bytes) -> str:
    """The name of the version that has these labels, by their hash, or ""."""
    digest = hashlib.sha256(labels).hexdigest()
    names = (v.name for v in facts.facts().versions if v.sha256[facts.LABELS] == digest)
    return next(names, "")


def read_mark(folder: Path) -> Mark | None:
    """What an earlier download noted, if there was one. Raises ``DataError`` for a damaged note."""
    try:
        return msgspec.json.decode((folder / MARK).read_bytes(), type=Mark)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise DataError(
            f"{folder / MARK} is damaged ({error}), so it is not known of which version the "
            f"pictures "
            "are. Fetch them into another folder."
        ) from error


def _check_mark(folder: Path, version: str) -> None:
    mark = read_mark(folder)
    if mark is not None and version and mark.version != version:
        raise DataError(
            f"{folder} has pictures of version {mark.version} and labels of version {version}. "
            f"Names "
            "are renumbered between versions: put each version into a folder of its own."
        )


def _official(folder: Path, rows: list[dict[str, str]]) -> tuple[Face, ...]:
    tags = read_tags(_text(_bytes(folder / facts.TAGS), folder / facts.TAGS))
    urls: list[str] = []
    if (folder / facts.URLS).is_file():
        urls = _text(_bytes(folder / facts.URLS), folder / facts.URLS).splitlines()
    pictures = next((name for name in FOLDERS if (folder / name).is_dir()), FOLDERS[0])
    found, seen = [], set[str]()
    for row in rows:
        name = row["image"]
        if not re.fullmatch(r"\d{8}\.jpg", name) or name in seen:
            raise DataError(
                f"{folder / facts.LABELS}: '{name}' is no name of a picture, or the second of "
                "that name. Fetch the labels again."
            )
        seen.add(name)
        face = tags.get(name, {})
        status, gender = _number(row["status"], 4), _number(row["gender"], 2)
        said = STATUS_JA.get(_first(face, "身分")), GENDER_JA.get(_first(face, "性別"))
        if said != (status, gender) or row["set"] not in facts.SPLITS:
            raise DataError(
                f"{folder}: of {name} the labels and the tags say different things, so "
                f"{facts.LABELS} "
                f"and {facts.TAGS} are of different versions. Take both from the same folder of "
                f"{facts.facts().home}."
            )
        line = int(name[:8])
        url = urls[line] if line < len(urls) else ""
        found.append(
            Face(
                file=f"{pictures}/{name}",
                split=row["set"],
                gender=gender,
                status=status,
                work=_first(face, "原典"),
                shelf=next((value for key in SHELF if (value := _first(face, key))), ""),
                holder=_first(face, "所蔵"),
                page=page_of(url),
                facing=_first(face, "向き"),
                tags=tuple(tag for tag in face.get("タグ", ()) if tag),
            )
        )
    return tuple(found)


def _single_table(folder: Path, rows: list[dict[str, str]]) -> tuple[Face, ...]:
    del folder
    return tuple(
        Face(
            file=row["file"],
            split=row["split"],
            gender=_number(row["gender_id"], 2),
            status=_number(row["status_id"], 4),
            work=row["work_ja"],
            shelf=row.get("work_id", ""),
            holder=row.get("holder", ""),
            facing=row.get("facing_ja", ""),
            tags=tuple(tag for tag in row.get("tags_ja", "").split("|") if tag),
        )
        for row in rows
    )


LAYOUTS: dict[tuple[str, ...], Callable[[Path, list[dict[str, str]]], tuple[Face, ...]]] = {
    ("image", "gender", "status", "set"): _official,
    ("file", "split", "gender_id", "status_id", "work_ja"): _single_table,
}


def read_tags(text: str) -> dict[str, dict[str, list[str]]]:
    """The makers' tags: picture -> key -> values. A line is ``name:key=value;key=value;...``."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        entry = found.setdefault(name, {})
        for pair in rest.split(";"):
            key, _, value = pair.partition("=")
            entry.setdefault(key, []).append(value.strip())
    return found


def page_of(url: str) -> str:
    """The scan of an IIIF address: all before region, size, rotation and quality."""
    return url.rsplit("/", 4)[0] if url.count("/") > 5 else ""


def _first(entry: dict[str, list[str]], key: str) -> str:
    return next(iter(entry.get(key, ())), "")


def _number(text: str, classes: int) -> int:
    if not text.isdigit() or int(text) >= classes:
        raise DataError(
            f"'{text}' is no label of KaoKore: 0 to {classes - 1} are. Fetch the label file again."
        )
    return int(text)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"Cannot read {path}: {error.strerror}. A folder of KaoKore holds {facts.LABELS}, "
            f"{facts.TAGS} and the pictures; keshin kaokore --download makes one."
        ) from error


def _text(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text (byte {error.start}). Fetch it again."
        ) from error
