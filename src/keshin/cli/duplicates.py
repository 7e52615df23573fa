"""The command ``duplicates``: what a folder has more than once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from keshin.cli.main import FAILED
from keshin.cli.options import NEW_FILE, index_options, model_options


@click.command(short_help="Find pictures of a folder that are there more than once.")
@click.argument("folder", type=click.Path(path_type=Path), metavar="FOLDER")
@click.option("--exact", is_flag=True, help="Only files of the same content.")
@click.option(
    "--burst", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="SECONDS",
    help="Longest time between two pictures of a burst; 0: no bursts.",
)  # fmt: skip
@click.option("--html", type=NEW_FILE, help="Write a contact sheet: one file, no network.")
@click.option(
    "-f", "--format", "form", type=click.Choice(["table", "json", "jsonl", "paths"]),
    default="table", show_default=True,
)  # fmt: skip
@click.option("-o", "--output", type=NEW_FILE, help="Write there instead of standard output.")
@index_options
@model_options
@click.pass_context
def duplicates(
    ctx: click.Context,
    /,
    folder: Path,
    exact: bool,
    burst: float,
    html: Path | None,
    form: str,
    output: Path | None,
    **options: Any,
) -> None:
    """Find pictures of a folder that are there more than once. Nothing is deleted.

    "same": files of the same content. "near": the same picture re-encoded, resized, lighter, in
    grey, or cut by up to a tenth of its side (often a fifth). "burst": much alike and taken within
    seconds. The first file of a group is the one to keep: most pixels, then most bytes, then the
    oldest. The format "paths" prints the others, one a line.

    \b
    Examples:
      keshin duplicates photos/
      keshin duplicates photos/ --html copies.html
      keshin duplicates photos/ --exact --format paths
    """
    from keshin.cli.searching import open_index, refreshed, write_groups
    from keshin.search.duplicates import duplicates as find
    from keshin.search.sheet import write_groups_page

    index = open_index(ctx, folder, options)
    with index:
        failed = refreshed(index, options)
        seconds = None if exact or not burst else burst
        groups = find(index, near=not exact, burst=seconds)
        write_groups(groups, form, output)
        if html:
            write_groups_page(html, groups, str(folder), len(index))
            click.echo(f"The contact sheet is in '{html}'.", err=True)
    if failed:
        ctx.exit(FAILED)
