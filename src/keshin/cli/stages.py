"""How far a long piece of work is, on standard error: a bar for people, few lines for logs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

EVERY = 30.0
"""Seconds between two lines where nobody watches."""


class Stages:
    """Is called with what is done, how far it is and how far it goes. Use it in a ``with``."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._said = time.monotonic()
        self._now = ("", 0, 0)

    def __enter__(self) -> Stages:
        if sys.stderr.isatty():
            self._progress = _bars()
            self._progress.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._progress is not None:
            self._progress.stop()
        what, done, _ = self._now
        if isinstance(error, KeyboardInterrupt) and done:
            said = f"{done:,} {what} are done and kept; the same command goes on there."
            click.echo(f"{self.title}: {said}", err=True)

    def __call__(self, what: str, done: int, total: int) -> None:
        """So much of a stage is done."""
        self._now = (what, done, total)
        if self._progress is not None:
            if what not in self._tasks:
                self._tasks[what] = self._progress.add_task(f"{self.title}: {what}", total=total)
            self._progress.update(self._tasks[what], completed=done, total=total)
        elif time.monotonic() - self._said > EVERY:
            self._said = time.monotonic()
            click.echo(f"{self.title}: {what} {done:,} of {total:,}", err=True)


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeLeft())
    return Progress(*columns, console=Console(stderr=True), transient=True)
