"""Resize and crop a decoded picture to what a tower sees: exactly as the original, or fast.

``fast`` asks the JPEG decoder for a half, a quarter or an eighth of the picture, which it computes
from the low frequencies alone, and lets Pillow average whole blocks of what is much too large. Two
things keep it near: the picture stays at least ``MARGIN`` times as large as needed, so that the
antialiased resize still sees the frequencies that it keeps, and the crop is computed from the
size in the header. (A quarter of 2,250 rows is 563 rows of which the last is half filled: taking
those for the whole shifts everything, 30 times the error that the decoder makes.)
"""

from __future__ import annotations

from PIL import Image

from keshin.core.config import PreprocessFacts
from keshin.core.picture_files import Limits, bad
from keshin.core.resample import KERNELS, MODES, SWAPS, resize, resize_long, resize_turned

MARGIN = 2.0
GAP = 3.0
"""Blocks are averaged only where at least this many times the pixels needed are left."""
_ROOMY = 64  # a resized picture may be this many times the crop before only a strip is computed
_T = Image.Transpose
_FROM_RIGHT = (_T.FLIP_LEFT_RIGHT, _T.ROTATE_180, _T.ROTATE_90, _T.TRANSVERSE)
_FROM_BOTTOM = (_T.FLIP_TOP_BOTTOM, _T.ROTATE_180, _T.ROTATE_270, _T.TRANSVERSE)
Size = tuple[int, int]
Box = tuple[float, float, float, float]


def plan(size: Size, facts: PreprocessFacts) -> tuple[Size, tuple[int, int, int, int]]:
    """(width, height) of the resized picture and the box that is cut from it, with the rounding of
    torchvision, for an upright picture of ``size`` (width, height)."""
    (height, width) = facts.size
    short = facts.shorter or width
    if facts.resize == "squash":
        return (width, height), (0, 0, width, height)
    if height != width:  # openai's rule is for squares; here: the smallest that covers the crop
        scale = max(height / size[1], width / size[0])
        whole = max(width, round(size[0] * scale)), max(height, round(size[1] * scale))
    elif size[0] <= size[1]:
        whole = short, int(short * size[1] / size[0])
    else:
        whole = int(short * size[0] / size[1]), short
    left, top = (round((whole[0] - width) / 2.0), round((whole[1] - height) / 2.0))
    return whole, (left, top, left + width, top + height)


def fit(
    image: Image.Image,
    facts: PreprocessFacts,
    name: str,
    limits: Limits,
    turn: Image.Transpose | None = None,
) -> Image.Image:
    """Turn, resize and crop to ``facts.size`` with the bits of the original."""
    whole, box = plan(turned_size(image.size, turn), facts)
    (height, width), kernel = facts.size, facts.interpolation
    if whole[0] * whole[1] <= _ROOMY * width * height:
        if turn is None:
            return resize(image, whole, kernel).crop(box)
        return resize_turned(image, whole, kernel, turn).crop(box)
    image = image if turn is None else image.transpose(turn)
    if image.mode in MODES and kernel in KERNELS:
        return resize_long(image, whole, box, kernel)
    if whole[0] * whole[1] > limits.pixels:
        why = f"it is so long that it needs {whole[0]} x {whole[1]} pixels"
        raise bad(name, f"{why}; crop it, or use mode='exact' with bicubic or bilinear")
    return resize(image, whole, kernel).crop(box)


def is_large(size: Size, facts: PreprocessFacts, times: float = MARGIN) -> bool:
    """Whether both sides are so many times as long as the tower needs, however it is turned."""
    return min(size) >= times * (facts.shorter or max(facts.size))


def draft(image: Image.Image, facts: PreprocessFacts) -> int:
    """Ask the decoder of a JPEG that is not yet decoded for less; returns 1, 2, 4 or 8: by how much
    both sides will be divided, rounded up."""
    if not hasattr(image, "draft") or image.format not in ("JPEG", "MPO"):
        return 1
    wide, high = image.size
    for part in (8, 4, 2):
        if is_large(image.size, facts, MARGIN * part):
            image.draft(None, (wide // part, high // part))
            return part if image.size == (-(-wide // part), -(-high // part)) else 1
    return 1


def fit_fast(
    image: Image.Image, full: Size, part: int, facts: PreprocessFacts, turn: Image.Transpose | None
) -> Image.Image:
    """Crop, resize and turn in as few steps as there are; ``full`` is the (width, height) that the
    file has, of which ``image`` is one ``part``-th."""
    size = turned_size(full, turn)
    whole, box = plan(size, facts)
    across, down = size[0] / whole[0], size[1] / whole[1]
    source = stored_box(
        (box[0] * across, box[1] * down, box[2] * across, box[3] * down), full, turn
    )
    source = tuple(side / part for side in source)  # type: ignore[assignment]  # still four
    height, width = facts.size
    small = image.resize(
        turned_size((width, height), turn),
        Image.Resampling[facts.interpolation.upper()],
        box=(source[0], source[1], min(source[2], image.width), min(source[3], image.height)),
        reducing_gap=GAP,
    )
    return small if turn is None else small.transpose(turn)


def turned_size(size: Size, turn: Image.Transpose | None) -> Size:
    """(width, height) after the turn; the same rule leads back."""
    return (size[1], size[0]) if turn in SWAPS else size


def stored_box(box: Box, full: Size, turn: Image.Transpose | None) -> Box:
    """Where a box of the upright picture lies in the picture as it is stored."""
    if turn is None:
        return box
    left, top, right, bottom = box
    if turn in SWAPS:  # the columns of one are the rows of the other
        left, top, right, bottom = top, left, bottom, right
    if turn in _FROM_RIGHT:
        left, right = full[0] - right, full[0] - left
    if turn in _FROM_BOTTOM:
        top, bottom = full[1] - bottom, full[1] - top
    return left, top, right, bottom
