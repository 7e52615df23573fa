"""Questions to a model: each scene is painted and encoded once, each phrase weighed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from keshin.classify.weights import class_weights
from keshin.encode.encoder import Encoder, FloatArray
from keshin.evaluate.weaknesses.questions import Answers, Questions
from keshin.evaluate.weaknesses.scenes import Scene
from keshin.evaluate.weaknesses.tables import Names

AT_ONCE = 64
"""Painted pictures that are held in memory: 22 MB."""


def ask(
    encoder: Encoder,
    questions: Questions,
    templates: tuple[str, ...],
    seen: Callable[[int], None] = lambda count: None,
) -> Answers:
    """The cosines of all scenes with all their candidates; ``seen`` is told of pictures done."""
    phrases = {names: row for row, names in enumerate(dict.fromkeys(questions.phrases()))}
    scenes = {scene: row for row, scene in enumerate(dict.fromkeys(questions.scenes()))}
    texts = class_weights(encoder, {" | ".join(names): names for names in phrases}, templates)
    pictures = look(encoder, scenes, seen)

    def cosines(asked: Iterable[Scene], candidates: Iterable[Iterable[Names]]) -> FloatArray:
        rows = np.array([scenes[scene] for scene in asked])
        columns = np.array([[phrases[names] for names in said] for said in candidates])
        products = [(pictures[rows] * texts[column]).sum(axis=1) for column in columns.T]
        return np.stack(products, axis=1)

    return Answers(
        {
            name: cosines((c.scene for c in choices), (c.candidates for c in choices))
            for name, choices in questions.choices.items()
        },
        {
            name: np.stack(
                [
                    cosines((p.scenes[side] for p in pairs), (p.phrases for p in pairs))
                    for side in (0, 1)
                ],
                axis=1,
            )
            for name, pairs in questions.pairs.items()
        },
    )


def look(
    encoder: Encoder, scenes: Iterable[Scene], seen: Callable[[int], None] = lambda count: None
) -> FloatArray:
    """(n, d) unit vectors of scenes."""
    waiting = list(scenes)
    found = []
    for start in range(0, len(waiting), AT_ONCE):
        block = waiting[start : start + AT_ONCE]
        found.append(encoder.encode_images([scene.paint() for scene in block]))
        seen(len(block))
    return np.concatenate(found)
