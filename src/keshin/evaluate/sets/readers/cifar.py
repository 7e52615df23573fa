"""CIFAR-10 and CIFAR-100: the binary version, and the Python version, whose pickles are not run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keshin.core.pictures import Picture
from keshin.errors import DataError
from keshin.evaluate.sets.labelled import IntArray, Labelled
from keshin.evaluate.sets.lazy import Lazy
from keshin.evaluate.sets.readers.arrays import Pixels
from keshin.evaluate.sets.readers.own import Own, locate, needed, read_lines
from keshin.evaluate.sets.readers.plain_pickle import read_plain_pickle

SIDE = 32
PIXELS = 3 * SIDE**2


def read_cifar(
    root: Path,
    split: str,
    *,
    labels: Sequence[str] = (),
    python: str,
    binary: str,
    files: Sequence[str],
    meta: Sequence[str],
    key: str,
    name_key: str,
    label_bytes: int,
) -> Labelled:
    """``files`` of the version whose folder is there. The class is named by the set's own ``meta``
    (of the Python and the binary version), so that the order of ``labels`` may be another."""
    place = needed(root, f"{binary}|{python}")
    if place.name != python and locate(place, f"{files[0]}.bin"):
        names = read_lines(needed(place, meta[1]))
        parts = [_binary(needed(place, f"{name}.bin"), label_bytes) for name in files]
    else:
        names = _texts(read_plain_pickle(needed(place, meta[0])), name_key, place / meta[0])
        parts = [_python(needed(place, name), key) for name in files]
    pixels = np.concatenate([part[0] for part in parts])
    numbers = np.concatenate([part[1] for part in parts])
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(names):
        raise DataError(f"{place} has labels up to {numbers.max()}, but {len(names)} names.")

    def get(row: int) -> Picture:
        return np.ascontiguousarray(pixels[row].reshape(3, SIDE, SIDE).transpose(1, 2, 0))

    said = [names[number] for number in numbers]
    ids = [f"{split}:{row}" for row in range(len(said))]
    return Own(labels).data(Lazy(get, len(said)), said, place, ids=ids)


def _binary(path: Path, label_bytes: int) -> tuple[Pixels, IntArray]:
    """Rows of labels (the last one is meant) and pixels."""
    data = np.fromfile(path, np.uint8)
    width = label_bytes + PIXELS
    if not len(data) or len(data) % width:
        raise DataError(
            f"{path} has {len(data):,} bytes, which is no number of pictures of {width:,} bytes. "
            "Fetch it again."
        )
    data = data.reshape(-1, width)
    return data[:, label_bytes:], data[:, label_bytes - 1].astype(np.int64)


def _python(path: Path, key: str) -> tuple[Pixels, IntArray]:
    content = read_plain_pickle(path)
    try:
        pixels, numbers = content["data"], np.array(content[key], np.int64)
        if pixels.dtype != np.uint8 or pixels.shape != (len(numbers), PIXELS):
            raise ValueError(f"pixels of shape {pixels.shape} for {len(numbers)} labels")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} is no batch of CIFAR: {error}.") from error
    return pixels, numbers


def _texts(content: object, key: str, path: Path) -> list[str]:
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, list) or not found:
        raise DataError(f"{path} has no list '{key}' of class names.")
    return [name.decode() if isinstance(name, bytes) else str(name) for name in found]
