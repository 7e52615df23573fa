"""Which method: cross-validated answers, the one-standard-error rule, and what it is really worth.

Every way (a method, and for whole models a share of the way to the tuned weights) has answered
every picture by a model that had not seen it, nor a copy of it. The rule takes the best way that
keeps the anchor, and then the simplest one that is not worse by more than one standard error of
the *difference* on the same pictures (Hastie et al., section 7.10, paired).

The best of several noisy numbers flatters: so the number reported for the chosen way is that of the
*whole procedure*. The rule chooses by nine tenths of the pictures, and what it chose is judged by
the last tenth; each tenth in turn, for many divisions (nested cross-validation, Varma and Simon
2006, on pooled answers as in Tsamardinos et al. 2018, so that no model is trained again. Their
bootstrap chooses by 63 % of the pictures, which a hundred pictures do not bear: measured in
docs/decisions.md). What a model learns beside its weights (the strength of a head) is chosen
within the pictures of its fold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from keshin.errors import DataError, require
from keshin.statistics.intervals import clustered, quantile, score_bounds

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
PARTS = 10
"""Of the pictures: the choice is made by all but one."""
DIVISIONS = 40


@dataclass(frozen=True, eq=False)
class Way:
    """One thing that could be done, and how it answered."""

    method: str
    share: float
    """Of the way from the old weights to the tuned ones; 1 where there is no such way."""
    right: FloatArray
    """(n,) how often each picture was answered rightly, over the repeats: 0 to 1."""
    forgets: float = 0.0
    """Points of the anchor that are lost on average over the folds."""


class Estimate(msgspec.Struct, frozen=True):
    """A share of pictures answered rightly, with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low


class Versus(msgspec.Struct, frozen=True):
    """The difference of two ways on the same pictures, with its 95 % interval."""

    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Rule:
    """How a way is chosen. ``ways`` are in the order from simple to complex."""

    ways: Sequence[Way]
    weights: FloatArray
    """(n,) what each picture counts; they sum to 1."""
    groups: IntArray
    """(n,) pictures that come together."""
    may_forget: float | None
    """Points of the anchor that may be lost; None: any."""

    @property
    def allowed(self) -> list[int]:
        """The ways that keep the anchor; the first, which changes nothing, always does."""
        limit = math.inf if self.may_forget is None else self.may_forget
        return [i for i, way in enumerate(self.ways) if i == 0 or way.forgets <= limit]

    def choose(self, drawn: FloatArray | None = None) -> int:
        """The place of the way; ``drawn`` (n,): how often each picture counts."""
        weights = self.weights if drawn is None else self.weights * drawn
        weights = weights / weights.sum()
        allowed = self.allowed
        means = [float(weights @ self.ways[i].right) for i in allowed]
        best = allowed[int(np.argmax(means))]
        for place, mean in zip(allowed, means, strict=True):
            gap = max(means) - mean
            away = self.ways[best].right - self.ways[place].right
            # As if there were no difference, so that one group of copies decides nothing.
            sums = np.bincount(self.groups, weights * away)
            if gap <= math.sqrt(float(np.square(sums).sum())) + 1e-9:
                return place
        return best

    def worth(self, seed: int = 0) -> float:
        """What the rule's choice is worth on pictures that did not take part in the choice."""
        rng = np.random.default_rng(seed)
        count = int(self.groups.max()) + 1
        parts = min(PARTS, count)
        if parts < 2:
            raise DataError("There are too few different pictures to judge by. Add more.")
        total = 0.0
        for _ in range(DIVISIONS):
            place = rng.permutation(count)[self.groups] % parts
            for part in range(parts):
                held = place == part
                chosen = self.ways[self.choose((~held).astype(np.float64))]
                total += float(self.weights[held] @ chosen.right[held])
        return total / DIVISIONS


def estimate(
    right: FloatArray, weights: FloatArray, groups: IntArray, value: float | None = None
) -> Estimate:
    """A weighted mean of right answers, with Wilson's interval for as many pictures as it rests on.

    ``value``: another centre, such as ``Rule.worth``, with the same number of pictures behind it.
    Repeats make an answer of a picture surer, but no picture into two: their number is never above
    n, or that of the groups' equivalent.
    """
    mean = float(weights @ right)
    influence = weights * (right - mean)
    variance, degrees = clustered(influence, groups)
    # As many pictures as would be as sure, if each were simply right or wrong.
    count = 1 / float(np.square(np.bincount(groups, weights)).sum())
    if 0 < mean < 1 and variance > 0:
        count = min(count, mean * (1 - mean) / variance)
    centre = min(max(mean if value is None else value, 0.0), 1.0)
    low, high = score_bounds(centre, count, quantile(degrees))
    return Estimate(centre, low, high)


def versus(first: Way, second: Way, weights: FloatArray, groups: IntArray) -> Versus:
    """What the first exceeds the second by, picture by picture; groups of copies count once."""
    away = first.right - second.right
    difference = float(weights @ away)
    variance, degrees = clustered(weights * (away - difference), groups)
    error = math.sqrt(variance)
    half = quantile(degrees) * error
    p = 1.0 if difference == 0 else 0.0
    if error > 0:
        stats = require("scipy.stats", extra="eval")
        p = 2 * float(stats.t.sf(abs(difference) / error, degrees))
    low, high = max(difference - half, -1.0), min(difference + half, 1.0)
    return Versus(first.method, second.method, difference, low, high, p)
