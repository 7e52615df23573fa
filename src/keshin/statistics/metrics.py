"""The metrics of the paper's Table 9, with 95 % intervals and the level of chance.

``METRICS`` is the one table; ``measure`` reads it. Pictures may come in groups (a scroll, a video):
then the interval knows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.errors import DataError
from keshin.statistics.figure import Figure
from keshin.statistics.influence import (
    Study,
    accuracy_study,
    mean_per_class_study,
    mean_study,
    per_class_study,
    ranked_study,
    top_mean_study,
)
from keshin.statistics.intervals import clustered, effective_bounds, logit_bounds
from keshin.statistics.rankings import (
    area_ranked,
    area_under_roc,
    average_precision,
    eleven_point,
    eleven_point_ranked,
    precision_ranked,
)

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating]


def as_columns(scores: FloatArray) -> FloatArray:
    """Scores (n, k); those of a question of two classes may be (n,), higher for class 1."""
    scores = np.asarray(scores)
    scores = scores if scores.dtype == np.float32 else scores.astype(np.float64)
    return np.stack([np.zeros_like(scores), scores], axis=1) if scores.ndim == 1 else scores


@dataclass(frozen=True)
class Metric:
    """One row of the table of metrics."""

    study: Callable[[IntArray, FloatArray], Study]
    several: bool = False
    """Whether a picture may show several classes: targets (n, k) of 1, 0, and -1 not counted."""


def measure(
    metric: str, targets: IntArray, scores: FloatArray, *, groups: IntArray | None = None
) -> Figure:
    """The value of a metric with its 95 % interval and the level of chance.

    ``targets`` (n,) are class indices, or (n, k) of 1, 0 and -1 (not counted) for the metrics of
    several classes a picture. ``scores`` (n, k) are higher for likelier classes: cosines, logits or
    probabilities; a question of two classes may give (n,), higher for class 1. ``groups`` (n,) are
    equal where pictures come together. Raises ``DataError``.
    """
    return measured(metric, study(metric, targets, scores), groups)


def measured(name: str, found: Study, groups: IntArray | None = None) -> Figure:
    """A study with its interval. Raises ``DataError``."""
    variance, degrees, perfect, method = found.variance, found.degrees, found.perfect, found.method
    count = len(found.influence)
    if groups is not None:
        if np.shape(groups) != (count,):
            raise DataError(
                f"{len(groups)} groups were given for {count} pictures. Give one for each picture."
            )
        together, behind = clustered(found.influence, groups)
        # Pictures that come together never tell more than as many that do not.
        variance, degrees = max(variance, together), min(degrees, behind)
        number = len(np.unique(groups))
        perfect = min(perfect, number)
        method = f"{method}, {number} groups"
    if found.logit and 0 < found.value < 1 and variance > 0:
        low, high = logit_bounds(found.value, variance, degrees)
    else:
        low, high = effective_bounds(found.value, variance, perfect, degrees, found.misses)
    return Figure(
        name=name,
        value=found.value,
        low=low,
        high=high,
        chance=found.chance,
        count=count,
        method=method,
        notes=found.notes,
    )


def study(metric: str, targets: IntArray, scores: FloatArray) -> Study:
    """What ``measure`` and the paired comparisons rest on. Raises ``DataError``."""
    if metric not in METRICS:
        raise DataError(f"There is no metric '{metric}'. Known: {', '.join(METRICS)}.")
    targets, scores = np.asarray(targets), as_columns(scores)
    if len(targets) == 0:
        raise DataError(f"There are no pictures to measure the {metric} of.")
    several = METRICS[metric].several and targets.ndim == 2
    if scores.ndim != 2 or targets.shape != (scores.shape if several else scores.shape[:1]):
        raise DataError(
            f"Targets of shape {targets.shape} do not go with scores of shape {scores.shape}. "
            f"For {metric} give targets (n,){' or (n, k)' if METRICS[metric].several else ''} "
            "and scores (n, k)."
        )
    bad = ~np.isfinite(scores).all(axis=1)
    if bad.any():
        raise DataError(
            f"{bad.sum()} of {len(scores)} pictures have scores that are not finite numbers, the "
            f"first is number {int(bad.argmax())}. Leave such pictures out, and say so."
        )
    low, high = (-1, 1) if several else (0, scores.shape[1] - 1)
    if targets.min() < low or targets.max() > high:
        raise DataError(
            f"Targets go from {targets.min()} to {targets.max()}; "
            f"with {scores.shape[1]} classes they lie between {low} and {high}."
        )
    return METRICS[metric].study(targets.astype(np.int64), scores)


_PER_CLASS = Metric(mean_per_class_study)
METRICS: Mapping[str, Metric] = {
    "accuracy": Metric(accuracy_study),
    "mean per class": _PER_CLASS,
    "11-point mAP": Metric(ranked_study(eleven_point_ranked, eleven_point, area=False), True),
    "ROC AUC": Metric(ranked_study(area_ranked, area_under_roc, area=True), True),
    "mean(top1, top5)": Metric(top_mean_study),
    "balanced accuracy": _PER_CLASS,
    "average precision": Metric(
        ranked_study(precision_ranked, average_precision, area=False), True
    ),
}
"""The five metrics of the paper's Table 9, by their names there, and two more."""


def accuracy(
    targets: IntArray, predictions: IntArray, classes: int, *, groups: IntArray | None = None
) -> Figure:
    """Share of right answers, with Wilson's interval. Chance is 1 / classes.

    A prediction that is no class (-1, "I don't know") is wrong. Raises ``DataError``.
    """
    right = _right("accuracy", targets, predictions)
    return measured("accuracy", mean_study(right, 1 / classes), groups)


def balanced_accuracy(
    targets: IntArray, predictions: IntArray, classes: int, *, groups: IntArray | None = None
) -> Figure:
    """Mean of the classes' recalls. Chance is 1 / classes.

    A prediction that is no class (-1, "I don't know") is wrong. Raises ``DataError``.
    """
    right = _right("balanced accuracy", targets, predictions)
    found = per_class_study(np.asarray(targets, np.int64), right, classes)
    return measured("balanced accuracy", found, groups)


def ranking(
    targets: IntArray, scores: FloatArray, *, groups: IntArray | None = None
) -> tuple[Figure, Figure]:
    """Area under the ROC curve and average precision of a two-class question.

    ``targets`` (n,) are 0 or 1, ``scores`` (n,) higher for 1. Raises ``DataError``.
    """
    return (
        measure("ROC AUC", targets, scores, groups=groups),
        measure("average precision", targets, scores, groups=groups),
    )


def _right(name: str, targets: IntArray, predictions: IntArray) -> FloatArray:
    if np.shape(targets) != np.shape(predictions) or np.ndim(targets) != 1:
        raise DataError(
            f"{np.shape(predictions)} predictions do not go with {np.shape(targets)} targets."
        )
    if len(targets) == 0:
        raise DataError(f"There are no pictures to measure the {name} of.")
    return np.asarray(np.equal(targets, predictions), np.float64)
