"""The order in which a run sees its pairs: a function of (seed, epoch, position), never a state.

So any position can be asked for: a run goes on to the sample, and every process and worker finds
its own part without asking the others. Nothing is held but the pieces (shards) of the sources and
one window.

1. Each source is a list of pieces: rows that are cheap to read one after another. An epoch takes
   them in an order of its own, as often as the source repeats, and the sources are interleaved, so
   that every stretch of the stream holds them in their proportion.
2. The stream is cut into windows, and within a window all samples are shuffled. An epoch that fits
   into one window is shuffled as a whole, and the first step would change nothing.

With lanes, batch and window are cut into as many parts, and each part of a batch comes from one
part of the window: a process then reads its own shards only. Lanes are a setting of the run, not
the number of processes, so that the order does not change with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.errors import RecipeError

Place = tuple[int, int, int, int]
"""(epoch, source, row, how often this row came before in this epoch)."""
Rows = npt.NDArray[np.int64]
PIECE = 256
"""Rows of a piece where any row is as cheap to read as the next."""


@dataclass(frozen=True)
class Extent:
    """A source as far as its order goes: the rows of each piece, and how often it is seen."""

    pieces: Rows
    repeat: float = 1.0

    @property
    def size(self) -> int:
        """Rows of all pieces."""
        return int(self.pieces.sum())

    @property
    def seen(self) -> int:
        """Rows that an epoch shows, repeats counted."""
        return int(self.size * self.repeat)


def even_pieces(size: int) -> Rows:
    """Pieces of a source any row of which is as cheap to read as the next."""
    pieces = np.full(-(-size // PIECE), PIECE, np.int64)
    if size % PIECE:
        pieces[-1] = size % PIECE
    return pieces


@dataclass(frozen=True)
class _Epoch:
    """The stream of an epoch: its units in order. A unit is a piece, whole or a part of it."""

    source: Rows
    again: Rows
    first: Rows
    """The first row of each unit's piece."""
    ends: Rows
    """Where each unit ends in the stream."""
    parts: dict[int, Rows]
    """Of units that are parts of pieces: the rows taken, counted from the first."""
    order: Rows | None = None
    """Of an epoch that is one window: the order of its samples."""


