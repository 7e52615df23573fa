"""The paper's Table 2: people's accuracy, their majority vote, and both on guesses only.

Its caption: the metric is the mean of the classes' accuracies, as usual for Oxford-IIIT Pets;
"guesses" leaves out where people said "I don't know"; the majority vote is the most frequent answer
to a picture, "exclusive of ties". Read so here:

accuracy                        of each person over all pictures, then the mean of the people;
                                "I don't know" is not right
accuracy on guesses             the same over the pictures that the person put a class to
majority vote                   the answer that more people gave than any other, "I don't know"
                                being an answer too; a tie, or "I don't know", is not right
majority vote on guesses        the same among classes only; pictures with a tie, or that nobody
                                put a class to, do not count

Intervals are 95 %. Of the people's mean they are over pictures *and* people: other pictures of
these classes, asked of other such people. Few people say little, and the interval says so. Of a
vote they are over pictures, with this group of people as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from keshin.errors import DataError, require
from keshin.evaluate.human.sitting import DONT_KNOW, UNANSWERED, Sitting
from keshin.statistics.figure import Figure
from keshin.statistics.intervals import share_bounds

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.float32]
DRAWS = 2000
TIE = -3
NO_SPREAD = 1e-12
PICTURES, BOTH = "over pictures", "over pictures and people"
"""What intervals are over."""


class Row(msgspec.Struct, frozen=True):
    """One row of Table 2."""

    accuracy: Figure
    majority: Figure
    accuracy_on_guesses: Figure
    majority_on_guesses: Figure


class Difference(msgspec.Struct, frozen=True):
    """The model less the people's majority vote, on the same pictures."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided, exact McNemar: whether one is right more often where only one of them is."""
    only_model: int
    """Pictures that the model alone has right."""
    only_people: int
    verdict: str


@dataclass(frozen=True, eq=False)
class Table:
    """The answers of p people to n pictures in one round."""

    people: tuple[str, ...]
    targets: IntArray
    """(n,)"""
    choices: IntArray
    """(p, n) classes, ``DONT_KNOW`` or ``UNANSWERED``."""
    seconds: FloatArray
    """(p, n), NaN where there is no answer."""
    classes: int

    @property
    def right(self) -> BoolArray:
        """(p, n)"""
        return np.asarray(self.choices == self.targets)

    @property
    def answered(self) -> BoolArray:
        """(p, n)"""
        return np.asarray(self.choices != UNANSWERED)

    @property
    def asked(self) -> BoolArray:
        """(n,) whether anybody answered."""
        return np.asarray(self.answered.sum(axis=0) > 0)

    @property
    def guessed(self) -> BoolArray:
        """(p, n)"""
        return np.asarray(self.choices >= 0)


def table_of(sittings: Sequence[Sitting], shots: int, *, partial: bool = False) -> Table:
    """The answers of a round by all who finished it; ``partial``: by all who began it.

    Raises ``DataError`` if nobody has.
    """
    chosen = [
        s for s in sittings
        if s.has_done(shots) or (partial and (s.choices(shots) != UNANSWERED).any())
    ]  # fmt: skip
    if not chosen:
        raise DataError(f"Nobody has finished the round with {shots} examples of each class.")
    study = chosen[0].study
    return Table(
        tuple(s.person for s in chosen),
        study.targets,
        np.stack([s.choices(shots) for s in chosen]),
        np.stack([s.seconds(shots) for s in chosen]),
        len(study.names),
    )


def votes(table: Table) -> tuple[IntArray, IntArray]:
    """(n, k + 1) how many people gave each class, and "I don't know" in the last column; and
    (2, n) the most frequent answer with that column counted, and without; ``TIE`` where two are.
    """
    counts = np.zeros((len(table.targets), table.classes + 1), np.int64)
    people, pictures = np.nonzero(table.answered)
    given = table.choices[people, pictures]
    np.add.at(counts, (pictures, np.where(given == DONT_KNOW, table.classes, given)), 1)
    return counts, np.stack([_winner(counts), _winner(counts[:, :-1])])


def _winner(counts: IntArray) -> IntArray:
    best = counts.max(axis=1)
    single = (counts == best[:, None]).sum(axis=1) == 1
    return np.where(best == 0, UNANSWERED, np.where(single, counts.argmax(axis=1), TIE))


def score(table: Table, model: IntArray | None = None) -> tuple[Row, Row | None]:
    """The people's row of Table 2, and the model's on the very same answers.

    ``model`` (n,): the class that it gives to each picture. Where people are judged by part of the
    pictures, the model is judged by the same part.
    """
    _, (full, guesses) = votes(table)
    anybody, clear = table.asked, guesses >= 0
    masks = table.answered, anybody[None], table.guessed, clear[None]
    rights = (
        table.right,
        (full == table.targets)[None],
        table.right,
        (guesses == table.targets)[None],
    )
    means = _Means(table.targets, table.classes)
    row = Row(*(means.score(*pair) for pair in zip(rights, masks, strict=True)))
    if model is None:
        return row, None
    same = np.asarray(model == table.targets)
    said = (means.score(np.broadcast_to(same, mask.shape), mask, people=False) for mask in masks)
    return row, Row(*said)


