"""Two things and how they stand: which is nearer, left, above.

Scenes come in pairs: the second has the two things in each other's place. A model that knows the
things but not how they stand is right in half of the questions, whatever else it prefers.
"""

from __future__ import annotations

import keshin.evaluate.weaknesses.scoring as scoring
from keshin.evaluate.weaknesses.questions import Answers, Judged, Pair, Questions, Task
from keshin.evaluate.weaknesses.scenes import HORIZON, Scene
from keshin.evaluate.weaknesses.tables import Captions, things
from keshin.evaluate.weaknesses.tasks.drawn import (
    Random,
    Thing,
    ground,
    knows_both,
    said,
    some,
    two,
)

CUES = ("size and height on a floor", "one covers the other", "all of these")


def distance(rng: Random, count: int, say: Captions) -> Questions:
    """``count`` pairs; three sets of cues in turn."""
    kinds = list(things().solids)
    pairs, known = [], []
    for index in range(count):
        one, other = two(rng, kinds)
        cue = CUES[index % len(CUES)]
        first, second = (_overlapping if cue == CUES[1] else _standing)(
            rng, one, other, covers=cue == CUES[2]
        )
        pairs.append(
            Pair(
                (first, second),
                (said(say, "nearer", one, other), said(say, "nearer", other, one)),
                cue,
            )
        )
        known.append(knows_both(rng, say, first, one, other, kinds))
    return Questions({"known": tuple(known)}, {"asked": tuple(pairs)})


def position(rng: Random, count: int, say: Captions) -> Questions:
    """``count`` pairs, left and right, above and below in turn; flat shapes."""
    kinds = list(things().shapes)
    pairs, known = [], []
    for index in range(count):
        one, other = two(rng, kinds)
        key, level = (("left", "left or right"), ("above", "above or below"))[index % 2]
        first, second = _beside(rng, one, other, upright=key == "above")
        pairs.append(
            Pair((first, second), (said(say, key, one, other), said(say, key, other, one)), level)
        )
        known.append(knows_both(rng, say, first, one, other, kinds))
    return Questions({"known": tuple(known)}, {"asked": tuple(pairs)})


def judge(questions: Questions, answers: Answers) -> Judged:
    """Which of the two phrases fits is the main figure."""
    scores = answers.pairs["asked"]
    named = "right phrase of two"
    values = scoring.phrase_right(scores)
    return Judged(
        scoring.share(named, values, 0.5),
        scoring.accuracy("names both things", questions.choices["known"], answers.choices["known"]),
        (scoring.share("matches phrases and scenes", scoring.matched(scores), 0.5),),
        scoring.levels(questions.pairs["asked"], values, lambda v: scoring.share(named, v, 0.5)),
    )


def example(questions: Questions) -> list[tuple[Scene, str]]:
    """Both scenes of the first pairs."""
    return some(questions.pairs["asked"])


def _standing(rng: Random, one: Thing, other: Thing, *, covers: bool) -> tuple[Scene, Scene]:
    """On a tiled floor; with ``covers`` the near one hides a part of the far one."""
    far, near = float(rng.uniform(0.12, 0.24)), float(rng.uniform(0.72, 0.9))
    apart = float(rng.uniform(0.035, 0.05) if covers else rng.uniform(0.24, 0.28))
    side = 1 if rng.integers(2) else -1
    middle = float(rng.uniform(0.45, 0.55))
    if covers:
        near, far = float(rng.uniform(0.44, 0.5)), float(rng.uniform(0.24, 0.3))

    def scene(front: Thing, back: Thing) -> Scene:
        return Scene(
            things().backgrounds["sky"],
            (
                back.at(middle - side * apart, _height(far), _size(far)),
                front.at(middle + side * apart, _height(near), _size(near)),
            ),
            floor=True,
        )

    return scene(one, other), scene(other, one)


def _height(depth: float) -> float:
    """Where a thing stands, from the horizon (0) to the lower edge (1)."""
    return HORIZON + (1 - HORIZON) * depth


def _size(depth: float) -> float:
    """Of equal things at a depth, as the tiles of the floor grow."""
    return 0.42 * (0.35 + 1.9 * depth) / 2.25


def _overlapping(rng: Random, one: Thing, other: Thing, *, covers: bool) -> tuple[Scene, Scene]:
    """Of equal size and height on a plain ground; the near one covers a third of the far one."""
    del covers
    size, foot = float(rng.uniform(0.34, 0.46)), float(rng.uniform(0.6, 0.8))
    side = 1 if rng.integers(2) else -1
    offset = 0.3 * size
    middle = float(rng.uniform(0.42, 0.58))
    colour = ground(rng)

    def scene(front: Thing, back: Thing) -> Scene:
        places = (middle - side * offset, middle + side * offset)
        return Scene(colour, (back.at(places[0], foot, size), front.at(places[1], foot, size)))

    return scene(one, other), scene(other, one)


def _beside(rng: Random, one: Thing, other: Thing, *, upright: bool) -> tuple[Scene, Scene]:
    """Two flat shapes on a line across or down, a little askew."""
    sizes = [float(size) for size in rng.uniform(0.18, 0.25, 2)]
    places = float(rng.uniform(0.24, 0.3)), float(rng.uniform(0.7, 0.76))
    across = [float(place) for place in rng.uniform(0.44, 0.56, 2)]
    colour = ground(rng)

    def scene(first: Thing, second: Thing) -> Scene:
        items = [
            thing.at(*((beside, along) if upright else (along, beside)), size)
            for thing, along, beside, size in zip(
                (first, second), places, across, sizes, strict=True
            )
        ]
        return Scene(colour, tuple(items))

    return scene(one, other), scene(other, one)


DISTANCE = Task("distance", "ability", "drawings", distance, judge, example)
POSITION = Task("position", "ability", "drawings", position, judge, example)
