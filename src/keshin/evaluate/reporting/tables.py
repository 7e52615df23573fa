"""Evaluations as CSV for programs, and as a table of plain text for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from keshin.evaluate.results import Difference, Evaluation, ProbeResult
from keshin.pages.drawing import clean
from keshin.pages.numbers import interval, percent
from keshin.statistics.figure import Figure

COLUMNS = (
    "dataset", "split", "model", "part", "name", "value", "low", "high", "chance", "count", "p",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets run when a cell of text begins with it."""


def as_csv(found: Sequence[Evaluation]) -> str:
    """All numbers, one a line: scores, comparisons, calibration, classes, few-shot points."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in found:
        head = (_cell(one.data.key or one.data.title), one.data.split, _cell(one.model.name))
        for row in _rows(one):
            cells = [*head, *map(_cell, row)]
            writer.writerow([*cells, *[""] * (len(COLUMNS) - len(cells))])
    return lines.getvalue().encode("utf-8", "backslashreplace").decode()


def as_table(found: Sequence[Evaluation]) -> str:
    """One line for each measure, with its interval and chance."""
    rows = [("data", "measure", "value", "95 % interval", "chance", "pictures")]
    for one in found:
        title = clean(one.data.title)
        for name, score in main_scores(one):
            rows.append((
                title, name, percent(score.value),
                interval(score.low, score.high), percent(score.chance), f"{score.count:,}",
            ))  # fmt: skip
            title = ""
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def main_scores(one: Evaluation) -> list[tuple[str, Figure]]:
    """What people look at first: name and score."""
    rows = [(score.name, score) for score in one.scores]
    if one.single is not None:
        rows.append((f"{one.single.name}, single prompt", one.single))
    if one.probe is not None:
        rows.append((f"{one.probe.score.name}, linear probe", one.probe.score))
    if one.baseline is not None:
        rows.append((f"{one.baseline.score.name}, ResNet-50 probe", one.baseline.score))
    return rows


def _rows(one: Evaluation) -> Iterator[tuple[object, ...]]:
    yield from (("score", *_score(score)) for score in one.scores)
    if one.single is not None:
        yield ("single prompt", *_score(one.single))
    if one.ensembling is not None:
        yield ("comparison", *_difference(one.ensembling))
    for part, probe in (("probe", one.probe), ("resnet50 probe", one.baseline)):
        if probe is not None:
            yield from _probe(part, probe)
    if one.calibration is not None:
        found = one.calibration
        yield "calibration", "expected calibration error", found.error
        if found.interval is not None:
            name = "expected calibration error without noise"
            yield "calibration", name, found.corrected, *found.interval
        yield "calibration", "temperature", found.temperature
        yield "calibration", "expected calibration error with temperature", found.error_after
        if found.interval_after is not None:
            name = "expected calibration error with temperature without noise"
            yield "calibration", name, found.corrected_after, *found.interval_after
    if one.risk_area is not None:
        area = one.risk_area
        yield "risk-coverage", "area under the curve", area.value, area.low, area.high, area.chance
    if one.few_shot is not None:
        for start, curve in one.few_shot.curves.items():
            for p in curve:
                name = f"{start}, {p.shots} a class"
                yield "few-shot", name, p.value, p.low, p.high, "", p.draws
    for c in one.classes:
        yield "class", c.name, c.value, c.low, c.high, "", c.count


def _probe(part: str, probe: ProbeResult) -> Iterator[tuple[object, ...]]:
    yield (part, *_score(probe.score))
    yield ("comparison", *_difference(probe.versus))


def _score(score: Figure) -> tuple[object, ...]:
    return score.name, score.value, score.low, score.high, score.chance, score.count


def _difference(found: Difference) -> tuple[object, ...]:
    name = f"{found.first} minus {found.second} ({found.method})"
    return name, found.difference, found.low, found.high, "", "", found.p


def _cell(value: object) -> object:
    """Numbers in the digits that they have; text that a spreadsheet would run gets a quote."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str) and value.startswith(FORMULA):
        return "'" + value
    return "" if value is None else value