def compare(table: Table, model: IntArray) -> Difference:
    """The model against the majority vote of all people on the full set of pictures, paired."""
    stats = require("scipy.stats", extra="eval")
    _, (full, _) = votes(table)
    asked = table.asked
    people = np.asarray(full == table.targets) & asked
    ours = np.asarray(model == table.targets) & asked
    means = _Means(table.targets, table.classes)
    values = means.draws(ours, asked) - means.draws(people, asked)
    low, high = np.percentile(values, [2.5, 97.5])
    if values.var() <= NO_SPREAD:  # never apart here does not mean never
        reach = share_bounds(0.0, means.effective(asked))[1]
        low, high = low - reach, high + reach
    value = means.value(ours, asked) - means.value(people, asked)
    only_model, only_people = int((ours & ~people).sum()), int((people & ~ours).sum())
    apart = only_model + only_people
    p = float(stats.binomtest(only_model, apart).pvalue) if apart else 1.0
    if low <= 0 <= high:
        verdict = "no difference can be shown with these pictures"
    else:
        verdict = "the model is better" if value > 0 else "the people are better"
    return Difference(value, float(low), float(high), p, only_model, only_people, verdict)


class _Means:
    """Means over classes of masked answers, as they are and over resampled pictures.

    Resampling is within classes, with the same draws for everything, so that differences are
    paired. Of a class with m pictures m - 1 are drawn, which gives the variance of its mean without
    bias also for small m (Rao and Wu, 1988). Classes with one picture are drawn among each other.
    """

    def __init__(self, targets: IntArray, classes: int, draws: int = DRAWS, seed: int = 0) -> None:
        self._chance = 1 / classes
        self._order = np.argsort(targets, kind="stable")
        _, self._starts, sizes = np.unique(
            targets[self._order], return_index=True, return_counts=True
        )
        rng = np.random.default_rng(seed)
        parts = [
            rng.multinomial(max(size - 1, 1), np.full(size, 1 / size), draws) for size in sizes
        ]
        self._weights = np.concatenate(parts, axis=1).astype(np.float32)
        self._classes = np.ones((draws, len(sizes)), np.float32)
        single = np.flatnonzero(sizes == 1)
        if (number := len(single)) > 1:
            drawn = rng.multinomial(number - 1, np.full(number, 1 / number), draws)
            self._classes[:, single] = drawn * (number / (number - 1))

    def value(self, right: BoolArray, mask: BoolArray) -> float:
        """Of one person; NaN if there is nothing to judge by."""
        one = np.ones((1, len(self._order)), np.float32)
        return float(self._mean(one, np.ones((1, len(self._starts)), np.float32), right, mask)[0])

    def draws(self, right: BoolArray, mask: BoolArray) -> FloatArray:
        """(draws,) the same over resampled pictures."""
        return self._mean(self._weights, self._classes, right, mask)

    def _mean(
        self, weights: Weights, classes: Weights, right: BoolArray, mask: BoolArray
    ) -> FloatArray:
        shown = mask[self._order]
        hits = np.add.reduceat(weights * (right[self._order] & shown), self._starts, axis=1)
        counts = np.add.reduceat(weights * shown, self._starts, axis=1)
        judged = classes * (counts > 0)  # a class that nothing is known of has no accuracy
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = np.where(counts > 0, hits / counts, 0)
            return np.asarray((shares * judged).sum(axis=1) / judged.sum(axis=1), np.float64)

    def interval(self, value: float, draws: FloatArray, mask: BoolArray) -> tuple[float, float]:
        """Wilson's interval of so many pictures as would give the variance of the draws: better
        than their percentiles where pictures are few or nearly all answers are right."""
        variance = float(np.nanvar(draws))
        if 0 < value < 1 and variance > NO_SPREAD:
            return share_bounds(value, value * (1 - value) / variance)
        return share_bounds(value, self.effective(mask))

    def effective(self, mask: BoolArray) -> float:
        """The number of pictures that, without classes, would say as much as these do at most."""
        sizes = np.add.reduceat(mask[self._order].astype(np.int64), self._starts)
        sizes = sizes[sizes > 0]
        return float(len(sizes) ** 2 / (1 / sizes).sum()) if len(sizes) else 0.0

    def score(self, right: BoolArray, mask: BoolArray, *, people: bool = True) -> Figure:
        """(p, n) answers as one number.

        Between people its variance is that of their mean, s² / p, by Student's t with p - 1 degrees
        of freedom; between pictures that of the bootstrap. The sum is a little too large (what
        people make of single pictures is in both), so the interval errs to the safe side.
        """
        values = np.array([self.value(*pair) for pair in zip(right, mask, strict=True)])
        some = ~np.isnan(values)

        def found(value: float, low: float, high: float, method: str) -> Figure:
            return Figure(
                value=value,
                low=low,
                high=high,
                chance=self._chance,
                count=int(mask.sum()),
                method=method,
            )

        if not some.any():
            return found(np.nan, np.nan, np.nan, PICTURES)
        value = float(values[some].mean())
        pairs = zip(right[some], mask[some], strict=True)
        draws = np.mean([self.draws(*pair) for pair in pairs], axis=0)
        number = int(some.sum())
        spread = max(float(values[some].var()), float(np.nanvar(draws)))
        if number < 2 or not people or spread <= NO_SPREAD:
            low, high = self.interval(value, draws, np.asarray(mask.sum(axis=0) > 0))
            return found(value, low, high, PICTURES)
        stats = require("scipy.stats", extra="eval")
        between = float(values[some].var(ddof=1)) / number
        within = float(np.nanvar(draws))
        # Welch and Satterthwaite: only the part between people has few degrees of freedom.
        freedom = (between + within) ** 2 / (between**2 / (number - 1)) if between > 0 else np.inf
        reach = float(stats.t.ppf(0.975, freedom)) * (between + within) ** 0.5
        return found(value, max(0.0, value - reach), min(1.0, value + reach), BOTH)
