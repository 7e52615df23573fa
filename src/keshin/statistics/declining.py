"""What declining costs and saves: the risk-coverage curve, for "none of these"."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.errors import DataError
from keshin.statistics.intervals import (
    Interval,
    clustered,
    effective_bounds,
    score_bounds,
    wilson,
)

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
LEAST = 5.0
"""Degrees of freedom where no answer is wrong; chosen by simulation, as the rest of the form."""
ONE_SIDED = 1.6448536269514722
"""The normal distribution's quantile of 95 %."""


@dataclass(frozen=True)
class Operating:
    """Answering only where the confidence reaches a threshold."""

    threshold: float
    """Answer where the confidence is at least this; infinite: never."""
    coverage: Interval
    """Share of pictures that are answered."""
    risk: float
    """Share of wrong answers among them."""
    highest: float
    """Upper bound of the risk at 95 %, one-sided (Wilson)."""


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Risk at each coverage, from the most confident picture on; t distinct confidences."""

    thresholds: FloatArray
    """(t,) falling."""
    coverage: FloatArray
    """(t,) rising to 1."""
    risk: FloatArray
    """(t,) share of wrong answers among those that reach the threshold."""
    low: FloatArray
    high: FloatArray
    """(t,) 95 % interval of the risk there (Wilson; with groups, as wide as they ask)."""
    area: float
    """AURC, the mean of the risk over coverage: what is wrong on average, however much is asked."""
    area_low: float
    area_high: float
    """Its 95 % interval."""
    best: float
    """AURC of a confidence that puts every right answer before every wrong one."""
    chance: float
    """AURC of a confidence that says nothing: the risk of answering all."""
    count: int

    def at(self, risk: float, *, sure: bool = True) -> Operating:
        """The most answers with at most this share of wrong ones.

        ``sure``: the upper bound of the risk stays below it, not only the risk on these pictures.
        The bound holds for a threshold chosen beforehand; choosing it here flatters a little, so
        check it on pictures that were not used. Raises ``DataError``.
        """
        if not 0 <= risk <= 1:
            raise DataError(f"A risk of {risk:g} is no share. Give a number between 0 and 1.")
        answered = np.rint(self.coverage * self.count)
        highest = np.array(
            [
                score_bounds(float(r), float(n), ONE_SIDED)[1]
                for r, n in zip(self.risk, answered, strict=True)
            ]
        )
        fits = np.flatnonzero((highest if sure else self.risk) <= risk)
        if not len(fits):
            return Operating(math.inf, wilson(0, self.count), 0.0, 0.0)
        last = int(fits[-1])
        return Operating(
            float(self.thresholds[last]),
            wilson(float(answered[last]), self.count),
            float(self.risk[last]),
            float(highest[last]),
        )


def risk_coverage(
    confidence: FloatArray, right: BoolArray, groups: IntArray | None = None
) -> RiskCoverage:
    """The curve of answering the more confident pictures first (Geifman and El-Yaniv, 2017).

    ``confidence`` (n,) is any value that is higher for surer answers: the best score, the best
    cosine, or the margin over background prompts (``confidences``). ``right`` (n,): a picture that
    shows none of the classes is wrong whenever it is answered. Equal confidences are answered
    together; the area takes their mean. ``groups`` (n,) of pictures that come together widen the
    intervals. Raises ``DataError``.
    """
    confidence, right = np.asarray(confidence, np.float64), np.asarray(right, bool)
    if confidence.shape != right.shape or confidence.ndim != 1 or not len(right):
        raise DataError(
            f"Confidences of shape {confidence.shape} do not go with answers of shape "
            f"{right.shape}. Give one of each for every picture."
        )
    if not np.isfinite(confidence).all():
        raise DataError("Some confidences are not finite numbers. Leave such pictures out.")
    count = len(right)
    order = np.argsort(-confidence, kind="stable")
    ranked, wrong = confidence[order], (~right[order]).cumsum()
    ends = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
    answered = ends + 1
    # Within equal confidences any order is as good, so wrong answers come in evenly.
    even = np.interp(np.arange(1, count + 1), np.r_[0, answered], np.r_[0, wrong[ends]])
    seen = np.arange(1, count + 1)
    errors = int(wrong[-1])
    ideal = np.maximum(seen - (count - errors), 0) / seen
    area = float((even / seen).mean())
    low, high = _risk_bounds(wrong[ends], answered, ~right[order], groups, order)
    area_low, area_high = _area_bounds(area, even, errors, groups, order)
    return RiskCoverage(
        ranked[ends],
        answered / count,
        wrong[ends] / answered,
        low,
        high,
        area,
        area_low,
        area_high,
        float(ideal.mean()),
        errors / count,
        count,
    )


def _risk_bounds(
    wrong: IntArray,
    answered: IntArray,
    misses: BoolArray,
    groups: IntArray | None,
    order: IntArray,
) -> tuple[FloatArray, FloatArray]:
    """(t,) bounds of the risk at each threshold, from the wrong ones among those answered."""
    shrink = 1.0
    if groups is not None and 0 < misses.sum() < len(misses) and len(np.unique(groups)) > 1:
        # What groups cost is measured on all pictures: few are answered at high thresholds.
        share = misses.mean()
        variance, _ = clustered((misses - share) / len(misses), np.asarray(groups)[order])
        shrink = min(1.0, float(share * (1 - share) / len(misses) / max(variance, 1e-300)))
    bounds = [
        score_bounds(float(w / n), float(n * shrink)) for w, n in zip(wrong, answered, strict=True)
    ]
    return np.array([b[0] for b in bounds]), np.array([b[1] for b in bounds])


def _area_bounds(
    area: float, even: FloatArray, errors: int, groups: IntArray | None, order: IntArray
) -> tuple[float, float]:
    """95 % interval of the AURC, from what each picture adds to it.

    With u the share of pictures that are at least as sure, the area is the mean of
    ``wrong * ln(1/u)``. A picture adds its own term, and it moves u of all that are less sure. The
    degrees of freedom are the wrong answers, or the right ones if they are fewer, and ``LEAST``.
    """
    count = len(even)
    miss = np.diff(np.r_[0.0, even])
    place = (np.arange(count) + 0.5) / count
    later = np.cumsum((miss / place)[::-1])[::-1] / count
    influence = -miss * np.log(place) - later + errors / count
    influence = (influence - influence.mean()) / count
    fewer = float(min(errors, count - errors))
    variance, degrees = float(np.square(influence).sum()), fewer + LEAST
    if groups is not None and len(np.unique(groups)) > 1:
        together, behind = clustered(influence, np.asarray(groups)[order])
        variance, degrees = max(variance, together), min(degrees, behind)
    return effective_bounds(area, variance, count, degrees, fewer)


def confidences(
    scores: FloatArray, cosines: FloatArray, background: FloatArray | None = None
) -> dict[str, FloatArray]:
    """The three confidences that a classifier can decline by, (n,) each.

    ``scores`` and ``cosines`` (n, k); ``background`` (n, m) are cosines with prompts that name no
    kind of thing.
    """
    found = {"score": scores.max(axis=1), "cosine": cosines.max(axis=1)}
    if background is not None and background.shape[1]:
        found["background margin"] = cosines.max(axis=1) - background.max(axis=1)
    return found
