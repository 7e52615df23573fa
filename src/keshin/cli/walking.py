"""What commands on many pictures share: the walk, the stored embeddings, the progress bar."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING

import click

from keshin.cli.reports import printable
from keshin.core.kept import EMBEDDINGS
from keshin.core.pictures import find_pictures
from keshin.encode.embeddings import Store, open_store
from keshin.encode.encoder import Encoder

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Files:
    """Files as they were given and the pictures of folders, found as they are asked for."""

    def __init__(self, given: Sequence[str]) -> None:
        """Raises ``click.UsageError`` if there is none."""
        self.from_folder = any(map(os.path.isdir, given))
        self.taken = 0
        self.ended = False
        walk = self._walk(given)
        first = list(islice(walk, 2))
        if not first:
            raise click.UsageError(f"There is no picture in {', '.join(map(printable, given))}.")
        self.single = len(first) == 1
        self._names = chain(first, walk)
        self._waiting: deque[str] = deque()

    def names(self) -> Iterator[str]:
        """Each once; what is taken waits for ``next_name``."""
        for name in self._names:
            self.taken += 1
            self._waiting.append(name)
            yield name
        self.ended = True

    def next_name(self) -> str:
        """The name of the next result: they come in the order of the names."""
        return self._waiting.popleft()

    @staticmethod
    def _walk(given: Sequence[str]) -> Iterator[str]:
        for path in given:
            if os.path.isdir(path):  # noqa: PTH112
                yield from map(str, find_pictures([path]))
            else:
                yield path


@contextmanager
def stored(encoder: Encoder, *, wanted: bool) -> Iterator[Store | None]:
    """The stored embeddings of an encoder. What an interrupted run has kept is said."""

    def warn(message: str) -> None:
        click.echo(f"Warning: {message}", err=True)

    store = open_store(EMBEDDINGS.folder, encoder, on_warning=warn) if wanted else None
    if store is None:
        yield None
        return
    with store:
        try:
            yield store
        except KeyboardInterrupt:
            store.close()
            if store.keeps and (kept := store.counts.cached + store.counts.new):
                said = f"The vectors of {kept:,} pictures are kept; the same command goes on there."
                click.echo(said, err=True)
            raise


class Bar:
    """Counts pictures, and shows the counts on standard error where a person sees them."""

    def __init__(self, files: Files, store: Store | None) -> None:
        self.done = self.failed = 0
        self._files, self._store = files, store
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Bar:
        if not self._files.single and sys.stderr.isatty():
            self._progress, self._task = _progress()
            self._progress.start()
        return self

    def __exit__(self, *how: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def add(self, *, failed: bool) -> None:
        """One more picture is done."""
        self.done += 1
        self.failed += failed
        if self._progress is None or self._task is None:
            return
        cached = self._store.counts.cached if self._store else 0
        self._progress.update(
            self._task,
            completed=self.done,
            total=self._files.taken if self._files.ended else None,
            cached=cached,
            new=max(self.done - self.failed - cached, 0),
            failed=self.failed,
        )


def _progress() -> tuple[Progress, TaskID]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (
        TextColumn("pictures"), BarColumn(), MofNCompleteColumn(), TimeLeft(),
        TextColumn("{task.fields[cached]:,} cached, {task.fields[new]:,} new, "
                   "{task.fields[failed]:,} failed"),
    )  # fmt: skip
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    return progress, progress.add_task("pictures", total=None, cached=0, new=0, failed=0)
