"""How sets are fetched whose pictures come one by one from other people's servers.

Archives need none of this (``fetch``). The table maps ``Dataset.fetcher`` to functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from keshin.core.transfer import Progress
from keshin.errors import DownloadError
from keshin.evaluate.sets.kaokore.download import download as download_kaokore
from keshin.facts.datasets import Dataset

Fetcher: TypeAlias = Callable[[Dataset, Path, Progress], None]
"""The set, its folder, and what is told of the pictures that came and of all. What is in the folder
and sound is kept; raises ``DownloadError`` or ``DataError``."""


def fetch_kaokore(dataset: Dataset, folder: Path, progress: Progress) -> None:
    """KaoKore from its holders, one request at a time to each, as its makers ask."""

    def show(done: int, total: int, host: str) -> None:
        progress(f"pictures of {host}" if host else "pictures", done, total)

    summary = download_kaokore(dataset.version, folder, progress=show)
    if not summary.complete:
        raise DownloadError(str(summary))


FETCHERS: Mapping[str, Fetcher] = {"kaokore": fetch_kaokore}
