"""Solid things with light from the upper left: a ball, a cube, a cone, a cylinder.

Each stands with its foot at (x, y) and is ``size`` high and about as wide.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from keshin.evaluate.weaknesses.canvas import Canvas
from keshin.evaluate.weaknesses.tables import Colour

STEPS = 24


def shade(colour: Colour, by: float) -> Colour:
    """Towards white (``by`` > 0) or black (``by`` < 0), at most 1."""
    aim, share = (255, by) if by > 0 else (0, -by)
    red, green, blue = (round(part + (aim - part) * share) for part in colour)
    return red, green, blue


def ball(canvas: Canvas, x: float, y: float, size: float, colour: Colour) -> None:
    """With a highlight."""
    radius = size / 2
    for step in range(STEPS):
        share = step / STEPS  # 0 at the rim, near 1 in the highlight
        canvas.ellipse(
            x - 0.3 * radius * share,
            y - radius - 0.35 * radius * share,
            radius * (1 - share),
            radius * (1 - share),
            shade(colour, -0.35 + 0.35 * min(1, 2.2 * share) + 0.55 * max(0, share - 0.45)),
        )


def cube(canvas: Canvas, x: float, y: float, size: float, colour: Colour) -> None:
    """Seen a little from above and the right."""
    side = size * 0.74
    deep = size - side
    left, right, top = x - size / 2, x - size / 2 + side, y - side
    canvas.polygon([(left, y), (right, y), (right, top), (left, top)], colour)
    canvas.polygon(
        [(left, top), (right, top), (right + deep, top - deep), (left + deep, top - deep)],
        shade(colour, 0.4),
    )
    canvas.polygon(
        [(right, y), (right, top), (right + deep, top - deep), (right + deep, y - deep)],
        shade(colour, -0.4),
    )


def cone(canvas: Canvas, x: float, y: float, size: float, colour: Colour) -> None:
    """With strips from light to dark."""
    rx, ry = 0.45 * size, 0.11 * size
    middle = y - ry
    edge = [_rim(x, middle, rx, ry, step / STEPS) for step in range(STEPS + 1)]
    for step in range(STEPS):
        canvas.polygon([(x, y - size), edge[step], edge[step + 1]], _side(colour, step / STEPS))


def cylinder(canvas: Canvas, x: float, y: float, size: float, colour: Colour) -> None:
    """With strips from light to dark and a light top."""
    rx, ry = 0.36 * size, 0.11 * size
    foot, head = y - ry, y - size + ry
    for step in range(STEPS):
        one, two = _rim(x, foot, rx, ry, step / STEPS), _rim(x, foot, rx, ry, (step + 1) / STEPS)
        up = head - foot
        canvas.polygon(
            [one, two, (two[0], two[1] + up), (one[0], one[1] + up)], _side(colour, step / STEPS)
        )
    canvas.ellipse(x, head, rx, ry, shade(colour, 0.4))


def _rim(x: float, y: float, rx: float, ry: float, share: float) -> tuple[float, float]:
    """The front half of an ellipse, from left to right."""
    angle = math.pi * (1 - share)
    return x + rx * math.cos(angle), y + ry * math.sin(angle)


def _side(colour: Colour, share: float) -> Colour:
    """Light near the left third, dark at the right."""
    return shade(colour, 0.35 - 0.95 * abs(share - 0.3))


SOLIDS: dict[str, Callable[[Canvas, float, float, float, Colour], None]] = {
    "ball": ball,
    "cube": cube,
    "cone": cone,
    "cylinder": cylinder,
}
"""Names as the tables say them."""
