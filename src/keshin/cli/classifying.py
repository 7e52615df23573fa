"""What the command ``classify`` does: options to a classifier, its answers to a report."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from keshin.cli.reports import Report
from keshin.cli.walking import Bar, Files
from keshin.core.pictures import Failure
from keshin.encode.embeddings import Store
from keshin.facts import prompts

FEW = 12
"""Up to so many pictures a run is done sooner without preparing the weights."""
TOP_OF_ONE, TOP_OF_SEVERAL = 5, 1


def run(
    classifier: Classifier,
    files: Files,
    report: Report,
    store: Store | None,
    *,
    top: int | None,
    people: bool,
) -> int:
    """Classify and print; the number of pictures that failed.

    For people the table is kept short, unless they say how many answers they want.
    """
    if top is None and people:
        top = TOP_OF_ONE if files.single else TOP_OF_SEVERAL
    encoder = classifier.encoder if store is None else store
    with (
        Interrupts() as interrupts,
        closing(classifier.results_of(encoder.try_images(files.names()), top=top)) as results,
        Bar(files, store) as bar,
    ):
        report.begin(classifier)
        try:
            for result in results:
                name = files.next_name()
                bar.add(failed=isinstance(result, Failure))
                with interrupts.held():
                    report.add(name, result)
        finally:
            with interrupts.held():
                report.end()
    return bar.failed


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
    engine: str
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
            return api.load_classifier(self.saved, model, **self._runtime())
        classes, templates = self._classes(), self._templates()
        model = self._model(self.model or api.DEFAULT_MODEL)
        return model.classifier(classes, templates=templates, reject=rejection)

    def _model(self, name: str) -> api.Model:
        return api.load(name, **self._runtime())

    def _runtime(self) -> dict[str, Any]:
        return {
            "mode": self.mode,
            "engine": self.engine,
            "threads": self.threads,
            "prepack": not self.few,
        }

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
