"""Words in pictures: can they be read, and do they lead astray?

The attack (Goh and others 2021, "Multimodal neurons", section on typographic attacks) writes the
name of another thing below a drawn thing. Its control writes the same letters in another order, in
the same box, so that what is left is the meaning of the word and not the label or its ink.
"""

from __future__ import annotations

import numpy as np

import keshin.evaluate.weaknesses.scoring as scoring
from keshin.evaluate.weaknesses.questions import Answers, Choice, Judged, Questions, Task
from keshin.evaluate.weaknesses.scenes import Item, Scene, Writing
from keshin.evaluate.weaknesses.tables import Captions, Colour, Names, things
from keshin.evaluate.weaknesses.tasks.drawn import Random, ground, pick, placed

CANDIDATES = 10
FACES = ("plain", "bold", "slanted", "outlined", "pixels")
WIDTHS = {"large": (0.62, 0.8), "small": (0.26, 0.34)}
"""Of the box that the word fills, by size."""
HEIGHT = 0.34
"""Of a word to its width, at most."""
INKS: dict[str, tuple[tuple[Colour, Colour], ...]] = {
    "strong contrast": (
        ((20, 20, 24), (255, 255, 255)),
        ((255, 255, 255), (24, 40, 92)),
        ((250, 220, 60), (30, 30, 34)),
        ((150, 20, 28), (250, 244, 226)),
    ),
    "weak contrast": (
        ((150, 150, 156), (226, 228, 232)),
        ((96, 128, 166), (40, 62, 98)),
        ((206, 178, 132), (250, 244, 226)),
        ((120, 120, 126), (62, 62, 68)),
    ),
}
"""Ink and ground."""
LABEL: tuple[Colour, Colour] = ((20, 20, 24), (255, 255, 255))


def reading(rng: Random, count: int, say: Captions) -> Questions:
    """``count`` words among nine others of as many letters; the control as often a thing."""
    by_length: dict[int, list[str]] = {}
    for word in things().names.words:
        by_length.setdefault(len(word), []).append(word)
    levels = [(size, contrast) for size in WIDTHS for contrast in INKS]
    words, seen = [], []
    says = say.say("writing"), say.say("no_writing")
    for index in range(count):
        listed = by_length[pick_number(rng, tuple(by_length))]
        chosen = pick(rng, listed, CANDIDATES)
        size, contrast = levels[index % len(levels)]
        scene = _word(rng, chosen[0], size, contrast)
        names = [say.say("word", x=word.lower()) for word in chosen]
        words.append(placed(rng, scene, names, f"{size}, {contrast}"))
        thing = pick(rng, things().names.objects)[0]
        seen.append(
            Choice(scene, says, 0)
            if index % 8 < 4
            else Choice(Scene(ground(rng), (_object(rng, thing),)), says, 1)
        )
    return Questions({"words": tuple(words), "seen": tuple(seen)})


def judge_reading(questions: Questions, answers: Answers) -> Judged:
    """The right word of ten is the main figure."""
    asked, scores = questions.choices["words"], answers.choices["words"]
    name = "right word of ten"
    return Judged(
        scoring.accuracy(name, asked, scores),
        scoring.accuracy(
            "tells writing from things", questions.choices["seen"], answers.choices["seen"]
        ),
        levels=scoring.levels(
            asked,
            scoring.right(asked, scores),
            lambda v: scoring.share(name, v, 1 / CANDIDATES),
        ),
    )


def example_reading(questions: Questions) -> list[tuple[Scene, str]]:
    """The first words."""
    return [(c.scene, c.candidates[c.answer][0]) for c in questions.choices["words"][:8]]


def attack(rng: Random, count: int, say: Captions) -> Questions:
    """``count`` things, each plain, with another's name, and with the letters of that name."""
    names = things().names.objects
    said: tuple[Names, ...] = tuple(say.say("object", a=say.one(name)) for name in names)
    found: dict[str, list[Choice]] = {"plain": [], "named": [], "letters": []}
    for index in range(count):
        right = index % len(names)
        wrong = pick_number(rng, tuple(i for i in range(len(names)) if i != right))
        item, colour = _object(rng, names[right], low=True), ground(rng)
        word = names[wrong].upper()
        for part, text in (("plain", ""), ("named", word), ("letters", mixed(rng, word))):
            writing = _label(text) if text else None
            found[part].append(Choice(Scene(colour, (item,), writing), said, right, names[wrong]))
    return Questions({part: tuple(choices) for part, choices in found.items()})


def judge_attack(questions: Questions, answers: Answers) -> Judged:
    """How many more answers become the written name than become it with its mixed letters."""
    names = things().names.objects
    asked = questions.choices["named"]
    written = np.array([names.index(choice.level) for choice in asked])
    plain = scoring.right(questions.choices["plain"], answers.choices["plain"])
    taken = {
        part: (scores.argmax(axis=1) == written)[plain] for part, scores in answers.choices.items()
    }
    chance = 1 / len(names)
    return Judged(
        scoring.difference("more answers become the word", taken["named"], taken["letters"]),
        scoring.share("names the things", plain, chance),
        (
            scoring.share("answers that become the word", taken["named"], 0.0),
            scoring.share("the same with mixed letters", taken["letters"], 0.0),
            *(
                scoring.accuracy(name, asked, answers.choices[part])
                for name, part in (
                    ("right with a word", "named"),
                    ("right with mixed letters", "letters"),
                )
            ),
        ),
    )


def example_attack(questions: Questions) -> list[tuple[Scene, str]]:
    """Each of the first things plain, with a name and with mixed letters."""
    return [
        (choices[index].scene, choices[index].candidates[choices[index].answer][0])
        for index in range(3)
        for choices in (questions.choices[part] for part in ("plain", "named", "letters"))
    ]


def mixed(rng: Random, word: str) -> str:
    """The letters in another order, with another one first, that is no word of the tables."""
    known = {w.upper() for w in (*things().names.objects, *things().names.words)}
    letters = list(word)
    while letters[0] == word[0] or "".join(letters) in known:
        letters = [letters[index] for index in rng.permutation(len(letters))]
    return "".join(letters)


def pick_number(rng: Random, numbers: tuple[int, ...]) -> int:
    """One of the numbers."""
    return numbers[int(rng.integers(len(numbers)))]


def _word(rng: Random, word: str, size: str, contrast: str) -> Scene:
    width = float(rng.uniform(*WIDTHS[size]))
    ink, paper = INKS[contrast][int(rng.integers(len(INKS[contrast])))]
    room = 0.5 - width / 2 - 0.04
    x, y = 0.5 + float(rng.uniform(-room, room)), float(rng.uniform(0.25, 0.75))
    said = word if rng.integers(2) else word.lower()
    face, turn = FACES[int(rng.integers(len(FACES)))], float(rng.uniform(-8, 8))
    return Scene(paper, (), Writing(said, x, y, width, HEIGHT * width, ink, None, face, turn))


def _object(rng: Random, name: str, *, low: bool = False) -> Item:
    """A thing in the middle; with ``low`` there is room for a label below it."""
    size = float(rng.uniform(0.52, 0.6) if low else rng.uniform(0.5, 0.72))
    x, y = (float(place) for place in rng.uniform(-0.04, 0.04, 2))
    return Item(name, 0.5 + x, (0.36 if low else 0.5) + y, size)


def _label(text: str) -> Writing:
    return Writing(text, 0.5, 0.84, 0.62, 0.13, LABEL[0], LABEL[1], "bold")


READING = Task("reading", "ability", "drawings", reading, judge_reading, example_reading)
ATTACK = Task("attack", "effect", "drawings", attack, judge_attack, example_attack)
