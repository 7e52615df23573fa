"""Captions for retrieval: the split of Karpathy and Fei-Fei (Flickr30k, COCO), lists, Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from keshin.errors import DataError
from keshin.evaluate.sets.captioned import Captioned
from keshin.evaluate.sets.readers.own import below, needed, read_lines
from keshin.evaluate.sets.readers.tables import Parquet


class _Sentence(msgspec.Struct):
    raw: str


class _Image(msgspec.Struct):
    filename: str
    split: str
    sentences: list[_Sentence]
    filepath: str = ""


class _Split(msgspec.Struct):
    images: list[_Image]


class _Pair(msgspec.Struct):
    image: str
    caption: list[str] | str


def read_captions(
    root: Path, split: str, *, file: str = "", folder: str = ".", part: str = ""
) -> Captioned:
    """Pictures with their captions, in the order of the file.

    ``file``: Karpathy's JSON (``images`` with ``split``), a JSON list of ``image`` and ``caption``,
    or lines PATH#NUMBER TAB CAPTION or PATH,CAPTION.
    """
    path = needed(root, file) if file else root
    place = needed(root if root.is_dir() else root.parent, folder)
    pictures: list[Path] = []
    captions: list[str] = []
    picture_of: list[int] = []
    places: dict[str, int] = {}
    for name, said in _entries(path, part or split):
        if name not in places:
            places[name] = len(pictures)
            pictures.append(below(place, name, path))
        captions += said
        picture_of += [places[name]] * len(said)
    if not pictures:
        raise DataError(f"{path} names no picture of the split '{part or split}'.")
    return Captioned(pictures, tuple(captions), np.array(picture_of, np.int64))


def read_parquet_captions(
    root: Path, split: str, *, image: str = "image", captions: str = "captions"
) -> Captioned:
    """A Parquet table with a picture and a list of captions a row."""
    table = Parquet([root])
    table.expect([image, captions])
    rows: list[Any] = table.column(captions)
    said = [row if isinstance(row, list) else [str(row)] for row in rows]
    ids = [str(name) for name in table.column("file_name")] if "file_name" in table.columns else ()
    picture_of = np.repeat(np.arange(len(said)), [len(row) for row in said])
    flat = tuple(str(text) for row in said for text in row)
    return Captioned(table.pictures(image), flat, picture_of, tuple(ids))


def _entries(path: Path, part: str) -> Iterator[tuple[str, list[str]]]:
    if path.suffix.lower() != ".json":
        yield from _lines(path)
        return
    try:
        content = msgspec.json.decode(path.read_bytes(), type=_Split | list[_Pair])
    except (OSError, msgspec.MsgspecError) as error:
        raise DataError(
            f"{path} is neither Karpathy's split nor a list of image and caption: {error}."
        ) from error
    if isinstance(content, list):
        for pair in content:
            yield pair.image, [pair.caption] if isinstance(pair.caption, str) else pair.caption
        return
    for entry in content.images:
        if entry.split == part or (part == "train" and entry.split == "restval"):
            name = f"{entry.filepath}/{entry.filename}" if entry.filepath else entry.filename
            yield name, [sentence.raw for sentence in entry.sentences]


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    for number, line in enumerate(read_lines(path), start=1):
        name, tab, text = line.partition("\t")
        if tab:
            yield name.partition("#")[0], [text]
            continue
        stem, jpg, text = line.partition(".jpg,")
        if jpg:
            yield f"{stem}.jpg", [text]
        elif number > 1:  # the first line may be a head
            raise DataError(f"Line {number} of {path} is not PATH#NUMBER, a tab and a caption.")
