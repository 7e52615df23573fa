"""Encoders that know what they are asked, or do not: for tests of verdicts.

A vector of a phrase is random but fixed; a picture that knows a phrase points towards it.
"""

import zlib
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from keshin.encode.encoder import Encoder

WIDTH = 768


def noise(key):
    """(d,) a random unit vector that belongs to a text or to bytes."""
    raw = key if isinstance(key, bytes) else repr(key).encode()
    vector = np.random.default_rng(zlib.crc32(raw)).normal(size=WIDTH)
    return vector / np.linalg.norm(vector)


@dataclass
class Fake(Encoder):
    """Texts and pictures by two functions."""

    say: object = field(default=noise)
    see: object = field(default=noise)

    def encode_texts(self, texts):
        return unit([self.say(text) for text in texts])

    def encode_images(self, pictures):
        return unit([self.see(np.asarray(picture).tobytes()) for picture in pictures])


def unit(vectors):
    vectors = np.stack(vectors)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def fake(config, say=noise, see=noise):
    return Fake(config, None, None, 10.0, identify=lambda: "fake", say=say, see=see)


class Known:
    """What is right in some parts of a task's questions: text -> phrase, picture -> its phrases."""

    def __init__(self, questions, templates, parts):
        self.phrases, self.scenes = {}, defaultdict(set)
        for names in questions.phrases():
            for name in names:
                for template in templates:
                    self.phrases[template.replace("{}", name)] = frozenset(names)
        for part in parts:
            for choice in questions.choices.get(part, ()):
                self._add(choice.scene, choice.candidates[choice.answer])
            for pair in questions.pairs.get(part, ()):
                for scene, names in zip(pair.scenes, pair.phrases, strict=True):
                    self._add(scene, names)

    def _add(self, scene, names):
        self.scenes[scene.paint().tobytes()].add(frozenset(names))

    def say(self, text):
        return noise(sorted(self.phrases[text]))

    def see(self, picture):
        known = self.scenes.get(picture, ())
        return sum((noise(sorted(names)) for names in known), 0.05 * noise(picture))
