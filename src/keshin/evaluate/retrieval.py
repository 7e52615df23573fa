"""Pictures and captions that are to find each other (paper, appendix E.1): recall at 1, 5 and 10."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from keshin.encode.encoder import FloatArray
from keshin.evaluate import studies
from keshin.evaluate.metrics import measured
from keshin.evaluate.results import Score

IntArray = npt.NDArray[np.int64]
DEPTHS = (1, 5, 10)
ROWS = 512
"""Compared at once: bounds the memory."""


def recalls(
    pictures: FloatArray, captions: FloatArray, picture_of: IntArray
) -> tuple[Score, ...]:
    """Share of captions whose picture is among the nearest 1, 5, 10 pictures, and of pictures that
    have one of their captions among the nearest 1, 5, 10.

    Arguments: ``pictures`` (n, d) and ``captions`` (m, d) unit vectors; ``picture_of`` (m,) rows of
    ``pictures``. Captions of a picture come together, which their interval knows. Among equal
    cosines the right one counts as last, so that constant vectors do not look perfect.
    """
    n, m = len(pictures), len(captions)
    to_picture = caption_ranks(pictures, captions, picture_of)
    to_caption = picture_ranks(pictures, captions, picture_of)
    own = np.bincount(picture_of, minlength=n)
    found = []
    for depth in DEPTHS:
        hits = (to_picture < depth).astype(np.float64)
        chance = min(depth / n, 1.0)
        study = studies.mean_study(hits, chance)
        found.append((f"caption → picture, recall at {depth}", measured("", study, picture_of)))
    for depth in DEPTHS:
        known = own > 0
        hits = (to_caption[known] < depth).astype(np.float64)
        chance = float(np.mean(1 - np.power(max(1 - depth / m, 0.0), own[known])))
        found.append(
            (f"picture → caption, recall at {depth}", measured("", studies.mean_study(hits, chance)))
        )
    return tuple(Score(name, x.value, x.low, x.high, x.chance, x.count) for name, x in found)


def caption_ranks(pictures: FloatArray, captions: FloatArray, picture_of: IntArray) -> IntArray:
    """(m,) how many pictures are at least as near to each caption as its own, that one left out."""
    ranks = np.empty(len(captions), np.int64)
    for start in range(0, len(captions), ROWS):
        rows = slice(start, start + ROWS)
        cosines = captions[rows] @ pictures.T
        own = np.take_along_axis(cosines, picture_of[rows][:, None], axis=1)
        ranks[rows] = (cosines >= own).sum(axis=1) - 1
    return ranks


def picture_ranks(pictures: FloatArray, captions: FloatArray, picture_of: IntArray) -> IntArray:
    """(n,) how many captions of others are at least as near to each picture as its nearest own."""
    ranks = np.empty(len(pictures), np.int64)
    for start in range(0, len(pictures), ROWS):
        stop = min(start + ROWS, len(pictures))
        cosines = pictures[start:stop] @ captions.T
        mine = picture_of[None, :] == np.arange(start, stop)[:, None]
        best = np.where(mine, cosines, -np.inf).max(axis=1, keepdims=True)
        ranks[start:stop] = ((cosines >= best) & ~mine).sum(axis=1)
    return ranks
