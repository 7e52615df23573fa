"""How a download is shown: bars on a terminal, a line a file elsewhere; on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bars:
    """Inside it, ``show`` is told of each file's bytes; ``title`` names the model."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.tasks: dict[str, TaskID] = {}
        self.said: set[str] = set()
        self.progress: Progress | None = None

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *how: object) -> None:
        if self.progress is not None:
            self.progress.stop()

    def show(self, name: str, here: int, size: int) -> None:
        """``here`` of ``size`` bytes of a file have come."""
        if not sys.stderr.isatty():
            if name not in self.said:
                self.said.add(name)
                click.echo(f"{self.title}: {name}, {size / 1e6:,.1f} MB", err=True)
            return
        if self.progress is None:
            self.progress = _bars()
            self.progress.start()
        if name not in self.tasks:
            self.tasks[name] = self.progress.add_task(name, total=size)
        self.progress.update(self.tasks[name], completed=here)


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
