"""Measures of a two-class question whose pictures come in works, with intervals that know it.

Faces of one scroll are alike, so a bootstrap over faces is too sure of itself. Here whole works are
drawn with repetition (Field and Welsh 2007); every measure takes a weight for each face, and a draw
is a set of weights. n counts faces, g works, b draws.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from keshin.statistics.figure import Figure

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating]
Statistic = Callable[[FloatArray], FloatArray]
"""(b, n) weights -> (b,) values, nan where a draw has no face of a class."""
DRAWS, AT_ONCE = 2000, 100


def area(targets: IntArray, scores: FloatArray) -> Statistic:
    """Area under the ROC curve: how often an incarnation scores above a person; ties count half."""
    order, starts = _runs(scores)
    ones = targets[order] == 1

    def value(weights: FloatArray) -> FloatArray:
        ordered = weights[:, order]
        up = np.add.reduceat(ordered * ones, starts, axis=1)
        down = np.add.reduceat(ordered * ~ones, starts, axis=1)
        below = np.cumsum(down, axis=1) - down / 2
        return _divide((up * below).sum(axis=1), up.sum(axis=1) * down.sum(axis=1))

    return value


def precision(targets: IntArray, scores: FloatArray) -> Statistic:
    """Average precision, as scikit-learn has it: precision weighted by the steps of recall."""
    order, starts = _runs(-scores)
    ones = targets[order] == 1

    def value(weights: FloatArray) -> FloatArray:
        ordered = weights[:, order]
        up = np.add.reduceat(ordered * ones, starts, axis=1)
        found = np.cumsum(up, axis=1)
        named = np.cumsum(np.add.reduceat(ordered, starts, axis=1), axis=1)
        precise = np.divide(found, named, out=np.zeros_like(found), where=named > 0)
        return _divide((up * precise).sum(axis=1), up.sum(axis=1))

    return value


def recall(targets: IntArray, predictions: IntArray, classes: int) -> Statistic:
    """Balanced accuracy: the mean of the classes' recalls, over the classes that occur at all."""
    present = [c for c in range(classes) if (targets == c).any()]

    def value(weights: FloatArray) -> FloatArray:
        right = weights * (targets == predictions)
        parts = [
            _divide(right[:, targets == c].sum(axis=1), weights[:, targets == c].sum(axis=1))
            for c in present
        ]
        return np.asarray(np.mean(parts, axis=0))

    return value


def share(right: npt.NDArray[np.bool_]) -> Statistic:
    """Share of faces for which ``right`` is true: accuracy, or the recall of a part."""
    return lambda weights: _divide((weights * right).sum(axis=1), weights.sum(axis=1))


def figure(
    statistic: Statistic, works: IntArray, *, chance: float, draws: int = DRAWS, seed: int = 0
) -> Figure:
    """The value on all faces, and the percentiles 2.5 and 97.5 over draws of whole works."""
    value = float(statistic(np.ones((1, len(works))))[0])
    low, high = bounds(bootstrap(statistic, works, draws=draws, seed=seed))
    return Figure(value=value, low=low, high=high, chance=chance, count=len(works))


def difference(
    first: Statistic, second: Statistic, works: IntArray, *, draws: int = DRAWS
) -> Figure:
    """How much the first exceeds the second on the same faces: both are taken on the same draws."""
    return figure(lambda weights: first(weights) - second(weights), works, chance=0.0, draws=draws)


def bootstrap(statistic: Statistic, works: IntArray, *, draws: int, seed: int = 0) -> FloatArray:
    """(draws,) values, each on as many works as there are, drawn with repetition."""
    _, numbers = np.unique(works, return_inverse=True)
    count = int(numbers.max()) + 1
    rng = np.random.default_rng(seed)
    values = []
    for start in range(0, draws, AT_ONCE):
        several = min(AT_ONCE, draws - start)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=several)
        values.append(statistic(drawn[:, numbers].astype(np.float64)))
    return np.concatenate(values)


def within(
    targets: IntArray, scores: FloatArray, works: IntArray, *, draws: int = DRAWS, seed: int = 0
) -> tuple[Figure | None, dict[int, float]]:
    """The mean area under the curve within works that hold both kinds, and each work's own.

    Here the scroll gives nothing away. Each work counts once; the interval comes from drawing
    works.
    None where no work holds both.
    """
    areas: dict[int, float] = {}
    for work in np.unique(works):
        rows = works == work
        if 0 < targets[rows].sum() < rows.sum():
            one = np.ones((1, int(rows.sum())))
            areas[int(work)] = float(area(targets[rows], scores[rows])(one)[0])
    if not areas:
        return None, areas
    values = np.array(list(areas.values()))
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(draws, len(values)))].mean(axis=1)
    low, high = bounds(means)
    mean = float(values.mean())
    return Figure(value=mean, low=low, high=high, chance=0.5, count=len(values)), areas


def bounds(values: FloatArray) -> tuple[float, float]:
    """The 95 % interval of draws; draws that had no value do not count."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return 0.0, 1.0
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def _runs(scores: FloatArray) -> tuple[IntArray, IntArray]:
    """The order of rising scores, and where each new score begins in it."""
    order = np.argsort(scores, kind="stable")
    ordered = np.asarray(scores)[order]
    return order, np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])


def _divide(top: FloatArray, bottom: FloatArray) -> FloatArray:
    top, bottom = np.broadcast_arrays(np.asarray(top, np.float64), bottom)
    found = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=found, where=bottom > 0)
    return found
