"""Pillow's antialiased resize with the same bits in every Pillow, and for very long pictures.

The original transform was made when Pillow always resized the rows first, then the columns, with
bytes between. Pillow 12.2 and newer start with the columns where a picture is tall and shrinks
(13.0: also 448 x 1,120 to 224 x 560), which moves values by some levels. So ``resize`` asks for
the two passes one by one.

A picture of 1 x 10,000 pixels, scaled to a short side of 224, has 224 x 2,240,000 pixels, of which
a crop keeps 224 x 224. ``Image.resize(box=...)`` is no way out: it takes 32-bit floats and differs
by a level. So ``resize_long`` computes the long axis with the integer arithmetic of Pillow's 8-bit
resize (weights of 22 bits, sums rounded and clipped to a byte after each pass).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MODES = frozenset({"L", "RGB", "CMYK", "YCbCr"})
SWAPS = frozenset(Image.Transpose[name] for name in (
    "ROTATE_90", "ROTATE_270", "TRANSPOSE", "TRANSVERSE"
))  # fmt: skip
"""The turns that exchange width and height."""
_PREMULTIPLIED = {"LA": "La", "RGBA": "RGBa"}


def resize(image: Image.Image, size: tuple[int, int], kernel: str) -> Image.Image:
    """``image.resize(size)`` as (width, height) in pixels, rows first in every version of Pillow.

    ``kernel``: "bicubic", "bilinear", "lanczos" or "nearest"; palette and 1-bit images are always
    resized by "nearest", colours with alpha are weighted by it, as Pillow does.
    """
    kind = Image.Resampling[kernel.upper()]
    if image.size == size or kernel == "nearest" or image.mode in ("1", "P"):
        return image.resize(size, kind)
    if image.mode in _PREMULTIPLIED:
        return resize(image.convert(_PREMULTIPLIED[image.mode]), size, kernel).convert(image.mode)
    return image.resize((size[0], image.height), kind).resize(size, kind)


def _bicubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    inner, outer = (1.5 * x - 2.5) * x * x + 1.0, (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    return np.where(x < 1.0, inner, np.where(x < 2.0, outer, 0.0))


def _bilinear(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1.0 - x, 0.0)


KERNELS = {"bicubic": (_bicubic, 2.0), "bilinear": (_bilinear, 1.0)}  # function of |x|, support


def _taps(
    length: int, scaled: int, start: int, stop: int, kernel: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Source positions and 22-bit weights, both (taps, stop - start), of the places start..stop
    of an axis resized from ``length`` to ``scaled`` pixels, computed as Pillow does."""
    function, reach = KERNELS[kernel]
    scale = length / scaled
    widen = max(scale, 1.0)
    centre = (np.arange(start, stop) + 0.5) * scale
    first = np.maximum((centre - reach * widen + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + reach * widen + 0.5).astype(np.int64), length)
    at = first + np.arange(int((last - first).max()))[:, None]
    weights = np.where(at < last, function(abs((at - centre + 0.5) * (1.0 / widen))), 0.0)
    weights /= np.add.reduce(weights, axis=0)
    fixed = np.trunc(weights * (1 << 22) + np.copysign(0.5, weights))
    return np.minimum(at, length - 1), fixed.astype(np.int64)


@lru_cache(maxsize=256)  # a camera makes thousands of pictures of one size
def _mirrors(length: int, scaled: int, kernel: str) -> bool:
    """Whether this axis gives the same bits when it is resized from the other end: whether the
    rounded weights are their own mirror image, which rounding at a tie may break."""
    at, weights = _taps(length, scaled, 0, scaled, kernel)
    column = np.broadcast_to(np.arange(scaled), at.shape)[weights != 0]
    at, weights = at[weights != 0], weights[weights != 0]
    places, mirrored = column * length + at, (scaled - 1 - column) * length + (length - 1 - at)
    one, other = np.argsort(places), np.argsort(mirrored)
    return bool(
        np.array_equal(places[one], mirrored[other])
        and np.array_equal(weights[one], weights[other])
    )


def resize_turned(
    image: Image.Image, whole: tuple[int, int], kernel: str, turn: Image.Transpose
) -> Image.Image:
    """``resize(image.transpose(turn), whole, kernel)``, the same bits, but what is turned is the
    small picture where that is possible: turning 12 megapixels takes as long as half of decoding.

    The rows of the turned picture are the columns of this one, so the columns come first here.
    """
    swaps = turn in SWAPS
    width, height = image.size[::-1] if swaps else image.size
    mirrors = turn == Image.Transpose.TRANSPOSE or (
        kernel in KERNELS
        and _mirrors(width, whole[0], kernel)
        and _mirrors(height, whole[1], kernel)
    )
    if not mirrors or image.mode not in MODES or whole[0] * whole[1] > width * height:
        return resize(image.transpose(turn), whole, kernel)
    if not swaps:
        return resize(image, whole, kernel).transpose(turn)
    kind = Image.Resampling[kernel.upper()]
    return image.resize((height, whole[0]), kind).resize(whole[::-1], kind).transpose(turn)


def resize_long(
    image: Image.Image, whole: tuple[int, int], box: tuple[int, int, int, int], kernel: str
) -> Image.Image:
    """``resize(image, whole, kernel).crop(box)``, the same bits: Pillow resizes the short axis, the
    long one is computed here, only where the crop keeps it.

    Arguments: an image of a mode in ``MODES``, ``whole`` (width, height) in pixels, ``box`` (left,
    top, right, bottom) within it, ``kernel`` one of ``KERNELS``. Returns the cropped image.
    """
    left, top, right, bottom = box
    wide = whole[0] > whole[1]
    length, start, stop = (image.width, left, right) if wide else (image.height, top, bottom)
    at, weights = _taps(length, max(whole), start, stop, kernel)
    low, high = int(at.min()), int(at.max()) + 1
    if wide:  # rows first, then columns, as in resize
        source = np.asarray(image.crop((low, 0, high, image.height)))
        source = source.reshape(image.height, high - low, -1).transpose(1, 0, 2)
    else:
        short = resize(image.crop((0, low, image.width, high)), (whole[0], high - low), kernel)
        source = np.asarray(short.crop((left, 0, right, high - low)))
        source = source.reshape(high - low, right - left, -1)
    sums = np.full((stop - start, *source.shape[1:]), 1 << 21, np.int64)
    for index, weight in zip(at, weights, strict=True):
        sums += weight[:, None, None] * source[index - low]
    pixels = (sums >> 22).clip(0, 255).astype(np.uint8)
    pixels = pixels.transpose(1, 0, 2) if wide else pixels
    size = pixels.shape[1], pixels.shape[0]
    result = Image.frombytes(image.mode, size, pixels.tobytes())
    if wide:
        result = resize(result, (size[0], whole[1]), kernel).crop((0, top, size[0], bottom))
    return result
