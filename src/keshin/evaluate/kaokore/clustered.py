"""What is told of answers about faces: values with 95 % intervals that know of works.

Faces of one scroll are alike, so an interval over faces is too sure of itself. The measures and
their intervals are those of ``keshin.statistics``, with works as groups: influences are summed
within a work before they are squared. n counts faces, g works.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from keshin.statistics.figure import Figure
from keshin.statistics.intervals import effective_bounds
from keshin.statistics.metrics import accuracy, balanced_accuracy, measure, study
from keshin.statistics.uncertainty import compare

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating]
AREA, PRECISION = "ROC AUC", "average precision"


def area(targets: IntArray, scores: FloatArray) -> float:
    """Area under the ROC curve: how often an incarnation scores above a person; ties count half."""
    return study(AREA, targets, scores).value


def ranked(metric: str, targets: IntArray, scores: FloatArray, works: IntArray) -> Figure:
    """``AREA`` or ``PRECISION`` of (n,) scores, higher for incarnations."""
    found = measure(metric, targets, scores, groups=works)
    return _sure(found) if metric == AREA and np.ptp(scores) == 0 else found


def balanced(targets: IntArray, said: IntArray, classes: int, works: IntArray) -> Figure:
    """Balanced accuracy of (n,) answers: the mean of the recalls of the classes that occur."""
    found = balanced_accuracy(targets, said, classes, groups=works)
    return _sure(found) if np.ptp(said) == 0 else found


def share(targets: IntArray, said: IntArray, classes: int, works: IntArray) -> Figure:
    """Accuracy of (n,) answers, beside the share of the most frequent class."""
    found = accuracy(targets, said, classes, groups=works)
    majority = float(np.bincount(targets).max()) / len(targets)
    return msgspec.structs.replace(found, chance=majority)


def difference(targets: IntArray, first: FloatArray, second: FloatArray, works: IntArray) -> Figure:
    """How much the first scores' area exceeds the second's, on the same faces."""
    found = compare(AREA, targets, first, second, groups=works)
    low, high = found.low, found.high
    return Figure(
        value=found.difference,
        low=low,
        high=high,
        chance=0.0,
        count=len(targets),
        method=found.method,
        unit="difference",
    )


def areas_within(targets: IntArray, scores: FloatArray, works: IntArray) -> dict[int, float]:
    """work -> the area under the curve, of the works that hold both kinds."""
    found = {}
    for work in np.unique(works):
        rows = works == work
        if 0 < targets[rows].sum() < rows.sum():
            found[int(work)] = area(targets[rows], scores[rows])
    return found


def within(targets: IntArray, scores: FloatArray, works: IntArray) -> Figure | None:
    """The mean area within works that hold both kinds: here the scroll gives nothing away.

    Each work counts once, and is one sample. None where no work holds both.
    """
    areas = np.array(list(areas_within(targets, scores, works).values()))
    if not len(areas):
        return None
    count, value = len(areas), float(areas.mean())
    if (areas == 0.5).all():
        return Figure(value=value, low=value, high=value, chance=0.5, count=count)
    variance = float(areas.var(ddof=1)) / count if count > 1 else 0.0
    low, high = effective_bounds(value, variance, count, max(count - 1, 1))
    method = "effective number of works, Student"
    return Figure(value=value, low=low, high=high, chance=0.5, count=count, method=method)


def _sure(figure: Figure) -> Figure:
    """Of one answer to every question, which is at chance whatever the pictures."""
    return msgspec.structs.replace(figure, low=figure.value, high=figure.value)
