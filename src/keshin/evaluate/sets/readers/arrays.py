"""Pictures as numbers in one file: idx (MNIST), STL-10's binary, FER2013's CSV, HDF5 (PCam)."""

from __future__ import annotations

import csv
import gzip
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keshin.core.pictures import Picture
from keshin.errors import DataError, require
from keshin.evaluate.sets.labelled import Labelled
from keshin.evaluate.sets.lazy import Lazy
from keshin.evaluate.sets.readers.own import Own, needed

Pixels = npt.NDArray[np.uint8]
LARGEST_IDX = 1 << 31
"""Bytes that an idx file may say it holds."""
STL_SIDE = 96
FER_SIDE = 48


def read_idx(
    root: Path, split: str, *, labels: Sequence[str] = (), images: str, numbers: str
) -> Labelled:
    """Two files in the format of MNIST, with or without ``.gz``."""
    path = needed(root, f"{images}.gz|{images}")
    pixels = idx(path)
    values = idx(needed(root, f"{numbers}.gz|{numbers}"))
    if pixels.ndim != 3 or values.ndim != 1 or len(pixels) != len(values):
        raise DataError(
            f"{path} has the shape {pixels.shape} and its labels {values.shape}; expected (n, "
            "height, width) and (n,)."
        )
    return rows(pixels, values, path, Own(labels))


def idx(path: Path) -> Pixels:
    """The array of bytes in an idx file. Raises ``DataError``."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            zeros, kind, dimensions = struct.unpack(">HBB", file.read(4))
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            size = math.prod(shape)
            if zeros or kind != 8 or not dimensions or size > LARGEST_IDX:
                raise DataError(f"{path} is no idx file of bytes.")
            data = file.read(size)
            more = file.read(1)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise DataError(f"{path} is cut off or damaged: {error}. Fetch it again.") from error
    if len(data) < size or more:
        says = "more" if more else f"{len(data):,}"
        raise DataError(f"{path} should hold {size:,} bytes and holds {says}. Fetch it again.")
    return np.frombuffer(data, np.uint8).reshape(shape)


def read_stl10(
    root: Path,
    split: str,
    *,
    labels: Sequence[str] = (),
    folder: str,
    part: str,
    folds_file: str = "",
    fold: int = 0,
) -> Labelled:
    """``train_X.bin`` (pictures by columns, red, green, blue) and ``train_y.bin``; a fold is a line
    of row numbers in ``folds_file``."""
    place = needed(root, folder)
    path, numbers = needed(place, f"{part}_X.bin"), needed(place, f"{part}_y.bin")
    values = np.fromfile(numbers, np.uint8)
    size = path.stat().st_size
    if not len(values) or size != len(values) * 3 * STL_SIDE**2:
        raise DataError(
            f"{path} has {size:,} bytes, but {len(values):,} labels make {len(values):,} pictures "
            f"of {3 * STL_SIDE**2:,} bytes. Fetch it again."
        )
    pixels = np.memmap(path, np.uint8, "r", shape=(len(values), 3, STL_SIDE, STL_SIDE))
    pixels = pixels.transpose(0, 3, 2, 1)
    data = rows(pixels, values, path, Own(labels))
    if not fold or not folds_file:
        return data
    lines = needed(place, folds_file).read_text(encoding="ascii").splitlines()
    try:
        picked = np.array([int(word) for word in lines[fold - 1].split()], np.int64)
        return data.take(picked)
    except (ValueError, IndexError) as error:
        raise DataError(f"{place / folds_file} has no usable line {fold}: {error}.") from error


def read_pixels(
    root: Path, split: str, *, labels: Sequence[str] = (), columns: Mapping[str, str], usage: str
) -> Labelled:
    """FER2013's CSV: an emotion, 48 x 48 numbers with spaces between, and the part."""
    path = needed(root, "fer2013.csv|icml_face_data.csv")
    found: list[Pixels] = []
    said: list[str] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            for row in reader:
                if row[columns["usage"]] == usage:
                    line = np.array(row[columns["pixels"]].split(), np.uint8)
                    found.append(line.reshape(FER_SIDE, FER_SIDE))
                    said.append(row[columns["label"]])
    except (OSError, KeyError, ValueError, OverflowError, csv.Error) as error:
        raise DataError(
            f"{path} is not FER2013's table (columns {', '.join(columns.values())}; 2,304 numbers "
            f"from 0 to 255): {error!r}."
        ) from error
    if not found:
        raise DataError(f"{path} has no row of the part '{usage}'.")
    ids = [f"{path.name}:{usage}:{row}" for row in range(len(said))]
    return Own(labels).data(found, said, path, ids=ids)


def read_hdf5(
    root: Path, split: str, *, labels: Sequence[str] = (), pictures: str, numbers: str
) -> Labelled:
    """PatchCamelyon: ``x`` (n, 96, 96, 3) and ``y`` (n, 1, 1, 1), read picture by picture."""
    h5py: Any = require("h5py", extra="data")
    path = needed(root, pictures)
    try:
        data = h5py.File(path, "r")["x"]
        with h5py.File(needed(root, numbers), "r") as file:
            values = np.asarray(file["y"]).reshape(-1)
        shape, kind = data.shape, data.dtype
    except (OSError, KeyError, AttributeError, ValueError) as error:
        raise DataError(f"{path} or {numbers} is not PatchCamelyon's HDF5: {error}.") from error
    if len(shape) != 4 or shape[3] != 3 or kind != np.uint8 or len(values) != shape[0]:
        raise DataError(f"{path} holds {kind} of shape {shape} for {len(values):,} labels.")
    return rows(data, values, path, Own(labels))


def rows(pixels: Any, values: npt.NDArray[Any], path: Path, own: Own) -> Labelled:
    """Labelled pictures from an array-like (n, height, width[, 3]) and (n,) numbers."""

    def get(row: int) -> Picture:
        return np.ascontiguousarray(pixels[row])

    said = [str(int(value)) for value in values]
    ids = [f"{path.name}:{row}" for row in range(len(said))]
    return own.data(Lazy(get, len(said)), said, path, ids=ids)
