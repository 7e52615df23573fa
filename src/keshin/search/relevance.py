"""How likely a result is there by chance: what queries for something else find in this library.

A cosine says little: it differs from model to model, from one kind of query to another, and the
best of a million pictures has a high one whatever is asked. So the scores of a query are compared
with those of **background queries** in the same library: captions of every kind of thing that come
with keshin, in the query's language and of its length (``background``). For a query that is a
picture, other pictures of the library are asked for; one of several parts is compared with queries
of as many parts, put together by chance.

Two questions are answered, and the *relevance* of a result is one minus the worse answer:

- **Is this query about something that is here?** The share of background queries whose best score
  is at least the best score of this query, p = (1 + how many) / (1 + all). If the query has nothing
  to do with the library, and is otherwise like the background, then p <= a with probability a at
  most (a conformal p-value, whatever the distribution). So with a least relevance of 0.9, one of
  ten queries for something that is not here gets an answer, or fewer.
- **How many of the results are there by chance?** A background query finds E(s) pictures with a
  score of s or more on average, this one r of them: E(s) / r is the expected share of chance among
  the results down to this one (a false-discovery rate with an empirical null; Efron 2004), made
  monotone as Benjamini and Hochberg's (1995).

Some background queries are about things that are in the library; the answers err on the side of
caution then. What the two do not know is how good the model is: one that cannot tell a dog from a
fox finds the fox relevant. So a relevance is no share of right results (benchmarks/
search_relevance.py measures that too).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.search.query import Parts, joined
from keshin.search.rows import Floats, Ints

SAMPLE = 16384
"""Pictures of the library from which the spread of scores is taken."""
FEW = 30
"""Pictures below which nothing is said."""
LOOKED_AT = 100
"""Best scores of a query that are looked at."""
MADE = 64
"""Background queries put together for a query that is no single text."""
Doubles = npt.NDArray[np.float64]
Nearest = Callable[[Floats, int], list[tuple[Ints, Doubles]]]
"""(m, d) queries and k -> for each the places of its best rows and their scores, falling."""


@dataclass(frozen=True, eq=False)
class Null:
    """(b, k) the best scores of background queries, each falling."""

    tops: Floats

    def false_alarm(self, best: float) -> float:
        """The share of background queries whose best score is at least this one."""
        return float(1 + (self.tops[:, 0] >= best).sum()) / (1 + len(self.tops))

    def by_chance(self, scores: npt.ArrayLike) -> Doubles:
        """How many pictures a background query finds on average with each score or more; not more
        than were looked at."""
        rising = np.sort(self.tops, axis=None)
        reached = rising.size - np.searchsorted(rising, np.asarray(scores), side="left")
        return np.asarray(reached / len(self.tops))

    def relevance(self, scores: npt.ArrayLike) -> Doubles:
        """(r,) of the best scores of a query, falling (r up to k)."""
        scores = np.asarray(scores, np.float64)
        if not len(scores):
            return np.empty(0)
        rates = self.by_chance(scores) / np.arange(1, len(scores) + 1)
        least = np.minimum.accumulate(rates[::-1])[::-1]
        return np.asarray(1 - np.clip(least, self.false_alarm(float(scores[0])), 1))


def best_scores(queries: Floats, nearest: Nearest, own: Ints | None = None) -> Floats:
    """(b, k) the best scores of (b, d) queries; ``own`` (b, p) are the places of the pictures that
    each is made of, which do not count."""
    extra = 0 if own is None else own.shape[1]
    lines = []
    for number, (places, scores) in enumerate(nearest(queries, LOOKED_AT + extra)):
        if own is not None:
            scores = scores[~np.isin(places, own[number])]
        lines.append(scores[:LOOKED_AT])
    shortest = min(map(len, lines))
    return np.array([line[:shortest] for line in lines], np.float32)


def made_queries(parts: Parts, captions: Floats, sample: Floats) -> tuple[Floats, Ints]:
    """(b, d) queries of as many texts and pictures as ``parts``, about other things, and (b, p) the
    rows of the (s, d) sample that each is made of; ``captions`` (c, d) are background queries."""
    dice = np.random.default_rng(0)  # the same answer each time
    texts, unwanted, pictures = len(parts.texts), len(parts.unwanted), len(parts.pictures)
    number = min(MADE, len(sample), len(captions) if texts + unwanted else len(sample))
    shown = np.stack([dice.permutation(len(sample))[:number] for _ in range(pictures)] or
                     [np.empty(number, np.int64)], 1)[:, :pictures]  # fmt: skip
    words = [dice.permutation(len(captions))[:number] for _ in range(texts + unwanted)]
    few = sample[:: max(1, len(sample) // 1024)]
    queries = []
    for place in range(number):
        said = captions[[line[place] for line in words]]
        other = Parts(said[:texts], sample[shown[place]], said[texts:])
        queries.append(joined(other, few))
    return np.stack(queries), shown
