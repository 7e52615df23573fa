"""One fit of a few-shot curve: the strength chosen inside a draw, and the scores of other pictures.

What is minimised, and what is chosen from, stands in ``few_shot``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from keshin.errors import DataError
from keshin.evaluate.probes.logistic import Rotated, Solution, Targets, rotate, solve

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Start: TypeAlias = Literal["zero", "text"]
GRID: tuple[float, ...] = tuple(float(10.0**power) for power in range(-2, 5))
"""What c is chosen from."""
ONE_SHOT: dict[Start, float] = {"zero": 10.0, "text": 1.0}
"""c for one example a class (docs/decisions.md: on which pictures it was found)."""
FOLDS = 4
TOLERANCE = 1e-3
"""Of a fit, in units of its step: the loss is then within a millionth of the least."""
CROSS = 2e-2
"""Of the fits that choose the strength, which are ten times apart."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Features with their classes."""

    features: FloatArray
    """(n, d)."""
    targets: IntArray
    """(n,) of 0 to k - 1."""

    def take(self, rows: IntArray) -> Examples:
        return Examples(self.features[rows], self.targets[rows])


@dataclass(frozen=True, eq=False)
class Text:
    """A zero-shot classifier on the same features: ``Classifier.weights_``, the model's scale."""

    weights: FloatArray
    """(k, d) of unit length."""
    scale: float
    """``Encoder.logit_scale``."""


@dataclass
class Fitting:
    """Fits one draw after the other, in the coordinates of its own features."""

    classes: int
    start: Start
    text: Text | None
    grid: Sequence[float] = field(default=GRID)
    _last: dict[int | None, int] = field(default_factory=dict)
    """Of each size, the place in the grid that the draw before chose: where the next begins."""

    def scores(
        self, drawn: Examples, size: int | None, test: FloatArray
    ) -> tuple[float, FloatArray]:
        """The strength C that was chosen, and the (m, k) scores of other features."""
        found = np.unique(drawn.targets)
        if len(found) < 2:
            raise DataError("The examples are all of one class. Give at least two classes.")
        spread = float(drawn.features.var(axis=0, dtype=np.float64).sum())
        if not spread > 0:
            raise DataError("All examples have the same features, so nothing can be learned.")
        # n examples lie in n dimensions: everything else is done in these, folds too, which are
        # rows of the same coordinates.
        rotated = rotate(drawn.features, centre=self.start == "zero")
        offset = None
        if self.start == "text" and self.text is not None:
            offset = self.text.scale * (drawn.features @ self.text.weights.T)
        strength, near = self._strength(rotated, drawn.targets, offset, size, spread)
        solution = self._solve(rotated, drawn.targets, strength, offset, near)
        weights, intercept = solution.unrotated(rotated)
        scores = test @ weights.astype(np.float32) + intercept.astype(np.float32)
        if self.start == "text" and self.text is not None:
            scores += self.text.scale * (test @ self.text.weights.T)
        elif len(found) < self.classes:  # a class without examples is never the answer
            scores[:, np.setdiff1d(np.arange(self.classes), found)] = scores.min() - 1
        return strength, scores

    def _solve(
        self,
        rotated: Rotated,
        targets: IntArray,
        strength: float,
        offset: FloatArray | None,
        near: Solution | None,
        tolerance: float = TOLERANCE,
    ) -> Solution:
        return solve(
            rotated,
            Targets("softmax", self.classes, targets),
            strength,
            start=near,
            offset=offset,
            intercept=offset is None,
            tolerance=tolerance,
        )

    def _strength(
        self,
        rotated: Rotated,
        targets: IntArray,
        offset: FloatArray | None,
        size: int | None,
        spread: float,
    ) -> tuple[float, Solution | None]:
        """C, by cross-validation over the draw where it has more than one example a class; and a
        solution nearby."""
        folds = [] if size == 1 else _folds(targets, size)
        if not folds:
            return ONE_SHOT[self.start] / spread, None
        parts = [self._part(rotated, targets, offset, held) for held in folds]
        solutions: dict[int, list[Solution]] = {}

        def loss(index: int) -> float:
            known = [abs(other - index) for other in solutions]
            near = solutions[min(solutions, key=lambda o: abs(o - index))] if known else None
            found: list[Solution] = []
            total = 0.0
            for number, part in enumerate(parts):
                # The fold before shares most examples; another strength shares all of them.
                start = near[number] if near else (found[-1] if found else None)
                fitted = self._solve(
                    part.fitted,
                    part.targets,
                    self.grid[index] / spread,
                    part.offset,
                    start,
                    CROSS,
                )
                found.append(fitted)
                total += part.loss(found[-1])
            solutions[index] = found
            return total

        best = lowest(loss, len(self.grid), self._last.get(size, len(self.grid) // 2))
        self._last[size] = best
        return self.grid[best] / spread, solutions[best][-1]

    def _part(
        self, rotated: Rotated, targets: IntArray, offset: FloatArray | None, held: BoolArray
    ) -> _Part:
        fitted = Rotated(
            rotated.mean, rotated.basis, rotated.spectrum * (~held).mean(), rotated.features[~held]
        )
        return _Part(
            fitted,
            targets[~held],
            None if offset is None else offset[~held],
            rotated.features[held],
            Targets("softmax", self.classes, targets[held]),
            None if offset is None else offset[held],
        )


@dataclass(frozen=True, eq=False)
class _Part:
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


def _folds(targets: IntArray, size: int | None) -> list[BoolArray]:
    """What is held back in turn; of all examples, a fifth once."""
    place = _places(targets)
    folds = [place % 5 == 4] if size is None else [place % FOLDS == f for f in range(FOLDS)]
    return [held for held in folds if held.any() and not held.all()]


def _places(targets: IntArray) -> IntArray:
    """Each example's number within its class."""
    places = np.empty(len(targets), np.int64)
    for label in np.unique(targets):
        rows = np.flatnonzero(targets == label)
        places[rows] = np.arange(len(rows))
    return places
