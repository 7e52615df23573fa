"""What is not there: does "a picture without a dog" score less where there is a dog?

Scenes come in pairs, with the thing and without it. A model that reads a negation as a mention
prefers the scene with the thing, and is right less often than chance.
"""

from __future__ import annotations

import numpy as np

import keshin.evaluate.weaknesses.scoring as scoring
from keshin.evaluate.weaknesses.questions import Answers, Judged, Pair, Questions, Scores, Task
from keshin.evaluate.weaknesses.scenes import Item, Scene
from keshin.evaluate.weaknesses.tables import Captions, Names, things
from keshin.evaluate.weaknesses.tasks.drawn import Random, ground, pick, some

LEVELS = {"no, without": ("shown", "no"), "not": ("is", "not")}
"""Kinds of negation -> the captions for what is there and for what is not."""


def make(rng: Random, count: int, say: Captions) -> Questions:
    """``count`` pairs: two things, one of which is exchanged ("no"), or one thing ("not")."""
    pairs = []
    for index in range(count):
        level = tuple(LEVELS)[index % len(LEVELS)]
        thing, instead, beside = pick(rng, things().names.objects, 3)
        company = beside if level == "no, without" else ""
        scenes = _scenes(rng, thing, instead, company)
        affirmed, negated = LEVELS[level]
        pairs.append(Pair(scenes, (_said(say, affirmed, thing), _said(say, negated, thing)), level))
    return Questions(pairs={"asked": tuple(pairs)})


def judge(questions: Questions, answers: Answers) -> Judged:
    """Whether the negated caption prefers the scene without the thing is the main figure."""
    scores = answers.pairs["asked"]
    name = "negated caption prefers the scene without"
    values = _prefers(scores, phrase=1, scene=1)
    return Judged(
        scoring.share(name, values, 0.5),
        scoring.share(
            "plain caption prefers the scene with", _prefers(scores, phrase=0, scene=0), 0.5
        ),
        (
            scoring.share("right caption of two", scoring.phrase_right(scores), 0.5),
            scoring.share("matches captions and scenes", scoring.matched(scores), 0.5),
        ),
        scoring.levels(questions.pairs["asked"], values, lambda v: scoring.share(name, v, 0.5)),
    )


def example(questions: Questions) -> list[tuple[Scene, str]]:
    """Both scenes of the first pairs."""
    return some(questions.pairs["asked"])


def _prefers(scores: Scores, *, phrase: int, scene: int) -> scoring.Flags:
    return np.asarray(scores[:, scene, phrase] > scores[:, 1 - scene, phrase])


def _said(say: Captions, key: str, thing: str) -> Names:
    return say.say(key, x=say.bare(thing), a=say.one(thing))


def _scenes(rng: Random, thing: str, instead: str, beside: str) -> tuple[Scene, Scene]:
    """With the thing and with another in its place; what stands beside it stays."""
    behind = ground(rng)
    size = float(rng.uniform(0.38, 0.44) if beside else rng.uniform(0.55, 0.72))
    y = float(rng.uniform(0.45, 0.55))
    places = [0.27, 0.73] if rng.integers(2) else [0.73, 0.27]
    rest = (Item(beside, places[1], y, size),) if beside else ()
    x = places[0] if beside else 0.5

    def scene(what: str) -> Scene:
        return Scene(behind, (Item(what, x, y, size), *rest))

    return scene(thing), scene(instead)


NEGATION = Task("negation", "direction", "whole", make, judge, example)
