"""The report of a study as one HTML file, in English or Japanese (see ``keshin.pages``)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from keshin.evaluate.human.difficulty import Change
from keshin.evaluate.human.plot import difficulty_plot
from keshin.evaluate.human.report import MEASURES, Report, Round, notes, words_of
from keshin.evaluate.human.scoring import Difference, Row
from keshin.pages import page
from keshin.pages.drawing import clean
from keshin.pages.numbers import MINUS, p_value, percent, points, with_interval
from keshin.pages.words import Words
from keshin.statistics.figure import Figure

TEMPLATE = Path(__file__).with_name("report.html.jinja")


def to_html(report: Report, *, language: str = "en") -> str:
    """The whole page. Raises ``KeshinError`` for a language that is not there."""
    words = words_of(language)
    title = words["title" if report.model else "title_alone"]
    drawn = difficulty_plot({r.shots: r.classes for r in report.rounds}, report.model, words)
    return page.render(
        TEMPLATE,
        words,
        title=clean(title.format(title=report.title, model=report.model)),
        made_by=words["made_by"].format(
            version=report.keshin,
            date=report.created[:16].replace("T", " "),
            questions=f"{report.questions:,}",
            classes=report.classes,
            chance=percent(report.chance),
        ),
        report=report,
        measures=list(MEASURES),
        summary=list(_summary(report, words)),
        notes=list(notes(report, words)),
        rows=list(_rows(report, words)),
        table_said=words["table_said"].format(
            source=report.paper.source,
            paper=report.paper.title,
            pictures=f"{report.paper.pictures:,}",
            classes=report.paper.classes,
        ),
        plot=page.safe(drawn),
        plot_said=words["plot_said"].format(who=report.model or words["who_people"]),
        compared={r.shots: list(_compared(report, r, words)) for r in report.rounds},
        changes=[_change(change, words) for change in report.changes],
        command=_command(report),
        reproduce=_reproduce(report, words),
        sections=_sections(report, words),
    )


def _summary(report: Report, words: Words) -> Iterator[str]:
    for found in report.rounds:
        number = len(found.people)
        said = words["one_names" if number == 1 else "people_name"].format(
            round=words[f"round{found.shots}"],
            n=number,
            accuracy=_said(found.human.accuracy),
            guesses=_said(found.human.accuracy_on_guesses),
        )
        if number > 2:
            said += words["and_majority"].format(majority=_said(found.human.majority))
        if found.model is not None and found.difference is not None:
            said += words["and_model"].format(
                model=report.model,
                accuracy=_said(found.model.accuracy),
                verdict=_verdict(found.difference, words),
            )
        yield said + words["stop"]
    for change in report.changes:
        said = words["gain"].format(**_between(change, words), gain=points(change.gain))
        if change.gain > 0:
            said += words["gain_unknown"].format(unknown=points(change.gain_from_dont_know))
        yield said + words["stop"]
    for found in report.rounds:
        if (c := found.correlation) is not None:
            said = words["hard"].format(
                round=words[f"round{found.shots}"], value=_coefficient(c), n=c.count
            )
            firm = c.low > 0 or c.high < 0
            yield said + ("" if firm else words["hard_unsure"]) + words["stop"]


def _rows(report: Report, words: Words) -> Iterator[tuple[str, Row]]:
    """The table's, of each round people and model."""
    for found in report.rounds:
        of = {"round": words[f"round{found.shots}"], "n": len(found.people)}
        yield words["people_row"].format(**of), found.human
        if found.model is not None:
            yield words["model_row"].format(model=report.model), found.model


def _compared(report: Report, found: Round, words: Words) -> Iterator[str]:
    """The model against the majority, and people with each other."""
    if (d := found.difference) is not None:
        yield words["versus"].format(
            model=report.model,
            difference=points(d.value),
            low=points(d.low),
            high=points(d.high),
            only_model=d.only_model,
            only_people=d.only_people,
            p=p_value(d.p),
            verdict=_verdict(d, words),
        )
    if _is(found.agreement):
        said = words["agreement"].format(alpha=_coefficient(found.agreement))
        if _is(found.agreement_on_guesses):
            alpha = _coefficient(found.agreement_on_guesses)
            said += words["agreement_guesses"].format(alpha=alpha)
        if found.fleiss == found.fleiss:
            said += words["agreement_fleiss"].format(kappa=f"{found.fleiss:.2f}")
        yield said + words["agreement_end"]


def _change(change: Change, words: Words) -> tuple[str, list[tuple[str, dict[str, int]]], str]:
    """Its heading, what became of each kind of answer, and what that comes to."""
    moves = [
        (words["right"], change.from_right),
        (words["wrong"], change.from_wrong),
        (words["dont_know"], change.from_dont_know),
    ]
    said = words["change_said"].format(
        gain=points(change.gain), unknown=points(change.gain_from_dont_know)
    )
    heading = words["change"].format(**_between(change, words), n=f"{change.answers:,}")
    return heading, moves, said


def _between(change: Change, words: Words) -> dict[str, str]:
    return {
        "before": words[f"round{change.shots}"],
        "after": words[f"round{change.next_shots}"],
    }


def _verdict(found: Difference, words: Words) -> str:
    sign = (found.low > 0) - (found.high < 0)
    return words[{1: "verdict_model", 0: "verdict_even", -1: "verdict_people"}[sign]]


def _sections(report: Report, words: Words) -> list[tuple[str, str]]:
    rounds = [(f"round{r.shots}", words[f"round{r.shots}"]) for r in report.rounds]
    changes = [("changes", words["changes"])] if report.changes else []
    keys = ("summary", "table", "classes")
    return [*((k, words[k]) for k in keys), *rounds, *changes, ("reproduce", words["reproduce"])]


def _command(report: Report) -> str:
    return "keshin human report STUDY" + (f" --model {report.model}" if report.model else "")


def _reproduce(report: Report, words: Words) -> list[tuple[str, str]]:
    return [
        (words["dataset"], report.dataset),
        (words["split"], report.split),
        (words["study"], report.study),
        (words["seed"], str(report.seed)),
        (words["order"], words[f"order_{report.order}"]),
        (words["model"], report.model or ""),
        (words["mode"], report.mode),
        (words["fingerprint"], report.fingerprint),
        (words["prompts"], " · ".join(report.templates)),
    ]


def _said(found: Figure) -> str:
    return with_interval(found.value, found.low, found.high)


def _coefficient(found: Figure) -> str:
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]".replace("-", MINUS)


def _is(found: Figure) -> bool:
    return found.value == found.value
