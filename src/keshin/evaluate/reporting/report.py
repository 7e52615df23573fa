"""One evaluation as one HTML file: no network, no scripts, light and dark, phone and paper.

Labels, file names and error messages are not to be trusted: the templates escape all of them,
charts escape their own text, and a policy in the page forbids scripts and everything from
elsewhere.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from keshin.core.writing import whole
from keshin.errors import DataError, require
from keshin.evaluate.reporting import charts, confusion
from keshin.evaluate.reporting.drawing import DARK, STYLE, clean
from keshin.evaluate.reporting.paper import PaperResult, paper_results
from keshin.evaluate.reporting.summary import cautions, metric_name, p_value, summary
from keshin.evaluate.reporting.words import Words, words_of
from keshin.evaluate.results import Difference, Evaluation, Score

PERCENT, MINUS = "\N{NO-BREAK SPACE}%", "\N{MINUS SIGN}"
PAGES = Path(__file__).parent / "pages"
CONFUSED, NAMED = 15, 1000
"""Mistakes in the table; names of classes that are listed."""


def write_report(one: Evaluation, path: Path, *, language: str = "en") -> Path:
    """The report of an evaluation, whole or not at all. Raises ``DataError`` if it cannot be
    written and ``KeshinError`` for a language that is not there."""
    return write_page(path, render(one, language=language))


def write_page(path: Path, page: str) -> Path:
    """Write text, whole or not at all. Raises ``DataError``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as scratch:
            scratch.write_bytes(page.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise DataError(f"Cannot write the report to {path}: {error.strerror or error}.") from error
    return path


def render(one: Evaluation, *, language: str = "en") -> str:
    """The page of an evaluation."""
    words = words_of(language)
    names = list(one.prompts.names.items())
    drawn = _charts(one, words)
    return render_page(
        "report.html.jinja",
        words,
        title=words["title"].format(model=clean(one.model.name), data=clean(one.data.title)),
        made_by=words["made_by"].format(
            version=one.run.versions.get("keshin", ""), date=one.run.date
        ),
        e=one,
        charts=drawn,
        summary=summary(one, words),
        cautions=cautions(one, words),
        highlights=_highlights(one, words),
        measures=_measures(one, words),
        comparisons=_comparisons(one),
        paper=_paper(one),
        probes=_probes(one, words),
        confused=[
            (one.classes[target].name, one.classes[answer].name, count)
            for target, answer, count in confusion.most_confused(one.confusion, CONFUSED)
        ],
        close_up_size=confusion.CLOSE_UP,
        names=names[:NAMED],
        more_names=max(len(names) - NAMED, 0),
        reproduce=_reproduce(one, words),
        sections=_sections(one, drawn, words),
    )


def render_page(template: str, words: Words, **values: Any) -> str:
    """A page of ``pages/`` with the style of all of them."""
    jinja = _environment()
    markup = require("markupsafe", extra="eval").Markup
    dark = f"@media screen and (prefers-color-scheme:dark){{{DARK}}}"
    style = (PAGES / "page.css").read_text(encoding="utf-8") + STYLE + dark
    page: str = jinja.get_template(template).render(w=words, style=markup(style), **values)
    return page


@cache
def _environment() -> Any:
    jinja = require("jinja2", extra="eval")
    markup = require("markupsafe", extra="eval").Markup
    found = jinja.Environment(
        loader=jinja.FileSystemLoader(PAGES),
        autoescape=True,
        undefined=jinja.StrictUndefined,
        trim_blocks=True,
    )
    found.filters |= {
        "pc": lambda value: "–" if value is None else f"{100 * value:.1f}{PERCENT}",
        "signed": lambda value: f"{100 * value:+.1f}".replace("-", MINUS),
        "p": lambda value: p_value(value).removeprefix("= "),
        "number": lambda value: f"{value:.1f}",
        "base64": lambda data: base64.b64encode(data).decode(),
        "clean": clean,
        "shortened": lambda said: clean(said if len(said) <= 60 else f"…{said[-59:]}"),
        "strong": lambda said: markup(_strong(said)),
    }
    return found


def _strong(said: str) -> str:
    """Escaped, with what stands between ``**`` in bold."""
    parts = escape(clean(said)).replace(" %", PERCENT).split("**")
    if len(parts) % 2 == 0:
        return "**".join(parts)
    return "".join(f"<strong>{p}</strong>" if n % 2 else p for n, p in enumerate(parts))


def _charts(one: Evaluation, words: Words) -> dict[str, Any]:
    markup = require("markupsafe", extra="eval").Markup
    names = [found.name for found in one.classes]
    rows = [
        (c.name, c.count, c.value, c.low, c.high)
        for c in one.classes
        if c.value is not None and c.low is not None and c.high is not None
    ]
    chance = one.main.chance if not one.confusion else 1 / max(len(names), 1)
    made = {
        "measures": charts.measures(_measures(one, words), words),
        "classes": charts.class_bars(rows, chance, words) if rows else "",
        "confusion": confusion.chart(one.confusion, names, words) if one.confusion else "",
        "close_up": confusion.close_up(one.confusion, names, words) if one.confusion else "",
        "reliability": charts.reliability(one.calibration.bins, one.calibration.bins_after, words)
        if one.calibration
        else "",
        "risk": charts.risk(one.risk, words) if one.risk else "",
        "few_shot": charts.few_shot(one.few_shot, words, one.probe.score if one.probe else None)
        if one.few_shot
        else "",
    }
    return {name: markup(svg) for name, svg in made.items()}


def _measures(one: Evaluation, words: Words) -> list[tuple[str, Score]]:
    rows = [(metric_name(score.name, words), score) for score in one.scores]
    if one.single is not None:
        rows.append((f"{metric_name(one.single.name, words)}, {words['single_prompt']}", one.single))  # fmt: skip  # noqa: E501
    for name, probe in _probes(one, words):
        rows.append((f"{metric_name(probe.score.name, words)}, {name}", probe.score))
    return rows


def _probes(one: Evaluation, words: Words) -> list[tuple[str, Any]]:
    both = ((words["the_probe"], one.probe), (words["resnet50_probe"], one.baseline))
    return [(name, probe) for name, probe in both if probe is not None]


def _comparisons(one: Evaluation) -> list[Difference]:
    found = [one.ensembling, *(p.versus for p in (one.probe, one.baseline) if p is not None)]
    return [comparison for comparison in found if comparison is not None]


def _highlights(one: Evaluation, words: Words) -> list[tuple[str, str, str]]:
    main = one.main
    interval = f"{words['interval']} {100 * main.low:.1f} – {100 * main.high:.1f}{PERCENT}"
    rows = [(metric_name(main.name, words), f"{100 * main.value:.1f}{PERCENT}", interval)]
    rows.append((words["chance"], f"{100 * main.chance:.1f}{PERCENT}", ""))
    for name, probe in _probes(one, words):
        score = probe.score
        interval = f"{words['interval']} {100 * score.low:.1f} – {100 * score.high:.1f}{PERCENT}"
        rows.append((name, f"{100 * score.value:.1f}{PERCENT}", interval))
    rows.append((words["pictures"], f"{one.data.pictures:,}", ""))
    return rows


def _paper(one: Evaluation) -> PaperResult | None:
    return paper_results().get(one.data.key)


def _sections(one: Evaluation, drawn: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    there = {
        "summary": words["summary"],
        "results": words["results"],
        "classes": words["per_class"] if drawn["classes"] else "",
        "confusion": words["confusion"] if drawn["confusion"] else "",
        "scores": words["scores"] if drawn["reliability"] or drawn["risk"] else "",
        "probe": words["probe"] if one.probe or one.baseline or one.few_shot else "",
        "pictures": words["pictures_title"] if one.worst or one.best else "",
        "prompts": words["prompts"],
        "failures": words["failures"] if one.failures else "",
        "reproduce": words["reproduce"],
    }
    return [(name, said) for name, said in there.items() if said]


def _reproduce(one: Evaluation, words: Words) -> Sequence[tuple[str, str]]:
    data, model, run = one.data, one.model, one.run
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    return [
        (words["model"], model.name),
        (words["origin"], model.origin),
        (words["fingerprint"], model.fingerprint),
        (words["mode"], model.mode),
        (words["decode"], model.decode),
        (words["input_size"], " x ".join(map(str, model.size))),
        (words["data"], f"{data.title} ({data.source})"),
        (words["split"], data.split),
        (words["pictures"], f"{data.pictures:,}"),
        (words["digest"], data.digest),
        (words["licence"], data.licence),
        (words["notes"], data.notes),
        (words["seed"], str(run.seed)),
        (words["versions"], versions),
        (words["machine"], f"{run.system}, {run.processor}, {words['cores'].format(n=run.cores)}"),
        (words["took"], words["seconds"].format(n=f"{run.seconds:.0f}")),
        (words["date"], run.date),
    ]
