"""Charts as SVG text: small, sharp in print, in the colours of the page, light or dark.

No drawing library: what is needed is lines, rectangles and text. All text is escaped here and only
here, since labels and file names are not to be trusted. Colours are classes, so that one style
sheet serves screen, dark screen and paper; marks differ in shape too, for readers who do not see
the colours apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from unicodedata import east_asian_width

Point = tuple[float, float]

HERE = Path(__file__).parent
STYLE = (HERE / "chart.css").read_text(encoding="utf-8")
DARK = (HERE / "chart-dark.css").read_text(encoding="utf-8")
LEVELS = 6
"""Steps of the heat of a confusion matrix."""


@dataclass
class Canvas:
    """A drawing of a size, to which shapes are added in the order in which they are painted."""

    width: float
    height: float
    label: str
    """What the drawing shows, for those who do not see it."""
    parts: list[str] = field(default_factory=list)

    def line(self, start: Point, end: Point, css: str) -> None:
        """From point to point."""
        (x1, y1), (x2, y2) = start, end
        self.parts.append(f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" class="{css}"/>')  # fmt: skip  # noqa: E501

    def rect(self, x: float, y: float, w: float, h: float, css: str, title: str = "") -> None:
        """A rectangle; ``title`` is shown when the mouse rests on it."""
        shape = f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(max(w, 0))}" height="{_n(max(h, 0))}" class="{css}"'  # noqa: E501
        self.parts.append(f"{shape}>{_title(title)}</rect>" if title else f"{shape}/>")

    def text(
        self, x: float, y: float, said: str, css: str = "", anchor: str = "start", turn: float = 0
    ) -> None:
        """Text whose base line begins, ends or is centred at a point, turned by degrees."""
        turned = f' transform="rotate({_n(turn)} {_n(x)} {_n(y)})"' if turn else ""
        self.parts.append(
            f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}" class="{css}"{turned}>'
            f"{escape(clean(said))}</text>"
        )

    def path(self, points: Sequence[Point], css: str, *, closed: bool = False) -> None:
        """A line through points, or the area that they enclose."""
        if points:
            steps = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
            self.parts.append(f'<path d="M{steps}{"Z" if closed else ""}" class="{css}"/>')

    def cells(self, places: Sequence[tuple[int, int]], size: float, at: Point, css: str) -> None:
        """Many equal squares as one shape: columns and rows of a grid that begins at a point."""
        steps = "".join(f"M{x} {y}h1v1h-1z" for x, y in places)
        move = f"translate({_n(at[0])} {_n(at[1])}) scale({_n(size, 4)})"
        self.parts.append(f'<path d="{steps}" transform="{move}" class="{css}"/>')

    def mark(self, x: float, y: float, kind: int, css: str, title: str = "") -> None:
        """A small sign: 0 disc, 1 square, 2 diamond, 3 triangle."""
        r = 4.2
        shapes: dict[int, list[Point]] = {
            1: [(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)],
            2: [(x, y - r - 1.5), (x + r + 1, y), (x, y + r + 1.5), (x - r - 1, y)],
            3: [(x, y - r - 1), (x + r + 0.6, y + r), (x - r - 0.6, y + r)],
        }
        if kind in shapes:
            steps = "L".join(f"{_n(px)} {_n(py)}" for px, py in shapes[kind])
            shape = f'<path d="M{steps}Z" class="{css}"'
        else:
            shape = f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{r}" class="{css}"'
        self.parts.append(
            f"{shape}>{_title(title)}</{'path' if kind in shapes else 'circle'}>"
            if title
            else f"{shape}/>"
        )

    def svg(self) -> str:
        """The drawing, for a page that has ``STYLE``."""
        return (
            f'<svg class="chart" role="img" '
            f'width="{_n(self.width)}" height="{_n(self.height)}" '
            f'viewBox="0 0 {_n(self.width)} {_n(self.height)}" '
            f'aria-label="{escape(clean(self.label))}">{"".join(self.parts)}</svg>'
        )


def alone(svg: str) -> str:
    """The same drawing as a file of its own."""
    svg = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    start = svg.index(">") + 1
    style = f"<style>{STYLE}@media (prefers-color-scheme:dark){{{DARK}}}</style>"
    back = '<rect width="100%" height="100%" style="fill:var(--paper)"/>'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{svg[:start]}{style}{back}{svg[start:]}\n'


@dataclass(frozen=True)
class Scale:
    """Values to places along a line, straight or by doublings."""

    low: float
    high: float
    start: float
    end: float
    doubling: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value."""
        low, high, value = (
            (math.log2(self.low), math.log2(self.high), math.log2(max(value, 1e-9)))
            if self.doubling
            else (self.low, self.high, value)
        )
        span = high - low
        return self.start + (self.end - self.start) * ((value - low) / span if span else 0.5)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values within the scale, about so many."""
        return ticks(self.low, self.high, about)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values from low to high."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    step = 10 ** math.floor(math.log10(span / about))
    for factor in (1, 2, 5, 10):
        if span / (step * factor) <= about:
            step *= factor
            break
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def clean(said: str) -> str:
    """Without characters that XML does not allow, that are not text, or that turn the direction of
    what follows."""
    hidden = {0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
    return "".join(
        c if (c.isprintable() and ord(c) not in hidden) else ("�" if ord(c) > 31 else " ")
        for c in said
    )


def fitted(said: str, width: float, size: float = 12) -> str:
    """As much of a text as fits into a width, with an ellipsis if it is cut. A wide sign (kanji,
    kana) takes twice the room of a narrow one."""
    said, room, kept = clean(said), width / (size * 0.6), ""
    if _room(said) <= room:
        return said
    for c in said:
        if _room(kept + c) > room - 1:
            break
        kept += c
    return kept.rstrip() + "…"


def text_width(said: str, size: float = 12) -> float:
    """About how wide a text is."""
    return _room(clean(said)) * size * 0.6


def _room(said: str) -> int:
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in said)


def _n(value: float, digits: int = 1) -> str:
    """A number in few characters."""
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _title(said: str) -> str:
    return f"<title>{escape(clean(said))}</title>"
