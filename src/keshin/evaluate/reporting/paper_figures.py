"""The paper's figures over several data sets: Figures 4 to 7, from evaluations, as SVG.

Values measured here are circles with 95 % intervals; the paper's own are diamonds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from keshin.evaluate.reporting.paper import PaperResult, paper_results
from keshin.evaluate.results import CurvePoint, Evaluation
from keshin.pages.axes import whisker
from keshin.pages.drawing import Canvas, Scale, fitted, text_width
from keshin.pages.numbers import percent
from keshin.pages.words import Words

ROW = 24
OWN, ITS_PROBE = 0, 1
"""Kinds of mark: measured against a probe measured here, or against the paper's value of it."""


@dataclass(frozen=True)
class Row:
    """One data set in a chart of differences, in percentage points."""

    name: str
    value: float | None = None
    low: float = 0.0
    high: float = 0.0
    kind: int = OWN
    paper: float | None = None
    """Figure 5."""
    tables: float | None = None
    """Tables 11 and 10, where they disagree with it."""


def figure_five_rows(found: Sequence[Evaluation]) -> list[Row]:
    """Zero-shot minus the ResNet-50 probe: measured, where its weights were at hand, else with the
    probe's value of the paper; the paper's own difference beside it. Highest first."""
    rows = []
    for one in found:
        paper = paper_results().get(one.data.key)
        figure = paper.figure5 if paper else None
        tables = paper.by_tables if paper and paper.disagreement else None
        name = one.data.title
        if one.baseline is not None:
            versus = one.baseline.versus  # probe minus zero-shot
            rows.append(
                Row(name, -100 * versus.difference, -100 * versus.high, -100 * versus.low, OWN,
                    figure, tables)
            )  # fmt: skip
        elif paper is not None:
            rows.append(_against(one, paper, figure, tables))
    return sorted(rows, key=lambda row: -(row.value if row.value is not None else 0))


def _against(
    one: Evaluation, paper: PaperResult, figure: float | None, tables: float | None
) -> Row:
    value, low, high = (
        100 * v - paper.resnet50_probe for v in (one.main.value, one.main.low, one.main.high)
    )
    return Row(one.data.title, value, low, high, ITS_PROBE, figure, tables)


def gain_rows(found: Sequence[Evaluation]) -> list[Row]:
    """All prompts of a data set minus the single default prompt. Highest first."""
    rows = [
        Row(one.data.title, 100 * e.difference, 100 * e.low, 100 * e.high)
        for one in found
        if (e := one.ensembling) is not None
    ]
    return sorted(rows, key=lambda row: -(row.value or 0))


def differences(rows: Sequence[Row], label: str, key: Sequence[tuple[int, str, str]]) -> str:
    """A chart of differences: to the right the first is better. ``key``: mark, colour, text of
    what the marks mean, for those that occur."""
    left = min(max((text_width(row.name) for row in rows), default=0) + 16, 230)
    top = 18 * len(key) + 14
    bottom = top + ROW * len(rows) + 6
    canvas = Canvas(760, bottom + 36, label)
    scale = _around_zero(rows, left, 690)
    for line, (mark, css, said) in enumerate(key):
        canvas.mark(left + 6, 14 + 18 * line, mark, css)
        canvas.text(left + 18, 18 + 18 * line, said)
    for value in scale.ticks(8):
        canvas.line((scale(value), top), (scale(value), bottom), "grid")
        canvas.text(
            scale(value), bottom + 15, f"{value:+g}" if value else "0", "soft small", "middle"
        )
    canvas.line((scale(0), top), (scale(0), bottom), "axis")
    for index, row in enumerate(rows):
        _one(canvas, scale, row, left, top + ROW * index + ROW / 2 + 4)
    return canvas.svg()


def _one(canvas: Canvas, scale: Scale, row: Row, left: float, y: float) -> None:
    canvas.text(left - 8, y + 4, fitted(row.name, left - 10), anchor="end")
    if row.value is not None:
        start, end = sorted((scale(0), scale(row.value)))
        better = "f0" if row.value >= 0 else "f1"
        said = f"{row.name}: {row.value:+.1f} [{row.low:+.1f}, {row.high:+.1f}]"
        canvas.rect(start, y - 6, end - start, 12, f"{better} pale", said)
        whisker(canvas, scale(row.low), scale(row.high), y)
        css = better if row.kind == OWN else f"hollow s{better[1]}"
        canvas.mark(scale(row.value), y, 0, css, said)
        canvas.text(756, y + 4, f"{row.value:+.1f}", "small", "end")
    if row.paper is not None:
        canvas.mark(scale(row.paper), y, 2, "f2", f"{row.name}: {row.paper:+.1f}")
    if row.tables is not None:
        canvas.mark(scale(row.tables), y, 2, "hollow s2", f"{row.name}: {row.tables:+.1f}")


def _around_zero(rows: Sequence[Row], start: float, end: float) -> Scale:
    given = [0.0]
    for row in rows:
        given += [v for v in (row.value, row.paper, row.tables) if v is not None]
        given += [row.low, row.high] if row.value is not None else []
    room = max(1.0, 0.06 * (max(given) - min(given)))
    return Scale(min(given) - room, max(given) + room, start, end)


