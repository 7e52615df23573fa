"""One chart for each thing that a run logs, with several runs in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from keshin.pages.axes import names_beside
from keshin.pages.drawing import Canvas, Scale
from keshin.pages.numbers import percent
from keshin.pages.words import Words
from keshin.watch.curves import RunLog, Series, thinned

WIDTH, HEIGHT = 460, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 42
POINTS = 300
COLOURS = 6
STEEP = 30
"""Where the greatest value is so many times the least, each step of the axis is tenfold."""
PUT_BACK = 2
By = Literal["step", "pairs"]


@dataclass(frozen=True)
class Line:
    """One curve."""

    run: int
    series: Series
    name: str
    colour: int
    scale: float = 1.0
    """What a step counts along the axis."""


@dataclass
class Panel:
    """What one chart shows."""

    title: str
    lines: list[Line]
    levels: list[tuple[float, int]] = field(default_factory=list)
    """Levels of chance, and the colours of their runs."""
    marks: Sequence[tuple[float, int, int, str]] = ()
    """(place, shape, colour, what is said of it) of events."""
    shares: bool = False
    from_zero: bool = False
    may_be_steep: bool = False


def draw(panel: Panel, words: Words, by: By) -> str:
    """The chart as SVG. What is drawn pale is the range of values that one point stands for."""
    canvas = Canvas(WIDTH, HEIGHT, panel.title)
    curves = [(line, thinned(line.series, POINTS)) for line in panel.lines]
    points = [(p, line) for line, found in curves for p in found]
    last = max([p.step * line.scale for p, line in points] + [m[0] for m in panel.marks])
    first = min([p.step * line.scale for p, line in points])
    x = Scale(0 if first < last / 4 else first, last, LEFT, WIDTH - RIGHT)
    values = [v for p, _ in points for v in (p.low, p.high)] + [v for v, _ in panel.levels]
    y, ticks = _upright(values, panel)
    say = _share if panel.shares else _said(ticks)
    for tick in ticks:
        canvas.line((x.start, y(tick)), (x.end, y(tick)), "grid")
        canvas.text(x.start - 6, y(tick) + 4, say(tick), "soft small", "end")
    for place in x.ticks(5):
        canvas.line((x(place), y.start), (x(place), y.start + 4), "axis")
        canvas.text(x(place), y.start + 16, shortened(place), "soft small", "middle")
    canvas.line((x.start, y.start), (x.end, y.start), "axis")
    canvas.text((x.start + x.end) / 2, HEIGHT - 8, words[f"axis_{by}"], "soft small", "middle")
    for level, colour in panel.levels:
        canvas.line((x.start, y(level)), (x.end, y(level)), f"chance s{colour}")
    for line, found in curves:
        places = [x(p.step * line.scale) for p in found]
        band = [(px, y(p.high)) for px, p in zip(places, found, strict=True)]
        band += [(px, y(p.low)) for px, p in zip(reversed(places), reversed(found), strict=True)]
        if len(line.series) > len(found):
            canvas.path(band, f"band f{line.colour}", closed=True)
        middle = [(px, y(p.mean)) for px, p in zip(places, found, strict=True)]
        canvas.path(middle, f"line s{line.colour}")
        for (px, py), p in zip(middle, found, strict=True):
            if len(found) <= 40:
                said = f"{line.name}, {p.step:,.0f}: {_plain(p.mean, panel.shares)}"
                canvas.mark(px, py, line.colour % 4, f"f{line.colour}", said)
    for place, shape, colour, said in panel.marks:
        height = y.start - (11 if shape == PUT_BACK else 0)  # it follows a step left out
        canvas.mark(x(place), height, shape, f"f{colour} s{colour} hollow", said)
    return canvas.svg()


def _upright(values: Sequence[float], panel: Panel) -> tuple[Scale, list[float]]:
    """The scale of the values, and its ticks."""
    low, high = min(values), max(values)
    bottom, top = HEIGHT - BOTTOM, TOP
    if panel.may_be_steep and low > 0 and high > STEEP * low:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        every = max(1, (last - first) // 5)
        ticks = [10.0**power for power in range(first, last + 1, every)]
        return Scale(10.0**first, 10.0**last, bottom, top, doubling=True), ticks
    if panel.shares or panel.from_zero:
        low = min(low, 0)
    if panel.shares:
        high = min(1.0, max(high * 1.1, 0.05))
    margin = 0.04 * (high - low) or abs(high) * 0.1 or 1
    scale = Scale(low - (margin if low else 0), high + margin, bottom, top)
    return scale, scale.ticks()


def _share(value: float) -> str:
    return percent(value, 0)


def _said(ticks: Sequence[float]) -> Callable[[float], str]:
    largest = max(map(abs, ticks), default=0)
    if largest >= 10_000 or 0 < largest < 0.01:
        return lambda value: f"{value:.3g}" if value < 10_000 else shortened(value)
    return lambda value: f"{value:g}" if abs(value) > 1e-12 else "0"


def shortened(value: float) -> str:
    """A large number in few signs: 1.5M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):g}{unit}"
    return f"{value:g}"


