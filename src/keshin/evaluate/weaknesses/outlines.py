"""Flat shapes as polygons about the origin, y downwards; an outline knows its area."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

Point = tuple[float, float]
Outline = tuple[Point, ...]
ROUND = 72
"""Corners of what is round."""


def regular(corners: int, *, inner: float = 1.0, turn: float = 0.0) -> Outline:
    """A regular polygon with a corner at the top; with ``inner`` < 1 a star of so many points."""
    steps = corners if inner == 1 else 2 * corners
    return tuple(
        (radius * math.sin(angle), -radius * math.cos(angle))
        for step in range(steps)
        for angle in [2 * math.pi * step / steps + turn]
        for radius in [1.0 if step % 2 == 0 or inner == 1 else inner]
    )


def box(width: float, height: float) -> Outline:
    """A rectangle."""
    x, y = width / 2, height / 2
    return ((-x, -y), (x, -y), (x, y), (-x, y))


def cross(arm: float = 0.34) -> Outline:
    """A plus sign whose bars are ``arm`` of its height."""
    near, far = arm, 1.0
    return (
        (-near, -far), (near, -far), (near, -near), (far, -near), (far, near), (near, near),
        (near, far), (-near, far), (-near, near), (-far, near), (-far, -near), (-near, -near),
    )  # fmt: skip


def heart() -> Outline:
    """The usual curve, upright."""
    angles = [2 * math.pi * step / ROUND for step in range(ROUND)]
    return tuple(
        (
            math.sin(t) ** 3,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16,
        )
        for t in angles
    )


def scaled(outline: Outline, x: float, y: float) -> Outline:
    """Stretched along the axes."""
    return tuple((x * px, y * py) for px, py in outline)


def turned(outline: Outline, angle: float) -> Outline:
    """Turned by an angle in radians."""
    c, s = math.cos(angle), math.sin(angle)
    return tuple((c * x - s * y, s * x + c * y) for x, y in outline)


OUTLINES: dict[str, Callable[[], Outline]] = {
    "circle": lambda: regular(ROUND),
    "oval": lambda: scaled(regular(ROUND), 1.0, 0.55),
    "square": lambda: box(1, 1),
    "rectangle": lambda: box(1.9, 1),
    "triangle": lambda: regular(3),
    "pentagon": lambda: regular(5),
    "hexagon": lambda: regular(6),
    "star": lambda: regular(5, inner=0.42),
    "star with five points": lambda: regular(5, inner=0.42),
    "star with six points": lambda: regular(6, inner=0.55),
    "heart": heart,
    "cross": cross,
    "letter X": lambda: turned(cross(0.24), math.pi / 4),
}
"""Names of shapes, as the tables and prompts say them."""


@cache
def unit(name: str) -> Outline:
    """The outline with area 1."""
    outline = OUTLINES[name]()
    side = math.sqrt(area(outline))
    return scaled(outline, 1 / side, 1 / side)


@cache
def reach(name: str) -> float:
    """How far the outline of area 1 reaches from its middle, however it is turned."""
    return max(math.hypot(x, y) for x, y in unit(name))


def area(outline: Outline) -> float:
    """Of a polygon without crossings."""
    following = (*outline[1:], outline[0])
    return abs(sum(x * v - u * y for (x, y), (u, v) in zip(outline, following, strict=True))) / 2
