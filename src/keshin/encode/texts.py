"""Tokens to features, with as little work as the kind of tower allows.

A causal tower whose runtime knows prefix trees computes each shared beginning once. Other towers
get batches of texts of similar length, at the length of the longest one where padding cannot change
a feature, else at the full context.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from keshin.core.config import TextFacts, TextTransformer
from keshin.core.tokenizer import Tokens
from keshin.encode.prefix_tree import PrefixTree, prefix_trees

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

TOKENS_AT_ONCE = 1024
"""Tokens of one run: enough to keep matrix products busy, few enough to stay in a cache."""


class TextTower(Protocol):
    """Any text tower."""

    def text_features(self, ids: IntArray, ends: IntArray) -> FloatArray:
        """(n, length) token ids and (n,) end-of-text positions -> (n, d), not normalised."""
        ...


@runtime_checkable
class TreeTower(Protocol):
    """A causal text tower that can share beginnings."""

    def text_tree_features(self, tree: PrefixTree) -> FloatArray:
        """The b texts of a tree -> (b, d), not normalised."""
        ...


def shares_beginnings(facts: TextFacts) -> bool:
    """Whether a token depends only on what comes before it; the other kinds look ahead."""
    return isinstance(facts, TextTransformer) and facts.causal


def text_features(
    tower: TextTower, facts: TextFacts, tokens: Tokens
) -> Iterator[tuple[IntArray, FloatArray]]:
    """Rows of the tokens and their features (n, d), not normalised, until each row has had its own.

    The features do not depend on which texts are encoded together (beyond rounding).
    """
    if shares_beginnings(facts) and isinstance(tower, TreeTower):
        ids, lengths, places = _read(facts, tokens)
        for rows, which, tree in prefix_trees(ids, lengths, places, TOKENS_AT_ONCE):
            yield rows, tower.text_tree_features(tree)[which]
        return
    full = None if facts.trims else facts.context_length
    ids = tokens.pad_to(full) if full else tokens.ids
    order = np.argsort(tokens.lengths, kind="stable")
    lengths = np.full(len(order), full) if full else tokens.lengths[order]
    for start, stop in _batches(lengths):
        rows = order[start:stop]
        batch = np.ascontiguousarray(ids[rows, : lengths[stop - 1]])
        yield rows, tower.text_features(batch, tokens.ends[rows])


def _read(facts: TextFacts, tokens: Tokens) -> tuple[IntArray, IntArray, IntArray]:
    """Ids, how many of them matter, and the position that is read, for a causal tower.

    What comes after that position cannot change it.
    """
    count = len(tokens.lengths)
    if facts.pool == "end-of-text":
        return tokens.ids, tokens.ends + 1, tokens.ends
    if facts.pool == "first":
        return tokens.ids, np.ones(count, np.int64), np.zeros(count, np.int64)
    length = facts.context_length
    return tokens.pad_to(length), np.full(count, length), np.full(count, length - 1)


def _batches(lengths: IntArray) -> Iterator[tuple[int, int]]:
    """Slices of texts sorted by length, each of at most ``TOKENS_AT_ONCE`` padded tokens."""
    start = 0
    for stop in range(1, len(lengths) + 1):
        if stop == len(lengths) or (stop + 1 - start) * lengths[stop] > TOKENS_AT_ONCE:
            yield start, stop
            start = stop
