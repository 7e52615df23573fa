"""Metrics with 95 % intervals and the level of chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.errors import require

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating]
DRAWS = 2000
"""Bootstrap samples."""


@dataclass(frozen=True)
class Measure:
    """A value between 0 and 1, its 95 % interval and what chance would give."""

    name: str
    value: float
    low: float
    high: float
    chance: float
    count: int
    """Pictures that it rests on."""

    def __str__(self) -> str:
        return (
            f"{self.name} {100 * self.value:.1f} % "
            f"[{100 * self.low:.1f}, {100 * self.high:.1f}], chance {100 * self.chance:.1f} %"
        )


def accuracy(targets: IntArray, predictions: IntArray, classes: int) -> Measure:
    """Share of right answers, with Wilson's interval. Chance is 1 / classes."""
    stats = require("scipy.stats", extra="eval")
    right, count = int((targets == predictions).sum()), len(targets)
    interval = stats.binomtest(right, count).proportion_ci(method="wilson")
    return Measure("accuracy", right / count, interval.low, interval.high, 1 / classes, count)


def balanced_accuracy(targets: IntArray, predictions: IntArray, classes: int) -> Measure:
    """Mean of the classes' recalls, with a bootstrap within the classes."""

    def value(rows: IntArray) -> float:
        right = targets[rows] == predictions[rows]
        found = np.unique(targets[rows])
        return float(np.mean([right[targets[rows] == c].mean() for c in found]))

    low, high = _interval(value, targets)
    return Measure("balanced accuracy", value(_all(targets)), low, high, 1 / classes, len(targets))


def ranking(targets: IntArray, scores: FloatArray) -> tuple[Measure, Measure]:
    """Area under the ROC curve and average precision of a two-class question.

    ``targets`` (n,) are 0 or 1, ``scores`` (n,) higher for 1. Intervals come from a bootstrap
    within the classes; chance is 0.5 for the area and the share of ones for the precision.
    """
    sklearn = require("sklearn.metrics", extra="eval")

    def area(rows: IntArray) -> float:
        return float(sklearn.roc_auc_score(targets[rows], scores[rows]))

    def precision(rows: IntArray) -> float:
        return float(sklearn.average_precision_score(targets[rows], scores[rows]))

    rows, share = _all(targets), float(targets.mean())
    return (
        Measure("AUC", area(rows), *_interval(area, targets), 0.5, len(targets)),
        Measure(
            "average precision",
            precision(rows),
            *_interval(precision, targets),
            share,
            len(targets),
        ),
    )


def _all(targets: IntArray) -> IntArray:
    return np.arange(len(targets), dtype=np.int64)


def _interval(value: Callable[[IntArray], float], targets: IntArray) -> tuple[float, float]:
    """Percentiles 2.5 and 97.5 over resamples that keep each class's size."""
    rng = np.random.default_rng(0)
    groups = [np.flatnonzero(targets == c) for c in np.unique(targets)]
    values = [
        value(np.concatenate([rng.choice(group, len(group)) for group in groups]))
        for _ in range(DRAWS)
    ]
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
