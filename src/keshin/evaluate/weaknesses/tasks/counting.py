"""One to ten equal things: how many are there?

The area that is painted has the same distribution for every number, so that it gives nothing away;
the size of a single thing then shrinks with the number, which the spread of areas (a factor of
three) blurs.
"""

from __future__ import annotations

import math

import numpy as np

import keshin.evaluate.weaknesses.scoring as scoring
from keshin.errors import KeshinError
from keshin.evaluate.weaknesses.outlines import reach
from keshin.evaluate.weaknesses.questions import Answers, Choice, Judged, Questions, Task
from keshin.evaluate.weaknesses.scenes import Item, Scene
from keshin.evaluate.weaknesses.tables import Captions, Names, things
from keshin.evaluate.weaknesses.tasks.drawn import Random, Thing, ground, pick, placed

MOST = 10
FEW, MANY = (2, 3), (9, 10)
AREAS = {"row": (0.008, 0.024), "grid": (0.03, 0.09), "scattered": (0.03, 0.09)}
"""Layout -> least and largest share of the picture that is painted."""
UNEVEN = 0.25
"""Sizes within one picture differ by up to so much of their mean."""
GAP = 0.012
MARGIN = 0.03
WITHIN_ONE, MISSED_BY = 0.3, 2.5
"""What the best single answer (5) has without looking: 4, 5 and 6 are near it."""
OTHERS = 5
"""Wrong candidates of the control."""
Places = list[tuple[float, float]]


def make(rng: Random, count: int, say: Captions) -> Questions:
    """``count`` scenes, as many of each number as can be."""
    exact, sides, known = [], [], []
    for index in range(count):
        number = index % MOST + 1
        layout = pick(rng, list(AREAS))[0]
        shape = Thing(pick(rng, list(things().colours))[0], pick(rng, list(things().shapes))[0])
        scene = _scene(rng, number, layout, shape)
        candidates = tuple(_said(say, n, shape) for n in range(1, MOST + 1))
        exact.append(Choice(scene, candidates, number - 1, layout))
        if number in FEW or number in MANY:
            many = say.bare(shape.what, shape.colour, many=True)
            said = tuple(say.say(key, things=many) for key in ("few", "many"))
            sides.append(Choice(scene, said, int(number in MANY)))
        known.append(_control(rng, say, scene, shape, number))
    return Questions({"exact": tuple(exact), "sides": tuple(sides), "known": tuple(known)})


def judge(questions: Questions, answers: Answers) -> Judged:
    """Exact accuracy is the main figure."""
    asked, scores = questions.choices["exact"], answers.choices["exact"]
    truth = np.array([choice.answer for choice in asked])
    off = np.abs(scores.argmax(axis=1) - truth)
    exact = scoring.right(asked, scores)
    small = truth < 3
    others = [
        scoring.share("within one", off <= 1, WITHIN_ONE),
        scoring.mean("missed by", off.astype(float), MISSED_BY, "things"),
        scoring.share("one to three only", exact[small], 1 / MOST),
    ]
    if questions.choices["sides"]:
        sides = questions.choices["sides"], answers.choices["sides"]
        others.append(scoring.accuracy("few (2, 3) or many (9, 10)", *sides))
    return Judged(
        scoring.accuracy("exact number", asked, scores),
        scoring.accuracy("names the things", questions.choices["known"], answers.choices["known"]),
        tuple(others),
        scoring.levels(asked, exact, lambda v: scoring.share("exact number", v, 1 / MOST)),
    )


def example(questions: Questions) -> list[tuple[Scene, str]]:
    """One scene of each of some numbers."""
    return [(c.scene, c.candidates[c.answer][0]) for c in questions.choices["exact"][:MOST]]


def _said(say: Captions, number: int, shape: Thing) -> Names:
    return say.say(
        "count",
        number=say.numbers[number - 1],
        digits=str(number),
        things=say.bare(shape.what, shape.colour, many=number > 1),
    )


def _control(rng: Random, say: Captions, scene: Scene, shape: Thing, number: int) -> Choice:
    """Which things are they? The wrong candidates differ in colour and in shape."""
    colours = [shape.colour, *pick(rng, [c for c in things().colours if c != shape.colour], OTHERS)]
    kinds = [shape.what, *pick(rng, [s for s in things().shapes if s != shape.what], OTHERS)]
    said = [
        say.one(kind, colour) if number == 1 else say.bare(kind, colour, many=True)
        for colour, kind in zip(colours, kinds, strict=True)
    ]
    return placed(rng, scene, [say.say("what", things=text) for text in said])


def _scene(rng: Random, number: int, layout: str, shape: Thing) -> Scene:
    low, high = AREAS[layout]
    area = math.exp(rng.uniform(math.log(low), math.log(high)))
    weights = rng.uniform(1 - UNEVEN, 1 + UNEVEN, number) ** 2
    sizes = np.sqrt(area * weights / weights.sum())
    radii = sizes * reach(shape.what)
    places = LAYOUTS[layout](rng, radii)
    angles = rng.uniform(-0.25, 0.25, number)
    items = tuple(
        Item(shape.what, x, y, float(size), shape.colour, float(angle))
        for (x, y), size, angle in zip(places, sizes, angles, strict=True)
    )
    return Scene(ground(rng), items)


def _row(rng: Random, radii: np.ndarray) -> Places:
    """On a line across or down, with uneven gaps."""
    needed = 2 * radii + GAP
    spare = 1 - 2 * MARGIN - needed.sum()
    gaps = rng.dirichlet(np.ones(len(radii) + 1)) * max(spare, 0)
    along, at = [], MARGIN
    for gap, width in zip(gaps, needed, strict=False):
        along.append(float(at + gap + width / 2))
        at += gap + width
    beside = float(rng.uniform(0.25, 0.75))
    upright = bool(rng.integers(2))
    return [(beside, place) if upright else (place, beside) for place in along]


def _grid(rng: Random, radii: np.ndarray) -> Places:
    """In rows and columns as nearly square as can be; the last row may be short."""
    columns = math.ceil(math.sqrt(len(radii)))
    rows = math.ceil(len(radii) / columns)
    side = (1 - 2 * MARGIN) / max(columns, rows)
    side = min(side, float(rng.uniform(0.7, 1)) * side + 2 * float(radii.max()) * 0.3)
    side = max(side, 2 * float(radii.max()) + GAP)
    left, top = (0.5 - (n - 1) * side / 2 for n in (columns, rows))
    return [(left + (i % columns) * side, top + (i // columns) * side) for i in range(len(radii))]


def _scattered(rng: Random, radii: np.ndarray) -> Places:
    """Anywhere, without touching."""
    for _ in range(1000):
        places: Places = []
        for radius in radii:
            for _ in range(60):
                x, y = rng.uniform(MARGIN + radius, 1 - MARGIN - radius, 2)
                if all(
                    math.hypot(x - u, y - v) > radius + r + GAP
                    for (u, v), r in zip(places, radii, strict=False)
                ):
                    places.append((float(x), float(y)))
                    break
            else:
                break
        if len(places) == len(radii):
            return places
    raise KeshinError(f"{len(radii)} things of this size do not fit; make AREAS smaller.")


LAYOUTS = {"row": _row, "grid": _grid, "scattered": _scattered}
COUNTING = Task("counting", "ability", "drawings", make, judge, example)
