"""How each metric is computed: its value, each picture's influence on it, its value under weights.

A metric here knows nothing of intervals and names; ``metrics.py`` makes the one and holds the
other. Targets (n,) and scores (n, k) are checked there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from keshin.errors import DataError
from keshin.statistics.rankings import Ranked, Weighted

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating]
SMALL = 5
"""Classes with fewer pictures are said to be small."""


@dataclass(frozen=True, eq=False)
class Study:
    """A metric on given pictures, before its interval is made."""

    value: float
    influence: FloatArray
    """(n,) what each picture adds to the value: sums to 0."""
    variance: float
    """Of the value, if pictures are independent."""
    degrees: float
    """Of freedom behind the variance."""
    perfect: float
    """How many pictures a value of 0 or 1 rests on."""
    chance: float
    weighted: Weighted
    """(b, n) weights of the pictures -> (b,) values: what a bootstrap needs."""
    misses: float = math.inf
    """About how many pictures keep the value from 0 or 1, where few make the variance doubtful."""
    logit: bool = False
    """Whether the interval is made on the scale of the log odds."""
    method: str = "Wilson"
    notes: tuple[str, ...] = ()


def places(targets: IntArray, scores: FloatArray) -> IntArray:
    """(n,) how many classes are ahead of the right one; of equal scores the first class leads."""
    own = np.take_along_axis(scores, targets[:, None], axis=1)
    earlier = np.arange(scores.shape[1]) < targets[:, None]
    return np.asarray(((scores > own) | ((scores == own) & earlier)).sum(axis=1), np.int64)


def mean_study(values: FloatArray, chance: float, notes: tuple[str, ...] = ()) -> Study:
    """The mean of a value between 0 and 1 of each picture; right or wrong gives Wilson."""
    values = np.asarray(values, np.float64)
    count, value = len(values), float(np.mean(values))
    counted = bool(((values == 0) | (values == 1)).all())
    variance = value * (1 - value) / count if counted else float(values.var(ddof=1)) / count
    return Study(
        value,
        (values - value) / count,
        variance,
        math.inf,
        count,
        chance,
        lambda weights: np.asarray(weights @ values / np.sum(weights, axis=1)),
        method="Wilson" if counted else "Wilson with the effective number of pictures",
        notes=notes,
    )


def per_class_study(targets: IntArray, right: FloatArray, classes: int) -> Study:
    """Mean of the classes' recalls; classes without pictures are not counted.

    The variance of a class is that of its recall after two pictures as good as the mean of all
    classes were added: a class of 3 that is all right is not sure to be.
    """
    right = np.asarray(right, np.float64)
    sizes = np.bincount(targets, minlength=classes)
    found = np.flatnonzero(sizes)
    counts = sizes[found].astype(np.float64)
    number = len(found)
    hits = np.bincount(targets, weights=right, minlength=classes)[found]
    recalls = hits / counts
    value = float(recalls.mean())
    likely = (hits + 2 * value) / (counts + 2)
    spread = likely * (1 - likely) / counts / number**2
    position = np.searchsorted(found, targets)
    # Within a class of n the mean takes one of n degrees; a class of one has only the others.
    alone = counts[position] == 1
    residual = np.where(
        alone,
        right - value,
        (right - recalls[position])
        * np.sqrt(counts[position] / np.maximum(counts[position] - 1, 1)),
    )
    order = np.argsort(position, kind="stable")
    starts = np.r_[0, sizes[found].cumsum()[:-1]]

    def weighted(weights: FloatArray) -> FloatArray:
        ranked = weights[:, order]
        total = np.add.reduceat(ranked, starts, axis=1)
        own = np.add.reduceat(ranked * right[order], starts, axis=1)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.nanmean(own / total, axis=1))

    return Study(
        value,
        residual / (number * counts[position]),
        float(spread.sum()),
        float(spread.sum() ** 2 / (spread**2 / (counts + 1)).sum()) if value % 1 else math.inf,
        number**2 / float((1 / counts).sum()),
        1 / classes,
        weighted,
        method="Wilson with the effective number of pictures",
        notes=_sizes_said(sizes),
    )


def accuracy_study(targets: IntArray, scores: FloatArray) -> Study:
    """Share of pictures whose best class is right."""
    right = places(targets, scores) == 0
    return mean_study(right.astype(float), 1 / scores.shape[1], _ties_said(scores))


def top_mean_study(targets: IntArray, scores: FloatArray) -> Study:
    """Mean of the shares with the right class first, and among the first five."""
    ahead, classes = places(targets, scores), scores.shape[1]
    chance = (1 / classes + min(5, classes) / classes) / 2
    return mean_study(((ahead < 1) + 1.0 * (ahead < 5)) / 2, chance, _ties_said(scores))


def mean_per_class_study(targets: IntArray, scores: FloatArray) -> Study:
    """Mean of the classes' shares of right answers."""
    right = (places(targets, scores) == 0).astype(float)
    found = per_class_study(targets, right, scores.shape[1])
    return replace(found, notes=found.notes + _ties_said(scores))


