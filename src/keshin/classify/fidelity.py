"""How far a faster mode is from fp32, on somebody's own pictures and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.classify.classifier import build_classifier
from keshin.classify.labels import Labels
from keshin.classify.templates import Templates
from keshin.core.pictures import Failure, Picture
from keshin.encode.encoder import Encoder, FloatArray
from keshin.errors import DataError
from keshin.statistics.intervals import wilson


@dataclass(frozen=True)
class Changed:
    """How many pictures get another best label."""

    labels: int
    count: int
    rate: float
    low: float
    high: float
    """Of the 95 % Wilson interval."""


@dataclass(frozen=True)
class Fidelity:
    """What the two modes make of the same pictures."""

    mode: str
    pictures: int
    """That could be read."""
    least: float
    percentile: float
    """A hundredth of the cosines is lower."""
    median: float
    changed: Changed | None
    """``None`` if there are no labels."""
    failed: tuple[Failure, ...]


def fidelity(
    exact: Encoder,
    faster: Encoder,
    pictures: Sequence[Picture],
    labels: Labels | None = None,
    templates: Templates = None,
) -> Fidelity:
    """Cosines of image vectors of the two encoders, and how often their best labels differ.

    Both towers of a mode are compared: the labels too are encoded in each. Pictures that cannot be
    read are skipped and reported. Raises ``DataError`` if none can be read.
    """
    reference, failed = _vectors(exact, pictures)
    vectors, _ = _vectors(faster, pictures)
    if not len(reference):
        raise DataError("None of the pictures could be read. Name a folder with pictures.")
    cosines = (reference.astype(np.float64) * vectors).sum(axis=1)
    changed = None
    if labels is not None:
        best = [
            rows @ build_classifier(encoder, labels, templates=templates).weights_.T
            for encoder, rows in ((exact, reference), (faster, vectors))
        ]
        differ = best[0].argmax(axis=1) != best[1].argmax(axis=1)
        changed = _changed(len(labels.names), differ)
    return Fidelity(
        mode=faster.computed,
        pictures=len(cosines),
        least=float(cosines.min()),
        percentile=float(np.percentile(cosines, 1)),
        median=float(np.median(cosines)),
        changed=changed,
        failed=tuple(failed),
    )


def _vectors(encoder: Encoder, pictures: Sequence[Picture]) -> tuple[FloatArray, list[Failure]]:
    rows, failed = [], []
    for _, vectors, failures in encoder.try_images(pictures):
        rows.append(vectors)
        failed.extend(failures)
    return (np.concatenate(rows) if rows else np.empty((0, 0), np.float32)), failed


def _changed(labels: int, differ: npt.NDArray[np.bool_]) -> Changed:
    count, total = int(differ.sum()), len(differ)
    share = wilson(count, total)
    return Changed(labels, count, share.value, share.low, share.high)
