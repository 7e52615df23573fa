"""Quantised weights on the disk: made once, found by what they were made from, mapped when used.

One safetensors file for a tower and a mode. Its name is a hash of the weights, the graph, the mode
and the version, so a file is never out of date. It gets its name when it is whole, so two processes
at once do the work twice and harm nothing. It holds a digest of itself: what is damaged is made
again.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keshin import __version__
from keshin.core.tensors import TensorFile, write_tensors
from keshin.core.writing import whole
from keshin.errors import CheckpointError

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
FORMAT = 1
"""Counts changes of what is computed, between releases too."""
DIGEST = "digest"


def cache_key(weights: str, graph: bytes, mode: str) -> str:
    """The name of what is made from these weights (a hash) and this graph."""
    facts = repr((FORMAT, __version__, weights, mode)).encode()
    return hashlib.sha256(facts + graph).hexdigest()[:40]


def cached(folder: Path | None, key: str, make: Callable[[], dict[str, Array]]) -> Arrays:
    """What ``make`` makes, from the folder if it is there and whole; else made and put there.

    A folder that cannot be written gives a warning, and the arrays stay in memory.
    """
    if folder is None:
        return make()
    path = folder / f"{key}.safetensors"
    if (found := _read(path)) is not None:
        return found
    arrays = make()
    if not arrays:
        return arrays
    try:
        _write(path, arrays)
    except OSError as error:
        warnings.warn(
            f"Cannot keep the quantised weights in {folder} ({error.strerror or error}): they are "
            "made again in every run. Set KESHIN_CACHE to a folder that can be written.",
            stacklevel=2,
        )
        return arrays
    return _read(path) or arrays


def _read(path: Path) -> Arrays | None:
    """The arrays, mapped; nothing if the file is missing or not as it was written."""
    if not path.is_file():
        return None
    try:
        file = TensorFile(path)
        arrays = {name: file.read(name) for name in file.infos}
    except CheckpointError:
        return None
    digest = arrays.pop(DIGEST, None)
    return arrays if digest is not None and digest.tobytes() == _digest(arrays) else None


def _write(path: Path, arrays: Arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = np.frombuffer(_digest(arrays), np.uint8)
    with whole(path) as scratch:
        write_tensors(scratch, {**arrays, DIGEST: digest})


def _digest(arrays: Arrays) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(repr((name, array.dtype.name, array.shape)).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.digest()
