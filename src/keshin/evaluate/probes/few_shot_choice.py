"""How a few-shot classifier chooses its strength: folds of a draw, and a walk downhill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.evaluate.probes.logistic import Rotated, Solution, Targets

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
FOLDS = 4


@dataclass(frozen=True, eq=False)
class Part:
    """A draw with a fold held back."""

    fitted: Rotated
    targets: IntArray
    offset: FloatArray | None
    held: FloatArray
    held_targets: Targets
    held_offset: FloatArray | None

    def loss(self, solution: Solution) -> float:
        """Cross-entropy of the examples held back, summed."""
        scores = solution.scores(self.held)
        if self.held_offset is not None:
            scores = scores + self.held_offset
        return self.held_targets.loss(scores)


def lowest(loss: Callable[[int], float], count: int, start: int) -> int:
    """Where the loss at the places 0 to ``count - 1`` is least, walking downhill from ``start``.

    The loss held out falls and then rises with the strength: with too small a one nothing is
    learned, with too large a one the examples are learned by heart. Then this is the least of all.
    """
    values: dict[int, float] = {}

    def value(place: int) -> float:
        if place not in values:
            values[place] = loss(place)
        return values[place]

    best = start
    for step in (-1, 1):  # weaker first: those fits are the quicker ones
        while 0 <= best + step < count and value(best + step) < value(best):
            best += step
    return best


def folds_of(targets: IntArray, size: int | None) -> list[BoolArray]:
    """What is held back in turn; of all examples, a fifth once."""
    place = places(targets)
    folds = [place % 5 == 4] if size is None else [place % FOLDS == f for f in range(FOLDS)]
    return [held for held in folds if held.any() and not held.all()]


def places(targets: IntArray) -> IntArray:
    """Each example's number within its class."""
    places = np.empty(len(targets), np.int64)
    for label in np.unique(targets):
        rows = np.flatnonzero(targets == label)
        places[rows] = np.arange(len(rows))
    return places
