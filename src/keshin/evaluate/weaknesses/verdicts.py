"""From a figure and its control to a verdict: one table of rules, fixed before any model was asked.

A figure passes where the whole of its interval lies above the middle between chance and 1; a
control must pass, or the verdict is that nothing can be said. The first rule that holds gives the
verdict. What is said of each is in ``words.toml``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import msgspec

from keshin.evaluate.weaknesses.results import Figure, Words
from keshin.evaluate.weaknesses.tables import read_table

MARGIN = 0.5
"""How far from chance to 1 an ability must reach to be called one."""
STRONG = 0.25
"""From which share of answers an effect is called strong."""
UNKNOWN = "unknown"
Rule = tuple[str, Callable[[Figure], bool]]


def bar(figure: Figure) -> float:
    """What the interval must lie above to pass."""
    return figure.chance + MARGIN * (1 - figure.chance)


ABILITY: tuple[Rule, ...] = (
    ("can", lambda f: f.low >= bar(f)),
    ("weak", lambda f: f.low > f.chance),
    ("undecided", lambda f: f.high >= bar(f)),  # includes chance, and passing: too few pictures
    ("guess", lambda f: True),
)
RULES: dict[str, tuple[Rule, ...]] = {
    "ability": ABILITY,
    # as an ability, where an answer that is wrong more often than by chance has a meaning
    "direction": (("inverted", lambda f: f.high < f.chance), *ABILITY),
    # of a difference of shares, chance 0: more of it is worse
    "effect": (
        ("strong", lambda f: f.low >= STRONG),
        ("some", lambda f: f.low > 0),
        ("undecided", lambda f: f.high >= STRONG),
        ("none", lambda f: True),
    ),
}


def passes(control: Figure) -> bool:
    """Whether a control is passed."""
    return control.low >= bar(control)


def verdict(scale: str, main: Figure, control: Figure) -> str:
    """The key of the first rule that holds, or ``unknown`` if the control is not passed."""
    if not passes(control):
        return UNKNOWN
    return next(key for key, holds in RULES[scale] if holds(main))


class TaskWords(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the report says of one task."""

    title: Words
    asks: Words
    control: Words
    said: dict[str, Words] = {}
    """Verdicts for which the task has words of its own."""


class AllWords(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``words.toml``."""

    verdicts: dict[str, Words]
    page: dict[str, Words]
    tasks: dict[str, TaskWords]

    def said(self, task: str, key: str) -> Words:
        """The sentence for a verdict of a task."""
        return self.tasks[task].said.get(key, self.verdicts[key])


@cache
def words() -> AllWords:
    """All words of the report."""
    return read_table("words.toml", AllWords)
