"""From pairs to batches: order, caption draws, augmentation, workers.

Every random choice is drawn from (seed, epoch, place), never from a running state. So the number of
workers changes nothing, and a run that goes on from step n sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageEnhance
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from keshin.core.pictures import fitted, open_picture, to_rgb
from keshin.core.scripts import in_japanese_script
from keshin.errors import DataError, PictureError
from keshin.train.distributed import ALONE, World
from keshin.train.features import Features, Vector, key_of
from keshin.train.matching import Identities, identity
from keshin.train.order import Extent, Order, Place, even_pieces
from keshin.train.pairs import Pair, Pairs, open_source
from keshin.train.pixels import Box, resized
from keshin.train.recipe import AugmentPart, DistillPart, Recipe, Source


@dataclass(frozen=True)
class Item:
    """One training pair as drawn, or why it could not be."""

    pixels: npt.NDArray[np.uint8] | None
    text: str
    """The caption in its template."""
    drawn: int
    """The caption's identity; see ``matching``."""
    listed: tuple[int, ...]
    """Those of all captions of the pair."""
    teacher: npt.NDArray[np.float16] | None
    place: Place
    error: str | None = None
    key: bytes = b""
    """Of the picture, where features are kept; its ``pixels`` are there only if they are not."""
    vector: Vector | None = None
    """The kept features."""


@dataclass(frozen=True)
class Kept:
    """What is kept of the features of B pictures; a batch's ``pixels`` are those of the rest."""

    keys: list[bytes]
    vectors: Vector
    """(B, E)."""
    missing: list[int]
    """The rows that are not kept yet, in the order of the pixels."""


@dataclass(frozen=True)
class Batch:
    """Pictures (B, 3, h, w) uint8 with their captions."""

    pixels: Tensor
    texts: list[str]
    drawn: Identities
    """(B,) the captions' identities."""
    listed: list[Identities]
    teacher: Tensor | None
    """(K, classes) logits of the pictures that have a teacher."""
    taught: Tensor
    """(K,) rows of those pictures."""
    places: npt.NDArray[np.int64]
    """(B, 4) where each comes from: see ``order.Place``."""
    bad: list[str]
    kept: Kept | None = None


def epoch_length(sizes: Sequence[tuple[int, float]]) -> int:
    """Pairs in an epoch over sources of (size, repeat)."""
    return sum(int(size * repeat) for size, repeat in sizes)


class Stream(Sampler[list[Place]]):
    """The places of each batch, from ``start`` batches on, epoch after epoch.

    Every process knows the same order, and takes its part of each batch.
    """

    def __init__(self, order: Order, start: int, stop: int, world: World = ALONE) -> None:
        self.order, self.start, self.stop = order, start, stop
        self.part = world.slice(order.batch_size)

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[Place]]:
        for batch in range(self.start, self.stop):
            first = batch * self.order.batch_size
            yield self.order.places(first + self.part.start, first + self.part.stop)


class Pool(Dataset[Item]):
    """All sources of a recipe, drawn and augmented by place."""

    def __init__(self, recipe: Recipe) -> None:
        self.parts: list[tuple[Source, Pairs]] = [(s, open_source(s)) for s in recipe.data.sources]
        self.seed = recipe.run.seed
        self.augment = recipe.augment
        self.listed = recipe.loss.positives == "listed"
        self.size = recipe.model.preprocess.size
        self.facts = recipe.model.preprocess
        self.kept: Features | None = None
        """The features of a locked image tower, which take the place of pictures."""

    @property
    def sizes(self) -> list[tuple[int, float]]:
        """(pairs, repeat) of each source."""
        return [(len(pairs), source.repeat) for source, pairs in self.parts]

    @property
    def extents(self) -> list[Extent]:
        """The sources as far as their order goes."""
        return [
            Extent(getattr(pairs, "pieces", even_pieces(len(pairs))), source.repeat)
            for source, pairs in self.parts
        ]

    def at(self, size: tuple[int, int]) -> Pool:
        """The same with pictures of another size."""
        other = copy(self)
        other.size = size
        return other

    def captions(self) -> Iterator[str]:
        """Every caption of every source, bare and in each of its templates once."""
        for source, pairs in self.parts:
            yield from source.templates + source.templates_ja
            for index in range(len(pairs)):
                yield from pairs[index].captions

    def __getitem__(self, place: Place) -> Item:
        epoch, number, row, again = place
        source, pairs = self.parts[number]
        rng = np.random.default_rng((self.seed, epoch, number, row, again))
        try:
            pair = pairs[row]
            if not pair.captions:
                raise DataError("it has no caption")
            key, vector, pixels = b"", None, None
            if self.kept is None:
                pixels = augmented(pair.picture, self.size, self.augment, rng)
            else:
                key = key_of(pair.picture)
                vector = self.kept.get(key)
                if vector is None:
                    pixels = fitted(pair.picture, self.facts).transpose(2, 0, 1)
                pass_over(self.augment, rng)
        except (PictureError, DataError, OSError) as error:
            return Item(None, "", 0, (), None, place, f"{pairs.name(row)}: {error}")
        drawn = draw_caption(pair, rng)
        text = fill_template(drawn, source, rng)
        listed = tuple(map(identity, pair.captions)) if self.listed else ()
        return Item(
            pixels, text, identity(drawn), listed, pair.teacher, place, key=key, vector=vector
        )

    def name(self, place: Sequence[int]) -> str:
        """Where the pair at a place comes from, for people."""
        _, number, row, _ = map(int, place)
        return self.parts[number][1].name(row)


