"""Texts as ids: what a tokenizer makes of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.errors import TokenizerError

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Truncation:
    """A text that did not fit. Both counts include the start and the end token."""

    index: int  # position in the list of texts
    text: str
    tokens: int
    kept: int


@dataclass(frozen=True, eq=False)
class Tokens:
    """A batch of texts as ids, as wide as its longest text."""

    ids: Ids  # (n, length), padded with ``pad``
    lengths: Ids  # (n,) tokens of each text, start and end included
    ends: Ids  # (n,) where the end token is: lengths - 1, or earlier if the text itself holds one
    truncated: tuple[Truncation, ...]
    pad: int

    def pad_to(self, length: int) -> Ids:
        """The ids as (n, length): CLIP's own layout is ``pad_to(77)``."""
        count, width = self.ids.shape
        if length < width:
            raise TokenizerError(
                f"Cannot pad to {length} tokens: the longest text of the batch has {width}. "
                f"Ask for at least {width}, or tokenise with a smaller context_length."
            )
        padding = np.full((count, length - width), self.pad, np.int64)
        return np.concatenate([self.ids, padding], axis=1)
