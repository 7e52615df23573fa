"""What the commands on an index share: open it, bring it up to date, print what was found."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import click
from click.core import ParameterSource

from keshin import api
from keshin.cli.reports import printable, whole_output
from keshin.core.pictures import Failure
from keshin.errors import IndexBusy
from keshin.search.answer import Found, Hit
from keshin.search.duplicates import Group, spare_bytes
from keshin.search.update import Changes

NAMED = 5
"""Failed files that are named."""
MODEL_OPTIONS = ("model", "mode", "engine", "fast")
COLUMNS = ("rank", "file", "score", "relevance", "copies")


def open_index(ctx: click.Context, folder: Path, options: dict[str, Any]) -> api.Index:
    """The index meant; it keeps its own model unless one is asked for."""
    asked = any(
        ctx.get_parameter_source(name) is not ParameterSource.DEFAULT for name in MODEL_OPTIONS
    )
    how: dict[str, Any] = {"threads": options["threads"]}
    model = None
    if asked:
        model = options["model"] or api.DEFAULT_MODEL
        how |= {
            "mode": options["mode"],
            "engine": options["engine"],
            "decode": "fast" if options["fast"] else "exact",
        }
    return api.Index.open(folder, model, index=options["index"], rebuild=options["rebuild"], **how)


def refreshed(index: api.Index, options: dict[str, Any]) -> list[Failure]:
    """Bring it up to date if that is wanted; what could not be read, which is said."""
    if options["no_update"]:
        return []
    with Progress() as progress:
        try:
            changes = index.update(cache=not options["no_cache"], progress=progress)
        except IndexBusy:
            if not index.facts():
                raise
            click.echo(
                "Warning: another process is updating this index; what it has is searched.",
                err=True,
            )
            return []
        except KeyboardInterrupt:
            click.echo("What was indexed is kept; the same command goes on there.", err=True)
            raise
    say(changes)
    return changes.failed


def say(changes: Changes) -> None:
    """What an update did, in a line; nothing if it did nothing."""
    parts = [
        f"{getattr(changes, name):,} {name}"
        for name in ("added", "changed", "renamed", "removed")
        if getattr(changes, name)
    ]
    if parts:
        total = changes.unchanged + changes.added + changes.changed + changes.renamed
        click.echo(f"Index: {', '.join(parts)}; {total:,} pictures.", err=True)
    for failure in changes.failed[:NAMED]:
        click.echo(f"Warning: {failure.error}", err=True)
    if len(changes.failed) > NAMED:
        click.echo(f"Warning: {len(changes.failed):,} files could not be read.", err=True)


class Progress:
    """A counter on standard error where a person sees it."""

    def __init__(self) -> None:
        self._console: Any = None
        self._status: Any = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *how: object) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, changes: Changes) -> None:
        if not sys.stderr.isatty():
            return
        if self._status is None:
            from rich.console import Console

            self._status = Console(stderr=True).status("")
            self._status.start()
        self._status.update(
            f"{changes.done:,} files, {changes.encoded:,} encoded, {len(changes.failed):,} failed"
        )


def write_found(
    found: Found,
    query: str,
    index: api.Index,
    failed: Sequence[Failure],
    form: str,
    output: Path | None,
) -> None:
    """Print an answer. That nothing matches is said on standard error, with the nearest."""
    with whole_output(output) as stream:
        if form == "table":
            _table(found, stream)
        elif form == "json":
            head = {"model": index.facts()["model"], "query": query, "searched": found.searched,
                    "min_relevance": found.least}  # fmt: skip
            fails = [{"file": one.file, "error": one.error} for one in failed]
            content = head | {"results": [entry(hit) for hit in found.hits], "failed": fails}
            stream.write(json.dumps(content, indent=1) + "\n")
        elif form == "jsonl":
            stream.writelines(json.dumps(entry(hit)) + "\n" for hit in found.hits)
        elif form == "paths":
            stream.writelines(hit.path + "\n" for hit in found.hits)
        else:
            _csv(found, stream)
    if found.nothing:
        click.echo(_nothing(found), err=True)


def entry(hit: Hit) -> dict[str, Any]:
    """A result as programs get it."""
    relevance = None if hit.relevance is None else round(hit.relevance, 4)
    return {
        "file": hit.path, "score": round(hit.score, 6), "relevance": relevance,
        "copies": list(hit.copies), "width": hit.width, "height": hit.height, "taken": hit.taken,
    }  # fmt: skip


def _nothing(found: Found) -> str:
    if found.best is None:
        return "The index has no picture."
    best = found.best
    return (
        f"Nothing here matches: of {found.searched:,} pictures the nearest is "
        f"{printable(best.path)} (relevance {best.relevance or 0:.2f}, asked for "
        f"{found.least:g}). --min-relevance 0 shows what is nearest."
    )


def _table(found: Found, stream: TextIO) -> None:
    if found.nothing:
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("relevance", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("file", overflow="fold")
    for hit in found.hits:
        relevance = "?" if hit.relevance is None else f"{hit.relevance:.2f}"
        more = f"  (and {len(hit.copies)} more)" if hit.copies else ""
        table.add_row(relevance, f"{hit.score:.3f}", Text(printable(hit.path) + more))
    Console(file=stream, soft_wrap=not stream.isatty()).print(table)


def _csv(found: Found, stream: TextIO) -> None:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(COLUMNS)
    for rank, hit in enumerate(found.hits, start=1):
        one = entry(hit)
        writer.writerow((rank, hit.path, one["score"], one["relevance"], len(hit.copies)))
    stream.write(lines.getvalue().encode("utf-8", "backslashreplace").decode())


def write_groups(groups: Sequence[Group], form: str, output: Path | None) -> None:
    """Print groups of duplicates; how many there are is said on standard error."""
    with whole_output(output) as stream:
        rows = [
            {"kind": group.kind, "files": [asdict(copy) for copy in group.files]}
            for group in groups
        ]
        if form == "json":
            stream.write(json.dumps(rows, indent=1) + "\n")
        elif form == "jsonl":
            stream.writelines(json.dumps(row) + "\n" for row in rows)
        elif form == "paths":
            stream.writelines(copy.path + "\n" for group in groups for copy in group.files[1:])
        else:
            for group in groups:
                stream.write(f"{group.kind}\n")
                for copy in group.files:
                    size = f"{copy.width} x {copy.height}, {copy.bytes:,} bytes"
                    stream.write(f"  {printable(copy.path)}  ({size})\n")
    spare = spare_bytes(groups)
    said = f"{len(groups):,} groups; all but the first of each are {spare:,} bytes."
    click.echo(said if groups else "No picture is there more than once.", err=True)
