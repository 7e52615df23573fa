"""Folds for cross-validation: each class in every fold, and a group never in two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.errors import DataError

IntArray = npt.NDArray[np.int64]
FOLDS = 5
ENOUGH = 200
"""Answers to pictures that a cross-validation should rest on: fewer pictures are asked again, with
other folds."""
REPEATS = 5


@dataclass(frozen=True)
class Split:
    """One fold of one repeat."""

    repeat: int
    fold: int
    train: IntArray
    held: IntArray

    @property
    def name(self) -> str:
        return f"{self.repeat}-{self.fold}"


def fold_count(targets: IntArray, groups: IntArray) -> int:
    """Five, or fewer where a class has fewer groups of pictures; at least two."""
    smallest = min(len(np.unique(groups[targets == label])) for label in np.unique(targets))
    return int(np.clip(smallest, 2, FOLDS))


def repeat_count(pictures: int) -> int:
    """How often all pictures are asked: more often where they are few."""
    return int(np.clip(-(-ENOUGH // max(pictures, 1)), 1, REPEATS))


def assign(targets: IntArray, groups: IntArray, folds: int, seed: int) -> IntArray:
    """(n,) the fold of each picture: groups whole, each into the fold that has least of its
    classes. Raises ``DataError`` where there are fewer groups than folds."""
    rng = np.random.default_rng(seed)
    _, index = np.unique(groups, return_inverse=True)
    classes = int(targets.max()) + 1
    table = np.zeros((int(index.max()) + 1, classes))
    np.add.at(table, (index, targets), 1)
    if len(table) < folds:
        raise DataError(
            f"All pictures are copies of {len(table)} picture(s), or belong to {len(table)} "
            "group(s): nothing can be held out to judge by. Add other pictures."
        )
    shares = table / table.sum(axis=0).clip(min=1)
    order = rng.permutation(len(table))
    order = order[np.argsort(-table[order].sum(axis=1), kind="stable")]
    held, sizes = np.zeros((folds, classes)), np.zeros(folds)
    found = np.zeros(len(table), np.int64)
    for group in order:
        crowded = held @ shares[group]
        # Ties (the first of a class) by size, then by chance.
        best = np.lexsort((rng.random(folds), sizes, np.round(crowded, 9)))[0]
        found[group] = best
        held[best] += shares[group]
        sizes[best] += table[group].sum()
    return found[index]


def splits(targets: IntArray, groups: IntArray, repeats: int, seed: int = 0) -> Iterator[Split]:
    """All folds of all repeats."""
    folds = fold_count(targets, groups)
    for repeat in range(repeats):
        place = assign(targets, groups, folds, seed + repeat)
        for fold in range(folds):
            held = np.flatnonzero(place == fold)
            if len(held):
                yield Split(repeat, fold, np.flatnonzero(place != fold), held)
