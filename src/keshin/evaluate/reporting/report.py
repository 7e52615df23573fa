"""One evaluation as one HTML file (see ``keshin.pages``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keshin.evaluate.reporting import charts, confusion
from keshin.evaluate.reporting.paper import PaperResult, paper_results
from keshin.evaluate.reporting.summary import cautions, metric_name, summary, trust_said
from keshin.evaluate.reporting.words import words_of
from keshin.evaluate.results import Difference, Evaluation
from keshin.pages import page
from keshin.pages.drawing import clean
from keshin.pages.numbers import interval, percent
from keshin.pages.words import Words
from keshin.statistics.figure import Figure

TEMPLATE = Path(__file__).with_name("report.html.jinja")
CONFUSED, NAMED = 15, 1000
"""Mistakes in the table; names of classes that are listed."""


def write_report(one: Evaluation, path: Path, *, language: str = "en") -> Path:
    """The report of an evaluation, whole or not at all. Raises ``DataError`` if it cannot be
    written and ``KeshinError`` for a language that is not there."""
    return page.write(path, render(one, language=language))


def render(one: Evaluation, *, language: str = "en") -> str:
    """The page of an evaluation."""
    words = words_of(language)
    names = list(one.prompts.names.items())
    drawn = _charts(one, words)
    return page.render(
        TEMPLATE,
        words,
        title=words["title"].format(model=clean(one.model.name), data=clean(one.data.title)),
        made_by=words["made_by"].format(
            version=one.run.versions.get("keshin", ""), date=one.run.date
        ),
        e=one,
        charts=drawn,
        summary=summary(one, words),
        cautions=cautions(one, words),
        trust=trust_said(one, words),
        key_figures=_highlights(one, words),
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


def _charts(one: Evaluation, words: Words) -> dict[str, Any]:
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
    return {name: page.safe(svg) for name, svg in made.items()}


def _measures(one: Evaluation, words: Words) -> list[tuple[str, Figure]]:
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
    rows = [
        (metric_name(main.name, words), percent(main.value), _between(main, words)),
        (words["chance"], percent(main.chance), ""),
    ]
    for name, probe in _probes(one, words):
        rows.append((name, percent(probe.score.value), _between(probe.score, words)))
    rows.append((words["pictures"], f"{one.data.pictures:,}", ""))
    return rows


def _between(score: Figure, words: Words) -> str:
    return f"{words['interval']} {interval(score.low, score.high)}\N{NO-BREAK SPACE}%"


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
