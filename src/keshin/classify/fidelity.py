"""How far a faster mode is from fp32, on somebody's own pictures and labels."""

from __future__ import annotations

import math
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

NORMAL_95 = 1.959963984540054


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
    low, high = wilson(count, total)
    return Changed(labels, count, count / total, low, high)


def wilson(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    share, z2 = count / total, NORMAL_95**2 / total
    middle = share + z2 / 2
    half = math.sqrt(z2 * (share * (1 - share) + z2 / 4))
    low, high = (middle - half) / (1 + z2), (middle + half) / (1 + z2)
    return (low if count else 0.0), (high if count < total else 1.0)
