"""The charts of one evaluation, as SVG. ``words`` are the texts of a language."""

from __future__ import annotations

from collections.abc import Sequence

from keshin.evaluate.results import Bin, CurvePoint, FewShot, RiskPoint
from keshin.pages.axes import frame, grid_x, key, names_beside, whisker
from keshin.pages.drawing import Canvas, Scale, fitted, text_width
from keshin.pages.numbers import percent, with_interval
from keshin.pages.words import Words
from keshin.statistics.figure import Figure

WIDTH, HEIGHT = 480, 330
SHOWN_CLASSES = 40
"""Up to so many classes have a bar each; of more, the lowest and the highest."""
ROW = 18
FIRST = 0.05
"""Coverage from which the band of the risk is drawn."""


def measures(rows: Sequence[tuple[str, Figure]], words: Words) -> str:
    """Values with intervals, one under the other, and the level of chance of each."""
    left = min(max((text_width(name) for name, _ in rows), default=0) + 14, 260)
    canvas = Canvas(680, 34 * len(rows) + 34, words["chart_measures"])
    scale = Scale(0, 1, left, 660)
    grid_x(canvas, scale, 8, 34 * len(rows) + 6)
    for row, (name, score) in enumerate(rows):
        y = 16 + 34 * row
        canvas.text(left - 8, y + 9, fitted(name, left - 8), anchor="end")
        canvas.rect(left, y - 4, scale(score.value) - left, 16, f"f{row % 2} pale", str(score))
        whisker(canvas, scale(score.low), scale(score.high), y + 4)
        canvas.mark(scale(score.value), y + 4, 0, f"f{row % 2}")
        x = scale(score.chance)
        canvas.line((x, y - 7), (x, y + 15), "chance")
    return canvas.svg()


def class_bars(
    rows: Sequence[tuple[str, int, float, float, float]], chance: float, words: Words
) -> str:
    """A bar for each class, lowest first: name, pictures, value and interval."""
    rows = sorted(rows, key=lambda row: row[2])
    gap = 0
    if len(rows) > SHOWN_CLASSES:
        half, gap = SHOWN_CLASSES // 2, len(rows) - SHOWN_CLASSES
        rows = [*rows[:half], *rows[-half:]]
    left = min(max((text_width(name) for name, *_ in rows), default=0) + 14, 220)
    extra = ROW if gap else 0
    bottom = 8 + ROW * len(rows) + extra
    canvas = Canvas(680, bottom + 26, words["chart_classes"])
    scale = Scale(0, 1, left, 620)
    grid_x(canvas, scale, 4, bottom)
    y = 8.0
    for row, (name, count, value, low, high) in enumerate(rows):
        if gap and row == SHOWN_CLASSES // 2:
            said = words["classes_between"].format(n=gap)
            canvas.text(scale(0.5), y + 12, said, "soft", "middle")
            y += ROW
        canvas.text(left - 6, y + 12, fitted(name, left - 8), anchor="end")
        said = f"{name}: {with_interval(value, low, high)}, n = {count}"
        canvas.rect(left, y + 3, scale(value) - left, ROW - 6, "f0 pale", said)
        whisker(canvas, scale(low), scale(high), y + ROW / 2)
        canvas.mark(scale(value), y + ROW / 2, 0, "f0")
        canvas.text(676, y + 12, percent(value, 0), "soft small", "end")
        y += ROW
    x = scale(chance)
    canvas.line((x, 4), (x, bottom), "chance")
    return canvas.svg()


def reliability(before: Sequence[Bin], after: Sequence[Bin], words: Words) -> str:
    """How often answers of a score are right, against the score."""
    canvas = Canvas(WIDTH, HEIGHT, words["chart_reliability"])
    x, y = Scale(0, 1, 52, WIDTH - 24), Scale(0, 1, 282, 12)
    frame(canvas, x, y, words["axis_score"], words["axis_right"])
    canvas.line((x(0), y(0)), (x(1), y(1)), "chance")
    for kind, bins in ((0, before), (1, after)):
        points = [(x(b.confidence), y(b.accuracy)) for b in bins]
        canvas.path(points, f"line s{kind}")
        for (px, py), bin_ in zip(points, bins, strict=True):
            canvas.line((px, y(bin_.low)), (px, y(bin_.high)), f"s{kind}")
            said = with_interval(bin_.accuracy, bin_.low, bin_.high)
            canvas.mark(
                px, py, kind, f"f{kind}", f"{bin_.confidence:.2f}: {said}, n = {bin_.count:,}"
            )
    key(canvas, x(0) + 10, 24, [(0, words["as_given"]), (1, words["with_temperature"])])
    return canvas.svg()


