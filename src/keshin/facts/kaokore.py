"""KaoKore as facts: versions with the hashes of their official files, published results, kinds of
beings (``kaokore.toml``), and prompts in English and Japanese (``prompts/kaokore.json``).
"""

from __future__ import annotations

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from keshin.errors import DataError

TABLE = Path(__file__).with_name("kaokore.toml")
PROMPTS = Path(__file__).parent / "prompts" / "kaokore.json"
LABELS, URLS, TAGS = "labels.csv", "urls.txt", "original_tags.txt"
SPLITS = ("train", "dev", "test")
STATUS = ("noble", "warrior", "incarnation", "commoner")
"""In the order of the official integers."""
GENDER = ("male", "female")
INCARNATION = ("people", "incarnation")
INCARNATION_STATUS = STATUS.index("incarnation")
Question = Literal["incarnation", "status", "gender"]
CLASSES: dict[str, tuple[str, ...]] = {
    "incarnation": INCARNATION,
    "status": STATUS,
    "gender": GENDER,
}
"""question -> its classes, in the order of the targets."""


class _Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Facts: keyword only, nothing unknown."""


class Version(_Struct, frozen=True, kw_only=True):
    """One version; its file names and splits are its own."""

    name: str
    date: str
    folder: str
    """In the official repository."""
    images: int
    """Addresses in the official list."""
    unlisted: int
    """Labelled faces for which that list has no address."""
    splits: dict[str, int]
    """Labelled faces of each split."""
    status: dict[str, int]
    sha256: dict[str, str]
    """Of the labels, the addresses and the tags."""


class Published(_Struct, frozen=True, kw_only=True):
    """A supervised network of the official table."""

    name: str
    gender: float
    status: float


class Yardstick(_Struct, frozen=True, kw_only=True):
    """A supervised probe that keshin's makers measured; shares between 0 and 1."""

    name: str
    split: str
    status: float
    gender: float
    area: float
    balanced: float
    area_apart: float
    balanced_apart: float
    area_within: float


class Kind(_Struct, frozen=True, kw_only=True):
    """A kind of being, by the makers' tags."""

    en: str
    ja: str
    tags: tuple[str, ...]


class Facts(_Struct, frozen=True, kw_only=True):
    """The whole table."""

    title: str
    home: str
    commit: str
    base: str
    """Address of an official file, with ``{commit}``, ``{folder}`` and ``{file}``."""
    paper: str
    licence: str
    attribution: str
    request: str
    versions: tuple[Version, ...]
    published: tuple[Published, ...]
    yardstick: Yardstick
    kinds: tuple[Kind, ...]

    def address(self, version: Version, file: str) -> str:
        """Where an official file of a version is."""
        return self.base.format(commit=self.commit, folder=version.folder, file=file)


class Words(_Struct, frozen=True, kw_only=True):
    """What the classes of a question are called, several words a class."""

    name: str
    language: Literal["en", "ja"]
    classes: dict[str, tuple[str, ...]]
    saw_tags: bool = False
    """Whether whoever wrote them knew the makers' tags."""


class TemplateSet(_Struct, frozen=True, kw_only=True):
    """Templates with ``{}``; the vectors of one word's prompts are averaged."""

    name: str
    language: Literal["en", "ja"]
    templates: tuple[str, ...]


class Prompts(_Struct, frozen=True, kw_only=True):
    """The choices that a study may make between prompts."""

    note: str
    words: dict[str, tuple[Words, ...]]
    """question -> sets of words; the first of each language is the plain one."""
    dictionary: dict[str, tuple[Words, ...]]
    """question -> what a dictionary has for the makers' words, by a rule: nobody chose them."""
    dictionary_rule: str
    templates: tuple[TemplateSet, ...]
    """The first of each language is the plain one."""


@cache
def facts() -> Facts:
    """The table of facts."""
    return msgspec.convert(tomllib.loads(TABLE.read_text(encoding="utf-8")), type=Facts)


@cache
def prompts() -> Prompts:
    """The sets of words and templates."""
    return msgspec.convert(json.loads(PROMPTS.read_text(encoding="utf-8")), type=Prompts)


def version(name: str) -> Version:
    """A version by its name ("1.0"). Raises ``DataError``."""
    for entry in facts().versions:
        if entry.name == name.removeprefix("v"):
            return entry
    known = ", ".join(entry.name for entry in facts().versions)
    raise DataError(f"KaoKore has no version '{name}'. There are: {known}.")
