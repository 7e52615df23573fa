"""Which captions of a batch are right for which pictures.

Captions are known by a number of 64 bits, so that processes can compare theirs without exchanging
texts. Each picture has one right caption, the one drawn for it; some captions are neutral to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keshin.train.distributed import ALONE, World

Identities = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Targets:
    """b pictures of this process against the T captions of all processes."""

    right: Tensor
    """(b,) the column of each picture's caption."""
    neutral: Tensor
    """(2, k) rows and columns of pictures and captions that are neither right nor wrong."""
    spare: Tensor
    """(T,) bool: captions that stand in an earlier column already; they count for nothing."""
    counts: tuple[int, ...] = ()
    """How many columns each process has."""

    def to(self, device: torch.device) -> Targets:
        """The same on a device."""
        right, neutral, spare = (t.to(device) for t in (self.right, self.neutral, self.spare))
        return Targets(right, neutral, spare, self.counts)


def identity(caption: str) -> int:
    """The number by which a caption is known."""
    digest = hashlib.blake2b(caption.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def match(
    drawn: Identities,
    listed: Sequence[Identities],
    positives: str,
    world: World = ALONE,
    device: torch.device | None = None,
) -> tuple[npt.NDArray[np.intp], Targets]:
    """The rows whose captions are to be encoded here, a column each, and the targets.

    ``drawn`` (b,) is each picture's caption, ``listed`` all captions of each picture; for
    ``positives`` see ``LossPart``. Equal captions are one column, but with ``pair``.
    """
    if positives == "pair":
        rows = np.arange(len(drawn))
        own = rows.astype(np.int64) + (np.int64(world.rank) << 40)
    else:
        _, rows = np.unique(drawn, return_index=True)
        rows = np.sort(rows)
        own = drawn[rows]
    device = torch.device("cpu") if device is None else device
    counts = world.counts(len(own), device)
    columns = world.gather(torch.from_numpy(own).to(device), counts).cpu().numpy()
    known, first = np.unique(columns, return_index=True)
    spare = np.ones(len(columns), bool)
    spare[first] = False
    wanted = own if positives == "pair" else drawn
    right = first[np.searchsorted(known, wanted)]
    neutral = _neutral(right, listed, known, first) if positives == "listed" else _nothing()
    return rows, Targets(
        torch.from_numpy(right), torch.from_numpy(neutral), torch.from_numpy(spare), tuple(counts)
    )


def _nothing() -> npt.NDArray[np.int64]:
    return np.empty((2, 0), np.int64)


def _neutral(
    right: npt.NDArray[np.intp],
    listed: Sequence[Identities],
    known: Identities,
    first: npt.NDArray[np.intp],
) -> npt.NDArray[np.int64]:
    """Places of captions that a picture's own list holds, but that were not drawn for it."""
    lengths = [len(texts) for texts in listed]
    if not sum(lengths):
        return _nothing()
    rows = np.repeat(np.arange(len(listed)), lengths)
    texts = np.concatenate(listed)
    places = np.minimum(np.searchsorted(known, texts), len(known) - 1)
    columns = first[places]
    found = (known[places] == texts) & (columns != right[rows])
    return np.stack([rows[found], columns[found]]).astype(np.int64)
