"""The pictures that a report shows: the surest mistakes and the surest right answers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from keshin.core.pictures import Picture
from keshin.errors import PictureError
from keshin.evaluate.results import Shown
from keshin.evaluate.sets.labelled import Labelled
from keshin.pages.thumbnails import thumbnail

PER_CLASS = 2
"""So many pictures of a class at most, so that one class does not take all the room."""


def name_of_row(data: Labelled, row: int) -> str:
    """What a report calls a picture: its id, its path, or its number."""
    if data.ids:
        return data.ids[row]
    picture = data.pictures[row]
    return f"no. {row}" if isinstance(picture, bytes | np.ndarray) else str(picture)


def names_below(data: Labelled, root: Path) -> tuple[str, ...]:
    """What a report calls the pictures: their ids, or their paths below ``root``, which are
    the same on another machine."""
    if data.ids or not len(data) or not isinstance(data.pictures[0], str | os.PathLike):
        return data.ids
    top = os.path.join(os.path.abspath(root), "")  # noqa: PTH100 - of a million, fast
    names = (os.path.abspath(p) for p in data.pictures if isinstance(p, str | os.PathLike))  # noqa: PTH100
    return tuple(name.removeprefix(top) for name in names)


def chosen(
    scores: npt.NDArray[np.floating], classes: npt.NDArray[np.int64], n: int
) -> npt.NDArray[np.int64]:
    """The ``n`` rows of highest score, at most ``PER_CLASS`` of a class unless there are too few;
    ``classes`` (rows,) are what is to be varied."""
    order = np.argsort(-scores, kind="stable")
    seen: dict[int, int] = {}
    first: list[int] = []
    later: list[int] = []
    for row in order:
        kind = int(classes[row])
        seen[kind] = seen.get(kind, 0) + 1
        (first if seen[kind] <= PER_CLASS else later).append(int(row))
        if len(first) == n:
            break
    rows = np.array([*first, *later][:n], np.int64)
    return rows[np.argsort(-scores[rows], kind="stable")]


def show(
    data: Labelled,
    rows: Sequence[int] | npt.NDArray[np.int64],
    right: Sequence[tuple[str, ...]],
    scores: npt.NDArray[np.floating],
    *,
    top: int = 3,
) -> tuple[Shown, ...]:
    """These rows of ``data``; ``right`` and ``scores`` (rows, k) belong to them one by one."""
    found = []
    for row, truth, given in zip(rows, right, scores, strict=True):
        best = np.argsort(-given, kind="stable")[:top]
        answers = tuple((data.names[index], round(float(given[index]), 4)) for index in best)
        picture = data.pictures[int(row)]
        found.append(Shown(name_of_row(data, int(row)), truth, answers, _small(picture)))
    return tuple(found)


def _small(picture: Picture) -> bytes:
    """Its thumbnail; empty if it cannot be read."""
    try:
        return thumbnail(picture).content
    except PictureError:
        return b""
