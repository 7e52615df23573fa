"""The command ``search``: pictures of a folder by a text, by a picture, by both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from keshin.cli.main import FAILED
from keshin.cli.options import FILE, NEW_FILE, index_options, model_options


@click.command(short_help="Find the pictures of a folder that fit a text or a picture.")
@click.argument("folder", type=click.Path(path_type=Path), metavar="FOLDER")
@click.argument("query", required=False, default="", metavar="[QUERY]")
@click.option("--like", multiple=True, type=FILE, help="A picture to look like; repeatable.")
@click.option(
    "--without", multiple=True, metavar="TEXT", help="What is unwanted; repeatable. As -word does."
)
@click.option(
    "-k", "--top", type=click.IntRange(min=1), default=20, show_default=True, metavar="K",
    help="Results at most.",
)  # fmt: skip
@click.option(
    "--min-relevance",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Leave out what is less likely to be relevant: 0 shows all, 0.9 little that is there by "
    "chance.  [default: 0.8]",
)
@click.option(
    "-f", "--format", "form", type=click.Choice(["table", "csv", "json", "jsonl", "paths"]),
    default="table", show_default=True,
)  # fmt: skip
@click.option("--html", type=NEW_FILE, help="Write a gallery too: one file, no network.")
@click.option("-o", "--output", type=NEW_FILE, help="Write there instead of standard output.")
@index_options
@model_options
@click.pass_context
def search(
    ctx: click.Context,
    /,
    folder: Path,
    query: str,
    like: tuple[Path, ...],
    without: tuple[str, ...],
    top: int,
    min_relevance: float | None,
    form: str,
    html: Path | None,
    output: Path | None,
    **options: Any,
) -> None:
    """Find the pictures of a folder that fit a text or a picture, the best first.

    The folder is indexed first: only new and changed files are looked at, so this takes seconds
    from the second time on. -word and -"some words" in the query mean without; a hyphen inside a
    word does not. Begin a query with -- before it if it starts with a hyphen.

    A relevance of 0.9 says two things of this library: of ten queries for something that is not in
    it one gets an answer like this, and of the results down to this one a tenth is expected to be
    there by chance. Where nothing reaches --min-relevance, nothing here matches, and that is said.

    \b
    Examples:
      keshin search photos/ "a red boat at dusk"
      keshin search photos/ "a beach -people" --top 50 --format paths
      keshin search photos/ --like boat.jpg "in the snow" --html boats.html
      keshin search photos/ "a receipt" --min-relevance 0.9 --no-update
    """
    from keshin.cli.searching import open_index, refreshed, write_found

    index = open_index(ctx, folder, options)
    with index:
        failed = refreshed(index, options)
        found = index.search(
            query,
            like=list(like),
            without=without,
            k=top,
            min_relevance=0.8 if min_relevance is None else min_relevance,
        )
        write_found(found, query, index, failed, form, output)
        if html:
            from keshin.search.sheet import write_found_page

            write_found_page(html, found, query or ", ".join(map(str, like)))
            click.echo(f"The gallery is in '{html}'.", err=True)
    if failed:
        ctx.exit(FAILED)
