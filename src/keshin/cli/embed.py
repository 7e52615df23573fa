"""The command ``embed``: vectors of pictures to a file."""

from __future__ import annotations

from pathlib import Path

import click

from keshin.cli.main import FAILED
from keshin.cli.options import NEW_FILE, model_options

SUFFIXES = {".npz": "npz", ".parquet": "parquet", ".jsonl": "jsonl"}


@click.command(short_help="Write the vectors of pictures to a file.")
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURE|FOLDER...")
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
@model_options
@click.pass_context
def embed(
    ctx: click.Context,
    pictures: tuple[str, ...],
    output: Path | None,
    form: str | None,
    model: str | None,
    threads: int | None,
    mode: str,
    engine: str,
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
    encoder = api.load(
        model or api.DEFAULT_MODEL,
        mode=mode,
        threads=threads,
        engine=engine,
        decode="fast" if fast else "exact",
    ).encoder
    with (
        stored(encoder, wanted=files.from_folder and not no_cache) as store,
        open_writer(form, output, encoder) as writer,
    ):
        failures = run(encoder, files, writer, store)
    if failures:
        click.echo(f"{failures} of {files.taken} pictures could not be read.", err=True)
        ctx.exit(FAILED)
