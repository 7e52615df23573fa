"""What a task asks: scenes and captions, and which belong together.

``Choice``: one scene, several candidates, one of them right. ``Pair``: two scenes and two phrases,
where the first phrase fits the first scene only and the second the second only, as in Winoground
(Thrush and others, 2022). Pairs are what makes an answer that does not look at the picture worth
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from keshin.evaluate.weaknesses.results import Level
from keshin.evaluate.weaknesses.scenes import Scene
from keshin.evaluate.weaknesses.tables import Captions, Names
from keshin.statistics.figure import Figure

Scores = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Choice:
    """Which of the candidates fits the scene."""

    scene: Scene
    candidates: tuple[Names, ...]
    """As many in all choices of one set."""
    answer: int
    level: str = ""
    """The kind of scene, by which results are broken down."""


@dataclass(frozen=True)
class Pair:
    """Which phrase fits which scene."""

    scenes: tuple[Scene, Scene]
    phrases: tuple[Names, Names]
    level: str = ""


@dataclass(frozen=True)
class Questions:
    """All that one task asks, by the names of its parts."""

    choices: dict[str, tuple[Choice, ...]] = field(default_factory=dict)
    pairs: dict[str, tuple[Pair, ...]] = field(default_factory=dict)

    def scenes(self) -> Iterator[Scene]:
        """Every scene, as often as it is asked about."""
        for choices in self.choices.values():
            yield from (choice.scene for choice in choices)
        for pairs in self.pairs.values():
            for pair in pairs:
                yield from pair.scenes

    def phrases(self) -> Iterator[Names]:
        """Every phrase, as often as it is a candidate."""
        for choices in self.choices.values():
            for choice in choices:
                yield from choice.candidates
        for pairs in self.pairs.values():
            for pair in pairs:
                yield from pair.phrases


@dataclass(frozen=True)
class Answers:
    """The cosines of a model, in the order of the questions."""

    choices: dict[str, Scores]
    """(n, k) for each set of choices."""
    pairs: dict[str, Scores]
    """(n, 2, 2) for each set of pairs: scene by phrase."""


@dataclass(frozen=True)
class Judged:
    """What came out of one task."""

    main: Figure
    """On which the verdict rests."""
    control: Figure
    others: tuple[Figure, ...] = ()
    levels: tuple[Level, ...] = ()


@dataclass(frozen=True)
class Task:
    """One weakness that is looked for."""

    key: str
    """Its row in ``words.toml``."""
    scale: str
    """Which rules give the verdict: see ``verdicts.py``."""
    templates: str
    """Which templates of the captions its phrases are put into."""
    make: Callable[[np.random.Generator, int, Captions], Questions]
    """Questions from a source of chance, their number, and the language of their captions, which
    the drawings do not depend on."""
    judge: Callable[[Questions, Answers], Judged]
    example: Callable[[Questions], list[tuple[Scene, str]]]
    """Some scenes with what is right about each, for people to see."""
