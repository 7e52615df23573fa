"""Pictures with sentences: what retrieval is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.core.pictures import Picture


@dataclass(frozen=True, eq=False)
class Captioned:
    """n pictures and m captions."""

    pictures: Sequence[Picture]
    captions: tuple[str, ...]
    """(m,)."""
    picture_of: npt.NDArray[np.int64]
    """(m,) the place of the picture that each caption belongs to."""
    ids: tuple[str, ...] = ()
    """(n,) what a report calls each picture; empty: its path, or its number."""

    def __len__(self) -> int:
        return len(self.pictures)
