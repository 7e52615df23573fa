"""The report as one HTML file, with bars and the drawings themselves (see ``keshin.pages``)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keshin.evaluate.weaknesses.results import (
    Finding,
    LabelReport,
    Report,
    Words,
    interval,
    percent,
)
from keshin.evaluate.weaknesses.run import questions_of
from keshin.evaluate.weaknesses.sheets import png
from keshin.evaluate.weaknesses.tasks import TASKS
from keshin.evaluate.weaknesses.verdicts import bar, words
from keshin.pages import page as pages
from keshin.pages.drawing import Canvas, Scale, clean
from keshin.statistics.figure import Figure

TEMPLATE = Path(__file__).with_name("page.html.jinja")
SIDE = 150
WIDE, HIGH = 320, 16
"""Of the bars, in pixels."""
FILLS = {"main": "f0", "level": "f5", "other": "h3", "control": "f2"}
KINDS = {
    "can": "good",
    "none": "good",
    "weak": "fair",
    "some": "fair",
    "guess": "bad",
    "inverted": "bad",
    "strong": "bad",
}
"""Verdicts and the colour beside their sentence; others have none."""


def write_page(report: Report, path: str | os.PathLike[str], *, language: str = "en") -> None:
    """Write the page, whole or not at all. Raises ``MissingExtra`` without jinja2 and ``DataError``
    where it cannot be written."""
    pages.write(Path(path), page(report, language=language))


def page(report: Report, *, language: str = "en") -> str:
    """The page as text; everything that is put into it is escaped."""
    say = {key: text.of(language) for key, text in words().page.items()}
    tasks = [_task(finding, report, say, language) for finding in report.findings]
    labels = report.labels
    sections = [("summary", say["summary"]), *((task["key"], task["title"]) for task in tasks)]
    if labels:
        sections.append(("labels", say["labels"]))
    return pages.render(
        TEMPLATE,
        {"language": language, **say},
        title=clean(say["heading"].format(model=report.model)),
        made_by=say["made"].format(
            version=report.version,
            seed=report.seed,
            count=report.count,
            captions=say[f"captions_{report.captions}"],
        ),
        report=report,
        summary=list(_summary(report, say, language)),
        tasks=tasks,
        label_rows=labels.table(language) if labels else [],
        labels_said=labels.said.of(language) if labels else "",
        labels_kind=KINDS.get(labels.verdict, "") if labels else "",
        command=_command(report),
        reproduce=[(say["model"], report.model), (say["fingerprint"], report.fingerprint)],
        sections=[*sections, ("reproduce", say["reproduce"])],
    )


def _summary(report: Report, say: dict[str, str], language: str) -> Iterator[dict[str, str]]:
    for finding in report.findings:
        title = finding.title.of(language)
        yield _row(finding.task, title, finding, finding.main, finding.said, language)
    if found := report.labels:
        yield _row("labels", say["labels"], found, found.told_apart, found.said, language)


def _row(
    key: str,
    title: str,
    found: Finding | LabelReport,
    main: Figure,
    said: Words,
    language: str,
) -> dict[str, str]:
    return {
        "key": key,
        "title": title,
        **_numbers(main),
        "control": percent(found.control),
        "kind": KINDS.get(found.verdict, ""),
        "said": said.of(language),
    }


def _task(finding: Finding, report: Report, say: dict[str, str], language: str) -> dict[str, Any]:
    task = next(task for task in TASKS if task.key == finding.task)
    questions = questions_of(task, report.seed, report.count, report.captions)
    return {
        "key": finding.task,
        "title": finding.title.of(language),
        "asks": finding.asks.of(language),
        "kind": KINDS.get(finding.verdict, ""),
        "said": finding.said.of(language),
        "bars": list(_bars(finding, say, language)),
        "examples": [(png(scene, SIDE), text) for scene, text in task.example(questions)],
    }


def _bars(finding: Finding, say: dict[str, str], language: str) -> Iterator[dict[str, Any]]:
    """The main figure, its kinds of scenes, the others and the control."""
    rows = [(finding.main, "main", finding.main.name)]
    rows += [(level.figure, "level", level.name) for level in finding.levels]
    rows += [(figure, "other", figure.name) for figure in finding.others]
    for figure, role, name in rows:
        yield _bar(figure, role, words().name(name, language))
    asked = f"{say['control']}: {finding.control_asks.of(language)}"
    yield _bar(finding.control, "control", asked)


def _bar(figure: Figure, role: str, name: str) -> dict[str, Any]:
    return {
        "role": role,
        "name": name,
        "drawn": pages.safe(_drawn(figure, role)),
        **_numbers(figure),
        "count": figure.count,
    }


def _numbers(figure: Figure) -> dict[str, str]:
    return {
        "value": percent(figure),
        "interval": interval(figure),
        "chance": percent(figure, figure.chance),
    }


def _drawn(figure: Figure, role: str) -> str:
    """Interval, value, chance and what is to be reached, on a line; nothing for what is no
    share."""
    if figure.unit not in ("share", "difference"):
        return ""
    canvas = Canvas(WIDE, HIGH, f"{percent(figure)} [{interval(figure)}]")
    x = Scale(-1.0 if figure.unit == "difference" else 0.0, 1.0, 5, WIDE - 5)
    canvas.line((5, HIGH / 2), (WIDE - 5, HIGH / 2), "grid")
    low, high = x(figure.low), x(figure.high)
    canvas.rect(low, 4, max(high - low, 1.5), HIGH - 8, FILLS[role])
    canvas.line((x(figure.chance), 0), (x(figure.chance), HIGH), "chance")
    if figure.unit == "share" and role in ("main", "control"):
        canvas.line((x(bar(figure)), 0), (x(bar(figure)), HIGH), "s2")
    canvas.mark(x(figure.value), HIGH / 2, 0, "ink")
    return canvas.svg()


def _command(report: Report) -> str:
    asked = "" if report.captions == "en" else f" --captions {report.captions}"
    return (
        f"keshin weaknesses --model {report.model} --seed {report.seed} --count {report.count}"
        f"{asked}"
    )
