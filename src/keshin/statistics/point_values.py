"""The value of a metric alone, without an interval: what a search asks for hundreds of times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from keshin.errors import DataError

Array = npt.NDArray[np.floating]
Function: TypeAlias = Callable[[npt.NDArray[Any], Array], float]
"""Targets (n,) or (n, k), scores (n, k) -> a number, larger is better."""
Metric: TypeAlias = str | Function


def correctness(metric: Metric, targets: npt.NDArray[Any]) -> Array | None:
    """(n,) weights w with metric = sum w[i] over the pictures i that are right, where it is such.

    ``accuracy`` and ``mean per class`` are; None for others.
    """
    if metric == "accuracy":
        return np.full(len(targets), 1 / len(targets))
    if metric == "mean per class":
        counts = np.bincount(targets)
        return np.asarray(1 / (counts[targets] * np.count_nonzero(counts)))
    return None


def point_value(metric: Metric) -> Function:
    """The function of a metric. Raises ``DataError`` for a name that there is not."""
    if callable(metric):
        return metric
    if metric in ("accuracy", "mean per class"):
        return lambda targets, scores: _share(metric, targets, scores)
    from keshin.statistics import metrics

    known: dict[str, Any] = getattr(metrics, "METRICS", {})
    if metric not in known:
        names = ", ".join(["accuracy", "mean per class", *sorted(known)])
        raise DataError(f"There is no metric '{metric}'. There are: {names}.")
    entry = known[metric]
    return lambda targets, scores: float(entry.study(targets, scores).value)


def _share(metric: str, targets: npt.NDArray[Any], scores: Array) -> float:
    if targets.ndim == 2:  # scikit-learn's: of pictures of which every label is right
        return float((((scores > 0) == (targets > 0)) | (targets < 0)).all(axis=1).mean())
    weights = correctness(metric, targets)
    assert weights is not None  # noqa: S101 - of these two metrics
    return float(weights[scores.argmax(axis=1) == targets].sum())