def ranked_study(
    rank: Callable[[IntArray, FloatArray], Ranked],
    weigh: Callable[[IntArray, FloatArray], Weighted],
    *,
    area: bool,
) -> Callable[[IntArray, FloatArray], Study]:
    """A metric of rankings: of one question for two classes, else the mean over the classes."""

    def of(targets: IntArray, scores: FloatArray) -> Study:
        truth, columns = _questions(targets, scores)
        rows = [np.flatnonzero(column >= 0) for column in truth.T]
        kept = [i for i, column in enumerate(truth.T) if {0, 1} <= set(np.unique(column).tolist())]
        if not kept:
            raise DataError(
                "A ranking needs pictures that show a class and pictures that do not; no class "
                "here has both. Use accuracy, or add pictures."
            )
        found = [rank(truth[rows[i], i], columns[rows[i], i]) for i in kept]
        influence = np.zeros(len(targets))
        for i, one in zip(kept, found, strict=True):
            influence[rows[i]] += one.influence / len(kept)
        spread = [float(np.square(one.influence).sum()) for one in found]
        behind = sum(v**2 / one.degrees for v, one in zip(spread, found, strict=True))
        ones = np.array([(truth[:, i] == 1).sum() for i in kept], float)
        zeros = np.array([(truth[:, i] == 0).sum() for i in kept], float)
        value = float(np.mean([one.value for one in found]))
        perfect = ones * zeros / (0.5 + (ones + zeros) / 4) if area else ones
        few = np.minimum(ones, zeros) if area else ones
        parts = [weigh(truth[rows[i], i], columns[rows[i], i]) for i in kept]

        def weighted(weights: FloatArray) -> FloatArray:
            each = [part(weights[:, rows[i]]) for i, part in zip(kept, parts, strict=True)]
            return np.asarray(np.nanmean(each, axis=0))

        notes = []
        if len(kept) < truth.shape[1]:
            notes.append(
                f"{truth.shape[1] - len(kept)} of {truth.shape[1]} classes are not counted: they "
                "lack pictures that show them, or pictures that do not."
            )
        scarce = int((np.minimum(ones, zeros) < SMALL).sum())
        if scarce:
            notes.append(
                f"{scarce} of {len(kept)} classes have fewer than {SMALL} pictures on one side."
            )
        return Study(
            value,
            influence,
            float(np.square(influence).sum()),
            sum(spread) ** 2 / behind if behind > 0 else math.inf,
            min(float(perfect.sum()), float(len(targets))),
            float(np.mean([one.chance for one in found])),
            weighted,
            misses=float(few.sum()) * min(value, 1 - value),
            logit=not area,
            method="DeLong, Wilson's form" if area else "jackknife, log odds",
            notes=tuple(notes),
        )

    return of


def _questions(targets: IntArray, scores: FloatArray) -> tuple[IntArray, FloatArray]:
    """(n, c) of 1, 0, -1 and (n, c) scores: one question for two classes, else one a class."""
    if targets.ndim == 2:
        return targets, scores
    if scores.shape[1] == 2:
        return targets[:, None], scores[:, 1:] - scores[:, :1]
    return (targets[:, None] == np.arange(scores.shape[1])).astype(np.int64), scores


def _sizes_said(sizes: IntArray) -> tuple[str, ...]:
    absent, small = int((sizes == 0).sum()), int(((sizes > 0) & (sizes < SMALL)).sum())
    notes = []
    if absent:
        notes.append(f"{absent} of {len(sizes)} classes have no pictures and are not counted.")
    if small:
        notes.append(f"{small} of {len(sizes)} classes have fewer than {SMALL} pictures.")
    return tuple(notes)


def _ties_said(scores: FloatArray) -> tuple[str, ...]:
    tied = int(((scores == scores.max(axis=1, keepdims=True)).sum(axis=1) > 1).sum())
    said = f"{tied} of {len(scores)} pictures have several best classes; the first was taken."
    return (said,) if tied else ()
