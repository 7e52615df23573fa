"""A study's result: Table 2 of the paper for these people, beside a model, with everything else
that was measured, as one structure that becomes JSON, CSV or HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from keshin import __version__
from keshin.errors import DataError
from keshin.evaluate.human.agreement import agreement, fleiss
from keshin.evaluate.human.difficulty import (
    Change,
    ClassRow,
    change,
    class_rows,
    correlation,
)
from keshin.evaluate.human.model_answers import ModelAnswers
from keshin.evaluate.human.scoring import (
    Difference,
    Row,
    Table,
    compare,
    score,
    table_of,
    votes,
)
from keshin.evaluate.human.sitting import DONT_KNOW, Sitting
from keshin.evaluate.human.study import Study, now
from keshin.facts.human import PaperTable, paper_table
from keshin.pages.numbers import percent
from keshin.pages.words import Words, words_in
from keshin.statistics.figure import Figure

FORMAT = 2
"""Of the JSON. 1 had records of several kinds where now all numbers are ``Figure``."""
WORDS = Path(__file__).with_name("words.toml")
FEW_PEOPLE, FEW_PICTURES = 5, 5
MEASURES = {
    "accuracy": "accuracy",
    "majority": "majority vote",
    "accuracy_on_guesses": "accuracy on guesses",
    "majority_on_guesses": "majority vote on guesses",
}
"""The columns of Table 2 as fields of a row and as people read them."""


class Person(msgspec.Struct, frozen=True):
    """One person in one round."""

    name: str
    accuracy: Figure
    accuracy_on_guesses: Figure
    dont_know: float
    """Share of "I don't know"."""
    median_seconds: float
    answers: int


class Round(msgspec.Struct, frozen=True):
    """One round: what was seen of each class, who answered, and how well."""

    shots: int
    name: str
    human: Row
    model: Row | None
    """On the same answers: where people are judged by part of the pictures, so is the model."""
    difference: Difference | None
    people: tuple[Person, ...]
    unfinished: tuple[str, ...]
    """Who began and is left out, or with ``partial`` counted with what is there."""
    agreement: Figure
    """Krippendorff's alpha, "I don't know" being one more answer."""
    agreement_on_guesses: Figure
    fleiss: float
    correlation: Figure | None
    classes: tuple[ClassRow, ...]
    """The hardest first."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a study."""

    title: str
    dataset: str
    split: str
    questions: int
    classes: int
    chance: float
    """Of choosing blindly among the classes."""
    seed: int
    order: str
    study: str
    """The study's key."""
    model: str | None
    fingerprint: str = ""
    mode: str = ""
    templates: tuple[str, ...] = ()
    rounds: tuple[Round, ...]
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    """In English; ``notes`` says them in other languages."""
    paper: PaperTable
    created: str
    keshin: str = __version__
    partial: bool = False
    """Whether people who had not finished a round count with what they answered."""
    format: int = FORMAT

    def to_json(self) -> str:
        """Indented JSON; what is not defined is null."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode()

    def to_csv(self) -> str:
        """A line for each number: round, who, measure, class, value, low, high, method, count."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(
            ("shots", "who", "measure", "class", "value", "low", "high", "method", "count")
        )
        writer.writerows(line for found in self.rounds for line in _lines(found))
        return text.getvalue()


def summarise(
    study: Study,
    sittings: Sequence[Sitting],
    model: ModelAnswers | None = None,
    *,
    partial: bool = False,
) -> Report:
    """The report of a study: of each round, all who finished it; ``partial``: also who began it.

    Raises ``DataError`` if no round has anybody.
    """
    tables: dict[int, Table] = {}
    for shots in study.rounds:
        try:
            tables[shots] = table_of(sittings, shots, partial=partial)
        except DataError:
            continue
    if not tables:
        begun = [s.person for s in sittings if s.answered]
        hint = f" {', '.join(begun)} began: --partial counts what is there." if begun else ""
        raise DataError(f"Nobody has finished a round of '{study.title}' yet.{hint}")
    rounds = tuple(_round(study, sittings, shots, table, model) for shots, table in tables.items())
    pairs = [(a, b) for a, b in zip(tables, list(tables)[1:], strict=False)]
    found = (change(tables[a], tables[b], a, b) for a, b in pairs)
    report = Report(
        title=study.title,
        dataset=study.dataset,
        split=study.split,
        questions=len(study.questions),
        classes=len(study.names),
        chance=1 / len(study.names),
        seed=study.seed,
        order=study.order,
        study=study.key,
        model=model.model if model else None,
        fingerprint=model.fingerprint if model else "",
        mode=model.mode if model else "",
        templates=model.templates if model else (),
        rounds=rounds,
        changes=tuple(entry for entry in found if entry is not None),
        notes=(),
        paper=paper_table(),
        created=now(),
        partial=partial,
    )
    return msgspec.structs.replace(report, notes=tuple(notes(report, words_of("en"))))


