"""From what a classifier said of pictures to scores, classes, calibration and examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.evaluate.reporting import confusion
from keshin.evaluate.reporting.shown import chosen, name_of_row, show
from keshin.evaluate.results import ClassScore, PictureAnswers, Shown
from keshin.evaluate.sets.labelled import Labelled
from keshin.evaluate.zero_shot import Answers, log_shares
from keshin.statistics.figure import Figure
from keshin.statistics.intervals import wilson
from keshin.statistics.metrics import METRICS, measure

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating]
TAKEN_FOR = 3
BESIDE: Mapping[str, tuple[str, ...]] = {
    "accuracy": ("mean per class",),
    "mean per class": ("accuracy",),
    "ROC AUC": ("accuracy",),
    "mean(top1, top5)": ("accuracy",),
}
"""What is given beside the metric of a data set."""


@dataclass(frozen=True, eq=False)
class Judged:
    """Answers in the form that metrics take."""

    answers: Answers
    scores: FloatArray
    """(n, k): logarithms of the softmax, or cosines where a picture may show several classes."""

    @property
    def several(self) -> bool:
        """Whether a picture may show several classes."""
        return self.answers.targets.ndim == 2

    @property
    def confidence(self) -> npt.NDArray[np.float64]:
        """(n,) softmax of the best class."""
        return np.asarray(np.exp(self.scores.max(axis=1)), np.float64)

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """(n,) whether the best class is right; of several, whether it is one of them."""
        best, targets = self.answers.predictions, self.answers.targets
        if self.several:
            return np.asarray(np.take_along_axis(targets, best[:, None], 1)[:, 0] == 1)
        return np.asarray(best == targets)


def judge(answers: Answers, scale: float) -> Judged:
    """Answers with the scores that rank classes (or, for several a picture, pictures)."""
    if answers.targets.ndim == 2:
        return Judged(answers, answers.cosines)
    return Judged(answers, log_shares(answers.cosines, scale))


def scores_of(judged: Judged, metric: str) -> tuple[Figure, ...]:
    """The metric of the data set, then what is given beside it."""
    targets, groups = judged.answers.targets, judged.answers.data.groups
    names = (metric, *(() if judged.several else BESIDE.get(metric, ())))
    return tuple(
        measure(name, targets, judged.scores, groups=groups) for name in names if name in METRICS
    )


def classes_of(judged: Judged, metric: str) -> tuple[ClassScore, ...]:
    """Each class: recall and precision, or its own value of the metric for several a picture."""
    names = judged.answers.data.names
    if judged.several:
        return tuple(_ranked(judged, metric, index) for index in range(len(names)))
    targets, predictions = judged.answers.targets, judged.answers.predictions
    answered = np.bincount(predictions, minlength=len(names))
    mistakes = _mistakes(targets, predictions, names)
    found = []
    for index, name in enumerate(names):
        own = targets == index
        count, hits = int(own.sum()), int((predictions[own] == index).sum())
        precision = hits / int(answered[index]) if answered[index] else None
        if not count:
            found.append(ClassScore(name, 0, None, None, None, precision))
            continue
        share = wilson(hits, count)
        found.append(
            ClassScore(name, count, share.value, share.low, share.high, precision, mistakes[index])
        )
    return tuple(found)


def _mistakes(
    targets: IntArray, predictions: IntArray, names: tuple[str, ...]
) -> list[tuple[tuple[str, int], ...]]:
    """Of each class, the most frequent wrong answers."""
    found: list[list[tuple[str, int]]] = [[] for _ in names]
    cells = confusion.counts(targets, predictions)
    for right, answer, count in confusion.most_confused(cells, len(cells)):
        if len(found[right]) < TAKEN_FOR:
            found[right].append((names[answer], count))
    return [tuple(entries) for entries in found]


def _ranked(judged: Judged, metric: str, index: int) -> ClassScore:
    """One class among several: all pictures of which it is known whether they show it."""
    name, truth = judged.answers.data.names[index], judged.answers.targets[:, index]
    known = truth >= 0
    count = int((truth == 1).sum())
    if not 0 < count < known.sum():
        return ClassScore(name, count, None, None, None)
    groups = judged.answers.data.groups
    found = measure(
        metric,
        truth[known][:, None],
        judged.scores[known][:, [index]],
        groups=None if groups is None else groups[known],
    )
    return ClassScore(name, count, found.value, found.low, found.high)


def examples(judged: Judged, n: int) -> tuple[tuple[Shown, ...], tuple[Shown, ...]]:
    """The surest right answers, and the surest mistakes."""
    data, right = judged.answers.data, judged.right
    shares = judged.scores if judged.several else np.exp(judged.scores)
    sure = shares.max(axis=1)

    def those(rows: IntArray) -> tuple[Shown, ...]:
        picked = rows[chosen(sure[rows], judged.answers.predictions[rows], n)]
        truths = [names_of(data, int(row)) for row in picked]
        return show(data, picked, truths, shares[picked])

    return those(np.flatnonzero(right)), those(np.flatnonzero(~right))


def names_of(data: Labelled, row: int) -> tuple[str, ...]:
    """What a picture shows."""
    if data.targets.ndim == 2:
        return tuple(data.names[index] for index in np.flatnonzero(data.targets[row] == 1))
    return (data.names[data.targets[row]],)


def picture_answers(judged: Judged) -> PictureAnswers | None:
    """What was said of each picture; None where a picture may show several classes."""
    if judged.several:
        return None
    data = judged.answers.data
    return PictureAnswers(
        tuple(name_of_row(data, row) for row in range(len(data))),
        tuple(map(int, data.targets)),
        tuple(map(int, judged.answers.predictions)),
        tuple(round(float(value), 6) for value in judged.confidence),
    )
