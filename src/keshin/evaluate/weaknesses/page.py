"""The report as one HTML file that needs nothing else: words, bars with intervals, pictures."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from keshin.core.writing import whole
from keshin.errors import require
from keshin.evaluate.weaknesses.results import Finding, Report, interval, percent
from keshin.evaluate.weaknesses.run import questions_of
from keshin.evaluate.weaknesses.sheets import png
from keshin.evaluate.weaknesses.tasks import TASKS
from keshin.evaluate.weaknesses.verdicts import bar, words
from keshin.statistics.figure import Figure

TEMPLATE = Path(__file__).with_name("page.html.jinja")
SIDE = 150
WIDE = 320
"""Of the bars, in pixels."""


def write_page(report: Report, path: str | os.PathLike[str], *, language: str = "en") -> None:
    """Write the page, whole or not at all. Raises ``MissingExtra`` without jinja2."""
    text = page(report, language=language)
    with whole(Path(path)) as scratch:
        scratch.write_text(text, encoding="utf-8")


def page(report: Report, *, language: str = "en") -> str:
    """The page as text; everything that is put into it is escaped."""
    jinja2 = require("jinja2", extra="eval")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    say = {key: text.of(language) for key, text in words().page.items()}
    tasks = {task.key: task for task in TASKS}
    findings = [
        {
            "finding": finding,
            "title": finding.title.of(language),
            "asks": finding.asks.of(language),
            "said": finding.said.of(language),
            "control": finding.control_asks.of(language),
            "bars": _bars(finding, language),
            "examples": [
                ("data:image/png;base64," + base64.b64encode(png(scene, SIDE)).decode(), text)
                for scene, text in tasks[finding.task].example(
                    questions_of(tasks[finding.task], report.seed, report.count)
                )
            ],
        }
        for finding in report.findings
    ]
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    text: str = template.render(
        report=report,
        language=language,
        say=say,
        heading=say["heading"].format(model=report.model),
        made=say["made"].format(
            version=report.version,
            fingerprint=report.fingerprint[:16] or "?",
            seed=report.seed,
            count=report.count,
        ),
        findings=findings,
        label_rows=report.labels.table(language) if report.labels else [],
        labels_said=report.labels.said.of(language) if report.labels else "",
        percent=percent,
        interval=interval,
        wide=WIDE,
    )
    return text


def _bars(finding: Finding, language: str) -> list[dict[str, Any]]:
    """The main figure, its kinds of scenes, the others and the control, each with its place."""
    rows = [(finding.main, "main", finding.main.name)]
    rows += [(level.figure, "level", level.name) for level in finding.levels]
    rows += [(figure, "other", figure.name) for figure in finding.others]
    rows += [(finding.control, "control", finding.control.name)]
    return [
        {"figure": figure, "role": role, "name": words().name(name, language), **_places(figure)}
        for figure, role, name in rows
    ]


def _places(figure: Figure) -> dict[str, float | None]:
    """x in pixels of value, interval, chance and bar; nothing for what is no share."""
    if figure.unit not in ("share", "difference"):
        return {"x": None}
    left = -1.0 if figure.unit == "difference" else 0.0

    def x(value: float) -> float:
        return round(WIDE * (value - left) / (1 - left), 1)

    return {
        "x": x(figure.value),
        "low": x(figure.low),
        "high": x(figure.high),
        "chance": x(figure.chance),
        "bar": x(bar(figure)) if figure.unit == "share" else None,
    }
