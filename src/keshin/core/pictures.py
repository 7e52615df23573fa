"""Picture files, bytes, Pillow images and arrays -> what an image tower sees. Source: openai/CLIP's
transform (Resize on the decoded picture, CenterCrop, RGB, /255, mean and std), bit for bit, and
the same bits with every version of Pillow (see ``keshin.core.resample``).

What happens with           ``exact`` (default)                     ``reference`` (as the original)
RGB, L, CMYK, YCbCr, LAB    resized as stored, then RGB             the same, difference 0.0
EXIF/XMP rotation, mirror   applied first; damaged EXIF: as stored  ignored (in TIFF: Pillow turns)
palette (P, PA), 1 bit      to RGB or grey before the resize        resized by NEAREST as stored
alpha, transparent colour   over white before the resize            dropped, hidden colours show
16-bit grey (I;16, I)       upper 8 bits; outside 0..65535: error   clipped at 255: mostly white
16-bit colour, 16-bit LA    upper 8 bits, by Pillow                 the same
float (F)                   0..1 is scaled, else error (NaN, HDR)   clipped to 0..255
CMYK JPEG                   read as inverted (Adobe), by Pillow     the same
GIF, WebP, APNG, TIFF, MPO  first frame; a Pillow image: where it stands (both modes)
ICC profile, gamma          ignored (both modes), as the original does
1 x 10,000 and the like     only what the crop keeps is computed, with Pillow's integer arithmetic:
                            the same bits, bounded memory (8-bit; other: error beyond the limit)
truncated, damaged, empty   PictureError; so is an unknown format, which names the plugin to install
over ``Limits.pixels``      PictureError from the header, before anything is decoded
folder, FIFO, device        PictureError; nothing is waited for. PostScript is never run

``fast`` is ``exact`` but for the resize: a JPEG is decoded at a half, a quarter or an eighth where
that is still twice as large as needed (see ``keshin.core.fitting``; docs/decisions.md has the
drift). Pictures less than twice as large as needed have the bits of ``exact``.

A crop never needs padding: the short side is scaled to the crop, and the long one is not shorter.
Where a Pillow image is passed, ``exact`` turns it upright too, unless ``open_picture`` did so.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeAlias, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from keshin.core.config import PreprocessFacts
from keshin.core.fitting import draft, fit, fit_fast, is_large
from keshin.core.picture_files import (
    DEFAULT_LIMITS,
    SUFFIXES,
    Limits,
    Picture,
    bad,
    decode,
    find_pictures,
    name_of,
    open_picture,
    quiet,
    turn_of,
)
from keshin.core.room import Room
from keshin.errors import PictureError

__all__ = [
    "DEFAULT_LIMITS",
    "SUFFIXES",
    "Failure",
    "Limits",
    "Mode",
    "Picture",
    "PreprocessFacts",
    "find_pictures",
    "fitted",
    "load_batch",
    "normalised",
    "open_picture",
    "preprocess",
    "to_rgb",
]

Mode: TypeAlias = Literal["exact", "fast", "reference"]
MODES: tuple[Mode, ...] = get_args(Mode)
_ROOM = Room()


class Failure(msgspec.Struct, frozen=True):
    """A picture of a batch that could not be read: its place, its name as given, the sentence."""

    index: int
    file: str
    error: str


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture as people see it, in RGB: alpha over white, palette resolved, 16 bits to 8.

    An RGB image comes back as it is. Raises PictureError for samples whose range is unknown.
    """
    name = name_of(image)
    try:
        with quiet:
            return _plain(image, name).convert("RGB")
    except PictureError:
        raise
    except Exception as error:
        raise bad(name, f"it cannot be converted to RGB: {error}") from error


