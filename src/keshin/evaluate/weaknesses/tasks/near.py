"""Shapes that differ in one trait: circle and oval, pentagon and hexagon."""

from __future__ import annotations

import keshin.evaluate.weaknesses.scoring as scoring
from keshin.evaluate.weaknesses.questions import Answers, Judged, Pair, Questions, Task
from keshin.evaluate.weaknesses.scenes import Item, Scene
from keshin.evaluate.weaknesses.tables import Captions, Names, things
from keshin.evaluate.weaknesses.tasks.drawn import Random, ground, pick, some


def make(rng: Random, count: int, say: Captions) -> Questions:
    """``count`` pairs, the near ones in turn; the control has shapes of two different pairs."""
    near = things().near
    asked, known = [], []
    for index in range(count):
        pair = near[index % len(near)]
        colour = pick(rng, list(things().colours))[0]
        asked.append(_pair(rng, say, pair.one, pair.other, colour))
        away = [each for each in near if each is not pair]
        other = away[int(rng.integers(len(away)))]
        known.append(_pair(rng, say, pair.one, other.one, colour))
    return Questions(pairs={"asked": tuple(asked), "known": tuple(known)})


def judge(questions: Questions, answers: Answers) -> Judged:
    """Which of the two names fits is the main figure."""
    name = "right name of two"
    values = scoring.phrase_right(answers.pairs["asked"])
    return Judged(
        scoring.share(name, values, 0.5),
        scoring.share(
            "tells unlike shapes apart", scoring.phrase_right(answers.pairs["known"]), 0.5
        ),
        (scoring.share("matches names and scenes", scoring.matched(answers.pairs["asked"]), 0.5),),
        scoring.levels(questions.pairs["asked"], values, lambda v: scoring.share(name, v, 0.5)),
    )


def example(questions: Questions) -> list[tuple[Scene, str]]:
    """Both scenes of the first pairs."""
    return some(questions.pairs["asked"], 2 * len(things().near))


def _pair(rng: Random, captions: Captions, one: str, other: str, colour: str) -> Pair:
    """The same place, area, colour and angle; only the shape differs."""
    x, y = (float(place) for place in rng.uniform(0.42, 0.58, 2))
    size, angle = float(rng.uniform(0.3, 0.44)), float(rng.uniform(-0.15, 0.15))
    behind = ground(rng)

    def scene(what: str) -> Scene:
        return Scene(behind, (Item(what, x, y, size, colour, angle),))

    def say(what: str) -> Names:
        return captions.say("object", a=captions.one(what, colour))

    return Pair((scene(one), scene(other)), (say(one), say(other)), f"{one}, {other}")


NEAR = Task("near", "ability", "drawings", make, judge, example)