def figure_five(found: Sequence[Evaluation], words: Words) -> str:
    """The bar chart of zero-shot against ResNet-50; empty without a data set of the paper or a
    measured baseline."""
    rows = figure_five_rows(found)
    if not rows:
        return ""
    key = [
        (0, "f0", words["figure_five_measured"], any(row.kind == OWN for row in rows)),
        (0, "hollow s0", words["figure_five_mixed"], any(row.kind == ITS_PROBE for row in rows)),
        (2, "f2", words["figure_five_paper"], any(row.paper is not None for row in rows)),
        (2, "hollow s2", words["figure_five_tables"], any(row.tables is not None for row in rows)),
    ]
    shown = [(mark, css, said) for mark, css, said, occurs in key if occurs]
    return differences(rows, words["chart_differences"], shown)


def ensembling(found: Sequence[Evaluation], words: Words) -> str:
    """The gain of prompt ensembles, one row for each data set."""
    rows = gain_rows(found)
    return differences(rows, words["chart_gain"], []) if rows else ""


def few_shot(found: Sequence[Evaluation], words: Words) -> str:
    """Few-shot curves (Figure 6): thin for each data set, thick for the mean over those that have
    the same numbers of pictures; zero-shot as their mean at the left."""
    curves = [
        pair for one in found if one.few_shot for pair in one.few_shot.curves.items()
    ]  # fmt: skip
    if not curves:
        return ""
    starts = list(dict.fromkeys(name for name, _ in curves))
    shots = sorted({p.shots for _, curve in curves for p in curve})
    values = [p.value for _, curve in curves for p in curve]
    zero = [one.few_shot.zero_shot for one in found if one.few_shot]
    low, high = max(0, min([*values, *zero]) - 0.03), min(1, max([*values, *zero]) + 0.03)
    canvas = Canvas(640, 400, words["chart_few_shot"])
    x, y = Scale(min(shots), max(max(shots), 2), 100, 470, doubling=True), Scale(low, high, 345, 14)
    for value in y.ticks(6):
        canvas.line((56, y(value)), (x.end, y(value)), "grid")
        canvas.text(50, y(value) + 4, percent(value, 0), "soft small", "end")
    for number in (0, *shots):
        place = x(number) if number else 66
        canvas.text(place, 362, f"{number}", "soft small", "middle")
    canvas.text((56 + x.end) / 2, 384, words["axis_shots"], "soft", "middle")
    mean_zero = sum(zero) / len(zero)
    canvas.line((66, y(mean_zero)), (x.end, y(mean_zero)), "chance")
    for value in zero:
        canvas.mark(66, y(value), 2, "f2 pale")
    canvas.mark(66, y(mean_zero), 2, "f2", f"{words['zero_shot']}: {percent(mean_zero)}")
    ends = [(y(mean_zero), words["zero_shot"])]
    for kind, start in enumerate(starts):
        own = [curve for name, curve in curves if name == start]
        for curve in own:
            canvas.path([(x(p.shots), y(p.value)) for p in curve], f"line s{kind} pale")
        mean = mean_curve(own)
        canvas.path([(x(shot), y(value)) for shot, value in mean], f"line s{kind}")
        for shot, value in mean:
            canvas.mark(x(shot), y(value), kind, f"f{kind}", f"{shot}: {percent(value)}")
        if mean:
            ends.append((y(mean[-1][1]), words.get(f"start_{start}", start)))
    last = -100.0
    for height, said in sorted(ends):
        last = max(height + 4, last + 15)
        canvas.text(482, last, fitted(said, 155))
    return canvas.svg()


def mean_curve(curves: Sequence[Sequence[CurvePoint]]) -> list[tuple[int, float]]:
    """The mean at the numbers of pictures that all curves have."""
    tables = [{p.shots: p.value for p in curve} for curve in curves]
    common = sorted(set.intersection(*map(set, tables))) if tables else []
    return [(shot, sum(t[shot] for t in tables) / len(tables)) for shot in common]


def efficiency(found: Sequence[Evaluation], words: Words) -> str:
    """Pictures of each class until a probe from zero reaches zero-shot (Figure 7)."""
    rows = []
    for one in found:
        if one.few_shot and one.few_shot.overtakes:
            start = (
                "zero" if "zero" in one.few_shot.overtakes else next(iter(one.few_shot.overtakes))
            )
            most = max(p.shots for p in one.few_shot.curves[start])
            rows.append((one.data.title, one.few_shot.overtakes[start], most))
    if not rows:
        return ""
    rows.sort(key=lambda row: -(row[1] if row[1] is not None else math.inf))
    left = min(max(text_width(name) for name, *_ in rows) + 16, 230)
    top = max(max(row[2] for row in rows), 2)
    canvas = Canvas(680, ROW * len(rows) + 52, words["chart_efficiency"])
    scale = Scale(0.5, top * 1.5, left, 620, doubling=True)
    bottom = ROW * len(rows) + 8
    shot = 1
    while shot <= top:
        canvas.line((scale(shot), 4), (scale(shot), bottom), "grid")
        canvas.text(scale(shot), bottom + 15, f"{shot}", "soft small", "middle")
        shot *= 2
    canvas.text((left + 620) / 2, bottom + 34, words["axis_shots"], "soft", "middle")
    for index, (name, needed, most) in enumerate(rows):
        y = ROW * index + ROW / 2 + 4
        canvas.text(left - 8, y + 4, fitted(name, left - 10), anchor="end")
        end = scale(max(needed, 0.5) if needed is not None else most * 1.2)
        canvas.rect(left, y - 6, end - left, 12, "f0 pale")
        canvas.mark(end, y, 0 if needed is not None else 3, "f0")
        said = f"> {most}" if needed is None else (f"{needed:.1f}" if needed > 1 else "≤ 1")
        canvas.text(676, y + 4, said, "small", "end")
    return canvas.svg()
