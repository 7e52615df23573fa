"""What a model must not forget: pictures and texts on which it is asked before and after.

The package has an anchor of its own: 200 drawn things with their names (``recipes/anchor``), each
of which must be told from nine others. The people's own is labelled pictures, asked zero-shot.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from keshin.classify.weights import class_weights
from keshin.core.pictures import Picture, fitted, normalised
from keshin.encode.encoder import Encoder, FloatArray
from keshin.errors import DataError, PictureError
from keshin.finetune.material import open_material
from keshin.statistics.intervals import quantile

IntArray = npt.NDArray[np.int64]
BUILT_IN = Path(__file__).with_name("anchor.zip")
OTHERS = 9
"""Names among which the right one must be found, besides itself, in the built-in anchor."""
LIMIT = 400
"""Pictures of people's own anchor that are looked at, evenly spread."""


@dataclass(frozen=True, eq=False)
class Anchor:
    """m pictures, k classes with their prompts."""

    said: str
    pixels: npt.NDArray[np.uint8]
    """(m, h, w, 3) as the model is shown them."""
    targets: IntArray
    """(m,)"""
    names: tuple[str, ...]
    templates: tuple[str, ...] | None
    others: int | None
    """How many other names a picture's own must beat; None: all."""

    @property
    def chance(self) -> float:
        return 1 / (len(self.names) if self.others is None else self.others + 1)


class Seen(msgspec.Struct, frozen=True):
    """The anchor before and after, of m pictures."""

    anchor: str
    pictures: int
    chance: float
    before: float
    after: float
    lost: float
    """Points: 100 x (before - after)."""
    low: float
    high: float
    """95 % interval of ``lost``, paired by picture."""
    agreement: float
    """Share of pictures that get the same answer among all names."""
    cosine: float
    """Mean cosine of a picture's vector before and after."""


@dataclass(frozen=True, eq=False)
class Asked:
    """How one model answers the anchor."""

    right: npt.NDArray[np.float64]
    """(m,) how surely each picture is told from others: 0 to 1."""
    answers: IntArray
    vectors: FloatArray

    @property
    def value(self) -> float:
        return float(self.right.mean())


def open_anchor(encoder: Encoder, source: str | os.PathLike[str] | None = None) -> Anchor:
    """The anchor for a model: the built-in one, or labelled pictures. Raises ``DataError``."""
    if source is None:
        with zipfile.ZipFile(BUILT_IN) as archive:
            names = tuple(json.loads(archive.read("names.json")))
            drawn = [archive.read(f"{number:03d}.webp") for number in range(len(names))]
        pixels, kept = _pixels(encoder, drawn)
        said = f"{len(names)} drawn things that come with keshin, each among {OTHERS + 1} names"
        return Anchor(said, pixels, kept, names, None, OTHERS)
    found = open_material(source, split="test")
    if found.captions:
        raise DataError(
            f"The anchor {source} has captions. Name labelled pictures: a folder per class, a "
            "table, or a known data set."
        )
    rows = np.arange(len(found))
    if len(found) > LIMIT:
        rows = np.linspace(0, len(found) - 1, LIMIT).astype(np.int64)
    part = found.take(rows)
    pixels, kept = _pixels(encoder, part.pictures)
    if not len(kept):
        raise DataError(f"None of the pictures of the anchor {source} can be read.")
    said = f"zero-shot on {len(kept)} pictures of '{Path(found.source).name}'"
    return Anchor(said, pixels, part.targets[kept], found.names, found.templates, None)


def _pixels(
    encoder: Encoder, pictures: Sequence[Picture]
) -> tuple[npt.NDArray[np.uint8], IntArray]:
    """Those that can be read, and their places."""
    pixels, kept = [], []
    for row in range(len(pictures)):
        try:
            pixels.append(fitted(pictures[row], encoder.config.preprocess, mode=encoder.decode))
        except PictureError:
            continue
        kept.append(row)
    height, width = encoder.config.preprocess.size
    return np.array(pixels, np.uint8).reshape(-1, height, width, 3), np.array(kept, np.int64)


def vectors_of(encoder: Encoder, pixels: npt.NDArray[np.uint8]) -> FloatArray:
    """(m, d) unit vectors of pictures that are prepared already."""
    found = np.empty((len(pixels), encoder.config.embed_dim), np.float32)
    for start in range(0, len(pixels), encoder.batch_size):
        part = pixels[start : start + encoder.batch_size]
        features = encoder.towers.image_features(normalised(part, encoder.config.preprocess))
        length = np.linalg.norm(features, axis=1, keepdims=True)
        found[start : start + len(part)] = features / np.maximum(length, 1e-12)
    return found


def ask(encoder: Encoder, anchor: Anchor) -> Asked:
    """The answers of a model."""
    names = {f"{place} {name}": (name,) for place, name in enumerate(anchor.names)}
    weights = class_weights(encoder, names, anchor.templates)
    vectors = vectors_of(encoder, anchor.pixels)
    cosines = vectors @ weights.T
    own = cosines[np.arange(len(cosines)), anchor.targets]
    beaten_by = (cosines > own[:, None]).sum(axis=1)
    answers = cosines.argmax(axis=1).astype(np.int64)
    if anchor.others is None:
        return Asked((answers == anchor.targets).astype(np.float64), answers, vectors)
    return Asked(_unbeaten(beaten_by, len(anchor.names) - 1, anchor.others), answers, vectors)


def _unbeaten(
    beaten_by: npt.NDArray[np.integer], rivals: int, drawn: int
) -> npt.NDArray[np.float64]:
    """The chance that none of ``drawn`` rivals beats, where ``beaten_by`` of all ``rivals`` do."""
    steps = np.arange(drawn)
    free = np.maximum(rivals - beaten_by[:, None] - steps, 0)
    return np.asarray(np.prod(free / (rivals - steps), axis=1), np.float64)


def compare(anchor: Anchor, before: Asked, after: Asked) -> Seen:
    """Before and after, picture by picture."""
    away = 100 * (before.right - after.right)
    count = len(away)
    half = quantile(count - 1) * float(away.std(ddof=1)) / count**0.5 if count > 1 else 100.0
    lost = float(away.mean())
    return Seen(
        anchor=anchor.said,
        pictures=count,
        chance=anchor.chance,
        before=before.value,
        after=after.value,
        lost=lost,
        low=lost - half,
        high=lost + half,
        agreement=float((before.answers == after.answers).mean()),
        cosine=float((before.vectors * after.vectors).sum(axis=1).mean()),
    )
