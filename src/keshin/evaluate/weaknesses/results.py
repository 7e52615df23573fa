"""What is found out, as data: figures with intervals and chance, verdicts, the whole report."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import msgspec

from keshin.pages import numbers
from keshin.statistics.figure import Figure


class Level(msgspec.Struct, frozen=True):
    """The main figure for one kind of scene."""

    name: str
    figure: Figure


class Words(msgspec.Struct, frozen=True):
    """The same sentence in both languages of the reports."""

    en: str
    ja: str

    def of(self, language: str) -> str:
        """``en`` or ``ja``."""
        return self.ja if language == "ja" else self.en


KINDS = {
    "same": Words("not told apart", "区別しない"),
    "near": Words("near", "近い"),
    "apart": Words("told apart", "区別する"),
}
"""How two labels stand to each other."""


class Finding(msgspec.Struct, frozen=True):
    """One task: what it asks, what came out, what that means."""

    task: str
    title: Words
    asks: Words
    verdict: str
    """A key of ``verdicts.py``."""
    said: Words
    """The verdict in a sentence."""
    main: Figure
    control: Figure
    control_asks: Words
    others: tuple[Figure, ...]
    levels: tuple[Level, ...]
    pictures: int


class LabelPair(msgspec.Struct, frozen=True):
    """Two labels of the user's, measured by text, and by pictures where there are any."""

    one: str
    other: str
    cosine: float
    """Of the class weights over all paraphrases."""
    distance: float
    """1 - cosine between the one's half of the paraphrases and the other's other half."""
    null: float
    """The same between the two halves of one label: the median of both labels."""
    limit: float
    """The null's 95th percentile: at or below it the two are one label to the model."""
    verdict: str
    """``same``, ``near`` or ``apart``."""
    accuracy: Figure | None = None
    """On the pictures of the two: mean of both recalls, where each is asked this or that."""
    seen: str = ""
    """What the pictures say: ``can``, ``weak``, ``guess`` ...; empty without pictures."""


class LabelReport(msgspec.Struct, frozen=True):
    """The user's labels: which pairs the model cannot tell apart."""

    labels: int
    compared: int
    """Pairs."""
    verdict: str
    said: Words
    told_apart: Figure
    control: Figure
    pairs: tuple[LabelPair, ...]
    """First those that are not told apart, by text or on pictures, then the nearest; 20 to 200."""
    failed: tuple[str, ...] = ()
    """Pictures that could not be read."""

    def table(self, language: str = "en") -> list[dict[str, str]]:
        """A row for each pair that is listed, in ``en`` or ``ja``."""
        japanese = language == "ja"
        return [
            {
                "ラベル" if japanese else "labels": f"{pair.one} / {pair.other}",
                "距離" if japanese else "distance": f"{pair.distance:.4f}",
                "上限" if japanese else "one label at most": f"{pair.limit:.4f}",
                "判定" if japanese else "by text": KINDS[pair.verdict].of(language),
                "写真" if japanese else "on pictures": (
                    f"{percent(pair.accuracy)} [{interval(pair.accuracy)}]"
                    if pair.accuracy
                    else "–"
                ),
            }
            for pair in self.pairs
        ]


class Report(msgspec.Struct, frozen=True):
    """All tasks of one model."""

    model: str
    fingerprint: str
    version: str
    seed: int
    count: int
    findings: tuple[Finding, ...]
    labels: LabelReport | None = None
    captions: str = "en"
    """The language in which the model was asked."""
    format: int = 2
    """Of the JSON: 1 wrote the unit of every figure, 2 only where it is no share."""

    def to_json(self) -> str:
        """Indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode()

    def table(self, language: str = "en") -> list[dict[str, str]]:
        """A row for each task, in words and per cent, in ``en`` or ``ja``."""
        heads = HEADS[language]
        return [
            dict(
                zip(
                    heads,
                    (
                        finding.title.of(language),
                        percent(finding.main),
                        interval(finding.main),
                        percent(finding.main, finding.main.chance),
                        percent(finding.control),
                        finding.said.of(language),
                    ),
                    strict=True,
                )
            )
            for finding in self.findings
        ]

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for every figure, for a CSV file."""
        for finding in self.findings:
            yield _row(finding.task, "main", finding.main, finding.verdict)
            yield _row(finding.task, "control", finding.control)
            for figure in finding.others:
                yield _row(finding.task, "other", figure)
            for level in finding.levels:
                yield _row(
                    finding.task, "kind", msgspec.structs.replace(level.figure, name=level.name)
                )
        if self.labels:
            yield _row("labels", "main", self.labels.told_apart, self.labels.verdict)
            yield _row("labels", "control", self.labels.control)
            for pair in self.labels.pairs:
                if pair.accuracy:
                    named = f"{pair.one} / {pair.other}"
                    figure = msgspec.structs.replace(pair.accuracy, name=named)
                    yield _row("labels", "pair", figure, pair.seen)

    def report(self, path: str | os.PathLike[str], *, language: str = "en") -> None:
        """Write one HTML file with example pictures (needs ``keshin[eval]``)."""
        from keshin.evaluate.weaknesses.page import write_page

        write_page(self, path, language=language)


HEADS = {
    "en": ("task", "value", "95 %", "chance", "control", "verdict"),
    "ja": ("課題", "値", "95 %", "偶然", "対照", "判定"),
}


def _row(task: str, role: str, figure: Figure, verdict: str = "") -> dict[str, Any]:
    fields = msgspec.structs.asdict(figure)
    numbers = {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in fields.items()}
    return {"task": task, "role": role, **numbers, "verdict": verdict}


def percent(figure: Figure, value: float | None = None) -> str:
    """The value, or another of the same unit, for people."""
    shown = figure.value if value is None else value
    if figure.unit == "difference":
        return f"{numbers.points(shown)} %"
    return numbers.percent(shown) if figure.unit == "share" else f"{shown:.2f}"


def interval(figure: Figure) -> str:
    """The interval for people."""
    if figure.unit == "difference":
        return numbers.points_interval(figure.low, figure.high)
    if figure.unit == "share":
        return numbers.interval(figure.low, figure.high)
    return f"{figure.low:.2f} – {figure.high:.2f}"
