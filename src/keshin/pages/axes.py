"""What charts have in common: axes, grids, whiskers, keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keshin.pages.drawing import Canvas, Scale, fitted
from keshin.pages.numbers import percent


def share(value: float) -> str:
    """A tick of an axis of shares."""
    return percent(value, 0)


def names_beside(
    canvas: Canvas, x: float, named: Sequence[tuple[float, str, str]], width: float
) -> None:
    """Names at the ends of lines, moved apart so that none lies on another."""
    last = -100.0
    for height, name, css in sorted(named):
        last = max(height + 4, last + 15)
        canvas.text(x, last, fitted(name, width), css)


def whisker(canvas: Canvas, low: float, high: float, y: float) -> None:
    """An interval, lying."""
    canvas.line((low, y), (high, y), "whisker")
    for end in (low, high):
        canvas.line((end, y - 3), (end, y + 3), "whisker")


def key(canvas: Canvas, x: float, y: float, entries: Sequence[tuple[int, str]]) -> None:
    """Kinds of marks and what each stands for, one below the other."""
    for row, (kind, said) in enumerate(entries):
        canvas.mark(x, y + 17 * row, kind, f"f{kind}")
        canvas.text(x + 12, y + 4 + 17 * row, said)


def grid_x(canvas: Canvas, scale: Scale, top: float, bottom: float) -> None:
    """Upright lines at round shares, which are written below."""
    for value in scale.ticks():
        canvas.line((scale(value), top), (scale(value), bottom), "grid")
        canvas.text(scale(value), bottom + 15, share(value), "soft small", "middle")


def frame(
    canvas: Canvas,
    x: Scale,
    y: Scale,
    below_said: str,
    beside_said: str,
    *,
    xticks: Sequence[float] | None = None,
    xsaid: Callable[[float], str] = share,
    ysaid: Callable[[float], str] = share,
) -> None:
    """Grid, ticks and the names of both axes, which are of shares unless ``xsaid`` and ``ysaid``
    say a value in another way."""
    for value in y.ticks():
        canvas.line((x.start, y(value)), (x.end, y(value)), "grid")
        canvas.text(x.start - 6, y(value) + 4, ysaid(value), "soft small", "end")
    for value in xticks if xticks is not None else x.ticks():
        canvas.line((x(value), y.start), (x(value), y.start + 4), "axis")
        canvas.text(x(value), y.start + 16, xsaid(value), "soft small", "middle")
    canvas.line((x.start, y.start), (x.end, y.start), "axis")
    canvas.text((x.start + x.end) / 2, y.start + 36, below_said, "soft", "middle")
    canvas.text(13, (y.start + y.end) / 2, beside_said, "soft", "middle", -90)
