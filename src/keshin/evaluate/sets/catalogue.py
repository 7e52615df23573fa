"""What ``keshin eval --list`` says of each known set: what is here, what is to be fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from keshin.evaluate.sets.datasets import data_folder, how_to_get, missing
from keshin.evaluate.sets.fetch import left_to_fetch
from keshin.facts.datasets import Dataset, Download, all_datasets, bytes_of, sources


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One known set and its state on this machine."""

    key: str
    title: str
    task: str
    metric: str
    classes: int
    sizes: dict[str, int]
    """Split -> pictures, as its makers count."""
    in_paper: bool
    here: tuple[str, ...]
    """The splits that can be read now."""
    state: Literal["here", "partly here", "to fetch", "by hand"]
    folder: str
    """Where it lies, or would."""
    fetch_bytes: int | None
    """What is still to be fetched for all splits: 0 where nothing is, ``None`` where it is not
    published or not fetched by keshin."""
    test_bytes: int | None
    """The same for the test alone."""
    size_is_exact: bool
    unchecked: tuple[str, ...]
    """Files for which no hash is published."""
    how: str
    """How to get what is missing; empty where nothing is."""
    extra: str | None
    """The extra of keshin that reading needs."""
    source: str
    licence: str
    versions: tuple[str, ...]
    """Published versions, the one that is meant without a word first."""
    sizes_by: str
    """Who says how many pictures there are; empty where nobody was asked."""
    licence_by: str
    notes: tuple[str, ...]


def catalogue(data_dir: str | Path | None = None) -> list[Row]:
    """A row for each known set, the paper's 27 first, in its order."""
    return [row(dataset, data_folder(data_dir) / dataset.place) for dataset in _all()]


def row(dataset: Dataset, folder: Path) -> Row:
    """The row of one set."""
    here = tuple(split for split in dataset.splits if not missing(dataset, folder, split))
    whole = len(here) == len(dataset.splits)
    left = [] if whole else left_to_fetch(dataset, folder)
    tests = [] if "test" in here else left_to_fetch(dataset, folder, ["test"])
    by_hand = bool(dataset.by_hand) and not whole
    rest: Literal["by hand", "to fetch"] = "by hand" if dataset.by_hand else "to fetch"
    return Row(
        key=dataset.key,
        title=dataset.title,
        task=dataset.task,
        metric=dataset.metric,
        classes=dataset.classes,
        sizes={name: part.size for name, part in dataset.splits.items()},
        in_paper=dataset.table9 is not None,
        here=here,
        state="here" if whole else ("partly here" if here else rest),
        folder=str(folder),
        fetch_bytes=None if by_hand else _bytes(dataset, left, here=whole),
        test_bytes=None if by_hand else _bytes(dataset, tests, here="test" in here),
        size_is_exact=all(download.size for download in left) and not dataset.fetcher,
        unchecked=tuple(download.name for download in dataset.downloads if not download.digest),
        how="" if whole else how_to_get(dataset),
        extra=dataset.extra,
        source=dataset.source,
        licence=dataset.licence,
        versions=tuple(dict.fromkeys((dataset.version, *dataset.versions)))
        if dataset.version
        else (),
        sizes_by=_said(dataset.sizes_from),
        licence_by=_said(dataset.licence_from),
        notes=dataset.notes,
    )


def _bytes(dataset: Dataset, left: list[Download], *, here: bool) -> int | None:
    if dataset.fetcher:  # one by one, so that nobody knows before how much is left
        return 0 if here else dataset.about
    return bytes_of(left)


def _said(source: str | None) -> str:
    return sources()[source] if source else ""


def _all() -> list[Dataset]:
    return list(all_datasets().values())
