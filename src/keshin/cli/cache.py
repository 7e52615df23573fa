"""The command ``cache``: what keshin keeps on the disk, and how to be rid of it."""

from __future__ import annotations

import json

import click

from keshin.core.kept import KINDS


@click.group(short_help="Show or clear what keshin keeps on disk.")
def cache() -> None:
    """Show or clear what keshin keeps on disk of what it made: all of it can be made again.

    It lies in the user's cache folder; the variable KESHIN_CACHE names another one. Models that
    were pulled are not part of it: they lie in the cache of the Hugging Face hub.

    \b
    Examples:
      keshin cache info
      keshin cache clear
      keshin cache clear converted
    """


@cache.command(short_help="Show what is kept and how large it is.")
@click.option(
    "-f", "--format", "form", type=click.Choice(["table", "json"]), default="table",
    show_default=True,
)  # fmt: skip
def info(form: str) -> None:
    """Show what is kept and how large it is, and where pulled models are.

    \b
    Example:
      keshin cache info
    """
    import sys

    from keshin.cli.reports import print_rows, printable
    from keshin.core.cache import cache_folder
    from keshin.core.kept import EMBEDDINGS
    from keshin.core.pulled import hub_cache
    from keshin.encode.embeddings import stored_files

    kinds = []
    for kind in KINDS.values():
        files, size = kind.size()
        kinds.append({"kind": kind.name, "files": files, "bytes": size, "holds": kind.holds})
    vectors = stored_files(EMBEDDINGS.folder)
    if form == "json":
        content = {
            "folder": str(cache_folder()), "kinds": kinds, "embeddings": vectors,
            "hub": str(hub_cache()),
        }  # fmt: skip
        click.echo(json.dumps(content, ensure_ascii=False, indent=2))
        return
    if any(row["files"] for row in kinds):
        print_rows(kinds, sys.stdout)
        click.echo(f"In {printable(str(cache_folder()))}", err=True)
    else:
        click.echo(f"Nothing is kept in {printable(str(cache_folder()))}.", err=True)
    if vectors:
        click.echo()
        print_rows(vectors, sys.stdout)
    click.echo(f"Pulled models are in {printable(str(hub_cache()))}", err=True)


@cache.command(short_help="Delete what is kept.")
@click.argument("kinds", nargs=-1, type=click.Choice(list(KINDS)), metavar="[KIND]...")
def clear(kinds: tuple[str, ...]) -> None:
    """Delete what is kept, or only these kinds of it: embeddings, classifiers, quantised,
    hashes, converted, shards, features, fetched, indexes. It is made again when it is needed.
    Pulled models stay.

    \b
    Examples:
      keshin cache clear
      keshin cache clear embeddings classifiers
    """
    for name in dict.fromkeys(kinds or KINDS):
        if freed := KINDS[name].clear():
            click.echo(f"{name}: {freed:,} bytes were deleted.", err=True)
        else:
            click.echo(f"{name}: nothing was kept.", err=True)
