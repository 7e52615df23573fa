"""Classifiers on the model's own vectors: a linear probe, and one that starts from the texts.

Both are logistic regressions on the unit vectors of pictures, on which texts and stored embeddings
live too; they differ in what they are drawn towards (``evaluate.probes.few_shot`` has the
formulas): zero, with a free intercept, or the zero-shot classifier itself. How strongly is chosen
by the cross-entropy of a cross-validation within the pictures that are given, with their groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from keshin.classify import Head
from keshin.errors import DataError
from keshin.evaluate.probes.few_shot_fit import GRID, ONE_SHOT, TOLERANCE, Text, lowest
from keshin.evaluate.probes.logistic import Rotated, Solution, Targets, rotate, solve
from keshin.finetune.folds import assign

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Start: TypeAlias = Literal["zero", "text"]
INNER = 4
"""Folds of the search for the strength."""
UNSEEN = -1e4
"""The offset of a class without a picture to learn from: never the answer."""


@dataclass(frozen=True, eq=False)
class Linear:
    """Scores ``x @ weights.T + offsets``."""

    weights: FloatArray
    """(k, d)."""
    offsets: FloatArray
    """(k,)."""
    strength: float
    """C, the inverse of the penalty."""

    def scores(self, vectors: FloatArray) -> FloatArray:
        return np.asarray(vectors @ self.weights.T + self.offsets, np.float32)

    def as_head(self) -> tuple[FloatArray, Head]:
        """(k, d) directions of unit length, and the rest, as a classifier holds them."""
        lengths = np.linalg.norm(self.weights, axis=1)
        directions = self.weights / np.maximum(lengths, 1e-12)[:, None]
        directions[lengths <= 1e-12] = np.eye(1, self.weights.shape[1])
        return (
            np.asarray(directions, np.float32),
            Head(lengths.astype(np.float32), self.offsets.astype(np.float32)),
        )


def fit(
    vectors: FloatArray,
    targets: IntArray,
    classes: int,
    groups: IntArray,
    start: Start,
    text: Text,
    *,
    seed: int = 0,
) -> Linear:
    """A head for (n, d) unit vectors and their classes; ``groups`` (n,) stay together in the
    search. Raises ``DataError`` for fewer than two classes."""
    found = np.unique(targets)
    if len(found) < 2:
        raise DataError("The pictures to learn from are all of one class. Give at least two.")
    spread = float(vectors.var(axis=0, dtype=np.float64).sum())
    if not spread > 0:
        raise DataError("The model sees all of these pictures alike, so nothing can be learned.")
    offset = text.scale * (vectors @ text.weights.T) if start == "text" else None
    strength = _search(vectors, targets, classes, groups, offset, start, seed) / spread
    rotated = rotate(vectors, centre=offset is None)
    solution = _solve(rotated, targets, classes, strength, offset, None)
    weights, intercept = solution.unrotated(rotated)
    matrix, offsets = weights.T.astype(np.float32), intercept.astype(np.float32)
    if offset is not None:
        matrix = matrix + np.float32(text.scale) * text.weights
    else:
        offsets[np.setdiff1d(np.arange(classes), found)] = UNSEEN
    return Linear(np.asarray(matrix, np.float32), offsets, strength)


def _search(
    vectors: FloatArray,
    targets: IntArray,
    classes: int,
    groups: IntArray,
    offset: FloatArray | None,
    start: Start,
    seed: int,
) -> float:
    """The best of the grid, in units of the spread."""
    number = min(INNER, len(np.unique(groups)))
    place = assign(targets, groups, number, seed) if number > 1 else np.zeros(len(targets))
    parts = []
    for fold in range(number):
        kept = place != fold
        held = ~kept & np.isin(targets, targets[kept])
        if not held.any() or len(np.unique(targets[kept])) < 2:
            continue
        rotated = rotate(vectors[kept], centre=offset is None)
        seen = rotated.apply(vectors[held])
        parts.append((kept, held, rotated, seen))
    if not parts:
        return ONE_SHOT[start]
    solutions: dict[int, list[Solution]] = {}

    def loss(index: int) -> float:
        near = solutions[min(solutions, key=lambda o: abs(o - index))] if solutions else None
        found, total = [], 0.0
        for part, (kept, held, rotated, seen) in enumerate(parts):
            spread = float(vectors[kept].var(axis=0, dtype=np.float64).sum())
            given = None if offset is None else offset[kept]
            begin = near[part] if near else None
            found.append(
                _solve(rotated, targets[kept], classes, GRID[index] / spread, given, begin)
            )
            scores = found[-1].scores(seen)
            right = Targets("softmax", classes, targets[held])
            total += right.loss(scores if offset is None else scores + offset[held])
        solutions[index] = found
        return total

    return GRID[lowest(loss, len(GRID), len(GRID) // 2)]


def _solve(
    rotated: Rotated,
    targets: IntArray,
    classes: int,
    strength: float,
    offset: FloatArray | None,
    near: Solution | None,
) -> Solution:
    return solve(
        rotated,
        Targets("softmax", classes, targets),
        strength,
        start=near,
        offset=offset,
        intercept=offset is None,
        tolerance=TOLERANCE,
    )
