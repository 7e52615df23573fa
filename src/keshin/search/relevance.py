"""How likely a result is there by chance: what a query for something else finds in this library.

A cosine says little: it differs from model to model and from query to query, and the best of a
million pictures has a high one whatever is asked. So a score is compared with

1. **the query's own scores**: z = (score - median) / (median - 16 % quantile), over a sample of the
   library. The lower half is not touched by the pictures that do match;
2. **background queries**: captions that come with keshin (of every kind of thing, written for it),
   put to the same sample in the same way. Their z say how far a picture reaches by chance in this
   library; the far end is a fitted tail (``statistics.tails``).

Of N pictures then E(z) = N P(Z >= z) reach z by chance with one query. If r results do, the share of
chance among them, the false-discovery rate, is about E/r; the *relevance* of a result is one minus
the least such rate of a list that it is in (the q-value of Benjamini and Hochberg 1995, and Storey
2003, with an empirical null as Efron 2004 has it). It is about the list down to the result and about
this library. Where no result reaches the least relevance asked for, nothing matches.

A query that is a picture is compared with other pictures of the library as queries, one of several
parts with background queries of the same parts. What background queries find is partly what they
are about, so the rates are high rather than low.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.search.query import Parts, joined
from keshin.search.rows import Floats
from keshin.statistics.tails import Tail, fit_tail

SAMPLE = 16384
"""Pictures of the library that stand for all."""
FEW = 30
"""Pictures below which nothing is said."""
QUERIES = 256
"""Background queries at most."""
LOWER = 100 * 0.15865525
"""Percentile: one standard deviation below the median, were it a normal distribution."""
TAIL = 0.005
"""Share of the background's scores that makes the tail."""


@dataclass(frozen=True, eq=False)
class Chance:
    """What this query's scores are by chance."""

    center: float
    spread: float
    tail: Tail
    count: int
    """Pictures in the library."""

    def standard(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """z of scores."""
        return (np.asarray(scores, np.float64) - self.center) / self.spread

    def expected(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """How many pictures reach each score by chance."""
        return np.asarray(self.count * self.tail.survival(self.standard(scores)))

    def relevance(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """(k,) of the best k scores, falling: one minus the false-discovery rate."""
        expected = self.expected(scores)
        rates = expected / np.arange(1, len(expected) + 1)
        least = np.minimum.accumulate(rates[::-1])[::-1]
        return np.asarray(1 - np.minimum(least, 1))


def chance(
    parts: Parts, query: Floats, sample: Floats, background: Floats, count: int
) -> Chance | None:
    """For a query of ``parts`` and its (d,) direction; None if the library is too small.

    ``sample`` (s, d) of the library, ``background`` (b, d) vectors of captions, ``count`` pictures.
    """
    if len(sample) < FEW:
        return None
    center, spread = _scale((sample @ query)[:, None])
    queries, own = _background_queries(parts, sample, background)
    scores = sample @ queries.T
    centers, spreads = _scale(scores)
    standard = (scores - centers) / spreads
    for places in own.T:
        standard[places, np.arange(len(queries))] = -np.inf
    values = standard[np.isfinite(standard)]
    tail = fit_tail(values, max(int(TAIL * values.size), 2))
    return Chance(float(center[0]), float(spread[0]), tail, count)


def _scale(scores: Floats) -> tuple[Floats, Floats]:
    """Center and spread of each column, from its lower half."""
    low, middle = np.percentile(scores, (LOWER, 50), axis=0)
    return middle, np.maximum(middle - low, 1e-6)


def _background_queries(
    parts: Parts, sample: Floats, background: Floats
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """(b, d) queries of the same parts for other things, and (b, p) which pictures of the sample
    each is made of."""
    dice = np.random.default_rng(0)  # the same answer each time
    captions, pictures = len(parts.texts) + len(parts.unwanted), len(parts.pictures)
    number = min(QUERIES, len(background)) if captions else min(QUERIES, len(sample))
    words = np.stack([dice.permutation(len(background))[:number] for _ in range(captions)], 1) \
        if captions else np.empty((number, 0), np.int64)
    shown = dice.integers(len(sample), size=(number, pictures))
    if not pictures and len(words.T) == 1:
        return background[words[:, 0]], shown
    queries = [
        joined(
            Parts(
                background[mine[: len(parts.texts)]],
                sample[others],
                background[mine[len(parts.texts) :]],
            ),
            sample[:: max(1, len(sample) // 1024)],
        )
        for mine, others in zip(words, shown, strict=True)
    ]
    return np.stack(queries), shown