def _plain(image: Image.Image, name: str) -> Image.Image:
    """An 8-bit image that may be resampled: L, RGB, CMYK, YCbCr or LAB, without transparency."""
    if image.mode in ("CMYK", "YCbCr", "LAB"):
        return image
    if image.mode[0] == "I" or image.mode == "F":
        return _eight_bits(image, name)
    if image.has_transparency_data:
        image = image.convert("LA") if image.mode == "La" else image
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Grey integers of 16 bits or floats in 0..1 as 8 bits; no guessing about other ranges."""
    values = np.asarray(image)
    low, high, top = values.min(), values.max(), 1 if image.mode == "F" else 65535
    if not (low >= 0 and high <= top):  # so written, NaN is refused too
        why = f"its grey values run from {low} to {high}, not within 0 to {top}"
        raise bad(name, f"{why}; scale them to 8 bits and pass a uint8 array")
    scaled = np.rint(values * np.float32(255)) if image.mode == "F" else values >> 8
    return Image.fromarray(scaled.astype(np.uint8))


def fitted(
    source: Picture,
    facts: PreprocessFacts,
    *,
    mode: Mode = "exact",
    limits: Limits = DEFAULT_LIMITS,
    name: str = "",
) -> NDArray[np.uint8]:
    """One picture, cut to what the image tower sees, before the numbers are normalised.

    Arguments as for ``preprocess``; ``name``: what messages call it. Returns (height, width, 3)
    bytes, RGB. Raises PictureError; ValueError for another mode. May be called from many threads:
    all that decode at the same time hold at most ``limits.pixels`` together, or one picture.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(map(repr, MODES))}, not {mode!r}")
    name = name or name_of(source)
    full, part = (0, 0), 1

    with _ROOM.share(limits.pixels) as take:

        def prepare(image: Image.Image) -> None:
            nonlocal full, part
            full = image.size
            part = draft(image, facts) if mode == "fast" else 1
            take(image.width * image.height)

        image = decode(source, limits, name=name, prepare=prepare)
        try:
            with quiet:
                if mode == "reference":
                    small = fit(image, facts, name, limits)
                else:
                    turn, plain = turn_of(image), _plain(image, name)
                    size = full if full[0] else plain.size
                    if mode == "fast" and (part > 1 or is_large(size, facts)):
                        small = fit_fast(plain, size, part, facts, turn)
                    else:
                        small = fit(plain, facts, name, limits, turn)
                return np.asarray(small.convert("RGB"))
        except PictureError:
            raise
        except Exception as error:
            raise bad(name, f"{image.mode} cannot be resized in mode {mode!r}: {error}") from error


def normalised(pixels: NDArray[np.uint8], facts: PreprocessFacts) -> NDArray[np.float32]:
    """(n, h, w, 3) bytes -> (n, 3, h, w) float32: (byte / 255 - mean) / std, each step in float32.

    A byte has 256 values, so each is computed once for each colour and looked up.
    """
    bytes_ = np.arange(256, dtype=np.float32) / np.float32(255)
    count, height, width, _ = pixels.shape
    values = np.empty((count, 3, height, width), np.float32)
    for colour, (mean, std) in enumerate(zip(facts.mean, facts.std, strict=True)):
        table = (bytes_ - np.float32(mean)) / np.float32(std)
        values[:, colour] = table[pixels[..., colour]]
    return values


def preprocess(
    source: Picture,
    facts: PreprocessFacts,
    *,
    mode: Mode = "exact",
    limits: Limits = DEFAULT_LIMITS,
) -> NDArray[np.float32]:
    """What the image tower sees of one picture; the table at the top of this module says how.

    Arguments: ``source``: see ``open_picture``; ``mode``: "exact" is the original's arithmetic on
    the picture as people see it, "reference" the original with its oversights, "fast" near to
    "exact" in a third of the time for photographs of many megapixels. Returns
    (3, height, width) float32, normalised. Raises PictureError; ValueError for another mode.
    """
    pixels = fitted(source, facts, mode=mode, limits=limits)
    return normalised(pixels[None], facts).reshape(3, *facts.size)


def load_batch(
    sources: Sequence[Picture],
    facts: PreprocessFacts,
    *,
    mode: Mode = "exact",
    limits: Limits = DEFAULT_LIMITS,
    threads: int = 1,
) -> tuple[NDArray[np.float32], list[Failure]]:
    """``preprocess`` for n pictures: (n, 3, height, width) float32 and what failed, in order.

    The row of a failed picture is NaN, so that the others keep their places and none passes
    unseen: leave it out before encoding. Decoding and resizing use ``threads`` threads.
    """
    batch = np.full((len(sources), 3, *facts.size), np.nan, np.float32)

    def load(index: int) -> Failure | None:
        try:
            batch[index] = preprocess(sources[index], facts, mode=mode, limits=limits)
        except PictureError as error:
            return Failure(index, name_of(sources[index]), str(error))
        return None

    with ThreadPoolExecutor(max(1, threads)) as pool:
        return batch, [failure for failure in pool.map(load, range(len(sources))) if failure]
