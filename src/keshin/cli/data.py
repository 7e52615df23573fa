"""The commands ``data check`` and ``data convert``: parse, call, print."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from keshin.train.recipe import Source
    from keshin.train.verdicts import Check, Surveyed

FAILED = 1
COLOURS = {"good": "green", "note": "blue", "warning": "yellow", "bad": "red"}


@click.group(short_help="Check image-text pairs before training; write them as shards.")
def data() -> None:
    """Check image-text pairs before training; write them as shards.

    \b
    Examples:
      keshin data check pairs.csv --image file --captions caption
      keshin data convert photos/ shards/
    """


def _source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("-j", "--workers", type=click.IntRange(1), help="Processes [all cores]."),
        click.option(
            "--captions", multiple=True, metavar="COLUMN",
            help="Column, or field of .json, with captions; may be repeated [captions].",
        ),
        click.option(
            "--image", default="image", show_default=True, metavar="COLUMN",
            help="Column with pictures: bytes, or paths relative to the table.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


@data.command(short_help="Say what is wrong with pairs before training on them.")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@_source_options
@click.option("--against", multiple=True, metavar="SOURCE",
              help="Pairs for validation: no picture may be in both; may be repeated.")  # fmt: skip
@click.option("-m", "--model", metavar="NAME|FOLDER", help="Whose tokenizer counts [CLIP's, 77].")
@click.option("--size", type=click.IntRange(1), default=224, show_default=True,
              help="Side of what the model sees, in pixels.")  # fmt: skip
@click.option("--sample", type=click.IntRange(1), metavar="N",
              help="Look at N pairs of each source, evenly drawn.")  # fmt: skip
@click.option("-f", "--format", "form", type=click.Choice(["table", "json"]), default="table",
              show_default=True)  # fmt: skip
def check(
    sources: tuple[str, ...],
    image: str,
    captions: tuple[str, ...],
    workers: int | None,
    against: tuple[str, ...],
    model: str | None,
    size: int,
    sample: int | None,
    form: str,
) -> None:
    """Say what is wrong with pairs before training on them.

    SOURCE is a folder, a CSV, TSV or Parquet file, webdataset tars (a quoted glob), or a recipe,
    which stands for all of its sources. Every picture is decoded. Ends with 1 if pictures or whole
    shards cannot be read, or pictures are in a source of --against too.

    \b
    Examples:
      keshin data check pairs.parquet
      keshin data check "shards/*.tar" --against validation.parquet
      keshin data check recipe.toml --format json > check.json
    """
    import msgspec

    from keshin.train.verdicts import judge

    folder, context = _tokenizer(model)
    given = [s for path in sources for s in _sources(path, image, captions)]
    held = [s for path in against for s in _sources(path, image, captions)]

    def look(source: Source, part: int | None) -> Surveyed:
        return _survey(source, folder, workers, part)

    others = [look(source, None) for source in held]
    checks = [
        judge(look(source, sample), context_length=context, size=size, others=others)
        for source in given
    ]
    if form == "json":
        content = [{"verdict": c.verdict, **msgspec.to_builtins(c)} for c in checks]
        click.echo(msgspec.json.format(msgspec.json.encode(content)))
    else:
        for each in checks:
            _print(each)
    if any(c.broken or c.verdict == "bad" for c in checks):
        raise click.exceptions.Exit(FAILED)


@data.command(short_help="Write pairs as webdataset shards.")
@click.argument("source")
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@_source_options
@click.option("--shard-size", type=click.IntRange(1), default=1000, show_default=True, metavar="MB",
              help="No shard is larger.")  # fmt: skip
@click.option("--max-side", type=click.IntRange(1), metavar="PIXELS",
              help="Reduce larger pictures to this longer side.")  # fmt: skip
@click.option("--shuffle", type=int, metavar="SEED",
              help="Write in random order: shards should not hold one class each.")  # fmt: skip
def convert(
    source: str,
    output: Path,
    image: str,
    captions: tuple[str, ...],
    workers: int | None,
    shard_size: int,
    max_side: int | None,
    shuffle: int | None,
) -> None:
    """Write pairs as webdataset shards: OUTPUT/000000.tar and so on, and a manifest.json.

    SOURCE is a folder, a CSV, TSV or Parquet file, or webdataset tars (a quoted glob). The same
    command goes on where it was interrupted. Pairs that cannot be used are left out and named, and
    the command ends with 1.

    \b
    Examples:
      keshin data convert pairs.csv shards/ --image file --captions caption
      keshin data convert photos/ shards/ --max-side 512 --shuffle 0
    """
    from keshin.cli.reports import printable
    from keshin.train.convert import Settings
    from keshin.train.convert import convert as write
    from keshin.train.parallel import cores

    place = _sources(source, image, captions)[0]
    settings = Settings(place, shard_size * 10**6, max_side, shuffle)
    with _bar("converting") as progress:
        done = write(settings, output, workers=workers or cores(), progress=progress)
    for reason in done.left_out:
        click.echo(printable(reason), err=True)
    left = done.pairs - done.samples
    click.echo(
        f"{done.samples:,} of {done.pairs:,} pairs are in {len(done.shards):,} shards, "
        f"{done.bytes:,} bytes" + (f"; {left:,} were left out." if left else "."),
        err=True,
    )
    click.echo(str(output / "*.tar"))
    if left:
        raise click.exceptions.Exit(FAILED)


def _tokenizer(model: str | None) -> tuple[Path | None, int]:
    """The folder of a model, and how many tokens it reads."""
    if model is None:
        return None, 77
    from keshin.api import find_checkpoint

    checkpoint, _ = find_checkpoint(model)
    return checkpoint.directory, checkpoint.config.text.context_length


def _sources(path: str, image: str, captions: tuple[str, ...]) -> list[Source]:
    from keshin.train.recipe import Source, read_recipe

    if path.endswith(".toml"):
        return list(read_recipe(Path(path)).data.sources)
    return [Source(path=path, image=image, captions=captions or ("captions",))]


def _survey(
    source: Source, model: Path | None, workers: int | None, sample: int | None
) -> Surveyed:
    from keshin.train.pairs import open_source
    from keshin.train.parallel import cores
    from keshin.train.survey import survey
    from keshin.train.verdicts import Surveyed

    pairs = open_source(source, whole=False, tolerant=True)
    with _bar("checking") as progress:
        found, rows = survey(
            source, model=model, sample=sample, workers=workers or cores(), progress=progress
        )
    return Surveyed(str(source.path), pairs, rows, found)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Shows how many of how many are done, on standard error where a person sees it."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = TextColumn(what, markup=False), BarColumn(), MofNCompleteColumn()
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as bars:
        task = bars.add_task("", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _print(found: Check) -> None:
    from keshin.cli.reports import print_facts, printable
    from keshin.train.verdicts import EXAMPLES

    looked = "" if found.looked_at == found.pairs else f", of which {found.looked_at:,} looked at"
    click.secho(f"{printable(found.source)}: {found.pairs:,} pairs{looked}", bold=True)
    print_facts(found.facts, sys.stdout)
    for finding in found.findings:
        click.secho(f"{finding.verdict:8}", fg=COLOURS[finding.verdict], nl=False)
        click.echo(f"{finding.name}: {finding.says}")
        if finding.verdict != "good":
            for example in finding.examples:
                click.echo(f"          {printable(example)}")
    if len(found.broken) > EXAMPLES:
        click.echo("All broken pictures are named by --format json.", err=True)
