"""An alarm for the commonest silent mistake: class names that are not in the order of the labels.

The numbers of such an evaluation look like those of a bad model. The confusion matrix knows
better: a bad model spreads its answers, a good one under wrong names puts them in one wrong place.

Two ways to find it. Orders that people make by accident (moved by one, sorted, reversed, labels
sorted as text) are few, so the whole matrix is tried on each, against random orders. Any other
order is learned from one half of the pictures (the best assignment of names to labels) and tested
on the other, cycle by cycle, so that it cannot flatter itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keshin.errors import DataError, require
from keshin.statistics.calibration import split

IntArray = npt.NDArray[np.int64]
ORDERS = 4000
"""Random orders that a suspected one is compared with."""
UNUSUAL = 0.0005
"""How many random orders may do as well as a suspected one, as a share."""
FEW_CLASSES = 7
"""Up to here there are too few orders for that."""
SURE = 1e-4
"""Error that the sign test may make, over all orders tried."""
TIMES = 3
"""A wrong order loses at most one right answer for so many that it gains."""
MOST, MOST_OF_FEW = 0.4, 0.75
"""Share of right answers that an order found in the pictures must reach, on the classes that it
moves and on all: a weak model has odd habits, but no order makes it a good one."""
NAMED = 3
"""Up to so many classes are named in the sentence."""


@dataclass(frozen=True, eq=False)
class Alarm:
    """The names do not seem to be in the order of the labels."""

    kind: str
    """What seems to have happened, in words."""
    order: IntArray
    """(k,) label i seems to be called ``names[order[i]]``."""
    now: float
    """Share of right answers as the names stand, over the pictures whose class moves."""
    then: float
    """The same in the other order."""
    p: float
    """Of the sign test, corrected for the orders tried."""
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def check_order(
    targets: IntArray, predictions: IntArray, names: Sequence[str], *, seed: int = 0
) -> Alarm | None:
    """An alarm if another order of the names fits the answers far better than the one given.

    ``targets`` and ``predictions`` (n,) are class indices; a prediction of -1 is no answer. None:
    nothing speaks against the order, which is no proof that it is right: a model that cannot tell
    the classes apart says nothing of their order. Raises ``DataError``.
    """
    targets, predictions = np.asarray(targets), np.asarray(predictions)
    k = len(names)
    if targets.shape != predictions.shape or targets.ndim != 1:
        raise DataError(
            f"Targets of shape {targets.shape} do not go with predictions {predictions.shape}."
        )
    if len(targets) and (targets.min() < 0 or max(targets.max(), predictions.max()) >= k):
        raise DataError(f"Some targets or predictions are not among the {k} classes.")
    if k < 2 or len(targets) < 2:
        return None
    known = known_orders(names)
    matrix = confusion(targets, predictions, k)
    found = _known_alarm(matrix, known, names, seed)
    return found or _learned_alarm(targets, predictions, names, seed)


def confusion(targets: IntArray, predictions: IntArray, classes: int) -> IntArray:
    """(k, k) pictures of each class (row) that were given each answer (column)."""
    given = predictions >= 0
    cells = targets[given] * classes + predictions[given]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def known_orders(names: Sequence[str]) -> dict[str, IntArray]:
    """Orders that come about by accident, by what happened: label i is called names[order[i]]."""
    k, every = len(names), np.arange(len(names))
    by_text = np.array(sorted(range(k), key=str))
    made = {
        "the names are moved down by one place": (every + 1) % k,
        "the names are moved up by one place": (every - 1) % k,
        "the names are reversed": every[::-1],
        "the labels follow the alphabet": _ranked(names, lambda name: name),
        "the labels follow the alphabet without regard to case": _ranked(names, str.casefold),
        "the labels follow the numbers in the names": _ranked(names, _by_numbers),
        "the numbers of the labels were sorted as text (1, 10, 2)": by_text,
        "the numbers of the names were sorted as text (1, 10, 2)": np.argsort(by_text),
    }
    kept: dict[str, IntArray] = {}
    for said, order in made.items():
        if not any(np.array_equal(order, other) for other in (every, *kept.values())):
            kept[said] = order.astype(np.int64)
    return kept


def _known_alarm(
    matrix: IntArray, known: dict[str, IntArray], names: Sequence[str], seed: int
) -> Alarm | None:
    k, every = len(matrix), np.arange(len(matrix))
    rng = np.random.default_rng(seed)
    orders = rng.permuted(np.tile(every, (ORDERS, 1)), axis=1) if k > FEW_CLASSES else None
    by_chance = None if orders is None else matrix[every, orders].sum(axis=1)
    best: Alarm | None = None
    for said, order in known.items():
        moved = np.flatnonzero(order != every)
        p = _sign_test(matrix, moved, order) * len(known)
        if p > SURE:
            continue
        if by_chance is None:
            unusual = _share(matrix, every, order) >= MOST_OF_FEW
        else:
            as_good = int((by_chance >= matrix[every, order].sum()).sum()) + 1
            unusual = as_good / (ORDERS + 1) <= UNUSUAL
        if unusual and (best is None or _share(matrix, moved, order) > best.then):
            best = _alarm(said, matrix, moved, order, p, names)
    return best


def _learned_alarm(
    targets: IntArray, predictions: IntArray, names: Sequence[str], seed: int
) -> Alarm | None:
    k, every = len(names), np.arange(len(names))
    learn, test = split(targets, seed=seed)
    seen, unseen = (confusion(targets[rows], predictions[rows], k) for rows in (learn, test))
    order = _best_order(seen)
    cycles = list(_cycles(order))
    least = MOST_OF_FEW if k <= FEW_CLASSES else MOST
    chances = [_sign_test(unseen, cycle, order) * len(cycles) for cycle in cycles]
    wrong = [
        cycle
        for cycle, p in zip(cycles, chances, strict=True)
        if p <= SURE and _share(unseen, cycle, order) >= least
    ]
    if not wrong:
        return None
    moved = np.concatenate(wrong)
    order = np.where(np.isin(every, moved), order, every)
    if _share(unseen, every, order) < least:
        return None
    p = max(p for p in chances if p <= SURE)
    kind = "these names are exchanged" if len(moved) <= NAMED else "the names are in another order"
    return _alarm(kind, unseen, moved, order, p, names)


def _best_order(matrix: IntArray) -> IntArray:
    """The assignment of names to labels with the most right answers; of equals, the given one."""
    assign = require("scipy.optimize", extra="eval").linear_sum_assignment
    k = len(matrix)
    _, order = assign(matrix + np.eye(k) / (2 * k), maximize=True)
    return np.asarray(order, np.int64)


def _cycles(order: IntArray) -> Iterator[IntArray]:
    """The classes that an order moves, in circles that move among themselves."""
    left = {int(i) for i in np.flatnonzero(order != np.arange(len(order)))}
    while left:
        circle = [min(left)]
        while int(order[circle[-1]]) != circle[0]:
            circle.append(int(order[circle[-1]]))
        left -= set(circle)
        yield np.array(circle)


def _sign_test(matrix: IntArray, moved: IntArray, order: IntArray) -> float:
    """Whether the order gains more than TIMES what it loses on the classes that it moves."""
    gained, lost = int(matrix[moved, order[moved]].sum()), int(matrix[moved, moved].sum())
    if gained < TIMES * lost or not gained:
        return 1.0
    stats = require("scipy.stats", extra="eval")
    return float(stats.binom.sf(gained - 1, gained + lost, 0.5))


def _share(matrix: IntArray, moved: IntArray, order: IntArray) -> float:
    return float(matrix[moved, order[moved]].sum() / max(1, matrix[moved].sum()))


def _alarm(
    kind: str,
    matrix: IntArray,
    moved: IntArray,
    order: IntArray,
    p: float,
    names: Sequence[str],
) -> Alarm:
    now, then = _share(matrix, moved, np.arange(len(order))), _share(matrix, moved, order)
    shown = [
        f"label {i} is called '{names[i]}' but looks like '{names[order[i]]}'"
        for i in moved[np.argsort(-matrix[moved, order[moved]], kind="stable")][:NAMED]
    ]
    rest = f", and {len(moved) - len(shown)} more" if len(moved) > len(shown) else ""
    sentence = (
        f"The class names do not seem to be in the order of the labels. Of the pictures of "
        f"{len(moved)} classes {100 * now:.1f} % are right as the names stand, {100 * then:.1f} % "
        f"would be if {kind}: {'; '.join(shown)}{rest}. Check the order of the names."
    )
    return Alarm(kind, order, now, then, min(p, 1.0), sentence)


def _ranked(names: Sequence[str], key: Callable[[str], Any]) -> IntArray:
    return np.array(sorted(range(len(names)), key=lambda i: key(names[i])), np.int64)


def _by_numbers(name: str) -> list[tuple[int, int, str]]:
    """Text and numbers in turn, so that 'class 2' comes before 'class 10'."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), 0, "") if part.isdecimal() else (-1, 1, part) for part in parts]
