"""Few-shot curves (paper, sections 3.1 and 3.2; figures 6 and 7): how good a linear classifier is
that has seen 1, 2, 4, 8, 16 examples of each class, and when it overtakes zero-shot.

Each size is fitted on many draws. In one draw the examples of a smaller size are among those of the
next, and every class gives as many as it has, at most. A classifier starts in one of two ways:

- ``zero``: logistic regression as in ``logistic.py``, with a free intercept;
- ``text``: its weights are drawn towards the text classifier T (k, d) of scale s:

      minimise over W:   C sum_i cross_entropy(softmax(x_i W'), y_i) + |W - s T|^2 / 2

  without intercept, so that C -> 0 gives zero-shot itself. x are ``joint`` features.

C is chosen inside the draw, from c / v with v the mean squared distance of its features from their
mean, so that no unit matters: by cross-entropy in a cross-validation over the draw; with one
example a class, where there is nothing to hold back, c is ``ONE_SHOT``. The test pictures choose
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from keshin.errors import DataError
from keshin.evaluate.probes.few_shot_choice import Part, folds_of, lowest
from keshin.evaluate.probes.few_shot_curve import Curve, Point, Resampled, Zero, crossing
from keshin.evaluate.probes.logistic import Rotated, Solution, Targets, rotate, solve
from keshin.statistics.point_values import Metric

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Start: TypeAlias = Literal["zero", "text"]
SIZES = (1, 2, 4, 8, 16)
GRID: tuple[float, ...] = tuple(float(10.0**power) for power in range(-2, 5))
"""What c is chosen from."""
ONE_SHOT: dict[Start, float] = {"zero": 10.0, "text": 1.0}
"""c for one example a class (docs/decisions.md: on which pictures it was found)."""
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


def few_shot(
    train: Examples,
    test: Examples,
    classes: int,
    *,
    start: Start = "zero",
    text: Text | None = None,
    zero_shot: FloatArray | None = None,
    sizes: Sequence[int] = SIZES,
    full: bool = True,
    draws: int = 20,
    metric: Metric = "accuracy",
    groups: IntArray | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Curve:
    """The curve of one start, with a 95 % band and the place where it overtakes zero-shot.

    Arguments:
        train: features that examples are drawn from; test: those that are measured.
        classes: k.
        start: see above; ``text`` needs the text classifier.
        text: the zero-shot classifier on these very features.
        zero_shot: (m, k) scores of zero-shot for the test pictures, where the curve is on other
            features than the texts; default: those of ``text``.
        sizes: examples a class, ascending; ``full`` adds all there are, fitted once.
        draws: of each size.
        metric: as of ``LinearProbe``.
        groups: (m,) test pictures that come together, and are resampled together.
        seed: of draws and resamples.
        progress: called with the fits done and all.

    Bands come from resampling draws and test pictures together (within the classes, or by group),
    the same pictures for all sizes and for zero-shot, so that the crossing is a paired comparison.
    Raises ``DataError``.
    """
    _check(train, test, classes, start, text, sizes)
    if zero_shot is None and text is not None:
        zero_shot = test.features @ text.weights.T
    rng = np.random.default_rng(seed)
    orders = [shuffled(train.targets, rng) for _ in range(draws)]
    resampled = Resampled(metric, test.targets, groups, rng)
    fitting = _Fitting(classes, start, text)
    points, spread = [], []
    done, total = 0, len(sizes) * draws + full
    for size in [*sizes, *([None] if full else [])]:
        values, strengths, per_class = [], [], 0.0
        for order in orders if size else orders[:1]:
            chosen = np.sort(np.concatenate([rows[:size] for rows in order]))
            strength, scores = fitting.scores(train.take(chosen), size, test.features)
            values.append(resampled(scores))
            strengths.append(strength)
            per_class = len(chosen) / max(sum(len(rows) > 0 for rows in order), 1)
            done += 1
            if progress:
                progress(done, total)
        means, band = resampled.over_draws(values)
        spread.append(band)
        low, high = np.percentile(band, [2.5, 97.5])
        points.append(
            Point(
                shots=size,
                per_class=per_class,
                value=float(np.mean(means)),
                low=float(low),
                high=float(high),
                values=tuple(means),
                strengths=tuple(strengths),
            )
        )
    zero = overtakes = None
    if zero_shot is not None:
        value, band = resampled(zero_shot)
        low, high = np.percentile(band, [2.5, 97.5])
        zero = Zero(value=value, low=float(low), high=float(high))
        overtakes = crossing(points, np.array(spread), value, band)
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", "metric")
    return Curve(
        start=start,
        metric=name,
        classes=classes,
        draws=draws,
        pictures=len(test.targets),
        seed=seed,
        points=tuple(points),
        zero_shot=zero,
        overtakes=overtakes,
    )


def _check(
    train: Examples,
    test: Examples,
    classes: int,
    start: Start,
    text: Text | None,
    sizes: Sequence[int],
) -> None:
    for name, part in (("train", train), ("test", test)):
        if part.targets.ndim != 1 or len(part.targets) != len(part.features):
            raise DataError(
                f"{name} has {len(part.features)} features and targets of shape "
                f"{part.targets.shape}. A few-shot curve needs one class a picture."
            )
        if not len(part.targets) or not 0 <= part.targets.min() <= part.targets.max() < classes:
            raise DataError(f"The targets of {name} must be classes from 0 to {classes - 1}.")
    if list(sizes) != sorted(set(sizes)) or (len(sizes) and sizes[0] < 1):
        raise DataError(f"sizes is {list(sizes)}. Give ascending numbers of examples from 1 on.")
    if start == "text":
        if text is None:
            raise DataError("start='text' needs text=Text(weights, scale) of the same features.")
        expected = (classes, train.features.shape[1])
        if text.weights.shape != expected:
            raise DataError(
                f"text.weights is {text.weights.shape}; these features need {expected}."
            )


def shuffled(targets: IntArray, rng: np.random.Generator) -> list[IntArray]:
    """One draw: the rows of each class in random order; the first n of each are its n-shot set."""
    return [rng.permutation(np.flatnonzero(targets == label)) for label in range(targets.max() + 1)]


@dataclass
class _Fitting:
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
        folds = [] if size == 1 else folds_of(targets, size)
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
    ) -> Part:
        fitted = Rotated(
            rotated.mean, rotated.basis, rotated.spectrum * (~held).mean(), rotated.features[~held]
        )
        return Part(
            fitted,
            targets[~held],
            None if offset is None else offset[~held],
            rotated.features[held],
            Targets("softmax", self.classes, targets[held]),
            None if offset is None else offset[held],
        )
