"""What several tasks share: coloured things, and the control that the model knows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keshin.evaluate.weaknesses.questions import Choice, Pair
from keshin.evaluate.weaknesses.scenes import Item, Scene
from keshin.evaluate.weaknesses.tables import Captions, Colour, Names, things

Random = np.random.Generator


@dataclass(frozen=True)
class Thing:
    """A kind of thing in a colour."""

    colour: str
    what: str

    def at(self, x: float, y: float, size: float) -> Item:
        """As an item of a scene."""
        return Item(self.what, x, y, size, self.colour)


def pick(rng: Random, names: Sequence[str], count: int = 1) -> list[str]:
    """Different names, drawn without liking for any."""
    return [names[index] for index in rng.permutation(len(names))[:count]]


def two(rng: Random, kinds: Sequence[str]) -> tuple[Thing, Thing]:
    """Two things that differ in kind and in colour."""
    colours, found = pick(rng, list(things().colours), 2), pick(rng, kinds, 2)
    return Thing(colours[0], found[0]), Thing(colours[1], found[1])


def ground(rng: Random) -> Colour:
    """A background."""
    found = things().backgrounds
    return found[pick(rng, list(found))[0]]


def said(say: Captions, key: str, one: Thing, other: Thing) -> Names:
    """What is said of two things, in this order."""
    return say.say(key, a=say.one(one.what, one.colour), b=say.one(other.what, other.colour))


def both(say: Captions, one: Thing, other: Thing) -> Names:
    """What is said of a picture with the two, whatever their places."""
    return said(say, "both", one, other)


def placed(rng: Random, scene: Scene, candidates: Sequence[Names], level: str = "") -> Choice:
    """A choice whose right candidate, the first, comes to any place."""
    order = [int(index) for index in rng.permutation(len(candidates))]
    return Choice(scene, tuple(candidates[index] for index in order), order.index(0), level)


def knows_both(
    rng: Random, say: Captions, scene: Scene, one: Thing, other: Thing, kinds: Sequence[str]
) -> Choice:
    """The control of tasks with two things: which are there, where the wrong candidates have one
    trait that nothing in the picture has. One of four.
    """
    colour = pick(rng, [c for c in things().colours if c not in (one.colour, other.colour)])[0]
    what = pick(rng, [kind for kind in kinds if kind not in (one.what, other.what)])[0]
    wrong = (
        (Thing(colour, one.what), other),
        (one, Thing(colour, other.what)),
        (Thing(one.colour, what), other),
    )
    return placed(rng, scene, [both(say, one, other), *(both(say, *pair) for pair in wrong)])


def some(pairs: Sequence[Pair], count: int = 8) -> list[tuple[Scene, str]]:
    """Examples: both scenes of the first pairs, each with its phrase."""
    return [
        (scene, names[0])
        for pair in pairs[: (count + 1) // 2]
        for scene, names in zip(pair.scenes, pair.phrases, strict=True)
    ][:count]
