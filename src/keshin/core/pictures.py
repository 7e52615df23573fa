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

A crop never needs padding: the short side is scaled to the crop, and the long one is not shorter.
Where a Pillow image is passed, ``exact`` turns it upright too, unless ``open_picture`` did so.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from keshin.core.config import PreprocessFacts
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
    upright,
)
from keshin.core.resample import KERNELS, MODES, resize, resize_long
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
    "load_batch",
    "open_picture",
    "preprocess",
    "to_rgb",
]

Mode: TypeAlias = Literal["exact", "reference"]
_ROOMY = 64  # a resized picture may be this many times the crop before only a strip is computed


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


def _fit(image: Image.Image, facts: PreprocessFacts, name: str, limits: Limits) -> Image.Image:
    """Resize and crop to ``facts.size``, with the rounding of torchvision."""
    (height, width), kernel = facts.size, facts.interpolation
    if facts.resize == "squash":
        return resize(image, (width, height), kernel)
    if height != width:  # openai's rule is for squares; here: the smallest that covers the crop
        scale = max(height / image.height, width / image.width)
        whole = max(width, round(image.width * scale)), max(height, round(image.height * scale))
    elif image.width <= image.height:
        whole = width, int(height * image.height / image.width)
    else:
        whole = int(width * image.width / image.height), height
    left, top = (round((whole[0] - width) / 2.0), round((whole[1] - height) / 2.0))
    box = (left, top, left + width, top + height)
    if whole[0] * whole[1] <= _ROOMY * width * height:
        return resize(image, whole, kernel).crop(box)
    if image.mode in MODES and kernel in KERNELS:
        return resize_long(image, whole, box, kernel)
    if whole[0] * whole[1] > limits.pixels:
        why = f"it is so long that it needs {whole[0]} x {whole[1]} pixels"
        raise bad(name, f"{why}; crop it, or use mode='exact' with bicubic or bilinear")
    return resize(image, whole, kernel).crop(box)


def _normalise(pixels: NDArray[np.uint8], facts: PreprocessFacts) -> NDArray[np.float32]:
    """(h, w, 3) bytes -> (3, h, w) float32: (byte / 255 - mean) / std, each step in float32."""
    values = np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32)
    values /= np.float32(255)
    values -= np.array(facts.mean, np.float32)[:, None, None]
    values /= np.array(facts.std, np.float32)[:, None, None]
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
    the picture as people see it, "reference" the original with its oversights. Returns
    (3, height, width) float32, normalised. Raises PictureError; ValueError for another mode.
    """
    if mode not in ("exact", "reference"):
        raise ValueError(f"mode must be 'exact' or 'reference', not {mode!r}")
    name, image = name_of(source), decode(source, limits)
    try:
        with quiet:
            image = _plain(upright(image), name) if mode == "exact" else image
            pixels = np.asarray(_fit(image, facts, name, limits).convert("RGB"))
    except PictureError:
        raise
    except Exception as error:
        raise bad(name, f"{image.mode} cannot be resized in mode {mode!r}: {error}") from error
    return _normalise(pixels, facts)


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
