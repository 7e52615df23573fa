"""The report of a study as one HTML file that needs nothing else and prints well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keshin.errors import require
from keshin.evaluate.human.plot import difficulty_plot
from keshin.evaluate.human.report import MEASURES, Report, round_name

TEMPLATE = Path(__file__).with_name("report.html.jinja")


def to_html(report: Report) -> str:
    """The whole page."""
    jinja: Any = require("jinja2", extra="eval")
    environment = jinja.Environment(
        autoescape=True, undefined=jinja.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )

    def cell(score: Any) -> Any:
        """Value and interval, each in one piece."""
        value, _, interval = _score(score).partition(" [")
        inner = jinja.utils.markupsafe.Markup(
            '<span class="one">{}</span> <span class="interval">{}</span>'
        )
        return inner.format(value, f"[{interval}" if interval else "")

    environment.filters |= {"score": cell, "percent": _percent, "points": _points}
    rows = {found.shots: found.classes for found in report.rounds}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return str(
        template.render(
            report=report,
            measures=MEASURES,
            round_name=round_name,
            plot=difficulty_plot(rows, report.model),
            summary=_summary(report),
        )
    )


def _summary(report: Report) -> list[str]:
    """What was found, in a few sentences."""
    said = []
    for found in report.rounds:
        number = len(found.people)
        who = "One person names" if number == 1 else f"{number} people name"
        text = (
            f"{found.name}: {who} {_score(found.human.accuracy)} of the pictures rightly, "
            f"{_score(found.human.accuracy_on_guesses)} where they do not say “I don’t know”"
        )
        if number > 2:
            text += f"; their majority {_score(found.human.majority)}"
        if found.model is not None and found.difference is not None:
            text += (
                f". {report.model}, without examples: {_score(found.model.accuracy)}; against the "
                f"majority {found.difference.verdict}"
            )
        said.append(text + ".")
    for change in report.changes:
        text = (
            f"From {round_name(change.shots).lower()} to {round_name(change.next_shots).lower()} "
            f"the people give {_points(change.gain)} points more right answers"
        )
        if change.gain > 0:
            text += f", {_points(change.gain_from_dont_know)} of them where they did not know"
        said.append(text + ".")
    for found in report.rounds:
        if found.correlation is not None:
            c = found.correlation
            firm = "" if c.low > 0 or c.high < 0 else " (which may be chance)"
            said.append(
                f"{found.name}: what is hard for the model and for people correlates with "
                f"{c.value:.2f} [{c.low:.2f}, {c.high:.2f}] over {c.count} classes{firm}."
            )
    return said


def _score(score: Any) -> str:
    if score is None or score.value != score.value:
        return "–"
    return f"{100 * score.value:.1f} % [{100 * score.low:.1f}, {100 * score.high:.1f}]"


def _percent(value: float) -> str:
    return "–" if value != value else f"{100 * value:.1f} %"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"