def draw_caption(pair: Pair, rng: np.random.Generator) -> str:
    """One of the pair's captions, by its weights."""
    if len(pair.captions) == 1:
        return pair.captions[0]
    if pair.weights is None:
        return pair.captions[rng.integers(len(pair.captions))]
    bounds = np.cumsum(pair.weights)
    return pair.captions[
        min(int(np.searchsorted(bounds, rng.random() * bounds[-1])), len(bounds) - 1)
    ]


def fill_template(caption: str, source: Source | DistillPart, rng: np.random.Generator) -> str:
    """The caption in one of the templates that fit its script; as it is where there are none."""
    templates = source.templates_ja if in_japanese_script(caption) else source.templates
    if not templates:
        return caption
    return templates[rng.integers(len(templates))].replace("{}", caption)


def augmented(
    picture: Any, size: tuple[int, int], augment: AugmentPart, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """(3, h, w) uint8: a random crop of a picture, changed as the recipe says."""
    image = to_rgb(open_picture(picture))
    height, width = size
    box: Box | None = _crop(image.size, augment, rng)
    if rng.random() < augment.blur:
        share = rng.uniform(1 / 3, 1)
        small = max(1, round(width * share)), max(1, round(height * share))
        image, box = resized(image, small, box), None
    image = resized(image, (width, height), box)
    if rng.random() < augment.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if augment.colour:
        for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = change(image).enhance(rng.uniform(1 - augment.colour, 1 + augment.colour))
    if rng.random() < augment.grey:
        image = image.convert("L").convert("RGB")
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def pass_over(augment: AugmentPart, rng: np.random.Generator) -> None:
    """Draw what ``augmented`` draws, so that the captions are the same without it."""
    _crop((1, 1), augment, rng)
    if rng.random() < augment.blur:
        rng.uniform(1 / 3, 1)
    rng.random(5 if augment.colour else 2)


def _crop(size: tuple[int, int], augment: AugmentPart, rng: np.random.Generator) -> Box:
    """A random box of the recipe's area and stretch; the paper's is the largest square."""
    width, height = size
    side = min(width, height) * np.sqrt(rng.uniform(augment.min_area, 1.0))
    stretch = np.exp(rng.uniform(-1, 1) * np.log(augment.max_stretch) / 2)
    w, h = min(width, side * stretch), min(height, side / stretch)
    left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
    return left, top, left + w, top + h


def collate(items: Sequence[Item], size: tuple[int, int], width: int = 0) -> Batch:
    """Items to a batch; those that could not be used are left out and named.

    ``width``: of kept features, where there are any.
    """
    good = [item for item in items if item.error is None]
    seen = [item.pixels for item in good if item.pixels is not None]
    pixels = np.empty((len(seen), 3, *size), np.uint8)
    for row, some in enumerate(seen):
        pixels[row] = some
    rows = [row for row, item in enumerate(good) if item.teacher is not None]
    teacher = np.array([good[row].teacher for row in rows]) if rows else None
    return Batch(
        pixels=torch.from_numpy(pixels),
        texts=[item.text for item in good],
        drawn=np.array([item.drawn for item in good], np.int64),
        listed=[np.array(item.listed, np.int64) for item in good],
        teacher=None if teacher is None else torch.from_numpy(teacher),
        taught=torch.tensor(rows, dtype=torch.long),
        places=np.array([item.place for item in good], np.int64).reshape(-1, 4),
        bad=[item.error for item in items if item.error is not None],
        kept=_kept(good, width) if width else None,
    )


def _kept(items: Sequence[Item], width: int) -> Kept:
    vectors = np.zeros((len(items), width), np.float32)
    for row, item in enumerate(items):
        if item.vector is not None:
            vectors[row] = item.vector
    missing = [row for row, item in enumerate(items) if item.vector is None]
    return Kept([item.key for item in items], vectors, missing)


def batches(
    pool: Pool, recipe: Recipe, start: int, stop: int, world: World = ALONE
) -> DataLoader[Item]:
    """A loader of this process's part of the ``Batch`` numbers ``start`` to ``stop``."""
    data = recipe.data
    order = Order(
        pool.extents,
        recipe.optim.batch_size,
        recipe.run.seed,
        window=data.window,
        lanes=data.lanes,
    )
    stream = Stream(order, start, stop, world)
    width = 0 if pool.kept is None else pool.kept.width
    return DataLoader(
        pool,
        batch_sampler=stream,
        num_workers=data.workers,
        collate_fn=partial(collate, size=pool.size, width=width),
        prefetch_factor=4 if data.workers else None,
    )
