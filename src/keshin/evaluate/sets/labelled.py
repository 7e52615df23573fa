"""Labelled pictures: what every reader gives, and what every evaluation takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from keshin.core.pictures import Picture
from keshin.evaluate.sets.lazy import take

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Labelled:
    """n pictures with what is known of them."""

    pictures: Sequence[Picture]
    """Paths where the pictures are files, so that vectors are kept by content; else bytes or
    arrays, read as they are needed."""
    targets: IntArray
    """(n,) indices into ``names``; or (n, k), where a picture may show several classes: 1 it does,
    0 it does not, -1 not counted."""
    names: tuple[str, ...]
    """The k classes."""
    groups: IntArray | None = None
    """(n,) equal where pictures come together (a scroll, a video), which intervals must know."""
    ids: tuple[str, ...] = ()
    """(n,) what a report calls each picture; empty: its path, or its number."""

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: IntArray) -> Labelled:
        """The pictures of these rows, in this order."""
        return replace(
            self,
            pictures=take(self.pictures, rows),
            targets=self.targets[rows],
            groups=None if self.groups is None else self.groups[rows],
            ids=tuple(self.ids[row] for row in rows) if self.ids else (),
        )
