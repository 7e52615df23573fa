"""Commands about vectors of pictures: ``embed``, and ``cache`` for those that are kept."""

from __future__ import annotations

import json
from pathlib import Path

import click

from keshin.cli.infer import FAST, NEW_FILE, NO_CACHE
from keshin.cli.main import FAILED

SUFFIXES = {".npz": "npz", ".parquet": "parquet", ".jsonl": "jsonl"}


@click.command(short_help="Write the vectors of pictures to a file.")
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURE|FOLDER...")
@click.option("-m", "--model", default="mini", metavar="NAME|FOLDER", help="Default: mini.")
@click.option(
    "-o",
    "--output",
    type=NEW_FILE,
    help="x.npz, x.parquet or x.jsonl, written whole or not at all. Default: standard output.",
)
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["npz", "parquet", "jsonl"]),
    help="Default: what the name of the output says, else jsonl.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Default: as many as there are cores.")
@click.option("--fast", is_flag=True, help=FAST)
@click.option("--no-cache", is_flag=True, help=NO_CACHE)
@click.pass_context
def embed(
    ctx: click.Context,
    pictures: tuple[str, ...],
    model: str,
    output: Path | None,
    form: str | None,
    threads: int | None,
    fast: bool,
    no_cache: bool,
) -> None:
    """Write the vectors of pictures to a file.

    A vector has unit length, so the product of two is their cosine. Folders are walked with all
    their folders. A picture that cannot be read is listed with its error, the others go on, and the
    exit code is 1. Of folders the vectors are kept (see "keshin cache"): a second run, or one after
    an interrupt, encodes only what is new.

    \b
    npz      arrays files (n), vectors (n, d), failed (k), errors (k), model, fingerprint
    parquet  columns file, vector, error; model and fingerprint in its metadata
    jsonl    a line each: {"file": ..., "vector": [...]} or {"file": ..., "error": ...}

    \b
    Examples:
      keshin embed photos/ --output photos.npz
      keshin embed photos/ --fast --model checkpoints/ViT-B-32 --output photos.parquet
    """
    from keshin import api
    from keshin.cli.vectors import open_writer, run
    from keshin.cli.walking import Files, stored

    form = form or (SUFFIXES.get(output.suffix.lower()) if output else "jsonl")
    if form is None:
        raise click.UsageError(
            f"The name '{output}' says no format: end it in {', '.join(SUFFIXES)}, or add --format."
        )
    if form != "jsonl" and output is None:
        raise click.UsageError(f"The format {form} goes to a file: add --output.")
    files = Files(pictures)
    encoder = api.load(model, threads=threads, decode="fast" if fast else "exact").encoder
    with (
        stored(encoder, wanted=files.from_folder and not no_cache) as store,
        open_writer(form, output, encoder) as writer,
    ):
        failures = run(encoder, files, writer, store)
    if failures:
        click.echo(f"{failures} of {files.taken} pictures could not be read.", err=True)
        ctx.exit(FAILED)


@click.group(short_help="Show or clear what keshin keeps on disk.")
def cache() -> None:
    """Show or clear what keshin keeps on disk: all of it can be made again.

    It lies in the user's cache folder; the variable KESHIN_CACHE names another one.

    \b
    Examples:
      keshin cache info
      keshin cache clear
    """


@cache.command("info", short_help="Show what is kept and how large it is.")
@click.option(
    "-f", "--format", "form", type=click.Choice(["table", "json"]), default="table",
    show_default=True,
)  # fmt: skip
def cache_info(form: str) -> None:
    """Show what is kept and how large it is.

    \b
    Example:
      keshin cache info
    """
    import sys

    from keshin import api
    from keshin.cli.reports import print_rows
    from keshin.encode.embeddings import stored_files

    folder = api.embeddings_folder()
    found = stored_files(folder)
    if form == "json":
        content = {"folder": str(folder), "files": found}
        click.echo(json.dumps(content, ensure_ascii=False, indent=2))
    elif found:
        print_rows(found, sys.stdout)
        click.echo(f"In {folder}", err=True)
    else:
        click.echo(f"Nothing is kept in {folder}.", err=True)


@cache.command("clear", short_help="Delete the stored embeddings.")
def cache_clear() -> None:
    """Delete the stored embeddings. They are made again when they are needed.

    \b
    Example:
      keshin cache clear
    """
    from keshin import api
    from keshin.encode.embeddings import clear_stored

    freed = clear_stored(api.embeddings_folder())
    click.echo(f"{freed:,} bytes of stored embeddings were deleted.", err=True)