def _plain(value: float, share: bool) -> str:
    return percent(value) if share else f"{value:.4g}"


def panels(runs: Sequence[RunLog], words: Words, by: By) -> list[Panel]:
    """All that the runs logged, in the order in which one looks at it."""
    marks = [mark for n, run in enumerate(runs) for mark in _marks(n, run, words, by)]
    found = []
    known = [key for run in runs for key in run.step_keys]
    losses = [k for k in dict.fromkeys(known) if k in ("loss", "distill", "head")]
    for key in losses:
        panel = Panel(words.get(f"of_{key}", key), _lines(runs, key, by))
        if key == "loss":
            panel.levels = [(r.chance, _colour(n)) for n, r in enumerate(runs) if r.chance]
            panel.marks = marks
        found.append(panel)
    for key in dict.fromkeys(key for run in runs for key in run.validation_keys):
        title = words["of_validation"].format(name=key.replace("_", " "))
        panel = Panel(title, _lines(runs, key, by), shares=_are_shares(runs, key))
        levels = {run.chance_of(key) for run in runs} - {None}
        panel.levels = [(level, 0) for level in levels if level is not None]
        found.append(panel)
    norms = Panel(words["of_gradient_norm"], _lines(runs, "gradient_norm", by), marks=marks)
    norms.may_be_steep = True
    if len(runs) == 1:
        for colour, tower in enumerate(("image", "text"), start=1):
            lines = _lines(runs, f"gradient_norm_{tower}", by)
            norms.lines += [
                Line(0, line.series, words[f"of_{tower}"], colour, line.scale) for line in lines
            ]
    found += [
        norms,
        Panel(words["of_learning_rate"], _lines(runs, "learning_rate", by), from_zero=True),
        Panel(words["of_logit_scale"], _lines(runs, "logit_scale", by)),
        Panel(words["of_rate"], _lines(runs, "pairs_per_second", by), from_zero=True),
        Panel(words["of_data_wait"], _lines(runs, "data_wait", by), shares=True),
    ]
    return [panel for panel in found if panel.lines]


def _are_shares(runs: Sequence[RunLog], key: str) -> bool:
    return all(0 <= value <= 1 for run in runs for _, value in run.series(key))


def _colour(run: int) -> int:
    return run % COLOURS


def scale_of(run: RunLog, by: By) -> int:
    """What a step of a run counts along the axis."""
    return run.batch if by == "pairs" else 1


def _lines(runs: Sequence[RunLog], key: str, by: By) -> list[Line]:
    return [
        Line(number, series, run.name, _colour(number), scale_of(run, by))
        for number, run in enumerate(runs)
        if (series := run.series(key))
    ]


def _marks(number: int, run: RunLog, words: Words, by: By) -> list[tuple[float, int, int, str]]:
    """Restarts, steps left out and weights put back, along the axis."""
    shapes = {"resume": 1, "left out": 3, "put back": PUT_BACK}
    found = []
    for event in run.events(*shapes):
        kind = str(event["event"])
        values = {"why": "", "weights_of": "", **event}
        said = words["event_" + kind.replace(" ", "_")].format(
            step=f"{values['step']:,}", why=values["why"], to=values["weights_of"]
        )
        place = float(event["step"] * scale_of(run, by))
        found.append((place, shapes[kind], _colour(number), f"{run.name}: {said}"))
    return found


def key_of(runs: Sequence[RunLog], words: Words) -> str:
    """Which colour is which run, as a drawing."""
    canvas = Canvas(WIDTH, 16 * len(runs) + 8, words["key"])
    names_beside(canvas, 34, [(12 + 16 * n, run.name, "") for n, run in enumerate(runs)], 400)
    for number, _ in enumerate(runs):
        y = 12 + 16 * number
        canvas.line((4, y), (26, y), f"line s{_colour(number)}")
        canvas.mark(15, y, number % 4, f"f{_colour(number)}")
    return canvas.svg()
