"""A square picture to paint on: coordinates from 0 to 1, x to the right, y down.

It is painted at twice its size and averaged, so edges are smooth and, since the average is of whole
numbers, equal on every machine that has the same Pillow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from keshin.errors import MissingExtra
from keshin.evaluate.weaknesses.outlines import Outline, Point
from keshin.evaluate.weaknesses.tables import Colour

SIZE = 336
"""Pixels of a side: the largest input of the public CLIP models that are common."""
FINER = 2
WHOLE = SIZE * FINER
Pixels = npt.NDArray[np.uint8]
INK: Colour = (30, 30, 34)


class Canvas:
    """One picture while it is painted."""

    def __init__(self, background: Colour) -> None:
        self.image = Image.new("RGB", (WHOLE, WHOLE), background)
        self._draw = ImageDraw.Draw(self.image)

    def pixels(self) -> Pixels:
        """(SIZE, SIZE, 3)."""
        return np.asarray(self.image.reduce(FINER), np.uint8)

    def polygon(self, points: Sequence[Point], fill: Colour, line: float = 0.0) -> None:
        """A filled polygon; ``line`` is the width of its outline in ink."""
        places = [(x * WHOLE, y * WHOLE) for x, y in points]
        self._draw.polygon(places, fill=fill)
        if line:
            self.line([*points, points[0]], line)

    def shape(self, outline: Outline, x: float, y: float, scale: float, fill: Colour) -> None:
        """An outline about (x, y)."""
        self.polygon([(x + scale * px, y + scale * py) for px, py in outline], fill)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: Colour, line: float = 0.0
    ) -> None:
        """About (x, y) with these radii."""
        box = [(x - rx) * WHOLE, (y - ry) * WHOLE, (x + rx) * WHOLE, (y + ry) * WHOLE]
        width = max(1, round(line * WHOLE)) if line else 0
        self._draw.ellipse(box, fill=fill, outline=INK if line else None, width=width)

    def line(self, points: Sequence[Point], width: float, fill: Colour = INK) -> None:
        """Straight pieces with round joints."""
        places = [(x * WHOLE, y * WHOLE) for x, y in points]
        self._draw.line(places, fill=fill, width=max(1, round(width * WHOLE)), joint="curve")

    def arc(
        self, x: float, y: float, rx: float, ry: float, start: float, end: float, width: float
    ) -> None:
        """A part of an ellipse, in degrees clockwise from the right."""
        box = [(x - rx) * WHOLE, (y - ry) * WHOLE, (x + rx) * WHOLE, (y + ry) * WHOLE]
        self._draw.arc(box, start, end, fill=INK, width=max(1, round(width * WHOLE)))

    def stamp(self, mask: Image.Image, x: float, y: float, ink: Colour) -> None:
        """Ink where the mask is, its middle at (x, y)."""
        left = round(x * WHOLE - mask.width / 2)
        top = round(y * WHOLE - mask.height / 2)
        self.image.paste(Image.new("RGB", mask.size, ink), (left, top), mask)


def written(text: str, face: str, width: float, height: float, turn: float = 0.0) -> Image.Image:
    """A mask of the text, as large as fits into the box, then turned by some degrees.

    ``face``: "plain", "bold", "slanted" or "outlined", of the font that comes with Pillow, or
    "pixels", its bitmap font. Nothing depends on the fonts of the machine.
    """
    mask = _pixel_letters(text) if face == "pixels" else _letters(text, face)
    scale = min(width * WHOLE / mask.width, height * WHOLE / mask.height)
    size = (max(1, round(mask.width * scale)), max(1, round(mask.height * scale)))
    smooth = Image.Resampling.NEAREST if face == "pixels" else Image.Resampling.BOX
    mask = mask.resize(size, smooth)
    return mask.rotate(turn, Image.Resampling.BILINEAR, expand=True) if turn else mask


LETTER = 160
"""Height in pixels at which letters are made, before they are fitted."""
SLANT = 0.28
STROKES = {"bold": 7, "outlined": 10}


def _letters(text: str, face: str) -> Image.Image:
    try:
        font = ImageFont.load_default(LETTER)
    except (ImportError, OSError) as error:
        raise MissingExtra(
            "This Pillow was built without FreeType, so words cannot be drawn. Install the usual "
            "one with: pip install --force-reinstall pillow"
        ) from error
    stroke = STROKES.get(face, 0)
    left, top, right, bottom = map(round, font.getbbox(text, stroke_width=stroke))
    mask = Image.new("L", (right - left + 2, bottom - top + 2))
    draw = ImageDraw.Draw(mask)
    draw.text((1 - left, 1 - top), text, 255, font=font, stroke_width=stroke)
    if face == "outlined":
        draw.text((1 - left, 1 - top), text, 0, font=font)
    if face == "slanted":
        wider = round(mask.height * SLANT)
        lean = (1, SLANT, -wider, 0, 1, 0)
        size = (mask.width + wider, mask.height)
        mask = mask.transform(size, Image.Transform.AFFINE, lean, Image.Resampling.BILINEAR)
    return _cropped(mask)


def _pixel_letters(text: str) -> Image.Image:
    font = ImageFont.load_default_imagefont()
    left, top, right, bottom = map(round, font.getbbox(text))
    mask = Image.new("L", (right - left + 2, bottom - top + 2))
    ImageDraw.Draw(mask).text((0, 0), text, 255, font=font)
    return _cropped(mask)


def _cropped(mask: Image.Image) -> Image.Image:
    return mask.crop(mask.getbbox())
