"""Features of pictures, for probes and curves: kept by content, so that none is computed twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.api import Model
from keshin.core.kept import EMBEDDINGS
from keshin.core.pictures import Failure, Picture
from keshin.encode.embedded import Counts, Kept
from keshin.encode.embeddings import open_store
from keshin.encode.encoder import Encoder, FloatArray
from keshin.encode.picture_encoder import Kind, PictureEncoder
from keshin.encode.pipeline import PictureItem
from keshin.errors import DataError
from keshin.evaluate.sets.labelled import Labelled

Progress = Callable[[Counts], None]
Source = Model | Encoder | PictureEncoder
"""What gives features: a CLIP model, or a network that knows pictures only."""


@dataclass(frozen=True, eq=False)
class Features:
    """What one network says of some pictures."""

    vectors: FloatArray
    """(n', d), of those that could be read."""
    rows: npt.NDArray[np.int64]
    """(n',) their places among the pictures that were given, ascending."""
    failures: tuple[Failure, ...]
    """The others, with the reason."""

    def __len__(self) -> int:
        return len(self.rows)


def extract(
    source: Source,
    data: Labelled | Sequence[Picture],
    *,
    kind: Kind = "joint",
    cache: bool = True,
    progress: Progress | None = None,
) -> Features:
    """The features of all pictures that can be read.

    Arguments:
        source: a model, its encoder, or a network that knows pictures only
            (``keshin.evaluate.probes.supervised``), whose features are of one kind.
        data: n pictures: files, bytes of files, arrays (h, w, 3), Pillow images.
        kind: ``joint``: (n, d) of unit length; ``probe``: before the projection, as the tower gives
            them (paper, appendix A.3).
        cache: keep vectors in the cache folder, by the content of the picture and by all that
            changes them (weights, mode, decoding, kind), and take them from there. They are written
            every two seconds: a run that is killed goes on where it was.
        progress: called after each picture with the numbers of cached, new and failed ones.

    Pictures are read as the source was told to (``decode``; exactly, unless it was told otherwise).
    Raises ``DataError`` if none can be read.
    """
    encoder = picture_encoder(source, kind)
    pictures = data.pictures if isinstance(data, Labelled) else data
    store = open_store(EMBEDDINGS.folder, encoder) if cache else None
    if store is None:
        return _gather(_encoded(encoder, pictures, progress), len(pictures), encoder.width)
    with store:
        items = store.embed_pictures(pictures, progress=progress)
        return _gather(items, len(pictures), encoder.width)


def picture_encoder(source: Source, kind: Kind = "joint") -> PictureEncoder:
    """The part of a model that turns pictures into features of a kind."""
    if isinstance(source, PictureEncoder):
        return source
    return (source.encoder if isinstance(source, Model) else source).pictures(kind)


def _encoded(
    encoder: PictureEncoder, pictures: Sequence[Picture], progress: Progress | None
) -> Iterable[PictureItem]:
    """Without anything kept."""
    counts = Counts()
    items = (
        PictureItem(index, picture, encoder.preprocess, encoder.decode)
        for index, picture in enumerate(pictures)
    )
    for item in encoder.pipeline().run(items):
        counts.failed += item.error is not None
        counts.new += item.error is None
        if progress:
            progress(counts)
        yield item


def _gather(items: Iterable[Kept | PictureItem], count: int, width: int) -> Features:
    vectors = np.empty((count, width), np.float32)
    rows: list[int] = []
    failures: list[Failure] = []
    for item in items:
        if item.vector is None:
            failures.append(item.failure())
        else:
            vectors[len(rows)] = item.vector
            rows.append(item.index)
    if not rows:
        why = f" The first: {failures[0].error}" if failures else " There are none."
        raise DataError(f"None of the {count} pictures could be read.{why}")
    return Features(vectors[: len(rows)], np.array(rows, np.int64), tuple(failures))
