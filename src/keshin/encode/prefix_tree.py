"""Texts as a tree of tokens, in which a beginning that several texts share is computed once.

In a causal tower a token sees only what comes before it. So "a photo of a" is the same four columns
of numbers in every prompt that begins with it, and a node of the tree of all prompts is one token
to compute. Sorted texts make the tree: what a text shares with the one before it, it shares with
any before it, and the nodes lie depth first.

Everything but attention treats tokens one by one and runs over the n nodes, without padding.
Attention runs over chunks of c successive nodes. Depth first, the nodes that a chunk sees are its
own and the ancestors of its first node, and a mask says which of them each node has as ancestors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]

CHUNK = 32
"""Nodes that attend together: more see more strangers, fewer copy more ancestors."""


@dataclass(frozen=True, eq=False)
class PrefixTree:
    """b texts of at most l tokens as n nodes, with what the graph needs to know of them."""

    ids: Ids
    """(n,) the token of each node; the last few may be there only to fill a chunk."""
    positions: Ids
    """(n,) its position in the texts."""
    keys: Ids
    """(g, k) the nodes that each of g chunks sees: ancestors, filled up to k - c, then its own."""
    mask: npt.NDArray[np.float32]
    """(g, 1, c, k) zero where a node of the chunk sees a key, minus infinity elsewhere."""
    paths: Ids
    """(b, l) the nodes of each text from the first token on; anything after its last one."""
    places: Ids
    """(b,) the position in its path of the token that stands for the text."""

    @property
    def size(self) -> int:
        """Nodes, which is how many tokens are computed."""
        return len(self.ids)


def prefix_trees(
    ids: Ids, lengths: Ids, places: Ids, budget: int
) -> Iterator[tuple[Ids, Ids, PrefixTree]]:
    """Trees of about ``budget`` nodes each that hold all texts between them.

    ``ids`` (n, length), of which the first ``lengths`` (n,) count, and ``places`` (n,), the
    positions to read, which equal texts share. Yields, for each tree, some rows, for each of them
    the text of the tree that it is (equal rows are one), and the tree.
    """
    if not len(ids):
        return
    columns = np.arange(ids.shape[1])
    ids = np.where(columns < lengths[:, None], ids, -1)
    order = np.lexsort(ids.T[::-1])
    ids, lengths, places = ids[order], lengths[order], places[order]
    shared = _shared_with_previous(ids, lengths)
    own = lengths - shared
    total = np.cumsum(own)
    start = 0
    while start < len(ids):
        # The first text of a tree shares nothing, the others what they share with the one before.
        room = total[start] - lengths[start] + max(budget, int(lengths[start]))
        stop = max(start + 1, int(np.searchsorted(total, room, side="right")))
        new = np.concatenate([[True], own[start + 1 : stop] > 0])
        rows = np.flatnonzero(new) + start
        already = shared[rows].copy()
        already[0] = 0
        tree = _tree(ids[rows], lengths[rows], already, places[rows])
        yield order[start:stop], np.cumsum(new) - 1, tree
        start = stop


def _shared_with_previous(ids: Ids, lengths: Ids) -> Ids:
    """(n,) how many first tokens each of the sorted rows shares with the row before it."""
    same = ids[1:] == ids[:-1]
    count = np.where(same.all(axis=1), ids.shape[1], same.argmin(axis=1))
    return np.concatenate([[0], np.minimum(count, lengths[1:])])


def _tree(ids: Ids, lengths: Ids, shared: Ids, places: Ids) -> PrefixTree:
    width = int(lengths.max())
    columns = np.arange(width)
    own = (columns >= shared[:, None]) & (columns < lengths[:, None])
    row, position = np.nonzero(own)
    count = len(row)
    nodes = np.zeros(own.shape, np.int64)
    nodes[own] = np.arange(count)
    # Numbers grow row by row, so the largest so far in a column is that of the last text there.
    paths = np.maximum.accumulate(nodes, axis=0)
    chunk = min(CHUNK, count)
    chunks = -(-count // chunk)
    filler = np.zeros(chunks * chunk - count, np.int64)
    row, position = np.concatenate([row, filler]), np.concatenate([position, filler])
    tokens = ids[row, position]
    keys, seen = _keys(row, position, paths, chunk, count)
    mask = np.where(seen, np.float32(0), np.float32(-np.inf))[:, None]
    return PrefixTree(tokens, position, keys, mask, paths, places)


def _keys(
    row: Ids, position: Ids, paths: Ids, chunk: int, count: int
) -> tuple[Ids, npt.NDArray[np.bool_]]:
    """(g, k) nodes that each chunk sees, and (g, c, k) which of them are ancestors of which."""
    own = np.arange(len(row)).reshape(-1, chunk)
    rows, depths = row.reshape(-1, chunk), position.reshape(-1, chunk)
    before = np.arange(int(depths[:, 0].max()))
    ancestors = np.where(before < depths[:, :1], paths[rows[:, 0]][:, : len(before)], -1)
    keys = np.concatenate([ancestors, own], axis=1)
    at = np.concatenate([np.broadcast_to(before, ancestors.shape), depths], axis=1)
    on_path = paths[rows[:, :, None], at[:, None, :]] == keys[:, None, :]
    seen = on_path & (at[:, None, :] <= depths[:, :, None])
    filler = own >= count  # sees itself alone, since a softmax over nothing is no number
    itself = np.arange(chunk)
    seen[filler] = False
    seen[:, itself, len(before) + itself] = True
    return np.maximum(keys, 0), seen
