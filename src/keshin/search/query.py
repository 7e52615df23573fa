"""What is looked for: texts and pictures, wanted and unwanted, as one direction.

A query in words is a caption; in it, ``-word`` or ``-"some words"`` at the start of a word means
"without". A hyphen within a word (t-shirt, black-and-white), one between blanks, two of them, or
one before a digit is part of the caption; ``\\-`` at the start of a word is a plain hyphen too.

Parts count alike though their scores do not: a picture's cosines with pictures spread several times
as widely as a text's do. So each part is divided by the spread (standard deviation) of its scores
in the library, and the parts are added; the unwanted ones are taken away with the weight
``UNWANTED``. That is one vector, so a query of any number of parts costs one pass.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keshin.errors import SearchError
from keshin.search.rows import Floats

UNWANTED = 0.5
"""Of a part that is taken away, beside 1 of one that is wanted."""
_WITHOUT = re.compile(r'(?<!\S)[-－](?:"([^"]*)"|“([^”]*)”|([^\W\d_][^\s]*))')
_PLAIN = re.compile(r"(?<!\S)\\(?=[-－])")


@dataclass(frozen=True)
class Words:
    """A query in words, taken apart."""

    wanted: str
    """The caption; "" if there is none."""
    unwanted: tuple[str, ...]


def parse(text: str) -> Words:
    """Take ``-word`` and ``-"some words"`` out of a caption. Raises ``SearchError`` for a quotation
    that is not closed."""
    unwanted = [next(part for part in found if part is not None) for found in _groups(text)]
    wanted = _WITHOUT.sub(" ", text)
    if re.search(r'(?<!\S)[-－]["“]', wanted):
        raise SearchError(f"In the query {text!r} a quotation after - is not closed.")
    wanted = _PLAIN.sub("", wanted)
    return Words(" ".join(wanted.split()), tuple(filter(None, map(str.strip, unwanted))))


def _groups(text: str) -> list[tuple[str | None, ...]]:
    return [found.groups() for found in _WITHOUT.finditer(text)]


@dataclass(frozen=True, eq=False)
class Parts:
    """The unit vectors of a query's parts."""

    texts: Floats
    """(t, d)"""
    pictures: Floats
    """(p, d)"""
    unwanted: Floats
    """(u, d) of texts"""

    @property
    def vectors(self) -> Floats:
        """(t + p + u, d)"""
        return np.concatenate([self.texts, self.pictures, self.unwanted])

    @property
    def weights(self) -> Floats:
        """(t + p + u,)"""
        wanted = len(self.texts) + len(self.pictures)
        return np.array([1.0] * wanted + [-UNWANTED] * len(self.unwanted), np.float32)


def joined(parts: Parts, sample: Floats) -> Floats:
    """The (d,) direction of a query in a library of which ``sample`` (s, d) is a part, of unit
    length. A single wanted part is left as it is, so that its scores are cosines."""
    vectors, weights = parts.vectors, parts.weights
    if len(vectors) == 1:
        return vectors[0]
    return _unit((weights / spreads(vectors, sample)) @ vectors)


def spreads(vectors: Floats, sample: Floats) -> Floats:
    """(m,) standard deviations of the scores that (m, d) vectors have in the sample."""
    if len(sample) < 2:
        return np.ones(len(vectors), np.float32)
    return np.maximum((sample @ vectors.T).std(axis=0), 1e-6)


def checked(texts: Sequence[str], pictures: Sequence[object]) -> None:
    """Raises ``SearchError`` for a query that asks for nothing."""
    if not texts and not pictures:
        raise SearchError(
            "There is nothing to look for: give a text or a picture. What is unwanted alone is no "
            "query."
        )


def _unit(vector: Floats) -> Floats:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)
