"""Who watches a run of ``keshin train``: the lines for a person, TensorBoard, sample retrievals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keshin.cli.progress import Progress
from keshin.errors import DataError
from keshin.train.board import Board
from keshin.train.distributed import is_first
from keshin.train.log import Record
from keshin.train.loop import Report, Viewer
from keshin.train.pairs import Pair, open_source
from keshin.train.recipe import Recipe, SamplesPart, Source
from keshin.watch.samples import Samples, evenly


@contextmanager
def watched(recipe: Recipe, folder: Path) -> Iterator[tuple[Report, list[Viewer]]]:
    """Who is told each record, and who looks at the model at each validation.

    Where there are several processes, the first one is watched.
    """
    lines = Progress()
    board = Board(folder) if recipe.run.tensorboard and is_first() else None
    viewers: list[Viewer] = []
    if recipe.samples is not None:  # every process knows that somebody looks; the first one does
        viewers.append(samples_of(recipe.samples, folder, board) if is_first() else _nobody)

    def report(record: Record) -> None:
        lines(record)
        if board is not None:
            board(record)

    try:
        yield report, viewers
    finally:
        if board is not None:
            board.close()


def _nobody(encoder: object, step: int) -> Iterator[tuple[str, float]]:
    yield from ()


def samples_of(part: SamplesPart, folder: Path, board: Board | None) -> Samples:
    """The viewer of ``[samples]``. Raises ``DataError``."""
    pairs = open_source(Source(path=part.path, image=part.image, captions=part.captions))
    found = list[Pair]()
    for place in evenly(len(pairs), part.pairs):
        try:
            found.append(pairs[place])
        except (DataError, OSError):
            continue
    return Samples(
        [pair.picture for pair in found],
        [pair.captions[0] if pair.captions else "" for pair in found],
        folder,
        shown=part.shown,
        top=part.top,
        show=board.picture if board is not None else None,
    )
