"""From a figure and its control to a verdict: one table of rules, fixed before any model was asked.

A figure passes where the whole of its interval lies above the middle between chance and 1; a
control must pass, or the verdict is that nothing can be said. The first rule that holds gives the
verdict. What is said of each is in ``words.toml``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import msgspec

from keshin.evaluate.weaknesses.results import Words, percent
from keshin.evaluate.weaknesses.tables import read_table
from keshin.statistics.figure import Figure

MARGIN = 0.5
"""How far from chance to 1 an ability must reach to be called one."""
STRONG = 0.25
"""From which share of answers an effect is called strong."""
UNKNOWN, UNSURE = "unknown", "unsure"
"""Of a control that is not passed: it fails, or it is not clear whether it does."""
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


def unjudged(control: Figure) -> str:
    """Why nothing can be said; empty if the control is passed."""
    if passes(control):
        return ""
    return UNKNOWN if control.high < bar(control) else UNSURE


def verdict(scale: str, main: Figure, control: Figure) -> str:
    """The key of the first rule that holds; what a control says that is not passed comes first."""
    return unjudged(control) or next(key for key, holds in RULES[scale] if holds(main))


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
    figures: dict[str, str]
    """English names of figures and kinds of scenes to Japanese ones."""
    tasks: dict[str, TaskWords]

    def name(self, name: str, language: str) -> str:
        """The name of a figure or a kind of scene."""
        return self.figures[name] if language == "ja" else name

    def said(self, task: str, key: str, control: Figure) -> Words:
        """The sentence for a verdict of a task; that of a failed control says by how much."""
        said = self.tasks[task].said.get(key) or self.verdicts[key]
        if key not in (UNKNOWN, UNSURE):
            return said
        numbers = {"control": percent(control), "bar": percent(control, bar(control))}
        return Words(en=said.en.format(**numbers), ja=said.ja.format(**numbers))


@cache
def words() -> AllWords:
    """All words of the report."""
    return read_table("words.toml", AllWords)
