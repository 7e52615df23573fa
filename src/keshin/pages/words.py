"""The texts of pages in their languages: a TOML file with one table of texts for each language.

Each package that makes pages keeps its own file; its tables have the same keys and ``{fields}``
(tests/pages/test_words.py).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TypeAlias

from keshin.errors import KeshinError

Words: TypeAlias = Mapping[str, str]


@cache
def _read(file: Path) -> dict[str, dict[str, str]]:
    return tomllib.loads(file.read_text(encoding="utf-8"))


def languages_of(file: Path) -> tuple[str, ...]:
    """Those that a file of words speaks, the first being the default."""
    return tuple(_read(file))


def words_in(file: Path, language: str) -> Words:
    """The texts of a language. Raises ``KeshinError`` for one that is not there."""
    if language not in _read(file):
        known = ", ".join(_read(file))
        raise KeshinError(f"There is no report in the language '{language}'. There are: {known}.")
    return _read(file)[language]
