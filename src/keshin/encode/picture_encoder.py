"""Pictures to vectors, whatever computes them: the half of an encoder that needs no text.

A CLIP model gives two of these, one for each ``Kind`` of feature; a network that knows pictures
only is one. Stored embeddings, evaluation and search need no more than this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from keshin.core.config import PreprocessFacts
from keshin.core.pictures import Failure, Mode, Picture, normalised
from keshin.encode.pipeline import PictureItem, Pipeline, Vector, grouped

Kind: TypeAlias = Literal["joint", "probe"]
"""``joint``: unit vectors in the embedding that texts share. ``probe``: what a linear probe reads,
before the projection and as the tower gives it (paper, appendix A.3)."""


@dataclass
class PictureEncoder:
    """One network, ready to turn pictures into vectors of ``width`` numbers."""

    name: str
    preprocess: PreprocessFacts
    width: int
    encode: Callable[[Vector], Vector] = field(repr=False)
    """(n, 3, h, w) preprocessed pictures -> (n, width)."""
    batch_size: int = 32
    mode: str = "fp32"
    """What the network is computed in, and by what if not ONNX Runtime."""
    decode: Mode = "exact"
    threads: int | None = None
    kind: str = "joint"
    """Which of the network's features these are."""
    identify: Callable[[], str] = field(default=str, repr=False)

    @property
    def fingerprint(self) -> str:
        """Identifies weights and facts: with the same ``kind`` and ``mode``, equal fingerprints
        give equal vectors. "" is unknown."""
        return self.identify()

    def encode_images(self, pictures: Sequence[Picture]) -> Vector:
        """(n, width) float32. Raises ``PictureError`` for the first picture that is bad."""
        vectors = np.empty((len(pictures), self.width), np.float32)
        for item in self.pipeline().run(self._items(pictures)):
            if item.error is not None:
                raise item.error
            vectors[item.index] = item.vector
        return vectors

    def try_images(
        self, pictures: Iterable[Picture]
    ) -> Iterator[tuple[list[int], Vector, list[Failure]]]:
        """Encode group by group and go on after a picture that cannot be read.

        Yields, for each group of ``batch_size`` pictures in order, the places of those that were
        read, their (k, width) vectors and the failures. A bad picture does not change the vectors
        of the others. The pictures are taken from an iterator as they are needed.
        """
        done = self.pipeline().run(self._items(pictures))
        yield from grouped(done, self.batch_size, self.width)

    def pipeline(self) -> Pipeline[Any]:
        """Reads pictures in threads and runs the network beside them."""

        def encode(pixels: npt.NDArray[np.uint8]) -> Vector:
            return self.encode(normalised(pixels, self.preprocess))

        return Pipeline(encode, batch_size=self.batch_size, threads=self.threads)

    def _items(self, pictures: Iterable[Picture]) -> Iterator[PictureItem]:
        for index, picture in enumerate(pictures):
            yield PictureItem(index, picture, self.preprocess, self.decode)
