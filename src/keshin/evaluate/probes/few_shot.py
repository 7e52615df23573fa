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

import numpy as np

from keshin.errors import DataError
from keshin.evaluate.probes.few_shot_curve import Curve, Point, Resampled, Zero, crossing
from keshin.evaluate.probes.few_shot_fit import (
    Examples,
    Fitting,
    FloatArray,
    IntArray,
    Start,
    Text,
)
from keshin.statistics.point_values import Metric

__all__ = ["SIZES", "Examples", "Start", "Text", "drawn_scores", "few_shot", "shuffled"]

SIZES = (1, 2, 4, 8, 16)


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
    fitting = Fitting(classes, start, text)
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


def drawn_scores(
    train: Examples,
    asked: FloatArray,
    classes: int,
    size: int,
    *,
    start: Start = "zero",
    text: Text | None = None,
    draws: int = 20,
    seed: int = 0,
) -> FloatArray:
    """(draws, m, k) scores of (m, d) features after ``size`` examples a class, drawn each time.

    For measures that are no metric of the scores of all pictures together; else as ``few_shot``.
    """
    _check(train, train, classes, start, text, (size,))
    rng = np.random.default_rng(seed)
    fitting, found = Fitting(classes, start, text), []
    for _ in range(draws):
        order = shuffled(train.targets, rng)
        chosen = np.sort(np.concatenate([rows[:size] for rows in order]))
        found.append(fitting.scores(train.take(chosen), size, asked)[1])
    return np.stack(found)


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
