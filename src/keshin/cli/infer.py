"""Commands that use a model as it is: ``classify``.

This module only declares them. What they need is imported when they run, so that ``--help`` is
instant.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from keshin.cli.main import FAILED
from keshin.cli.options import FILE, FOLDER, NEW_FILE, model_options

NONE = '"none of these"'


@click.command(short_help="Say which of some labels fits each picture.")
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURE|FOLDER...")
@click.option("-l", "--labels", metavar="TEXT", help='Labels, as "cat, dog"; \\, is a plain comma.')
@click.option(
    "--labels-file",
    type=FILE,
    help="A label a line, aliases after a colon or a tab; or JSON.",
)
@click.option(
    "--labels-from-folders", type=FOLDER, help="The names of the folders in this one are labels."
)
@click.option("--classifier", "saved", type=FILE, help="Use a saved classifier instead of labels.")
@click.option(
    "--alias",
    "aliases",
    multiple=True,
    metavar="LABEL=NAMES",
    help='More names of a label, as "cat=kitten, tabby"; repeatable.',
)
@click.option(
    "-t",
    "--template",
    "template",
    multiple=True,
    metavar="TEXT",
    help='A prompt with {} for the label; repeatable. Default: "a photo of a {}." '
    "(Japanese labels: {}の写真).",
)
@click.option(
    "--templates",
    "template_set",
    multiple=True,
    metavar="NAME|FILE",
    help="A published set (imagenet, cifar10, ..., ja), or a file with a template a line.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="K",
    help="Only the K best labels. Default: all; in tables 5 for one picture, 1 for several.",
)
@click.option(
    "--reject",
    "least_score",
    type=click.FloatRange(0, 1),
    metavar="SCORE",
    help=f"Answer {NONE} where the best score is below it.",
)
@click.option(
    "--reject-cosine",
    "least_cosine",
    type=click.FloatRange(-1, 1),
    metavar="COSINE",
    help="The same for the best cosine, which does not depend on the other labels.",
)
@click.option(
    "--none-of-these",
    is_flag=True,
    help="The same where a prompt that names no kind of thing is nearer than every label.",
)
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "jsonl"]),
    default="table",
    show_default=True,
)
@click.option(
    "-o",
    "--output",
    type=NEW_FILE,
    help="Write there, whole or not at all, instead of standard output.",
)
@click.option(
    "--save-classifier",
    type=NEW_FILE,
    help="Keep the classifier in a file, for --classifier.",
)
@model_options
@click.pass_context
def classify(
    ctx: click.Context,
    /,
    pictures: tuple[str, ...],
    form: str,
    output: Path | None,
    top: int | None,
    save_classifier: Path | None,
    fast: bool,
    no_cache: bool,
    **options: Any,
) -> None:
    """Say which of some labels fits each picture, the best first.

    Folders are walked with all their folders. A score says how well a label fits beside the other
    labels given (a softmax); it is not the probability of being right. A picture that cannot be
    read is named, the others go on, and the exit code is 1.

    Of folders the vectors are kept (see "keshin cache"): a second run, also with other labels, or
    one after an interrupt, encodes only what is new.

    \b
    Examples:
      keshin classify photo.jpg --labels "cat, dog, bird"
      keshin classify photos/ --labels-file labels.txt --format csv --output answers.csv
      keshin classify photos/ -l "cat, dog" --templates imagenet --none-of-these
    """
    from keshin.cli.classifying import FEW, Choices, run
    from keshin.cli.reports import open_report
    from keshin.cli.walking import Files, stored

    files = Files(pictures)
    few = not files.from_folder and len(pictures) <= FEW
    classifier = Choices(**options, few=few).classifier()
    classifier.encoder.decode = "fast" if fast else "exact"
    for warning in classifier.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if save_classifier:
        classifier.save(save_classifier)
    with (
        stored(classifier.encoder, wanted=files.from_folder and not no_cache) as store,
        open_report(form, output) as report,
    ):
        failures = run(classifier, files, report, store, top=top, people=form == "table")
    if failures:
        click.echo(f"{failures} of {files.taken} pictures could not be read.", err=True)
        ctx.exit(FAILED)
