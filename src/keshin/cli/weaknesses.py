"""The command ``weaknesses``. It imports what it needs when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keshin.cli.main import FAILED
from keshin.cli.options import (
    FILE,
    FOLDER,
    LANGUAGES,
    NEW_FILE,
    language_option,
    mode_option,
    threads_option,
)

if TYPE_CHECKING:
    from keshin.evaluate.weaknesses import Report

COUNT, LEAST = 200, 20


@click.command(short_help="Measure what a model is known to be bad at.")
@click.option("-m", "--model", default="mini", metavar="NAME|FOLDER", show_default=True)
@click.option("-l", "--labels", metavar="TEXT", help='Your labels, as "husky, malamute".')
@click.option("--labels-file", type=FILE, help="A label a line, aliases after a colon or a tab.")
@click.option(
    "--pictures",
    type=FOLDER,
    help="A folder with one folder of pictures a label; without labels its folders are the labels.",
)
@click.option("--task", "tasks", multiple=True, metavar="KEY", help="Only this one; repeatable.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--count",
    type=click.IntRange(min=LEAST),
    default=COUNT,
    show_default=True,
    help="Questions a task.",
)
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
)
@click.option("--report", "page", type=NEW_FILE, help="Write an HTML page with example pictures.")
@language_option("Of the table and the page.")
@click.option(
    "--captions",
    type=click.Choice(LANGUAGES),
    default=LANGUAGES[0],
    show_default=True,
    help="Language in which the model is asked; it must read it.",
)
@mode_option("fp32", "Precision.")
@threads_option
@click.pass_context
def weaknesses(
    ctx: click.Context,
    /,
    model: str,
    labels: str | None,
    labels_file: Path | None,
    pictures: Path | None,
    tasks: tuple[str, ...],
    seed: int,
    count: int,
    form: str,
    page: Path | None,
    language: str,
    captions: str,
    mode: str,
    threads: int | None,
) -> None:
    """Measure what a model is known to be bad at, on pictures that keshin draws.

    Counting, nearer or farther, left and right, which colour belongs to what, reading, words that
    lead astray, nearly equal shapes, negation: each with an interval, chance, and a control that
    shows whether the model knows the drawings. With labels of yours: which of them it cannot tell
    apart.

    \b
    Examples:
      keshin weaknesses
      keshin weaknesses --model openai/ViT-B-32 --labels "husky, malamute" --report weak.html
      keshin weaknesses --pictures photos/ --format json > weak.json
      keshin weaknesses --captions ja --language ja --report 弱点.html
    """
    from keshin import api
    from keshin.classify import labels_from_file, labels_from_text
    from keshin.evaluate.weaknesses import weaknesses as measure

    if labels is not None and labels_file is not None:
        raise click.UsageError("Give labels with --labels or with --labels-file, not with both.")
    if page is not None:
        from keshin.errors import require

        require("jinja2", extra="eval")  # before the work, not after it
        if not page.absolute().parent.is_dir():
            raise click.UsageError(f"There is no folder '{page.parent}' for the report.")
    given = labels_from_text(labels) if labels is not None else None
    given = labels_from_file(labels_file) if labels_file is not None else given
    with Bar() as bar:
        found = measure(
            api.load(model, mode=mode, threads=threads),
            given,
            pictures=pictures,
            seed=seed,
            count=count,
            tasks=tasks or None,
            captions=captions,
            progress=bar.show,
        )
    if page is not None:
        found.report(page, language=language)
    _print(found, form, language)
    if found.labels and found.labels.failed:
        for error in found.labels.failed:
            click.echo(error, err=True)
        ctx.exit(FAILED)


class Bar:
    """One line on standard error: a moving one for people, one a task for files."""

    def __init__(self) -> None:
        self.moving = sys.stderr.isatty()
        self.task = ""

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *how: object) -> None:
        if self.moving and self.task:
            click.echo("\r\x1b[K", nl=False, err=True)

    def show(self, task: str, done: int, of: int) -> None:
        """So many pictures of a task are done."""
        if self.moving:
            click.echo(f"\r\x1b[K{task}: {done:,} of {of:,} pictures", nl=False, err=True)
        elif task != self.task:
            click.echo(f"{task}: {of:,} pictures", err=True)
        self.task = task


def _print(found: Report, form: str, language: str) -> None:
    if form == "json":
        click.echo(found.to_json())
    elif form == "csv":
        import csv

        rows = list(found.rows())
        writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        from keshin.cli.reports import print_rows

        if found.findings:
            print_rows(found.table(language), sys.stdout)
        if found.labels:
            click.echo(f"\n{found.labels.said.of(language)}")
            print_rows(found.labels.table(language), sys.stdout)
