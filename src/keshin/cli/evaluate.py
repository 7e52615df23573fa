"""The command ``eval``: how good a model is on labelled pictures."""

from __future__ import annotations

from pathlib import Path

import click

from keshin.cli.options import FILE, FOLDER, NEW_FILE, language_option, model_options


@click.command(
    name="eval", short_help="Say how good a model is on labelled pictures, with a report."
)
@click.argument("sources", nargs=-1, metavar="FOLDER|DATASET|FILE...")
@click.option(
    "-r", "--report", type=NEW_FILE, help="Write one HTML file with everything; needs no network."
)
@language_option("Of the report.")
@click.option(
    "--figures",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the paper's figures over all data sets given, and a report of each, to a folder. "
    "What is there already is not computed again.",
)
@click.option("--probe", is_flag=True, help="Train a linear probe on the same features too.")
@click.option("--few-shot", is_flag=True, help="Probes on 1, 2, 4, 8, 16 pictures of each class.")
@click.option(
    "--resnet50",
    metavar="FILE|FOLDER|hf:NAME",
    help="Weights of ImageNet's ResNet-50, to compare with a probe on its features.",
)
@click.option("--train", metavar="FOLDER|FILE", help="Pictures that probes learn from.")
@click.option("--list", "listing", is_flag=True, help="List the known data sets: what is here.")
@click.option(
    "--long", is_flag=True, help="With --list: sizes and terms too, and who says so, if anybody."
)
@click.option("--split", default="test", show_default=True, help="Which part of the data.")
@click.option("--like", metavar="DATASET", help="Use this data set's classes, prompts and metric.")
@click.option("--labels-file", type=FILE, help="Class names, one a line, in the classes' order.")
@click.option(
    "--templates",
    multiple=True,
    metavar="TEMPLATE|SET|FILE",
    help="A template with {}, a published set (imagenet, ja, ...) or a file. May be repeated.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Look at so many pictures, at random.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@click.option(
    "--data-dir", type=FOLDER, help="Where known data sets lie. Default: KESHIN_DATA, or the cache."
)
@click.option("--download", "--fetch", is_flag=True, help="Fetch data sets that are not here.")
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
)
@click.option("-o", "--output", type=NEW_FILE, help="A file instead of standard output.")
@model_options
@click.pass_context
def evaluate(ctx: click.Context, /, **given: object) -> None:
    """Say how good a model is on labelled pictures.

    A folder has one folder of pictures per class, and its names are the class names. A table
    (.csv, .parquet) has columns for pictures and labels; shards (.tar) are webdataset's. A data set
    is one of those that --list shows; its prompts and its metric are the paper's. "all" stands
    for all of them that are here.

    Every value has a 95 % interval and the level of chance. The report says in words how good the
    model is, how sure that is and what to be careful about, and shows the surest mistakes.

    Vectors are kept (see "keshin cache"): a second run, or one after an interrupt, encodes only
    what is new.

    \b
    Examples:
      keshin eval photos/ --report photos.html
      keshin eval photos/ --probe --few-shot --report photos.html --language ja
      keshin eval cifar10 --model openai/ViT-B-32 --format json
      keshin eval test.parquet --like cifar10
      keshin eval --list
      keshin eval --list --long kaokore
      keshin eval all --probe --figures figures/
    """
    from keshin.cli.evaluating import Asked, run

    ctx.exit(run(Asked(**given)))  # type: ignore[arg-type]  # click gives what is declared above
