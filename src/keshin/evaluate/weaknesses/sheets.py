"""Contact sheets: examples of a task with what is right about each, for people to judge."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from keshin.evaluate.weaknesses.canvas import INK
from keshin.evaluate.weaknesses.scenes import Scene

SIDE = 224
LINE = 34
SIZE = 13


def sheet(examples: Sequence[tuple[Scene, str]], columns: int = 4) -> Image.Image:
    """The scenes in rows, each with its caption below."""
    font = ImageFont.load_default(SIZE)
    columns = min(columns, len(examples))
    rows = -(-len(examples) // columns)
    page = Image.new("RGB", (columns * (SIDE + 8), rows * (SIDE + LINE + 8)), (255, 255, 255))
    draw = ImageDraw.Draw(page)
    for index, (scene, said) in enumerate(examples):
        x, y = index % columns * (SIDE + 8) + 4, index // columns * (SIDE + LINE + 8) + 4
        page.paste(picture(scene, SIDE), (x, y))
        draw.rectangle([x - 1, y - 1, x + SIDE, y + SIDE], outline=(200, 200, 204))
        for line, text in enumerate(_lines(said)):
            draw.text((x, y + SIDE + 2 + line * (SIZE + 3)), text, INK, font=font)
    return page


def picture(scene: Scene, side: int) -> Image.Image:
    """A scene as a small picture."""
    return Image.fromarray(scene.paint()).resize((side, side), Image.Resampling.LANCZOS)


def png(scene: Scene, side: int) -> bytes:
    """The same as a PNG file."""
    stream = io.BytesIO()
    picture(scene, side).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _lines(text: str, width: int = 34) -> list[str]:
    """Two lines at most, broken at spaces."""
    words, lines = text.split(), [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines[:2]
