"""Sentences drawn as pictures, as the paper describes Rendered SST2: black on white, 448 x 448."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from keshin.core.pictures import Picture
from keshin.errors import DataError
from keshin.evaluate.sets.labelled import Labelled
from keshin.evaluate.sets.lazy import Lazy
from keshin.evaluate.sets.readers.lists import csv_rows
from keshin.evaluate.sets.readers.own import Own, needed

SIDE = 448
MARGIN = 16
TYPE_SIZES = range(40, 9, -2)
"""Tried from the largest on until the sentence fits."""


def read_sentences(
    root: Path, split: str, *, labels: Sequence[str] = (), file: str, folder: str = ""
) -> Labelled:
    """A table with tabs and the columns ``sentence`` and ``label`` (0, 1, ... in the order of the
    labels, or a label itself)."""
    path = needed(root, file)
    texts: list[str] = []
    said: list[str] = []
    for number, row in csv_rows(path, "\t"):
        text, label = row.get("sentence"), row.get("label")
        if not text or not label:
            raise DataError(f"Row {number} of {path} has no sentence or no label.")
        texts.append(text)
        known = label.isascii() and label.isdigit() and int(label) < len(labels)
        said.append(labels[int(label)] if known else label)

    def get(row: int) -> Picture:
        return draw_sentence(texts[row])

    return Own(labels).data(Lazy(get, len(texts)), said, path, ids=texts)


def draw_sentence(text: str, side: int = SIDE) -> Image.Image:
    """A picture of a text in Pillow's own typeface, as large as fits, broken between words."""
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    width = side - 2 * MARGIN
    block, font = "", ImageFont.load_default(TYPE_SIZES[-1])
    for size in TYPE_SIZES:
        font = ImageFont.load_default(size)
        block = "\n".join(_lines(text, width, font, draw))
        if draw.multiline_textbbox((0, 0), block, font)[3] <= width:
            break
    draw.multiline_text((MARGIN, MARGIN), block, "black", font)
    return image


def _lines(
    text: str,
    width: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    draw: ImageDraw.ImageDraw,
) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or draw.textlength(longer, font) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
