"""95 % intervals of a share: Wilson's, and the same for values that are not a plain count.

Wilson's interval asks which true shares would make the observed one unsurprising. It stays inside
[0, 1] and is not empty at 0 or 1, where the textbook's "plus or minus two standard errors" fails.
Means per class, areas and precisions are no plain counts, but each is as sure as a share of *some*
number of pictures: its effective number, ``value * (1 - value) / variance``. Which form holds its
promise for which metric was chosen by simulation (docs/decisions.md, "Intervals").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.errors import DataError, require

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating]
LEVEL = 0.95
NORMAL = 1.959963984540054
"""The normal distribution's quantile of 97.5 %."""
DOUBT = 0.1
"""How far a value with few misses leans on the interval of a perfect one, in misses."""


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float
    method: str
    """How the interval was made, in words."""


def wilson(right: float, count: float) -> Interval:
    """Wilson's interval (1927, without correction for continuity) of a share ``right / count``.

    Raises ``DataError`` where there is nothing to count.
    """
    if not (count > 0 and 0 <= right <= count):
        raise DataError(
            f"{right:g} of {count:g} is not a share. Give 0 <= right <= count, count > 0."
        )
    low, high = score_bounds(right / count, count)
    return Interval(right / count, low, high, "Wilson")


def score_bounds(value: float, count: float, quantile: float = NORMAL) -> tuple[float, float]:
    """Wilson's bounds for a share of ``count`` pictures, which need not be a whole number."""
    square = quantile * quantile
    shrink = 1 + square / count
    centre = (value + square / (2 * count)) / shrink
    half = quantile / shrink * math.sqrt(value * (1 - value) / count + square / (4 * count**2))
    # At 0 and 1 the bound is the value itself; rounding must not leave it outside.
    return min(max(0.0, centre - half), value), max(min(1.0, centre + half), value)


def share_bounds(share: float, count: float) -> tuple[float, float]:
    """The same, and (0, 1) where there is nothing to judge by.

    The share may be a mean over several people's answers to each picture. The interval is then as
    wide as if all gave the same answers, which errs to the safe side.
    """
    return score_bounds(share, count) if count else (0.0, 1.0)


def effective_bounds(
    value: float, variance: float, perfect: float, degrees: float, misses: float = math.inf
) -> tuple[float, float]:
    """Wilson's bounds with the effective number of pictures ``value * (1 - value) / variance``.

    ``perfect``: the number of pictures that a value of 0 or 1 would rest on, where the variance
    says nothing. ``misses``: about how many pictures keep the value from 0 or 1; the fewer, the
    less the variance is to be believed. ``degrees``: of freedom behind the variance.
    """
    spread = value * (1 - value)
    count = perfect
    if spread > 0 and variance > 0:
        lean = DOUBT / (DOUBT + misses)
        count = (spread / variance) ** (1 - lean) * perfect**lean
    return score_bounds(value, count, quantile(degrees))


def logit_bounds(value: float, variance: float, degrees: float) -> tuple[float, float]:
    """Bounds on the scale of the log odds, for a value strictly between 0 and 1."""
    centre = math.log(value / (1 - value))
    half = quantile(degrees) * math.sqrt(variance) / (value * (1 - value))
    return _expit(centre - half), _expit(centre + half)


def quantile(degrees: float) -> float:
    """Student's quantile of 97.5 %; the normal one for ``math.inf`` degrees of freedom."""
    if math.isinf(degrees):
        return NORMAL
    return float(require("scipy.stats", extra="eval").t.ppf((1 + LEVEL) / 2, max(degrees, 1.0)))


def clustered(influence: FloatArray, groups: IntArray) -> tuple[float, float]:
    """Variance of a value, and its degrees of freedom, where pictures come in groups.

    ``influence`` (n,) is what each picture adds to the value; it sums to 0. Within a group the
    influences add up before they are squared. The degrees of freedom are those of the number of
    groups of equal size that these weigh as much as. Raises ``DataError`` for a single group.
    """
    _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise DataError(
            "All pictures are in one group, so nothing says how groups differ. "
            "Give at least two groups, or none."
        )
    sums = np.bincount(index, weights=influence, minlength=len(sizes))
    alike = sizes.sum() ** 2 / float(np.square(sizes).sum())
    # A group pulls the value towards itself by its share of the pictures (Bell, McCaffrey 2002).
    variance = float((np.square(sums) / (1 - sizes / sizes.sum())).sum())
    return variance, max(alike - 1, 1.0)


def _expit(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0
