"""``keshin eval --list`` and ``--download``: the known data sets, what is here, what is not."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from keshin.cli.reports import print_rows
from keshin.cli.stages import Stages
from keshin.errors import DataError
from keshin.evaluate.sets.catalogue import catalogue
from keshin.facts import datasets as facts

if TYPE_CHECKING:
    from keshin.evaluate.sets.catalogue import Row

NOT_VERIFIED = "not verified"


def print_datasets(
    data_dir: Path | None, form: str, only: Sequence[str], *, long: bool = False
) -> None:
    """A line for each known data set, or a paragraph with sources and terms. ``only``: those whose
    key or title holds one of these."""
    rows = [row for row in catalogue(data_dir) if not only or _meant(row, only)]
    if not rows:
        raise DataError(f"No known data set is called {', '.join(only)}. Leave the name out.")
    if form == "json":
        text = msgspec.json.format(msgspec.json.encode(rows), indent=1).decode()
        sys.stdout.write(text + "\n")
    elif form == "csv":
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        plain = [msgspec.to_builtins(row) for row in rows]
        writer.writerow(plain[0])
        writer.writerows([_flat(value) for value in row.values()] for row in plain)
    elif long:
        sys.stdout.write("\n\n".join(_paragraph(row) for row in rows) + "\n")
    else:
        print_rows([_shown(row) for row in rows], sys.stdout)
        here = sum(row.state == "here" for row in rows)
        click.echo(f"{here} of {len(rows)} are here, in {Path(rows[0].folder).parent}.", err=True)


def fetch_datasets(sources: Sequence[str], data_dir: Path | None, splits: Sequence[str]) -> None:
    """Fetch what is not here of those of the sources that are known data sets. Raises
    ``DataError`` and ``DownloadError``."""
    from keshin.evaluate.sets.fetch import fetch_dataset

    for source in sources:
        dataset = facts.find(source)
        if dataset is None:
            continue
        there = [split for split in splits if split in dataset.splits]
        with Stages(dataset.title) as stages:
            kind = "" if dataset.fetcher else "bytes of "

            def progress(
                name: str, here: int, size: int, stages: Stages = stages, kind: str = kind
            ) -> None:
                stages(f"{kind}{name}", here, size)

            fetch_dataset(dataset, data_dir, splits=there, progress=progress)


def _meant(row: Row, only: Sequence[str]) -> bool:
    own = f"{row.key} {row.title}".casefold()
    return any(word.casefold() in own for word in only)


def _shown(row: Row) -> dict[str, Any]:
    sizes = ", ".join(f"{name} {size:,}" for name, size in row.sizes.items())
    return {
        "key": row.key,
        "data set": row.title,
        "classes": row.classes,
        "metric": row.metric,
        "pictures": sizes,
        "state": row.state,
        "to fetch": _size(row),
    }


def _paragraph(row: Row) -> str:
    """All that is known of a set, and who says it."""
    sizes = ", ".join(f"{name} {size:,}" for name, size in row.sizes.items())
    lines = {
        "question": f"{row.classes} classes, {row.metric}" if row.classes else row.metric,
        "pictures": f"{sizes} ({row.sizes_by or NOT_VERIFIED})",
        "licence": f"{row.licence} ({row.licence_by or NOT_VERIFIED})",
        "source": row.source,
        "versions": ", ".join(f"{row.key}{facts.AT}{version}" for version in row.versions),
        "here": f"{', '.join(row.here) or 'nothing'}, in {row.folder}",
        "to get": f"{row.how} {_size(row)}".strip() if row.how else "",
        "no hash": ", ".join(row.unchecked),
        "extra": row.extra or "",
    }
    said = [f"  {name:9} {text}" for name, text in lines.items() if text]
    return "\n".join([f"{row.key}: {row.title}", *said, *(f"  note      {n}" for n in row.notes)])


def _size(row: Row) -> str:
    if row.state == "here":
        return ""
    if row.fetch_bytes is None:
        return "by hand" if row.state == "by hand" else "size unknown"
    about = "" if row.size_is_exact else "about "
    return f"{about}{_bytes(row.fetch_bytes)}"


def _bytes(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def _flat(value: object) -> object:
    return value if isinstance(value, str | int | float | None) else json.dumps(value)
