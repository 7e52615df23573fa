"""From cosines to figures.

Shares have Wilson's interval. Two pictures of a pair are not independent, so a pair counts as one:
the mean of n pair scores between 0 and 1 varies at most as much as n answers of yes or no with the
same mean, which makes Wilson's interval with n pairs too wide, never too narrow. It does not shrink
to nothing where all are right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from keshin.evaluate.weaknesses.questions import Choice, Pair, Scores
from keshin.evaluate.weaknesses.results import Level
from keshin.statistics.figure import Figure
from keshin.statistics.intervals import share_bounds
from keshin.statistics.uncertainty import bootstrap, mcnemar

Flags = npt.NDArray[np.bool_]


def share(name: str, values: npt.NDArray[np.floating] | Flags, chance: float) -> Figure:
    """The mean of (n,) values between 0 and 1, each of its own picture or pair."""
    mean = float(np.mean(values)) if len(values) else 0.0
    low, high = share_bounds(mean, len(values))
    return Figure(name=name, value=mean, low=low, high=high, chance=chance, count=len(values))


def difference(name: str, one: Flags, other: Flags) -> Figure:
    """Share of ``one`` minus share of ``other``, (n,) each, on the same pictures; chance is 0.

    The interval is Tango's, of paired answers (``keshin.statistics.uncertainty.mcnemar``).
    """
    if not len(one):
        return Figure(
            name=name, value=0.0, low=-1.0, high=1.0, chance=0.0, count=0, unit="difference"
        )
    found = mcnemar(one, other)
    return Figure(
        name=name,
        value=found.difference,
        low=found.low,
        high=found.high,
        chance=0.0,
        count=len(one),
        unit="difference",
    )


def mean(name: str, values: npt.NDArray[np.floating], chance: float, unit: str) -> Figure:
    """The mean of any (n,) values, with a bootstrap."""
    found = bootstrap(values)
    return Figure(
        name=name,
        value=found.value,
        low=found.low,
        high=found.high,
        chance=chance,
        count=len(values),
        unit=unit,
    )


def right(choices: Sequence[Choice], scores: Scores) -> Flags:
    """(n,) whether the right candidate is the nearest. One that is equal to it is not beaten."""
    answers = np.array([choice.answer for choice in choices])
    rows = np.arange(len(answers))
    others = scores.copy()
    others[rows, answers] = -np.inf
    return np.asarray(scores[rows, answers] > others.max(axis=1))


def accuracy(name: str, choices: Sequence[Choice], scores: Scores) -> Figure:
    """Of choices; chance is one of the candidates."""
    return share(name, right(choices, scores), 1 / scores.shape[1])


def levels(
    asked: Sequence[Choice] | Sequence[Pair],
    values: npt.NDArray[np.floating] | Flags,
    figure: Callable[[npt.NDArray[np.floating] | Flags], Figure],
) -> tuple[Level, ...]:
    """A figure for each kind of scene, in the order in which they first come."""
    kinds = np.array([one.level for one in asked])
    return tuple(
        Level(kind, figure(values[kinds == kind])) for kind in dict.fromkeys(kinds.tolist())
    )


def phrase_right(s: Scores) -> npt.NDArray[np.floating]:
    """(n, 2, 2) -> (n,) for how many of the two scenes the right phrase is nearer: 0, 0.5 or 1.

    Whatever is preferred without looking at the picture has exactly 0.5.
    """
    return np.asarray(((s[:, 0, 0] > s[:, 0, 1]) * 1.0 + (s[:, 1, 1] > s[:, 1, 0])) / 2)


def matched(s: Scores) -> Flags:
    """(n,) whether the right way to match beats the wrong one; chance is 1/2. No liking for one
    phrase or one scene counts."""
    return np.asarray(s[:, 0, 0] + s[:, 1, 1] > s[:, 0, 1] + s[:, 1, 0])


def winoground(s: Scores) -> tuple[Flags, Flags, Flags]:
    """(n,) text, image and group score (Thrush and others 2022, section 3.2): the right phrase is
    nearer to both scenes (chance 1/4), the right scene to both phrases (1/4), all of it (1/6)."""
    text = (s[:, 0, 0] > s[:, 0, 1]) & (s[:, 1, 1] > s[:, 1, 0])
    image = (s[:, 0, 0] > s[:, 1, 0]) & (s[:, 1, 1] > s[:, 0, 1])
    return np.asarray(text), np.asarray(image), np.asarray(text & image)
