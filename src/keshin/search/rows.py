"""The vectors of an index: plain files of rows, only ever appended to.

=====================  =====================  ====================================================
file                   a row                  what
=====================  =====================  ====================================================
``vectors-G.f16``      d float16              the unit vector
``codes-G.i8``         d int8                 its difference from the centre, in steps of the row's
                                              own scale
``rows-G.bin``         int64, 2 x float32     id of the vector, scale, and how far the code is from
                                              the difference (rounded up)
``center-G.bin``       d float32              only one: the mean of the first vectors. The pictures
                                              of a model lie round it, some numbers far from zero
=====================  =====================  ====================================================

All little-endian, without headers. ``G`` is the generation: it changes when rows are taken out, and
then the files are new ones. How many rows count is in the table (``table.py``); what lies behind
them is left by a writer that was killed, and is written over. So a reader's rows never change.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keshin.errors import SearchError

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Ints = npt.NDArray[np.int64]
ROW = np.dtype([("id", "<i8"), ("scale", "<f4"), ("off", "<f4")])
VECTORS, CODES, ROWS, CENTER = "vectors-{}.f16", "codes-{}.i8", "rows-{}.bin", "center-{}.bin"
FILES = (VECTORS, CODES, ROWS, CENTER)
STEPS = 127
CHUNK = 1024
"""Rows worked on at a time."""


@dataclass(frozen=True, eq=False)
class Rows:
    """n rows as they were when they were opened; the files are mapped, not read."""

    vectors: Halves
    """(n, d)"""
    codes: npt.NDArray[np.int8]
    """(n, d)"""
    about: npt.NDArray[Any]
    """(n,) of ``ROW``; ids rise."""
    center: Floats
    """(d,)"""

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def width(self) -> int:
        """d"""
        return int(self.vectors.shape[1])

    @property
    def ids(self) -> Ints:
        """(n,) rising."""
        found: Ints = self.about["id"]
        return found

    def forget(self) -> None:
        """Give back the memory of vectors that were looked at; the system keeps what it can."""
        base: Any = self.vectors.base
        if base is not None and hasattr(mmap, "MADV_DONTNEED"):
            base._mmap.madvise(mmap.MADV_DONTNEED)

    def places(self, ids: Ints) -> Ints:
        """Where these ids are; those that are not here are left out."""
        at = np.searchsorted(self.ids, ids)
        there = at < len(self)
        there[there] = self.ids[at[there]] == ids[there]
        return np.asarray(at[there], np.int64)


def quantised(vectors: Halves, center: Floats) -> tuple[npt.NDArray[np.int8], Floats, Floats]:
    """(n, d) codes, (n,) scales and (n,) upper bounds of |vector - center - scale * code|."""
    codes = np.empty(vectors.shape, np.int8)
    scales, off = np.empty(len(vectors), np.float32), np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), CHUNK):
        part = slice(start, start + CHUNK)
        exact = vectors[part].astype(np.float64) - center
        scale = (np.abs(exact).max(axis=1, initial=0.0) / STEPS).astype(np.float32)
        steps = np.where(scale > 0, scale, np.float32(1)).astype(np.float64)[:, None]
        codes[part] = np.clip(np.rint(exact / steps), -STEPS, STEPS)
        exact -= codes[part] * scale.astype(np.float64)[:, None]
        distance = np.linalg.norm(exact, axis=1).astype(np.float32)
        scales[part], off[part] = scale, np.nextafter(distance, np.float32(np.inf))
    return codes, scales, off


def open_rows(folder: Path, generation: int, count: int, width: int) -> Rows:
    """Raises ``SearchError`` if a file is missing or shorter than the table says."""

    def mapped(name: str, dtype: Any, shape: tuple[int, ...]) -> Any:
        path = folder / name.format(generation)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if not count:
            return np.empty(shape, dtype)
        try:
            found = path.stat().st_size
        except OSError:
            found = -1
        if found < size:
            what = "is missing" if found < 0 else f"has {found:,} bytes instead of {size:,}"
            raise SearchError(
                f"The index is damaged: '{path}' {what}. Build it anew (--rebuild); vectors that "
                "are kept elsewhere are not computed again."
            )
        return np.memmap(path, dtype=dtype, mode="r", shape=shape).view(np.ndarray)

    return Rows(
        mapped(VECTORS, "<f2", (count, width)),
        mapped(CODES, np.int8, (count, width)),
        mapped(ROWS, ROW, (count,)),
        np.array(mapped(CENTER, "<f4", (width,)), np.float32),
    )


def append(folder: Path, generation: int, count: int, ids: Ints, vectors: Floats) -> None:
    """Write (m, d) vectors behind the first ``count`` rows, and to the disk. The table must say
    afterwards that they count."""
    halves = np.ascontiguousarray(vectors, "<f2")
    center = folder / CENTER.format(generation)
    if not count:
        _write(center, halves.mean(axis=0, dtype=np.float64).astype("<f4"), 0)
    codes, scales, off = quantised(halves, np.fromfile(center, "<f4", halves.shape[1]))
    about = np.empty(len(ids), ROW)
    about["id"], about["scale"], about["off"] = ids, scales, off
    for name, values in ((VECTORS, halves), (CODES, codes), (ROWS, about)):
        row = values.nbytes // max(len(ids), 1)
        _write(folder / name.format(generation), values, count * row)


def _write(path: Path, values: npt.NDArray[Any], at: int) -> None:
    """Put bytes behind the first ``at`` of a file, in the place of all that is there."""
    with open(path, "r+b" if path.exists() else "w+b") as file:
        file.truncate(at)
        file.seek(at)
        file.write(values.tobytes())
        file.flush()
        os.fsync(file.fileno())


def rewrite(folder: Path, rows: Rows, kept: npt.NDArray[np.bool_], generation: int) -> int:
    """Write the rows that are ``kept`` (n,) as another generation; how many there are."""
    places = np.flatnonzero(kept)
    sources = ((VECTORS, rows.vectors), (CODES, rows.codes), (ROWS, rows.about))
    for name, values in sources:
        with open(folder / name.format(generation), "wb") as file:
            for start in range(0, len(places), CHUNK):
                file.write(values[places[start : start + CHUNK]].tobytes())
            file.flush()
            os.fsync(file.fileno())
    _write(folder / CENTER.format(generation), rows.center.astype("<f4"), 0)
    return len(places)


def clean(folder: Path, generation: int) -> None:
    """Delete the files of other generations. One that is still mapped may stay on some systems
    until the next time."""
    current = {name.format(generation) for name in FILES}
    for path in _files(folder):
        if path.name not in current:
            with suppress(OSError):
                path.unlink()


def _files(folder: Path) -> Iterable[Path]:
    for name in FILES:
        yield from folder.glob(name.format("*"))


def spaced(rows: Rows, gone: Ints, most: int) -> Ints:
    """At most ``most`` places, evenly spaced over the rows but for the places ``gone``."""
    keep = np.ones(len(rows), bool)
    keep[gone] = False
    places = np.flatnonzero(keep)
    if len(places) > most:
        places = places[np.linspace(0, len(places) - 1, most).astype(np.int64)]
    return places
