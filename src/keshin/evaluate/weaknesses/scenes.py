"""A scene: what a picture shows, as data, painted when it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from keshin.evaluate.weaknesses.canvas import SIZE, Canvas, Pixels, written
from keshin.evaluate.weaknesses.objects import OBJECTS, Pen
from keshin.evaluate.weaknesses.outlines import turned, unit
from keshin.evaluate.weaknesses.solids import SOLIDS, shade
from keshin.evaluate.weaknesses.tables import Colour, things

HORIZON = 0.3
TILES = 9
ROWS = (0.0, 0.06, 0.14, 0.25, 0.4, 0.62, 1.0)
"""Where the lines of the floor lie between horizon and lower edge."""


@dataclass(frozen=True)
class Item:
    """One thing in a scene."""

    what: str
    """A flat shape (x, y is its middle, ``size`` the root of its area), a solid (x, y is its foot)
    or an everyday object (x, y is its middle)."""
    x: float
    y: float
    size: float
    colour: str = ""
    angle: float = 0.0
    """Of flat shapes, in radians."""


@dataclass(frozen=True)
class Writing:
    """Words in a scene, as large as fits into a box about (x, y)."""

    text: str
    x: float
    y: float
    width: float
    height: float
    ink: Colour
    paper: Colour | None = None
    """The colour of a label behind it."""
    face: str = "plain"
    turn: float = 0.0
    """In degrees."""


@dataclass(frozen=True)
class Scene:
    """Everything that is painted, from the back to the front."""

    background: Colour
    items: tuple[Item, ...] = ()
    writing: Writing | None = None
    floor: bool = False
    """Whether the things stand on a tiled floor that runs to a horizon."""

    def paint(self) -> Pixels:
        """(SIZE, SIZE, 3)."""
        canvas = Canvas(self.background)
        if self.floor:
            _floor(canvas)
        for item in self.items:
            _paint(canvas, item, shadow=self.floor)
        if self.writing:
            _write(canvas, self.writing)
        return canvas.pixels()


def _paint(canvas: Canvas, item: Item, *, shadow: bool) -> None:
    if item.what in SOLIDS:
        if shadow:
            size = item.size
            canvas.ellipse(item.x + 0.06 * size, item.y, 0.52 * size, 0.1 * size, (150, 140, 128))
        SOLIDS[item.what](canvas, item.x, item.y, item.size, things().colours[item.colour])
    elif item.what in OBJECTS:
        OBJECTS[item.what](Pen(canvas, item.x, item.y, item.size))
    else:
        outline = turned(unit(item.what), item.angle)
        canvas.shape(outline, item.x, item.y, item.size, things().colours[item.colour])


def _write(canvas: Canvas, writing: Writing) -> None:
    mask = written(writing.text, writing.face, writing.width, writing.height, writing.turn)
    if writing.paper is not None:
        x, y, w, h = writing.x, writing.y, writing.width, writing.height
        left, right, top, bottom = x - 0.56 * w, x + 0.56 * w, y - 0.7 * h, y + 0.7 * h
        label = [(left, top), (right, top), (right, bottom), (left, bottom)]
        canvas.polygon(label, writing.paper, 1.5 / SIZE)
    canvas.stamp(mask, writing.x, writing.y, writing.ink)


def _floor(canvas: Canvas) -> None:
    """Tiles that grow towards the viewer, below a pale sky."""
    light: Colour = (222, 208, 184)
    canvas.polygon([(0, HORIZON), (1, HORIZON), (1, 1), (0, 1)], light)
    dark = shade(light, -0.14)

    def across(column: int, depth: float) -> float:
        spread = 0.35 + 1.9 * depth
        return 0.5 + (column / TILES - 0.5) * spread * 1.6

    for row, (far, near) in enumerate(pairwise(ROWS)):
        top, bottom = (HORIZON + (1 - HORIZON) * depth for depth in (far, near))
        for column in range(row % 2, TILES, 2):
            canvas.polygon(
                [
                    (across(column, far), top),
                    (across(column + 1, far), top),
                    (across(column + 1, near), bottom),
                    (across(column, near), bottom),
                ],
                dark,
            )
    canvas.line([(0, HORIZON), (1, HORIZON)], 1 / SIZE, shade(light, -0.4))
