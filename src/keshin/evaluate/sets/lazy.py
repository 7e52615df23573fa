"""Pictures that are made when they are asked for: rows of arrays, members of archives, frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from keshin.core.pictures import Picture

IntArray = npt.NDArray[np.int64]


class Lazy(Sequence[Picture]):
    """n pictures, each made by ``get`` from its row whenever it is asked for, and not held."""

    def __init__(self, get: Callable[[int], Picture], rows: int | IntArray) -> None:
        """``rows``: what ``get`` is called with for each picture; a number stands for the rows
        from 0 up to it."""
        self._get = get
        self._rows = np.arange(rows) if isinstance(rows, int) else np.asarray(rows, np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Picture: ...
    @overload
    def __getitem__(self, place: slice) -> Lazy: ...
    def __getitem__(self, place: int | slice) -> Picture | Lazy:
        if isinstance(place, slice):
            return Lazy(self._get, self._rows[place])
        return self._get(int(self._rows[place]))

    def take(self, rows: IntArray) -> Lazy:
        """The pictures of these places, in this order; none is made."""
        return Lazy(self._get, self._rows[rows])


def take(pictures: Sequence[Picture], rows: IntArray) -> Sequence[Picture]:
    """The pictures of these places, in this order; lazy ones stay lazy."""
    if isinstance(pictures, Lazy):
        return pictures.take(rows)
    return [pictures[row] for row in rows]
