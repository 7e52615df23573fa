"""The background queries of a model: captions of every kind of thing, encoded once an index.

There are four sets of them, English and Japanese, short and long: a model's scores differ between
the two, so a query is compared with captions of its own kind.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from keshin.core.scripts import in_japanese_script
from keshin.core.writing import whole
from keshin.encode.encoder import Encoder
from keshin.facts import prompts
from keshin.search.rows import Floats

WORDS, SIGNS = 4, 6
"""A short caption has at most so many words, or Japanese signs."""


def kind_of(texts: Sequence[str]) -> tuple[str, bool]:
    """Language of the captions that these texts are compared with, and whether of the short."""
    language = "ja" if any(map(in_japanese_script, texts)) else "en"
    return language, all(is_short(text, language) for text in texts)


def is_short(text: str, language: str) -> bool:
    """Whether a text is a name rather than a sentence."""
    return len(text) <= SIGNS if language == "ja" else len(text.split()) <= WORDS


def captions(kind: tuple[str, bool]) -> tuple[str, ...]:
    """Those of a kind."""
    language, short = kind
    return tuple(c for c in prompts.captions(language) if is_short(c, language) == short)


class Background:
    """Vectors and best scores of background queries, kept in the folder of an index."""

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        self._folder, self._encoder = folder, encoder

    def vectors(self, kind: tuple[str, bool]) -> Floats:
        """(b, d) unit vectors of the captions of a kind."""
        texts = captions(kind)
        encoder = replace(self._encoder, on_truncation=None)  # nobody asked for these texts
        mark = _hash(self._encoder.fingerprint, self._encoder.computed, texts)
        return self._kept(kind, "vectors", mark, lambda: encoder.encode_texts(texts))

    def tops(self, kind: tuple[str, bool], state: object, make: Callable[[], Floats]) -> Floats:
        """(b, k) their best scores in a state of the index; ``make`` computes them."""
        mark = _hash(self._encoder.fingerprint, captions(kind), state)
        return self._kept(kind, "tops", mark, make)

    def _kept(
        self, kind: tuple[str, bool], what: str, mark: str, make: Callable[[], Floats]
    ) -> Floats:
        name = f"background-{kind[0]}-{'short' if kind[1] else 'long'}-{what}.npz"
        path = self._folder / name
        unreadable = OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile
        with suppress(*unreadable), np.load(path, allow_pickle=False) as kept:
            if str(kept["mark"]) == mark:
                found: Floats = kept["values"].astype(np.float32)
                return found
        values = make()
        with suppress(OSError), whole(path) as scratch, scratch.open("wb") as file:
            np.savez(file, values=values, mark=np.array(mark))
        return values


def _hash(*what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()
