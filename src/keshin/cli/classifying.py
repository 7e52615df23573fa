"""What the command ``classify`` does: options to a classifier, its answers to a report."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from keshin import api
from keshin.classify import (
    Classifier,
    Labels,
    Rejection,
    alias_from_text,
    labels_from_file,
    labels_from_folders,
    labels_from_text,
    resolve_templates,
    templates_from_file,
)
from keshin.cli.interrupts import Interrupts
from keshin.cli.reports import Report, printable
from keshin.core.pictures import Failure, find_pictures
from keshin.facts import prompts

FEW = 12
"""Up to so many pictures a run is done sooner without preparing the weights."""
TOP_OF_ONE, TOP_OF_SEVERAL = 5, 1
Item = TypeVar("Item")


def find_files(given: Sequence[str]) -> list[str]:
    """Files as they were given, and the pictures of folders. Raises ``click.UsageError``."""
    found: list[str] = []
    for path in given:
        if os.path.isdir(path):  # noqa: PTH112
            found.extend(map(str, find_pictures([path])))
        else:
            found.append(path)
    if not found:
        raise click.UsageError(f"There is no picture in {', '.join(map(printable, given))}.")
    return found


def run(
    classifier: Classifier, files: list[str], report: Report, *, top: int | None, people: bool
) -> int:
    """Classify and print; the number of pictures that failed.

    For people the table is kept short, unless they say how many answers they want.
    """
    if top is None and people:
        top = TOP_OF_ONE if len(files) == 1 else TOP_OF_SEVERAL
    failures = 0
    with Interrupts() as interrupts:
        report.begin(classifier)
        try:
            for result in _progress(classifier.results(files, top=top), len(files)):
                failures += isinstance(result, Failure)
                with interrupts.held():
                    report.add(files[result.index], result)
        finally:
            with interrupts.held():
                report.end()
    return failures


@dataclass(frozen=True)
class Choices:
    """The options that say what to look for, as they were given."""

    labels: str | None
    labels_file: Path | None
    labels_from_folders: Path | None
    saved: Path | None
    aliases: tuple[str, ...]
    model: str | None
    template: tuple[str, ...]
    template_set: tuple[str, ...]
    least_score: float | None
    least_cosine: float | None
    none_of_these: bool
    threads: int | None
    mode: str
    few: bool = False
    """Whether the run is so short that preparing the weights for speed would take longer."""

    def classifier(self) -> Classifier:
        """The classifier meant. Raises ``click.UsageError`` and ``KeshinError``."""
        sources = (self.labels, self.labels_file, self.labels_from_folders, self.saved)
        if sum(source is not None for source in sources) != 1:
            raise click.UsageError(
                "Say what to look for with one of --labels, --labels-file, --labels-from-folders "
                "and --classifier."
            )
        rejection = Rejection(
            score=self.least_score,
            cosine=self.least_cosine,
            background=prompts.background() if self.none_of_these else (),
        )
        if self.saved:
            if self.aliases or self.template or self.template_set or rejection.active:
                raise click.UsageError(
                    "A saved classifier keeps its own aliases, templates and rejection."
                )
            model = self._model(self.model) if self.model else None
            return api.load_classifier(
                self.saved, model, mode=self.mode, threads=self.threads, prepack=not self.few
            )
        classes, templates = self._classes(), self._templates()
        model = self._model(self.model or api.DEFAULT_MODEL)
        return model.classifier(classes, templates=templates, reject=rejection)

    def _model(self, name: str) -> api.Model:
        return api.load(name, mode=self.mode, threads=self.threads, prepack=not self.few)

    def _classes(self) -> Labels:
        if self.labels is not None:
            classes = labels_from_text(self.labels)
        elif self.labels_file is not None:
            classes = labels_from_file(self.labels_file)
        else:
            classes = labels_from_folders(self.labels_from_folders or Path())
        for text in self.aliases:
            classes = classes.with_aliases(alias_from_text(text))
        return classes

    def _templates(self) -> tuple[str, ...] | None:
        found = [*self.template]
        for entry in self.template_set:
            is_file = entry not in prompts.template_sets() and Path(entry).is_file()
            found.extend(templates_from_file(entry) if is_file else [entry])
        return resolve_templates(found or None)


def _progress(results: Iterator[Item], total: int) -> Iterator[Item]:
    """The same, with a bar on standard error where a person sees it."""
    if total == 1 or not sys.stderr.isatty():
        yield from results
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = TextColumn("pictures"), BarColumn(), MofNCompleteColumn(), TimeLeft()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(results, total=total)
