"""The data tables of this package, read and checked once: things, captions, words of the report."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

from keshin.errors import KeshinError

FOLDER = Path(__file__).parent
Colour = tuple[int, int, int]
Names = tuple[str, ...]
"""What is said of one candidate: a class of the classifier with its names."""
Table = TypeVar("Table")


class Near(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two shapes that differ in one trait."""

    one: str
    other: str


class ThingNames(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lists of names."""

    objects: tuple[str, ...]
    words: tuple[str, ...]


class Things(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``things.toml``: what the drawings show."""

    colours: dict[str, Colour]
    backgrounds: dict[str, Colour]
    shapes: tuple[str, ...]
    """Flat ones."""
    solids: tuple[str, ...]
    near: tuple[Near, ...]
    names: ThingNames


class Captions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``captions/*.toml``: what is said of the drawings in one language, its grammar included."""

    language: str
    coloured: str
    """A thing with its colour: fields ``colour`` and ``what``."""
    single: str
    """One thing, with an article where the language has them: field ``x``."""
    single_before_vowel: str
    numbers: tuple[str, ...]
    """One to ten."""
    templates: dict[str, tuple[str, ...]]
    names: dict[str, tuple[str, ...]]
    colours: dict[str, str]
    things: dict[str, tuple[str, str]]
    """What things are called, one of them and several."""

    def say(self, what: str, /, **parts: str) -> Names:
        """The names of one candidate, with its parts filled in."""
        return tuple(name.format(**parts) for name in self.names[what])

    def bare(self, what: str, colour: str = "", *, many: bool = False) -> str:
        """A thing without an article, or several: "red ball", "red balls"."""
        said = self.things[what][many]
        return self.coloured.format(colour=self.colours[colour], what=said) if colour else said

    def one(self, what: str, colour: str = "") -> str:
        """A thing with its article: "a red ball", "an orange ball"."""
        said = self.bare(what, colour)
        vowel = said[0].lower() in "aeiou"
        return (self.single_before_vowel if vowel else self.single).format(x=said)


@cache
def things() -> Things:
    """What the drawings show."""
    return read_table("things.toml", Things)


@cache
def paraphrases() -> dict[str, tuple[str, ...]]:
    """Ways to say one and the same label, by language."""
    return read_table("paraphrases.toml", dict[str, tuple[str, ...]])


LANGUAGES = ("en", "ja")
"""Of captions; the first is the default."""


@cache
def captions_in(language: str = LANGUAGES[0]) -> Captions:
    """What is said of the drawings. Raises ``KeshinError`` for a language that is not there."""
    if language not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        raise KeshinError(
            f"There are no captions in the language '{language}'. There are: {known}."
        )
    return read_table(f"captions/{language}.toml", Captions)


def read_table(name: str, kind: type[Table]) -> Table:
    """A table of this package, checked against its class."""
    return msgspec.convert(tomllib.loads((FOLDER / name).read_text(encoding="utf-8")), kind)