def round_name(shots: int) -> str:
    """What the paper calls it."""
    return f"{('Zero', 'One', 'Two')[shots]}-shot"


def _round(
    study: Study, sittings: Sequence[Sitting], shots: int, table: Table, model: ModelAnswers | None
) -> Round:
    choices = None if model is None else np.array(model.choices, np.int64)
    human, same = score(table, choices)
    counts, _ = votes(table)
    classes = tuple(class_rows(table, study.names, model))
    return Round(
        shots=shots,
        name=round_name(shots),
        human=human,
        model=same,
        difference=None if choices is None else compare(table, choices),
        people=tuple(person_of(table, place) for place in range(len(table.people))),
        unfinished=tuple(
            s.person
            for s in sittings
            if not s.has_done(shots) and (s.choices(shots) >= DONT_KNOW).any()
        ),
        agreement=agreement(counts),
        agreement_on_guesses=agreement(counts[:, :-1]),
        fleiss=fleiss(counts),
        correlation=correlation(classes),
        classes=classes,
    )


def person_of(table: Table, place: int) -> Person:
    """One person of a round, judged alone: the intervals are over pictures."""
    alone = _alone(table, place)
    row, _ = score(alone)
    answers = int(alone.answered.sum())
    return Person(
        table.people[place],
        row.accuracy,
        row.accuracy_on_guesses,
        float((alone.choices == DONT_KNOW).sum() / max(answers, 1)),
        float(np.nanmedian(alone.seconds)),
        answers,
    )


def _alone(table: Table, place: int) -> Table:
    """The table of one person."""
    one = slice(place, place + 1)
    return Table(
        table.people[one], table.targets, table.choices[one], table.seconds[one], table.classes
    )


def words_of(language: str) -> Words:
    """The texts of the report. Raises ``KeshinError`` for a language that is not there."""
    return words_in(WORDS, language)


def notes(report: Report, words: Words) -> Iterator[str]:
    """What must be known before the numbers are trusted, in the language of ``words``."""
    rounds = report.rounds
    yield words["note_mean"].format(n=report.classes, chance=percent(report.chance))
    yield words["note_intervals"]
    fewest = min(len(found.people) for found in rounds)
    if fewest < FEW_PEOPLE:
        yield words["note_one" if fewest == 1 else "note_few"].format(n=fewest)
    if any(found.people and found.shots for found in rounds):
        yield words["note_examples"]
    small = {row.name for found in rounds for row in found.classes if row.pictures < FEW_PICTURES}
    if small:
        yield words["note_small"].format(n=len(small), least=FEW_PICTURES)
    skipped = sorted({name for found in rounds for name in found.unfinished})
    if skipped:
        counted = "note_counted" if report.partial else "note_left_out"
        yield words[counted].format(who=", ".join(skipped))


def _lines(found: Round) -> Iterator[tuple[object, ...]]:
    for who, row in (("people", found.human), ("model", found.model)):
        if row is not None:
            for field, measure in MEASURES.items():
                yield (found.shots, who, measure, "", *_numbers(getattr(row, field)))
    for person in found.people:
        yield (found.shots, person.name, "accuracy", "", *_numbers(person.accuracy))
        guesses = _numbers(person.accuracy_on_guesses)
        yield (found.shots, person.name, "accuracy on guesses", "", *guesses)
        share = _rounded(person.dont_know)
        yield (found.shots, person.name, "don't know", "", share, "", "", "", person.answers)
        time = _rounded(person.median_seconds)
        yield (found.shots, person.name, "median seconds", "", time, "", "", "", person.answers)
    for row_ in found.classes:
        sides = (("people", row_.people), ("majority", row_.majority), ("model", row_.model))
        for who, share_ in sides:
            if share_ is not None:
                numbers = map(_rounded, (share_.value, share_.low, share_.high))
                yield (
                    found.shots,
                    who,
                    "accuracy",
                    row_.name,
                    *numbers,
                    share_.method,
                    share_.count,
                )
    if found.difference is not None:
        d = found.difference
        numbers = map(_rounded, (d.value, d.low, d.high))
        yield (found.shots, "model", "less majority vote", "", *numbers, "over pictures", "")
        yield (found.shots, "model", "McNemar p", "", _rounded(d.p), "", "", "", "")
    if found.correlation is not None:
        numbers_ = _numbers(found.correlation)
        yield (found.shots, "people and model", "Spearman", "", *numbers_)
    yield (found.shots, "people", "Krippendorff", "", *_numbers(found.agreement))


def _numbers(found: Figure) -> tuple[object, ...]:
    values = map(_rounded, (found.value, found.low, found.high))
    return (*values, found.method, found.count)


def _rounded(value: float) -> float | str:
    return "" if np.isnan(value) else float(f"{value:.6g}")
