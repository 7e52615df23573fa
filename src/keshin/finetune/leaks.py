"""Pictures that are the same, or copies of one another: what would leak between folds.

Two pictures are *the same* if their pixels are. They are *near copies* if a picture of one is what
scaling, another JPEG quality, a slight crop or a mirror makes of the other, by either of

- the difference hash (64 signs of neighbouring brightness) and the colours of an 8 x 8 reduction;
- the cosine of the model's vectors, at least that of pictures with their own crops, where hash and
  colours do not speak against it.

A pair that is found by mistake does no harm but to lie in one fold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from keshin.core.pictures import Failure, Picture, open_picture, to_rgb
from keshin.errors import PictureError

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
SIDE = 8
BITS, COLOUR = 6, 12.0
"""A near copy differs in at most so many of 64 signs, and so much of 255 in colour on average."""
LOOSE_BITS, LOOSE_COLOUR = 20, 40.0
"""What the vectors' word is not taken beyond: half of the signs differ between any two pictures."""
CROPPED = 0.9
"""Of each side: what remains of a picture in the crop that sets the cosine."""
SAMPLED = 48
"""Pictures that are cropped to find it."""
BLOCK = 1024


class Pair(msgspec.Struct, frozen=True):
    """Two pictures that are the same or nearly."""

    first: str
    second: str
    same: bool
    """Whether all pixels are; else it is a near copy."""
    labels: tuple[str, str]
    cosine: float

    @property
    def crosses(self) -> bool:
        """Whether they lie under two labels."""
        return self.labels[0] != self.labels[1]


@dataclass(frozen=True, eq=False)
class Looks:
    """What is compared of n pictures."""

    rows: IntArray
    """(n,) their places among those given: the ones that could be read."""
    digests: npt.NDArray[np.uint64]
    """(n,) of the pixels."""
    signs: FloatArray
    """(n, 64) -1 or 1."""
    mirrored: FloatArray
    """(n, 64) the same of the mirror image."""
    colours: FloatArray
    """(n, 8, 8, 3) of 0 to 255."""
    failures: tuple[Failure, ...] = ()

    def take(self, rows: IntArray) -> Looks:
        return Looks(
            self.rows[rows],
            self.digests[rows],
            self.signs[rows],
            self.mirrored[rows],
            self.colours[rows],
        )


def look(pictures: Sequence[Picture], files: Sequence[str]) -> Looks:
    """Read each picture once. What cannot be read is listed."""
    rows, digests, greys, colours, failures = [], [], [], [], []
    for row in range(len(pictures)):
        try:
            image = to_rgb(open_picture(pictures[row]))
        except (PictureError, OSError) as error:
            failures.append(Failure(row, files[row], str(error)))
            continue
        digest = hashlib.blake2b(repr(image.size).encode() + image.tobytes(), digest_size=8)
        rows.append(row)
        digests.append(int.from_bytes(digest.digest(), "little"))
        small = image.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX)
        greys.append(np.asarray(small, np.float32))
        colours.append(np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32))
    grey = np.array(greys, np.float32).reshape(-1, SIDE, SIDE + 1)

    def signs(values: FloatArray) -> FloatArray:
        brighter = values[:, :, 1:] > values[:, :, :-1]
        return np.where(brighter, 1, -1).reshape(-1, SIDE * SIDE).astype(np.float32)

    return Looks(
        np.array(rows, np.int64),
        np.array(digests, np.uint64),
        signs(grey),
        signs(grey[:, :, ::-1]),
        np.array(colours, np.float32).reshape(-1, SIDE, SIDE, 3),
        tuple(failures),
    )


def crops(pictures: Sequence[Picture]) -> list[Image.Image]:
    """The middles of pictures, by whose vectors ``near_cosine`` knows a near copy."""
    found = []
    for picture in pictures:
        image = to_rgb(open_picture(picture))
        width, height = image.size
        dx, dy = width * (1 - CROPPED) / 2, height * (1 - CROPPED) / 2
        box = (round(dx), round(dy), max(1, round(width - dx)), max(1, round(height - dy)))
        found.append(image.crop(box))
    return found


def near_cosine(vectors: FloatArray, cropped: FloatArray) -> float:
    """The cosine from which vectors tell of a copy: what nine of ten pictures have with their own
    crops."""
    return float(np.percentile((vectors * cropped).sum(axis=1), 10))


def find_pairs(
    one: Looks,
    vectors: FloatArray,
    least: float,
    two: Looks | None = None,
    others: FloatArray | None = None,
) -> list[tuple[int, int, bool, float]]:
    """(first, second, same pixels, cosine) of pictures that are copies, by their places in the
    looks: within one, or between two."""
    inner = two is None
    second = one if two is None else two
    right = vectors if others is None else others
    found = []
    for start in range(0, len(one.rows), BLOCK):
        part = slice(start, min(start + BLOCK, len(one.rows)))
        same = one.digests[part, None] == second.digests[None]
        cosines = vectors[part] @ right.T
        bits = np.minimum(_bits(one, part, second.signs), _bits(one, part, second.mirrored))
        maybe = same | (bits <= LOOSE_BITS)
        if inner:
            maybe &= np.arange(part.start, part.stop)[:, None] < np.arange(len(second.rows))
        for i, j in np.argwhere(maybe):
            row = start + int(i)
            colour = _colour(one.colours[row], second.colours[j])
            near = (bits[i, j] <= BITS and colour <= COLOUR) or (
                cosines[i, j] >= least and colour <= LOOSE_COLOUR
            )
            if same[i, j] or near:
                found.append((row, int(j), bool(same[i, j]), float(cosines[i, j])))
    return found


def _bits(one: Looks, part: slice, signs: FloatArray) -> FloatArray:
    return np.asarray((SIDE * SIDE - one.signs[part] @ signs.T) / 2, np.float32)


def _colour(one: FloatArray, two: FloatArray) -> float:
    return float(min(np.abs(one - two).mean(), np.abs(one - two[:, ::-1]).mean()))


def joined(count: int, pairs: Sequence[tuple[int, int]], own: IntArray | None = None) -> IntArray:
    """(count,) the number of each picture's group: pictures that are linked by pairs, or that the
    data themselves say come together."""
    parent = np.arange(count)

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = int(parent[place])
        return place

    links = list(pairs)
    if own is not None:
        order = np.argsort(own, kind="stable")
        links += [(int(a), int(b)) for a, b in pairwise(order) if own[a] == own[b]]
    for first, second in links:
        parent[root(first)] = root(second)
    roots = np.array([root(place) for place in range(count)], np.int64)
    return np.asarray(np.unique(roots, return_inverse=True)[1], np.int64)
