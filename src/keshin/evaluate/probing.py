"""The linear probe beside zero-shot: on the same pictures, compared picture by picture.

Where the data set has a training split, the probe learns from that. A folder of one's own mostly
has none; then the pictures are split in two halves, and each is answered by the probe trained on
the other, and it is said so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.errors import DataError
from keshin.evaluate.assess import Judged
from keshin.evaluate.features import Progress, Source, extract
from keshin.evaluate.results import Difference, ProbeResult
from keshin.evaluate.sets.labelled import Labelled
from keshin.statistics.figure import Figure
from keshin.statistics.metrics import measure
from keshin.statistics.uncertainty import Comparison, compare

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating]
HALVES = 2


@dataclass(frozen=True)
class Training:
    """Pictures that a probe may learn from."""

    data: Labelled
    said: str
    """Which they are, for the report."""


def probe(
    source: Source,
    judged: Judged,
    metric: str,
    training: Training | None,
    *,
    name: str = "linear probe",
    cache: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
) -> ProbeResult:
    """A linear probe on the features of ``source``, on the pictures that zero-shot was judged on.

    ``training``: what it learns from; None: the halves of the same pictures in turn. Raises
    ``DataError`` where there is too little to learn from.
    """
    data = judged.answers.data
    features = extract(source, data, kind="probe", cache=cache, progress=progress)
    rows = features.rows
    targets = data.targets[rows]
    if training is None:
        scores, strength, trained = _in_halves(features.vectors, data.take(rows), metric, seed)
        said = (
            "No training split: each half of these pictures was answered by a probe trained on the "
            "other half; C by a sweep over the paper's strengths on a fifth of that half."
        )
    else:
        seen = extract(source, training.data, kind="probe", cache=cache, progress=progress)
        scores, strength = _fitted(
            seen.vectors, training.data.targets[seen.rows], features.vectors, data, metric, seed
        )
        trained = len(seen)
        said = (
            f"Trained on {training.said}; C by a sweep over the paper's strengths on a fifth of "
            "them."
        )
    groups = None if data.groups is None else data.groups[rows]
    zero = judged.scores[rows]
    versus = compare(metric, targets, scores, zero, groups=groups)
    return ProbeResult(
        score=measure(metric, targets, scores, groups=groups),
        zero_shot=_zero_shot(metric, targets, zero, groups),
        versus=difference(name, "zero-shot", versus),
        strength=strength,
        trained_on=trained,
        protocol=said,
        crossed=training is None,
    )


def difference(first: str, second: str, found: Comparison) -> Difference:
    """A comparison as it is written."""
    return Difference(first, second, found.difference, found.low, found.high, found.p, found.method)


def _zero_shot(
    metric: str, targets: IntArray, scores: FloatArray, groups: IntArray | None
) -> Figure:
    return measure(metric, targets, scores, groups=groups)


def _in_halves(
    vectors: FloatArray, data: Labelled, metric: str, seed: int
) -> tuple[FloatArray, float, int]:
    """(n, k) scores of probes that have not seen the picture; geometric mean of the strengths; the
    number of pictures that each learnt from."""
    part = halves(data, seed)
    scores = np.empty((len(data), len(data.names)), np.float64)
    strengths = []
    for half in range(HALVES):
        train, test = np.flatnonzero(part != half), np.flatnonzero(part == half)
        scores[test], strength = _fitted(
            vectors[train], data.targets[train], vectors[test], data, metric, seed
        )
        strengths.append(strength)
    return scores, float(np.exp(np.mean(np.log(strengths)))), int((part != 0).sum())


def halves(data: Labelled, seed: int) -> IntArray:
    """(n,) 0 or 1: random halves of each class; pictures of a group stay together."""
    rng = np.random.default_rng(seed)
    if data.groups is not None:
        _, group = np.unique(data.groups, return_inverse=True)
        return np.asarray(rng.permutation(int(group.max()) + 1) % HALVES)[group]
    part = np.empty(len(data), np.int64)
    labels = data.targets if data.targets.ndim == 1 else np.zeros(len(data), np.int64)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        part[rows] = np.arange(len(rows)) % HALVES
    if not 0 < part.sum() < len(part):
        raise DataError(
            "There are too few pictures to train a linear probe on a half of them. Leave out "
            "--probe, or name pictures to train on with --train."
        )
    return part


def _fitted(
    vectors: FloatArray,
    targets: IntArray,
    asked: FloatArray,
    data: Labelled,
    metric: str,
    seed: int,
) -> tuple[FloatArray, float]:
    """(n, k) scores over all classes, those that the probe never saw last; the strength."""
    from keshin.evaluate.probes.linear_probe import LinearProbe

    found = LinearProbe(metric=metric, random_state=seed).fit(vectors, targets)
    given = np.asarray(found.decision_function(asked), np.float64)
    if targets.ndim == 2:
        return given, float(found.C_)
    if given.ndim == 1:  # of two classes one score: the second's
        given = np.stack([-given / 2, given / 2], axis=1)
    scores = np.full((len(asked), len(data.names)), given.min() - 1.0)
    scores[:, found.classes_] = given
    return scores, float(found.C_)
