"""Pictures to vectors while the next pictures are being read.

Threads decode and cut pictures (Pillow lets other threads run meanwhile) while the thread that asks
for the results runs the model. What is read ahead is bounded by two batches, whatever the number of
pictures, and the items are taken from an iterator only as there is room, so a folder is walked as
it is worked off. Results come in the order of the items.

There are as many reading threads as the model has threads. Together they may want twice the cores,
but none of them spins while it waits, so the system shares the cores between them: where reading is
the longer part they are all busy with it, where the model is, reading fills its gaps. With one
thread nothing runs beside the model: the pictures are read in turn with it, on one core.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from keshin.core.config import PreprocessFacts
from keshin.core.picture_files import name_of
from keshin.core.pictures import Failure, Mode, Picture, fitted
from keshin.errors import PictureError

Pixels: TypeAlias = npt.NDArray[np.uint8]
Vector: TypeAlias = npt.NDArray[np.float32]
LONGEST = 1024
"""Items held at most, known ones included."""


class Item:
    """One picture on its way; it ends with a ``vector`` or an ``error``."""

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self.name = name
        """For messages."""
        self.vector: Vector | None = None
        """(d,) of unit length."""
        self.error: PictureError | None = None

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.vector is not None or self.error is not None

    def read(self) -> Pixels | None:
        """In some thread: (h, w, 3) for the model, or None if the vector was found meanwhile.

        Raises ``PictureError``; whatever else it raises becomes one.
        """
        raise NotImplementedError

    def failure(self) -> Failure:
        """The error as a record."""
        return Failure(self.index, self.name, str(self.error))


class PictureItem(Item):
    """A picture of any kind, from nowhere in particular."""

    def __init__(self, index: int, picture: Picture, facts: PreprocessFacts, mode: Mode) -> None:
        super().__init__(index, name_of(picture))
        self._picture, self._facts, self._mode = picture, facts, mode

    def read(self) -> Pixels | None:
        return fitted(self._picture, self._facts, mode=self._mode)


Some = TypeVar("Some", bound=Item)


class Pipeline(Generic[Some]):
    """``run`` it once: items in, the same items out, done and in order."""

    def __init__(
        self, encode: Callable[[Pixels], Vector], *, batch_size: int, threads: int | None = None
    ) -> None:
        """``encode``: (n, h, w, 3) -> (n, d) unit vectors."""
        self._encode = encode
        self._batch_size = batch_size
        self._threads = available_cores() if threads is None else threads
        self._ahead = 2 * batch_size if self._threads > 1 else batch_size
        self._window: deque[tuple[Some, Future[Pixels | None] | None]] = deque()
        self._stopped = False

    def run(self, items: Iterable[Some]) -> Iterator[Some]:
        """Ends early without waiting if the caller stops asking or is interrupted: the pictures
        being read just then are finished, no other is begun."""
        source, window = iter(items), self._window
        pool = ThreadPoolExecutor(self._threads, "keshin-pictures") if self._threads > 1 else None
        try:
            while True:
                self._fill(source, pool)
                if not window:
                    return
                while window and window[0][0].done:
                    yield window.popleft()[0]
                self._work()
        finally:
            self._stopped = True
            if pool:
                pool.shutdown(wait=False, cancel_futures=True)

    def _fill(self, source: Iterator[Some], pool: ThreadPoolExecutor | None) -> None:
        """Take items while there is room."""
        waiting = sum(not item.done for item, _ in self._window)
        while waiting < self._ahead and len(self._window) < LONGEST:
            item = next(source, None)
            if item is None:
                return
            future = pool.submit(self._read, item) if pool and not item.done else None
            self._window.append((item, future))
            waiting += not item.done

    def _work(self) -> None:
        """Encode the first items that are not done."""
        some: list[Some] = []
        pixels: list[Pixels] = []
        for place, (item, future) in enumerate(self._window):
            if item.done:
                continue
            if len(some) == self._batch_size:
                break
            found = future.result() if future else self._read(item)
            self._window[place] = (item, None)  # so that its pixels are held once
            if found is not None:
                some.append(item)
                pixels.append(found)
        if some:
            for item, vector in zip(some, self._encode(np.stack(pixels)), strict=True):
                item.vector = vector

    def _read(self, item: Some) -> Pixels | None:
        """Never raises: what goes wrong with a picture is the picture's failure."""
        if self._stopped:
            return None
        try:
            pixels = item.read()
            if pixels is None and not item.done:
                raise RuntimeError("it was read without a result")
            return pixels
        except PictureError as error:
            item.error = error
        except Exception as error:
            item.error = PictureError(
                f"Cannot read {item.name}: {type(error).__name__}: {error}. "
                "Leave it out, and report this: keshin should have a sentence for it."
            )
        return None


def grouped(
    items: Iterable[Some], size: int, width: int
) -> Iterator[tuple[list[int], Vector, list[Failure]]]:
    """Done items in groups of ``size`` consecutive ones: the places of those that have a vector,
    their (k, width) vectors, and the failures."""
    group: list[Some] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield _group(group, width)
            group = []
    if group:
        yield _group(group, width)


def _group(items: list[Some], width: int) -> tuple[list[int], Vector, list[Failure]]:
    good = [item for item in items if item.vector is not None]
    vectors = np.empty((len(good), width), np.float32)
    for row, item in zip(vectors, good, strict=True):
        row[...] = item.vector
    failures = [item.failure() for item in items if item.error is not None]
    return [item.index for item in good], vectors, failures


def available_cores() -> int:
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
