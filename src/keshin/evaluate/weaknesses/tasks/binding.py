"""Which colour belongs to what: a red cube and a blue ball, or the reverse?"""

from __future__ import annotations

import keshin.evaluate.weaknesses.scoring as scoring
from keshin.evaluate.weaknesses.questions import Answers, Judged, Pair, Questions, Task
from keshin.evaluate.weaknesses.scenes import Scene
from keshin.evaluate.weaknesses.tables import Captions, things
from keshin.evaluate.weaknesses.tasks.drawn import (
    Random,
    Thing,
    both,
    ground,
    knows_both,
    some,
    two,
)

LEVELS = ("solids", "flat shapes")


def make(rng: Random, count: int, say: Captions) -> Questions:
    """``count`` pairs of scenes, of solids and of flat shapes in turn."""
    pairs, known = [], []
    for index in range(count):
        level = LEVELS[index % 2]
        kinds = list(things().solids if level == "solids" else things().shapes)
        one, other = two(rng, kinds)
        changed = Thing(other.colour, one.what), Thing(one.colour, other.what)
        first, second = _scenes(rng, (one, other), changed, solid=level == "solids")
        pairs.append(Pair((first, second), (both(say, one, other), both(say, *changed)), level))
        known.append(knows_both(rng, say, first, one, other, kinds))
    return Questions({"known": tuple(known)}, {"asked": tuple(pairs)})


def judge(questions: Questions, answers: Answers) -> Judged:
    """Winoground's group score is the main figure."""
    scores = answers.pairs["asked"]
    text, image, group = scoring.winoground(scores)
    return Judged(
        scoring.share("group score", group, 1 / 6),
        scoring.accuracy("names both things", questions.choices["known"], answers.choices["known"]),
        (
            scoring.share("text score", text, 1 / 4),
            scoring.share("image score", image, 1 / 4),
            scoring.share("matches phrases and scenes", scoring.matched(scores), 1 / 2),
            scoring.share("right phrase of two", scoring.phrase_right(scores), 1 / 2),
        ),
        scoring.levels(
            questions.pairs["asked"], group, lambda v: scoring.share("group score", v, 1 / 6)
        ),
    )


def example(questions: Questions) -> list[tuple[Scene, str]]:
    """Both scenes of the first pairs."""
    return some(questions.pairs["asked"])


def _scenes(
    rng: Random, given: tuple[Thing, Thing], changed: tuple[Thing, Thing], *, solid: bool
) -> tuple[Scene, Scene]:
    """The same places and sizes, the colours exchanged."""
    size = float(rng.uniform(0.28, 0.36)) if solid else float(rng.uniform(0.18, 0.25))
    y = [float(place) for place in rng.uniform(0.55, 0.7, 2)]
    x = float(rng.uniform(0.24, 0.3)), float(rng.uniform(0.7, 0.76))
    order = [int(side) for side in rng.permutation(2)]
    colour = ground(rng)

    def scene(both_things: tuple[Thing, Thing]) -> Scene:
        return Scene(
            colour,
            tuple(
                thing.at(x[side], y[side], size)
                for thing, side in zip(both_things, order, strict=True)
            ),
        )

    return scene(given), scene(changed)


BINDING = Task("binding", "ability", "drawings", make, judge, example)
