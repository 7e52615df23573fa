"""Retrieval between pictures and their captions: recall@k in both directions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from keshin.errors import DataError
from keshin.statistics.figure import Figure
from keshin.statistics.influence import mean_study
from keshin.statistics.metrics import measured

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating]
AT = (1, 5, 10)
CELLS = 8_000_000
"""Similarities that are held at a time."""


def retrieval(
    pictures: FloatArray, texts: FloatArray, owners: IntArray, *, at: Sequence[int] = AT
) -> dict[str, Figure]:
    """Recalls by name: "image to text recall@1", ..., "text to image recall@10".

    ``pictures`` (n, d) and ``texts`` (m, d) are unit vectors, ``owners`` (m,) says which picture a
    caption belongs to; a picture may have several. Image to text: one of its captions is among the
    k nearest. Text to image: its picture is among the k nearest; captions of one picture are a
    group for the interval. Of equal similarities the earlier comes first. Raises ``DataError``.
    """
    owners = np.asarray(owners)
    sizes = _checked(pictures, texts, owners)
    n, m = len(pictures), len(texts)
    found: dict[str, Figure] = {}
    by_image = _captions_ahead(pictures, texts, owners)
    by_text = _pictures_ahead(pictures, texts, owners)
    several = bool((sizes > 1).any()) and n > 1
    for k in at:
        chance = float(np.mean([_any_of(int(own), m, k) for own in sizes]))
        name = f"image to text recall@{k}"
        found[name] = _recall(name, by_image, k, chance)
        name = f"text to image recall@{k}"
        found[name] = _recall(name, by_text, k, min(k / n, 1.0), owners if several else None)
    return found


def _recall(
    name: str, ahead: IntArray, k: int, chance: float, groups: IntArray | None = None
) -> Figure:
    return measured(name, mean_study((ahead < k).astype(float), chance), groups)


def _captions_ahead(pictures: FloatArray, texts: FloatArray, owners: IntArray) -> IntArray:
    """(n,) how many captions come before the first of a picture's own."""
    ahead = np.empty(len(pictures), np.int64)
    for rows, near in _blocks(pictures, texts):
        own = np.where(owners == rows[:, None], near, -np.inf)
        best = own.argmax(axis=1)
        ahead[rows] = _before(near, best)
    return ahead


def _pictures_ahead(pictures: FloatArray, texts: FloatArray, owners: IntArray) -> IntArray:
    """(m,) how many pictures come before a caption's own."""
    ahead = np.empty(len(texts), np.int64)
    for rows, near in _blocks(texts, pictures):
        ahead[rows] = _before(near, owners[rows])
    return ahead


def _blocks(rows: FloatArray, columns: FloatArray) -> Iterator[tuple[IntArray, FloatArray]]:
    """Numbers of some rows, and their similarities with all columns."""
    step = max(1, CELLS // len(columns))
    for start in range(0, len(rows), step):
        numbers = np.arange(start, min(start + step, len(rows)))
        yield numbers, rows[numbers] @ columns.T


def _before(near: FloatArray, own: IntArray) -> IntArray:
    """(b,) how many columns are nearer than the column ``own`` of each row."""
    value = np.take_along_axis(near, own[:, None], axis=1)
    earlier = np.arange(near.shape[1]) < own[:, None]
    return np.asarray(((near > value) | ((near == value) & earlier)).sum(axis=1), np.int64)


def _any_of(own: int, total: int, k: int) -> float:
    """The chance that k of ``total`` captions, drawn blindly, hold one of ``own``."""
    if k >= total:
        return 1.0
    return 1 - math.comb(total - own, k) / math.comb(total, k)


def _checked(pictures: FloatArray, texts: FloatArray, owners: IntArray) -> IntArray:
    if len(pictures) == 0 or owners.shape != (len(texts),) or pictures.shape[1:] != texts.shape[1:]:
        raise DataError(
            f"Pictures {pictures.shape}, texts {texts.shape} and owners {owners.shape} do not go "
            "together. Give (n, d), (m, d) and (m,)."
        )
    if not (np.isfinite(pictures).all() and np.isfinite(texts).all()):
        raise DataError("Some vectors hold numbers that are not finite. Leave them out.")
    if owners.min(initial=0) < 0 or owners.max(initial=0) >= len(pictures):
        raise DataError(
            f"Owners must be numbers of pictures, 0 to {len(pictures) - 1}; some are not."
        )
    sizes = np.bincount(owners, minlength=len(pictures))
    if (sizes == 0).any():
        raise DataError(
            f"{int((sizes == 0).sum())} of {len(pictures)} pictures have no caption. "
            "Leave them out."
        )
    return sizes
