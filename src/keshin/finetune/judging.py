"""What is right: the answers of an encoder or of a head, picture by picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.classify.templates import fill, templates_for
from keshin.classify.weights import class_weights
from keshin.encode.encoder import Encoder, FloatArray

IntArray = npt.NDArray[np.int64]
Right = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of pictures: which of k classes, or which of the captions around."""

    names: tuple[str, ...]
    """The k classes; none where there are captions."""
    templates: tuple[str, ...] | None
    targets: IntArray
    """(n,)"""
    captions: tuple[tuple[str, ...], ...]
    """(n,) or none."""

    @property
    def prompts(self) -> tuple[tuple[str, ...], ...]:
        """(k,) all prompts of each class."""
        return tuple(
            tuple(fill(t, name) for t in templates_for(name, self.templates)) for name in self.names
        )

    def weights(self, encoder: Encoder) -> FloatArray:
        """(k, d) the zero-shot classifier."""
        keyed = {f"{place} {name}": (name,) for place, name in enumerate(self.names)}
        return class_weights(encoder, keyed, self.templates)

    def right(self, encoder: Encoder, vectors: FloatArray, rows: IntArray) -> Right:
        """(m,) how rightly the pictures of ``rows``, with these vectors, are answered: 0 to 1."""
        if self.names:
            answers = (vectors @ self.weights(encoder).T).argmax(axis=1)
            return np.asarray(answers == self.targets[rows], np.float64)
        return matched(encoder, vectors, [self.captions[row][0] for row in rows])

    def chance(self, folds: Sequence[IntArray]) -> float:
        """Of guessing: 1 / k; among captions the mean over the folds."""
        if self.names:
            return 1 / len(self.names)
        shares = []
        for rows in folds:
            texts = [self.captions[row][0] for row in rows]
            shares += [texts.count(text) / len(texts) for text in texts]
        return float(np.mean(shares))


def matched(encoder: Encoder, vectors: FloatArray, texts: Sequence[str]) -> Right:
    """(m,) of each picture and its caption: whether the caption is the nearest of all, and whether
    the picture is the nearest of all to it, averaged. Equal captions are equally right."""
    distinct = sorted(set(texts))
    places = np.array([distinct.index(text) for text in texts])
    cosines = vectors @ encoder.encode_texts(distinct).T
    caption = cosines.argmax(axis=1) == places
    picture = places[cosines.argmax(axis=0)][places] == places
    return np.asarray((caption.astype(np.float64) + picture) / 2)
