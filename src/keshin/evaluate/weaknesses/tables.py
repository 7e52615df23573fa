"""The data tables of this package, read and checked once: things, prompts, words of the report."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

FOLDER = Path(__file__).parent
Colour = tuple[int, int, int]
Names = tuple[str, ...]
"""What is said of one candidate: a class of the classifier with its names."""
Table = TypeVar("Table", bound=msgspec.Struct)


class Near(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two shapes that differ in one trait."""

    one: str
    other: str


class ThingNames(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lists of names."""

    numbers: tuple[str, ...]
    objects: tuple[str, ...]
    words: tuple[str, ...]


class Things(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``things.toml``: what the drawings show."""

    colours: dict[str, Colour]
    backgrounds: dict[str, Colour]
    shapes: dict[str, str]
    """Flat shapes: singular to plural."""
    solids: dict[str, str]
    near: tuple[Near, ...]
    names: ThingNames


class Prompts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``prompts.toml``: the captions."""

    templates: dict[str, tuple[str, ...]]
    names: dict[str, tuple[str, ...]]
    negation: dict[str, tuple[str, ...]]
    paraphrases: dict[str, tuple[str, ...]]

    def say(self, what: str, /, **parts: str) -> Names:
        """The names of one candidate, with its parts filled in."""
        return tuple(name.format(**parts) for name in self.names[what])


def a(thing: str) -> str:
    """The thing with its article: "a red ball", "an orange ball"."""
    return f"{'an' if thing[0].lower() in 'aeiou' else 'a'} {thing}"


@cache
def things() -> Things:
    """What the drawings show."""
    return read_table("things.toml", Things)


@cache
def prompts() -> Prompts:
    """The captions."""
    return read_table("prompts.toml", Prompts)


def read_table(name: str, kind: type[Table]) -> Table:
    """A table of this package, checked against its class."""
    return msgspec.convert(tomllib.loads((FOLDER / name).read_text(encoding="utf-8")), kind)
