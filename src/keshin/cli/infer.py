"""Commands that use a model as it is: ``classify``, ``models``, ``info``.

This module only declares them. What they need is imported when they run, so that ``--help`` is
instant.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keshin.cli.fidelity import asked, fidelity_options, mode_option
from keshin.cli.main import FAILED

if TYPE_CHECKING:
    from keshin.core.checkpoint import Checkpoint

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)
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
@click.option("-m", "--model", metavar="NAME|FOLDER", help="Default: mini.")
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
@click.option("--threads", type=click.IntRange(min=1), help="Default: as many as there are cores.")
@mode_option("fp32", "Precision; int8 is the fastest. 'keshin info --fidelity' shows its price.")
@click.pass_context
def classify(
    ctx: click.Context,
    /,
    pictures: tuple[str, ...],
    form: str,
    output: Path | None,
    top: int | None,
    save_classifier: Path | None,
    **options: Any,
) -> None:
    """Say which of some labels fits each picture, the best first.

    Folders are walked with all their folders. A score says how well a label fits beside the other
    labels given (a softmax); it is not the probability of being right. A picture that cannot be
    read is named, the others go on, and the exit code is 1.

    \b
    Examples:
      keshin classify photo.jpg --labels "cat, dog, bird"
      keshin classify photos/ --labels-file labels.txt --format csv --output answers.csv
      keshin classify photos/ -l "cat, dog" --templates imagenet --none-of-these
    """
    from keshin.cli.classifying import FEW, Choices, find_files, run
    from keshin.cli.reports import open_report

    files = find_files(pictures)
    classifier = Choices(**options, few=len(files) <= FEW).classifier()
    for warning in classifier.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if save_classifier:
        classifier.save(save_classifier)
    with open_report(form, output) as report:
        failures = run(classifier, files, report, top=top, people=form == "table")
    if failures:
        click.echo(f"{failures} of {len(files)} pictures could not be read.", err=True)
        ctx.exit(FAILED)


@click.command(short_help="List the models that come with keshin.")
@click.option(
    "-f", "--format", "form", type=click.Choice(["table", "json"]), default="table",
    show_default=True,
)  # fmt: skip
def models(form: str) -> None:
    """List the models that come with keshin.

    \b
    Example:
      keshin models
    """
    from keshin import api
    from keshin.cli.reports import print_rows

    found = [_summary(api.find_checkpoint(name)[0]) for name in api.embedded_models()]
    if form == "json":
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
    elif not found:
        click.echo("This installation holds no model; give --model a folder.", err=True)
    else:
        print_rows(found, sys.stdout)


@click.command(short_help="Show the facts of a model.")
@click.argument("model", metavar="NAME|FOLDER")
@click.option(
    "-f", "--format", "form", type=click.Choice(["table", "json"]), default="table",
    show_default=True,
)  # fmt: skip
@fidelity_options
@click.pass_context
def info(ctx: click.Context, /, model: str, form: str, **fidelity: Any) -> None:
    """Show the facts of a model: what its towers are, and what is done to pictures and texts.

    With --fidelity, show instead how far a faster mode is from fp32 on the pictures of a folder.

    \b
    Examples:
      keshin info mini
      keshin info mini --fidelity photos/ --labels "cat, dog" --mode int8
    """
    if asked(ctx, model, form, **fidelity):
        return
    from keshin import api
    from keshin.cli.reports import print_facts
    from keshin.core.config import describe

    checkpoint, origin = api.find_checkpoint(model)
    facts = {
        **_summary(checkpoint),
        "origin": origin,
        "logit_scale": checkpoint.logit_scale,
        "fingerprint": checkpoint.fingerprint,
        "facts": describe(checkpoint.config),
    }
    if form == "json":
        click.echo(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        print_facts(facts, sys.stdout)


def _summary(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a list of models says of each."""
    config, infos = checkpoint.config, checkpoint.tensors.infos.values()
    return {
        "name": config.name,
        "parameters": sum(math.prod(info.shape) for info in infos),
        "bytes": sum(info.nbytes for info in infos),
        "image": list(config.vision.image_size),
        "embedding": config.embed_dim,
        "context": config.text.context_length,
        "licence": config.licence,
        "source": config.source,
    }
