"""webdataset shards: tar files whose members of one name are one sample, read by offset."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from keshin.core.pictures import SUFFIXES, Picture
from keshin.errors import DataError
from keshin.evaluate.sets.labelled import Labelled
from keshin.evaluate.sets.lazy import Lazy
from keshin.evaluate.sets.readers.own import Own, holds, read_lines

NAMES = ("classnames.txt", "classes.txt")
SAID = ("cls", "txt", "json")
JSON_KEYS = ("label", "class", "cls", "name", "label_name")
LARGEST_LABEL = 1 << 20


class _Sample:
    def __init__(self) -> None:
        self.picture: tuple[Path, int, int] | None = None
        self.said: dict[str, bytes] = {}


def read_tars(
    root: Path,
    split: str,
    *,
    labels: Sequence[str] = (),
    label: str = "",
    first: int | None = None,
) -> Labelled:
    """A tar file or a folder of them: a picture and a class, as ``.cls``, ``.txt`` or ``.json``
    (under ``label``, or a usual key).

    A class that is a number is named by ``classnames.txt`` beside the shards or above them, or is a
    place from ``first`` on in ``labels``. In a folder with a folder named as the split, that
    one counts. Compressed tars are refused: their members cannot be read one by one.
    """
    folder, shards = _shards(root, split)
    found: dict[tuple[Path, str], _Sample] = {}
    for shard in shards:
        for name, place, suffix in _index(shard):
            sample = found.setdefault((shard, name), _Sample())
            if suffix in SAID:
                sample.said[suffix] = _bytes(*place)
            else:
                sample.picture = place
    keys = [key for key, sample in found.items() if sample.picture and sample.said]
    if not keys:
        raise DataError(
            f"{root} holds no sample with a picture and a class (.cls, .txt or .json) of the same "
            "name."
        )
    places = [found[key].picture for key in keys]

    def get(row: int) -> Picture:
        place = places[row]
        assert place is not None  # noqa: S101 - keys were chosen so
        return _bytes(*place)

    names = _class_names(folder, root)
    own = Own(labels)
    said = [_label(found[key].said, label, key[1]) for key in keys]
    said = [_named(text, own, names, first) for text in said]
    return Own(labels or names or ()).data(
        Lazy(get, len(keys)), said, root, ids=[f"{shard.name}/{name}" for shard, name in keys]
    )


def _shards(root: Path, split: str) -> tuple[Path, list[Path]]:
    if root.is_file():
        return root.parent, [root]
    folder = root / split if (root / split).is_dir() else root
    shards = sorted(folder.glob("*.tar"), key=lambda path: (len(path.name), path.name))
    if not shards:
        raise DataError(f"{folder} holds no .tar files. {holds(folder)}")
    return folder, shards


def _index(shard: Path) -> list[tuple[str, tuple[Path, int, int], str]]:
    """Name, place and suffix of each member that counts; contents are not read."""
    found = []
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                stem, _, suffix = path.name.partition(".")
                known = suffix.lower() in SAID or f".{suffix.rpartition('.')[2]}" in SUFFIXES
                if member.isfile() and known and stem:
                    place = (shard, member.offset_data, member.size)
                    found.append((str(path.parent / stem), place, suffix.lower()))
    except (OSError, tarfile.TarError, EOFError) as error:
        raise DataError(
            f"{shard} is no tar file that can be read by offset ({error}). If it is compressed, "
            "unpack it first."
        ) from error
    return found


def _bytes(shard: Path, offset: int, size: int) -> bytes:
    with shard.open("rb") as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) < size:
        raise DataError(f"{shard} is cut off: it ends within a member. Fetch it again.")
    return data


def _label(said: dict[str, bytes], key: str, name: str) -> str:
    suffix = next(suffix for suffix in SAID if suffix in said)
    try:
        text = said[suffix][:LARGEST_LABEL].decode("utf-8").strip()
        if suffix != "json":
            return text
        content: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
        return str(content[key or next(entry for entry in JSON_KEYS if entry in content)])
    except (UnicodeDecodeError, msgspec.MsgspecError, KeyError, StopIteration) as error:
        raise DataError(f"The sample '{name}' has no class in its .{suffix}: {error!r}.") from error


def _class_names(folder: Path, root: Path) -> list[str]:
    for place in (folder, folder.parent if folder != root or root.is_file() else folder):
        for name in NAMES:
            if (place / name).is_file():
                return read_lines(place / name)
    return []


def _named(text: str, own: Own, names: Sequence[str], first: int | None) -> str:
    if not (text.isascii() and text.isdigit()) or (own.labels and own.knows(text)):
        return text
    number = int(text)
    if own.labels and first is not None and 0 <= number - first < len(own.labels):
        return own.labels[number - first]
    return names[number] if number < len(names) else text
