"""What the command ``eval`` does: options to evaluations, these to reports."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from keshin import api
from keshin.classify import labels_from_file, templates_from_file
from keshin.cli.listing import print_datasets
from keshin.cli.main import FAILED
from keshin.cli.reports import printable
from keshin.cli.stages import Stages
from keshin.errors import DataError, KeshinError
from keshin.evaluate.evaluation import evaluate, same_question
from keshin.evaluate.reporting.report import write_report
from keshin.evaluate.reporting.tables import as_csv, as_table
from keshin.evaluate.reporting.words import words_of
from keshin.evaluate.results import Evaluation, read_evaluation
from keshin.evaluate.sources import Choices, captioned, open_pictures
from keshin.facts import prompts
from keshin.pages.page import write

EVERYTHING = "all"


@dataclass(frozen=True)
class Asked:
    """The options of the command, as they were given."""

    sources: tuple[str, ...]
    report: Path | None
    language: str
    figures: Path | None
    probe: bool
    few_shot: bool
    resnet50: str | None
    train: str | None
    listing: bool
    long: bool
    split: str
    like: str | None
    labels_file: Path | None
    templates: tuple[str, ...]
    limit: int | None
    seed: int
    data_dir: Path | None
    download: bool
    form: str
    output: Path | None
    model: str | None
    threads: int | None
    engine: str
    mode: str
    fast: bool
    no_cache: bool


def run(asked: Asked) -> int:
    """Evaluate and write; the exit code."""
    if asked.listing:
        print_datasets(asked.data_dir, asked.form, asked.sources, long=asked.long)
        return 0
    sources = _sources(asked)
    if asked.report is not None and len(sources) > 1:
        raise click.UsageError(
            "--report is one file for one source. Use --figures FOLDER, which writes a report of "
            "each and the figures over all of them."
        )
    words_of(asked.language)
    if asked.download:
        _fetch(sources, asked)
    model = api.load(
        asked.model or api.DEFAULT_MODEL,
        mode=asked.mode,
        threads=asked.threads,
        engine=asked.engine,
        decode="fast" if asked.fast else "exact",
    )
    work = Work(asked, model, _choices(asked))
    found = work.all_of(sources)
    _print(found, asked)
    if asked.report is not None:
        _said(write_report(found[0], asked.report, language=asked.language))
    if asked.figures is not None:
        _figures(found, asked)
    return FAILED if any(one.failures for one in found) or work.failed else 0


@dataclass
class Work:
    """The evaluations of one run."""

    asked: Asked
    model: api.Model
    choices: Choices
    failed: int = 0

    def all_of(self, sources: Sequence[str]) -> list[Evaluation]:
        """Each source in turn. Of several, one that cannot be used is named and left out."""
        found = []
        for source in sources:
            try:
                found.append(self._one(source))
            except (DataError, KeshinError) as error:
                if len(sources) == 1:
                    raise
                click.echo(f"{printable(source)}: {error}", err=True)
                self.failed += 1
        if not found:
            raise DataError("None of these data sets could be evaluated.")
        return found

    def _one(self, source: str) -> Evaluation:
        kept = None
        if self.asked.figures is not None:
            kept = self.asked.figures / f"{_file_name(source)}.json"
            if (before := self._before(source, kept)) is not None:
                click.echo(f"{printable(source)}: as it was in '{kept}'.", err=True)
                return before
        with Stages(printable(source)) as stages:
            found = evaluate(
                self.model, source, choices=self.choices, command=_command(), watch=stages
            )
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            found.save(kept)
        return found

    def _before(self, source: str, kept: Path) -> Evaluation | None:
        """What an earlier run found out of the same: same model, pictures, prompts and parts."""
        if not kept.is_file() or captioned(source):
            return None
        try:
            found = read_evaluation(kept)
        except DataError:
            return None
        return found if self._same(source, found) else None

    def _same(self, source: str, found: Evaluation) -> bool:
        parts = (
            (self.choices.probe, found.probe),
            (self.choices.few_shot, found.few_shot),
            (self.choices.baseline is not None, found.baseline),
        )
        if any(wanted and part is None for wanted, part in parts):
            return False
        return same_question(self.model, open_pictures(source, self.choices), self.choices, found)


def _sources(asked: Asked) -> list[str]:
    """What is to be evaluated; "all": the known data sets that are here."""
    if not asked.sources:
        raise click.UsageError(
            "Say what to evaluate on: a folder with one folder of pictures per class, a table, or "
            "a data set ('keshin eval --list' shows them)."
        )
    if EVERYTHING not in asked.sources:
        return list(asked.sources)
    from keshin.evaluate.sets.catalogue import catalogue

    rows = catalogue(asked.data_dir)
    here = [row.key for row in rows if asked.split.partition(":")[0] in row.here]
    others = [source for source in asked.sources if source != EVERYTHING and source not in here]
    if not here and not others:
        raise DataError(
            "None of the known data sets is here. 'keshin eval --list' says how to get them; "
            "--data-dir says where they lie."
        )
    return [*here, *others]


def _choices(asked: Asked) -> Choices:
    baseline = None
    if asked.resnet50:
        from keshin.evaluate.probes.supervised import load_supervised

        baseline = load_supervised(asked.resnet50, threads=asked.threads)
    return Choices(
        split=asked.split,
        labels=labels_from_file(asked.labels_file) if asked.labels_file else None,
        templates=_templates(asked.templates),
        limit=asked.limit or 0,
        train=asked.train,
        like=asked.like,
        probe=asked.probe,
        few_shot=asked.few_shot,
        baseline=baseline,
        cache=not asked.no_cache,
        seed=asked.seed,
        data_dir=asked.data_dir,
    )


def _templates(given: Sequence[str]) -> tuple[str, ...] | None:
    """Templates, names of sets, files of templates."""
    found: list[str] = []
    for entry in given:
        is_file = entry not in prompts.template_sets() and Path(entry).is_file()
        found.extend(templates_from_file(entry) if is_file else [entry])
    return tuple(found) or None


def _fetch(sources: Sequence[str], asked: Asked) -> None:
    """Fetch the data sets among the sources that are not here."""
    from keshin.cli.listing import fetch_datasets

    learns = asked.probe or asked.few_shot or asked.resnet50
    splits = [asked.split.partition(":")[0], *(["train"] if learns else [])]
    fetch_datasets(sources, asked.data_dir, splits)


def _print(found: Sequence[Evaluation], asked: Asked) -> None:
    """The results on standard output or in a file."""
    if asked.form == "json":
        parts = [one.to_json(pictures=False) for one in found]
        text = parts[0] if len(parts) == 1 else "[" + ",\n".join(parts) + "]"
    elif asked.form == "csv":
        text = as_csv(found).rstrip("\n")
    else:
        text = as_table(found)
    if asked.output is not None:
        _said(write(asked.output, text + "\n"))
    else:
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
        sys.stdout.flush()
    for one in found:
        _warn(one)


def _warn(one: Evaluation) -> None:
    """What people must not overlook, on standard error."""
    if one.order is not None and one.order.suspicious:
        click.echo(f"Warning: {one.order.sentence}", err=True)
    if one.failures:
        click.echo(
            f"{len(one.failures)} of {one.data.pictures + len(one.failures)} pictures of "
            f"{printable(one.data.title)} could not be read. The first: {one.failures[0].error}",
            err=True,
        )


def _figures(found: Sequence[Evaluation], asked: Asked) -> None:
    from keshin.evaluate.reporting.figures import write_figures

    folder = asked.figures
    if folder is None:
        return
    reports = {}
    for one in found:
        name = f"{_file_name(one.data.key or one.data.source)}.html"
        write_report(one, folder / name, language=asked.language)
        reports[one.data.title] = name
    written = write_figures(
        found, folder, language=asked.language, command=_command(), reports=reports
    )
    _said(written[0])


def _said(path: Path) -> None:
    click.echo(f"Written: {path}", err=True)


def _file_name(source: str) -> str:
    """A file name for a source: its own name, in plain characters."""
    name = Path(source).name or "pictures"
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name).lstrip(".") or "pictures"


def _command() -> str:
    """The command line, as it can be typed again."""
    return shlex.join(["keshin", *sys.argv[1:]])
