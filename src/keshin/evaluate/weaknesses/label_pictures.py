"""Two labels on pictures of both: this or that?

The accuracy of a pair is the mean of both recalls, so that it does not depend on how many pictures
each has; its interval joins Wilson's two (the squares of their arms are added: MOVER, Zou and
Donner 2008).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from keshin.classify import Labels
from keshin.classify.weights import class_weights
from keshin.encode.encoder import Encoder
from keshin.errors import DataError
from keshin.evaluate.sets.labelled import Labelled
from keshin.evaluate.sets.readers import read_folder
from keshin.statistics.figure import Figure
from keshin.statistics.intervals import share_bounds

CHANCE = 0.5
Progress = Callable[[str, int, int], None]
Matrix = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Seen:
    """What the pictures of k labels say of all pairs."""

    recalls: Matrix
    """(k, k): the share of row's pictures that are nearer to row than to column."""
    counts: npt.NDArray[np.int64]
    """(k,) pictures."""
    failed: tuple[str, ...]

    def alike(self) -> npt.NDArray[np.bool_]:
        """(k, k) whether the pictures do not show that two labels are told apart."""
        _, low, _ = self._intervals()
        have = self.counts > 0
        return np.asarray((low <= CHANCE) & have[:, None] & have[None, :])

    def figure(self, i: int, j: int) -> Figure | None:
        """The accuracy of one pair; None where a label has no pictures."""
        if not self.counts[i] or not self.counts[j]:
            return None
        rows = np.array([i, j])
        own = Seen(self.recalls[np.ix_(rows, rows)], self.counts[rows], ())
        value, low, high = (float(table[0, 1]) for table in own._intervals())
        count = int(own.counts.sum())
        return Figure(
            name="this or that", value=value, low=low, high=high, chance=CHANCE, count=count
        )

    def _intervals(self) -> tuple[Matrix, Matrix, Matrix]:
        """(k, k) values and both ends."""
        bounds = np.vectorize(share_bounds)(self.recalls, self.counts[:, None])
        down, up = self.recalls - bounds[0], bounds[1] - self.recalls
        value = (self.recalls + self.recalls.T) / 2
        return value, value - np.hypot(down, down.T) / 2, value + np.hypot(up, up.T) / 2


def on_pictures(encoder: Encoder, labels: Labels, folder: str | Path, progress: Progress) -> Seen:
    """Ask every pair on all pictures of a folder per label. Raises ``DataError``.

    A picture that cannot be read is listed; a label without a folder has no pictures.
    """
    data = read_folder(folder)
    rows = _places(labels, data, folder)
    weights = class_weights(encoder, labels.names, None)
    k = len(labels.names)
    wins, counts, failed = np.zeros((k, k)), np.zeros(k, np.int64), list[str]()
    for good, vectors, failures in encoder.try_images(data.pictures):
        targets = rows[data.targets[good]]
        cosines = vectors @ weights.T
        own = cosines[np.arange(len(good)), targets]
        np.add.at(wins, targets, own[:, None] > cosines)
        np.add.at(counts, targets, 1)
        failed += [failure.error for failure in failures]
        progress("labels", int(counts.sum()) + len(failed), len(data))
    if not counts.any():
        raise DataError(f"None of the {len(data)} pictures of {folder} could be read. {failed[0]}")
    return Seen(wins / np.maximum(counts, 1)[:, None], counts, tuple(failed))


def _places(labels: Labels, data: Labelled, folder: str | Path) -> npt.NDArray[np.int64]:
    """(c,) for each folder the place of its label."""
    places = {_plain(name): place for place, name in enumerate(labels.names)}
    for name in data.names:
        if _plain(name) not in places:
            listed = ", ".join(list(labels.names)[:20])
            raise DataError(
                f"{folder} has a folder '{name}' that is not among the labels. Name the folders "
                f"as the labels, or leave the labels out. Labels are: {listed}."
            )
    return np.array([places[_plain(name)] for name in data.names], np.int64)


def _plain(name: str) -> str:
    return name.replace("_", " ").strip().lower()
