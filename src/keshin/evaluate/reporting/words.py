"""The texts of evaluation reports and their charts, in English and Japanese (``words.toml``)."""

from __future__ import annotations

from pathlib import Path

from keshin.pages.words import Words, languages_of, words_in

FILE = Path(__file__).with_name("words.toml")


def languages() -> tuple[str, ...]:
    """Those that a report can be written in."""
    return languages_of(FILE)


def words_of(language: str) -> Words:
    """The texts of a language. Raises ``KeshinError`` for one that is not there."""
    return words_in(FILE, language)
