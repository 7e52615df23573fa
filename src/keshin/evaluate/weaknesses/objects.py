"""Everyday things as a child's book draws them, each in a square about (x, y)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from keshin.evaluate.weaknesses.canvas import INK, Canvas
from keshin.evaluate.weaknesses.outlines import Point
from keshin.evaluate.weaknesses.tables import Colour

LINE = 0.022
YELLOW: Colour = (250, 208, 40)
RED: Colour = (212, 52, 48)
GREEN: Colour = (58, 152, 70)
BLUE: Colour = (62, 124, 214)
BROWN: Colour = (136, 88, 50)
WHITE: Colour = (255, 255, 255)
GREY: Colour = (172, 178, 186)
ORANGE: Colour = (240, 140, 40)
PINK: Colour = (236, 120, 170)


@dataclass(frozen=True)
class Pen:
    """Paints in a square from -1 to 1 that lies at (x, y) and is ``size`` wide."""

    canvas: Canvas
    x: float
    y: float
    size: float

    def at(self, x: float, y: float) -> Point:
        """A place of the square on the canvas."""
        return self.x + x * self.size / 2, self.y + y * self.size / 2

    def poly(self, *points: Point, fill: Colour) -> None:
        """A polygon with an outline."""
        self.canvas.polygon([self.at(*p) for p in points], fill, LINE * self.size)

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        """An ellipse with an outline."""
        half = self.size / 2
        self.canvas.ellipse(*self.at(x, y), rx * half, ry * half, fill, LINE * self.size)

    def line(self, *points: Point, width: float = 1.0, fill: Colour = INK) -> None:
        """A line; ``width`` in outlines."""
        self.canvas.line([self.at(*p) for p in points], width * LINE * self.size, fill)

    def arc(self, x: float, y: float, rx: float, ry: float, start: float, end: float) -> None:
        """A part of an ellipse, in degrees."""
        half = self.size / 2
        self.canvas.arc(*self.at(x, y), rx * half, ry * half, start, end, 2 * LINE * self.size)


def sun(pen: Pen) -> None:
    """A disc and its rays."""
    for step in range(12):
        angle = math.pi * step / 6
        x, y = math.sin(angle), math.cos(angle)
        pen.line((0.62 * x, 0.62 * y), (0.95 * x, 0.95 * y), width=3.5, fill=ORANGE)
    pen.oval(0, 0, 0.52, 0.52, YELLOW)


def house(pen: Pen) -> None:
    """Walls, a roof, a door and windows."""
    pen.poly((0.4, -0.75), (0.62, -0.75), (0.62, -0.2), (0.4, -0.2), fill=GREY)
    pen.poly((-0.7, -0.1), (0.7, -0.1), (0.7, 0.9), (-0.7, 0.9), fill=(248, 226, 184))
    pen.poly((-0.92, -0.1), (0, -0.92), (0.92, -0.1), fill=RED)
    pen.poly((-0.18, 0.3), (0.18, 0.3), (0.18, 0.9), (-0.18, 0.9), fill=BROWN)
    for x in (-0.46, 0.46):
        pen.poly((x - 0.16, 0.1), (x + 0.16, 0.1), (x + 0.16, 0.42), (x - 0.16, 0.42), fill=BLUE)
        pen.line((x, 0.1), (x, 0.42))
        pen.line((x - 0.16, 0.26), (x + 0.16, 0.26))


def tree(pen: Pen) -> None:
    """A trunk and leaves."""
    pen.poly((-0.14, 0.1), (0.14, 0.1), (0.2, 0.95), (-0.2, 0.95), fill=BROWN)
    for x, y, r in ((-0.4, -0.05, 0.38), (0.4, -0.05, 0.38), (0, -0.5, 0.44), (0, -0.1, 0.42)):
        pen.canvas.ellipse(*pen.at(x, y), r * pen.size / 2, r * pen.size / 2, GREEN)


def car(pen: Pen) -> None:
    """From the side."""
    pen.poly((-0.55, -0.05), (-0.32, -0.48), (0.32, -0.48), (0.6, -0.05), fill=(190, 224, 244))
    pen.line((0, -0.48), (0, -0.05), width=2)
    pen.poly(
        (-0.95, 0.4), (-0.95, 0.02), (-0.55, -0.08), (0.6, -0.08), (0.95, 0.08), (0.95, 0.4),
        fill=RED,
    )  # fmt: skip
    for x in (-0.52, 0.52):
        pen.oval(x, 0.42, 0.23, 0.23, INK)
        pen.oval(x, 0.42, 0.1, 0.1, GREY)
    pen.oval(0.86, 0.14, 0.06, 0.06, YELLOW)


def fish(pen: Pen) -> None:
    """Swims to the left."""
    pen.poly((0.4, 0), (0.95, -0.45), (0.82, 0), (0.95, 0.45), fill=ORANGE)
    pen.poly((-0.15, -0.3), (0.25, -0.62), (0.3, -0.2), fill=ORANGE)
    pen.oval(-0.15, 0, 0.72, 0.42, ORANGE)
    pen.arc(-0.62, 0, 0.3, 0.36, -60, 60)
    pen.oval(-0.6, -0.12, 0.09, 0.09, WHITE)
    pen.oval(-0.61, -0.12, 0.035, 0.035, INK)


def flower(pen: Pen) -> None:
    """Petals, a stem and two leaves."""
    pen.line((0, -0.2), (0, 0.95), width=4, fill=GREEN)
    pen.poly((0, 0.75), (-0.45, 0.4), (-0.3, 0.72), fill=GREEN)
    pen.poly((0, 0.75), (0.45, 0.4), (0.3, 0.72), fill=GREEN)
    for step in range(6):
        angle = math.pi * step / 3
        pen.oval(0.32 * math.sin(angle), -0.42 + 0.32 * math.cos(angle), 0.24, 0.24, PINK)
    pen.oval(0, -0.42, 0.2, 0.2, YELLOW)


def umbrella(pen: Pen) -> None:
    """Open, with a crook."""
    pen.line((0, -0.85), (0, 0.72), width=3, fill=BROWN)
    pen.arc(0.16, 0.72, 0.16, 0.2, 0, 180)
    rim = [(-0.9 + 0.3 * step, 0.0 if step % 2 == 0 else -0.12) for step in range(7)]
    dome = [
        (0.9 * math.cos(math.pi * step / 24), -0.82 * math.sin(math.pi * step / 24))
        for step in range(25)
    ]
    pen.poly(*rim, *dome, fill=BLUE)
    for x in (-0.3, 0.3):
        pen.line((0, -0.82), (x, -0.02))


def cup(pen: Pen) -> None:
    """With a handle and steam."""
    pen.oval(0.52, 0.2, 0.34, 0.32, WHITE)
    pen.oval(0.52, 0.2, 0.2, 0.18, GREY)
    pen.poly((-0.7, -0.25), (0.55, -0.25), (0.42, 0.75), (-0.57, 0.75), fill=WHITE)
    pen.oval(-0.075, -0.25, 0.625, 0.14, BROWN)
    for x in (-0.35, -0.05, 0.25):
        pen.line((x, -0.5), (x + 0.08, -0.62), (x - 0.06, -0.76), (x + 0.04, -0.92), width=2)


def key(pen: Pen) -> None:
    """A bow, a shaft and two teeth."""
    gold = (222, 176, 40)
    pen.poly((-0.2, -0.09), (0.92, -0.09), (0.92, 0.09), (-0.2, 0.09), fill=gold)
    for x in (0.5, 0.76):
        pen.poly((x, 0.09), (x + 0.14, 0.09), (x + 0.14, 0.4), (x, 0.4), fill=gold)
    pen.oval(-0.5, 0, 0.42, 0.42, gold)
    pen.oval(-0.5, 0, 0.19, 0.19, WHITE)


def clock(pen: Pen) -> None:
    """A dial at ten past ten."""
    pen.oval(0, 0, 0.92, 0.92, GREY)
    pen.oval(0, 0, 0.78, 0.78, WHITE)
    for step in range(12):
        angle = math.pi * step / 6
        x, y = math.sin(angle), math.cos(angle)
        pen.line((0.62 * x, 0.62 * y), (0.72 * x, 0.72 * y), width=2)
    pen.line((0, 0), (-0.38, -0.24), width=4)
    pen.line((0, 0), (0.52, -0.3), width=3)
    pen.oval(0, 0, 0.06, 0.06, INK)


def boat(pen: Pen) -> None:
    """A hull and two sails."""
    pen.line((0, -0.9), (0, 0.4), width=3)
    pen.poly((0.06, -0.85), (0.7, 0.25), (0.06, 0.25), fill=WHITE)
    pen.poly((-0.06, -0.65), (-0.06, 0.25), (-0.55, 0.25), fill=WHITE)
    pen.poly((-0.9, 0.38), (0.9, 0.38), (0.6, 0.8), (-0.62, 0.8), fill=BROWN)
    waves = [(-0.98 + 0.14 * step, 0.88 + 0.06 * (step % 2)) for step in range(15)]
    pen.line(*waves, width=2.5, fill=BLUE)


def snowman(pen: Pen) -> None:
    """Two balls, a hat and a carrot."""
    pen.line((-0.4, 0.1), (-0.85, -0.2), width=2, fill=BROWN)
    pen.line((0.4, 0.1), (0.85, -0.2), width=2, fill=BROWN)
    pen.oval(0, 0.42, 0.52, 0.52, WHITE)
    pen.oval(0, -0.3, 0.36, 0.36, WHITE)
    pen.poly((-0.42, -0.58), (0.42, -0.58), (0.42, -0.66), (-0.42, -0.66), fill=INK)
    pen.poly((-0.26, -0.66), (0.26, -0.66), (0.26, -0.96), (-0.26, -0.96), fill=INK)
    pen.poly((0, -0.3), (0.34, -0.22), (0, -0.2), fill=ORANGE)
    for x, y in ((-0.13, -0.4), (0.13, -0.4), (0, 0.2), (0, 0.42), (0, 0.64)):
        pen.oval(x, y, 0.045, 0.045, INK)


OBJECTS: dict[str, Callable[[Pen], None]] = {
    "sun": sun, "house": house, "tree": tree, "car": car, "fish": fish, "flower": flower,
    "umbrella": umbrella, "cup": cup, "key": key, "clock": clock, "boat": boat, "snowman": snowman,
}  # fmt: skip
"""Names as the tables say them."""
