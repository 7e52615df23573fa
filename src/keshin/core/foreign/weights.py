"""Tensors and JSON as other projects store them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from keshin.core.foreign.keys import Array
from keshin.core.foreign.pickled import PICKLED, read_pickled
from keshin.core.tensors import TensorFile
from keshin.errors import CheckpointError

Part = TypeVar("Part", bound=msgspec.Struct)

LARGEST_JSON = 50_000_000  # bytes; a tokenizer.json of a large vocabulary has some ten million


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ``CheckpointError`` for anything else."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_JSON + 1)
        if len(data) > LARGEST_JSON:
            raise CheckpointError(f"{path} is larger than {LARGEST_JSON} bytes. Fetch it again.")
        return msgspec.json.decode(data, type=dict[str, Any])
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {error.strerror}.") from error
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not a JSON object ({error}). Fetch it again.") from error


def structured(value: Any, kind: type[Part], origin: str) -> Part:
    """A part of a JSON object as a struct, of which it may hold more. Types must be right.

    In the struct, a number with a bound may stand beside a list, never beside a tuple of fixed
    length: msgspec 0.22 then crashes in garbage collection.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{origin}: {error}. Correct the file or fetch it again.") from error


def sides(size: int | list[int]) -> list[int]:
    """[height, width] of a size that may be one number."""
    return [size, size] if isinstance(size, int) else size


def first_of(directory: Path, names: Iterable[str]) -> Path | None:
    """The first of these files that the directory has."""
    return next((directory / name for name in names if (directory / name).is_file()), None)


def find_weights(directory: Path, names: tuple[str, ...]) -> Path:
    """The first of these files of weights. Raises ``CheckpointError`` if there is none."""
    found = first_of(directory, names)
    if found is None:
        raise CheckpointError(
            f"{directory} holds no weights: it needs one of {', '.join(names)}. Fetch them too."
        )
    return found


def read_weights(path: Path) -> dict[str, Array]:
    """All tensors of a file, or of the parts that an ``.index.json`` lists, by name."""
    if path.name.endswith(".index.json"):
        return _read_parts(path)
    if path.suffix in PICKLED:
        return read_pickled(path)
    file = TensorFile(path)
    return {name: file.read(name) for name in file.infos}


def _read_parts(index: Path) -> dict[str, Array]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict):
        raise CheckpointError(f"{index} has no 'weight_map'. Fetch it again.")
    tensors: dict[str, Array] = {}
    for name in sorted({str(place) for place in places.values()}):
        if Path(name).name != name:
            raise CheckpointError(f"{index} names the part '{name}' outside its own folder.")
        tensors.update(read_weights(index.with_name(name)))
    return tensors


def as_float32(tensors: dict[str, Array], *, origin: str) -> dict[str, Array]:
    """Half and double precision as float32; float32 is not copied. Scalars keep no axis."""
    for name, array in tensors.items():
        if array.dtype.kind != "f":
            raise CheckpointError(f"{origin}: '{name}' is {array.dtype.name}, not floating point.")
    return {name: array.astype(np.float32, copy=False) for name, array in tensors.items()}