def risk(points: Sequence[RiskPoint], words: Words) -> str:
    """Share of wrong answers when only the surest pictures are answered."""
    canvas = Canvas(WIDTH, HEIGHT, words["chart_risk"])
    # The first few pictures say next to nothing: their intervals do not set the scale.
    shown = [p for p in points if p.coverage >= FIRST] or points
    worst = max([*(p.risk for p in points), *(p.high or 0 for p in shown)], default=1)
    top = min(1.0, max(0.05, worst * 1.1))
    x, y = Scale(0, 1, 52, WIDTH - 24), Scale(0, top, 282, 12)
    frame(canvas, x, y, words["axis_coverage"], words["axis_risk"])
    line = [(x(p.coverage), y(p.risk)) for p in points]
    if line:
        whole = points[-1].risk
        canvas.line((x(0), y(whole)), (x(1), y(whole)), "chance")
    band = [p for p in shown if p.low is not None and p.high is not None]
    if len(band) > 1:
        edge = [(x(p.coverage), y(min(p.high or 0, top))) for p in band]
        edge += [(x(p.coverage), y(p.low or 0)) for p in reversed(band)]
        canvas.path(edge, "band f0", closed=True)
    canvas.path(line, "line s0")
    for share in (0.25, 0.5, 0.75, 1.0):
        near = min(points, key=lambda p: abs(p.coverage - share), default=None)
        if near is not None:
            said = f"{percent(near.coverage, 0)}: {percent(near.risk)}, ≥ {near.threshold:.3f}"
            if near.low is not None and near.high is not None:
                said += f" [{100 * near.low:.1f}, {100 * near.high:.1f}]"
            canvas.mark(x(near.coverage), y(near.risk), 0, "f0", said)
            above = y(near.risk) - 9 if y(near.risk) > 40 else y(near.risk) + 18
            canvas.text(x(near.coverage), above, percent(near.risk, 0), "small", "end")
    return canvas.svg()


def few_shot(found: FewShot, words: Words, probe: Figure | None = None) -> str:
    """Curves with bands, zero-shot at 0 pictures as a star line, the probe on everything."""
    shots = sorted({p.shots for curve in found.curves.values() for p in curve})
    lows = [p.low for curve in found.curves.values() for p in curve]
    highs = [p.high for curve in found.curves.values() for p in curve]
    ends = [found.zero_shot, *([probe.value] if probe else [])]
    low = max(0.0, min([*lows, *ends]) - 0.03)
    high = min(1.0, max([*highs, *ends]) + 0.03)
    canvas = Canvas(620, 360, words["chart_few_shot"])
    x = Scale(max(min(shots), 1), max(max(shots), 2), 64, 420, doubling=True)
    y = Scale(low, high, 308, 14)
    frame(canvas, x, y, words["axis_shots"], found.metric, xticks=shots, xsaid="{:g}".format)
    named: list[tuple[float, str, str]] = []
    height = y(found.zero_shot)
    canvas.line((x.start, height), (x.end, height), "chance")
    named.append((height, words["zero_shot"], "soft"))
    if probe is not None:
        canvas.line((x.start, y(probe.value)), (x.end, y(probe.value)), "grid")
        named.append((y(probe.value), words["probe_on_all"], "soft"))
    for kind, (name, curve) in enumerate(found.curves.items()):
        _band(canvas, x, y, curve, kind)
        named.append((y(curve[-1].value), words.get(f"start_{name}", name), ""))
    names_beside(canvas, 430, named, 186)
    return canvas.svg()


def _band(canvas: Canvas, x: Scale, y: Scale, curve: Sequence[CurvePoint], kind: int) -> None:
    upper = [(x(p.shots), y(p.high)) for p in curve]
    lower = [(x(p.shots), y(p.low)) for p in reversed(curve)]
    canvas.path([*upper, *lower], f"band f{kind}", closed=True)
    canvas.path([(x(p.shots), y(p.value)) for p in curve], f"line s{kind}")
    for p in curve:
        said = f"{p.shots}: {with_interval(p.value, p.low, p.high)}"
        canvas.mark(x(p.shots), y(p.value), kind, f"f{kind}", said)
