"""Whether one picture is another one, re-encoded, resized, lighter, grey, or cut: by their pixels.

A signature is the picture in grey, squeezed to 64 x 64. To compare two, the first is laid over the
second as a whole and through windows of 80 to 96 % of its side at places on a grid, and the other
way round. The places where the values (32 x 32) correlate best are then compared by their
gradients: the correlation of the differences between neighbouring pixels. Values alone are fooled
by two horizons; gradients are not, and neither changes with brightness and contrast.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from keshin.core.config import PreprocessFacts
from keshin.core.pictures import Picture, fitted
from keshin.search.rows import Floats

SIDE, COMPARED = 64, 32
CUTS = ((0.96, 3), (0.92, 3), (0.88, 5), (0.84, 5), (0.8, 5))
"""Sides of the windows, and how many places along each side."""
WORTH = 0.3
"""Least correlation of the whole pictures for which cuts are looked at."""
TRIED = 3
"""Windows, those that correlate best, whose gradients are compared."""
NEAR = 0.5
"""Similarity from which two pictures are taken for one (benchmarks/duplicates.py)."""
Signatures = npt.NDArray[np.uint8]
_VIEW = PreprocessFacts(
    size=(SIDE, SIDE), resize="squash", interpolation="bicubic", mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)  # fmt: skip
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def signature(picture: Picture) -> Signatures:
    """(64, 64). Raises ``PictureError``."""
    pixels = fitted(picture, _VIEW, mode="fast").astype(np.float32)
    return np.asarray(np.rint(pixels @ _GREY), np.uint8)


def similarity(first: Signatures, second: Signatures) -> float:
    """-1 to 1, the correlation of gradients where the two fit best. A picture of one colour is like
    nothing."""
    whole = np.stack([_whole(first), _whole(second)])
    values = _normed(whole)
    slopes = _normed(_gradients(whole), centred=False)
    best = float(slopes[0] @ slopes[1])
    if float(values[0] @ values[1]) < WORTH or best >= NEAR:
        return best
    for one, other in ((first, 1), (second, 0)):
        windows = one.ravel()[_windows()].astype(np.float32)
        fits = _normed(windows) @ values[other]
        tried = windows[np.argpartition(-fits, TRIED)[:TRIED]]
        best = max(best, float((_normed(_gradients(tried), centred=False) @ slopes[other]).max()))
    return best


def _gradients(rows: Floats) -> Floats:
    """(n, 1024) values -> (n, 2 x 31 x 31) differences to the right and downwards."""
    grid = rows.reshape(-1, COMPARED, COMPARED)
    right = np.diff(grid, axis=2)[:, :-1].reshape(len(rows), -1)
    down = np.diff(grid, axis=1)[:, :, :-1].reshape(len(rows), -1)
    return np.concatenate([right, down], axis=1)


def _whole(one: Signatures) -> Floats:
    """(1024,) at 32 x 32."""
    step = SIDE // COMPARED
    pooled = one.reshape(COMPARED, step, COMPARED, step).mean(axis=(1, 3))
    return np.asarray(pooled.ravel(), np.float32)


def _normed(rows: Floats, *, centred: bool = True) -> Floats:
    """Rows of length 1, and of mean 0 if they are centred; constant ones become 0."""
    if centred:
        rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.where(length > COMPARED / 2, rows / np.maximum(length, 1e-6), 0))


@cache
def _windows() -> npt.NDArray[np.int64]:
    """(w, 1024) which pixel of a signature each pixel of each window is."""
    found = []
    for share, places in CUTS:
        side = share * SIDE
        inside = (np.arange(COMPARED) + 0.5) * side / COMPARED
        for top in np.linspace(0, SIDE - side, places):
            for left in np.linspace(0, SIDE - side, places):
                rows, columns = ((start + inside).astype(np.int64) for start in (top, left))
                found.append((rows[:, None] * SIDE + columns[None]).ravel())
    return np.stack(found)