class Order:
    """The places of the positions of a run.

    Arguments: ``window``: samples shuffled among each other, made a multiple of ``batch_size``;
    ``lanes``: see above. Raises ``RecipeError`` if the lanes do not divide the batch.
    """

    def __init__(
        self,
        extents: Sequence[Extent],
        batch_size: int,
        seed: int,
        *,
        window: int = 1 << 18,
        lanes: int = 1,
    ) -> None:
        if batch_size % lanes:
            raise RecipeError(
                f"data.lanes is {lanes}, which does not divide optim.batch_size ({batch_size})."
            )
        self.extents, self.batch_size, self.seed, self.lanes = extents, batch_size, seed, lanes
        self.window = max(1, window // batch_size) * batch_size
        self.length = sum(extent.seen for extent in extents)
        self._epoch: tuple[int, _Epoch] | None = None
        self._shuffled: tuple[tuple[int, int], Rows] | None = None

    def places(self, start: int, stop: int) -> list[Place]:
        """The places of positions ``start`` to ``stop``, counted from the start of the run."""
        found: list[Place] = []
        while start < stop:
            epoch, offset = divmod(start, self.length)
            window = offset // self.window
            end = min((window + 1) * self.window, self.length)
            count = min(stop - start, end - offset)
            within = offset - window * self.window
            taken = self.shuffled(epoch, window)[within : within + count]
            found += self._located(epoch, window * self.window + taken)
            start += count
        return found

    def shuffled(self, epoch: int, window: int) -> Rows:
        """The samples of a window in their order, counted from its start in the stream."""
        if self._shuffled is None or self._shuffled[0] != (epoch, window):
            rng = np.random.default_rng((self.seed, epoch, window))
            count = min(self.window, self.length - window * self.window)
            if (known := self.epoch(epoch).order) is not None:
                order = known
            elif self.lanes == 1 or count % self.batch_size:
                order = rng.permutation(count)
            else:  # lane by lane, then the lanes' parts of each batch beside each other
                part = count // self.lanes
                lanes = [lane * part + rng.permutation(part) for lane in range(self.lanes)]
                shape = self.lanes, count // self.batch_size, self.batch_size // self.lanes
                order = np.stack(lanes).reshape(shape).swapaxes(0, 1).reshape(-1)
            self._shuffled = (epoch, window), order.astype(np.int64)
        return self._shuffled[1]

    def _located(self, number: int, positions: Rows) -> list[Place]:
        epoch = self.epoch(number)
        units = np.searchsorted(epoch.ends, positions, side="right")
        counts = np.diff(epoch.ends, prepend=0)
        within = positions - (epoch.ends - counts)[units]
        for unit, rows in epoch.parts.items():
            mine = units == unit
            within[mine] = rows[within[mine]]
        sources, rows, again = epoch.source[units], epoch.first[units] + within, epoch.again[units]
        triples = zip(sources.tolist(), rows.tolist(), again.tolist(), strict=True)
        return [(number, *triple) for triple in triples]

    def epoch(self, number: int) -> _Epoch:
        """The units of an epoch in the order of its stream."""
        if self._epoch is None or self._epoch[0] != number:
            self._epoch = number, self._planned(number)
        return self._epoch[1]

    def _planned(self, number: int) -> _Epoch:
        rng = np.random.default_rng((self.seed, number))
        if self.lanes == 1 and self.length <= self.window:
            return _one_window(self.extents, rng)
        columns = [_units(index, extent, rng) for index, extent in enumerate(self.extents)]
        source, again, first, counts, when = (
            np.concatenate([column[i] for column, _ in columns]) for i in range(5)
        )
        order = np.argsort(when, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        parts, base = {}, 0
        for column, part in columns:
            if part is not None:
                parts[int(place[base + len(column[0]) - 1])] = part
            base += len(column[0])
        ends = np.cumsum(counts[order])
        return _Epoch(source[order], again[order], first[order], ends, parts)


def _one_window(extents: Sequence[Extent], rng: np.random.Generator) -> _Epoch:
    """An epoch that is shuffled as a whole; a unit is a source."""
    units, parts = list[tuple[int, int, int]](), dict[int, Rows]()
    for source, extent in enumerate(extents):
        whole, size = int(extent.repeat), extent.size
        units += [(source, again, size) for again in range(whole)]
        parts[len(units)] = rng.permutation(size)[: extent.seen - whole * size].astype(np.int64)
        units.append((source, whole, len(parts[len(units)])))
    sources, again, counts = np.array(units, np.int64).T
    order = rng.permutation(int(counts.sum())).astype(np.int64)
    return _Epoch(sources, again, np.zeros_like(sources), np.cumsum(counts), parts, order)


def _units(
    index: int, extent: Extent, rng: np.random.Generator
) -> tuple[tuple[npt.NDArray[np.generic], ...], Rows | None]:
    """The units of a source: (source, again, first row, count, when in the epoch), and which rows
    of its last unit are taken if not all are."""
    pieces = extent.pieces
    starts = np.cumsum(pieces) - pieces
    whole = int(extent.repeat)
    rest = extent.seen - whole * extent.size
    orders = [rng.permutation(len(pieces)) for _ in range(whole)]
    counts = [pieces[order] for order in orders]
    part = None
    if rest:
        order = rng.permutation(len(pieces))
        ends = np.cumsum(pieces[order])
        used = int(np.searchsorted(ends, rest)) + 1
        taken = pieces[order[:used]].copy()
        over = int(ends[used - 1]) - rest
        if over:
            part = np.sort(rng.permutation(taken[-1])[: taken[-1] - over]).astype(np.int64)
            taken[-1] -= over
        orders.append(order[:used])
        counts.append(taken)
    if not orders:
        orders, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    order, count = np.concatenate(orders), np.concatenate(counts)
    again = np.repeat(np.arange(len(orders)), [len(each) for each in orders])
    when = (np.cumsum(count) - count / 2) / max(1, extent.seen)
    return (np.full(len(order), index), again, starts[order], count, when), part
