"""The texts of reports and charts, in English and Japanese (``words.toml``)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TypeAlias

from keshin.errors import KeshinError

Words: TypeAlias = Mapping[str, str]
FILE = Path(__file__).parent / "words.toml"


@cache
def _read() -> dict[str, dict[str, str]]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def languages() -> tuple[str, ...]:
    """Those that a report can be written in."""
    return tuple(_read())


def words_of(language: str) -> Words:
    """The texts of a language. Raises ``KeshinError`` for one that is not there."""
    if language not in _read():
        known = ", ".join(_read())
        raise KeshinError(f"There is no report in the language '{language}'. There are: {known}.")
    return _read()[language]
