import string
import tomllib
from pathlib import Path

import pytest

import keshin
from keshin.errors import KeshinError
from keshin.pages.words import languages_of, words_in

FILES = [
    file
    for file in sorted(Path(keshin.__file__).parent.rglob("words.toml"))
    if "en" in tomllib.loads(file.read_text(encoding="utf-8"))
]
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
QUOTES = {"figure_four_said"}
"""Texts that quote a template, whose {} is no field."""


def fields(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@each_file
def test_languages_say_the_same(file):
    first, *others = (words_in(file, language) for language in languages_of(file))
    assert others
    for other in others:
        assert set(other) == set(first)
        for key, text in first.items():
            if key not in QUOTES:
                assert fields(text) == fields(other[key]), key


@each_file
def test_each_language_names_itself(file):
    assert all(words_in(file, language)["language"] == language for language in languages_of(file))


def test_a_language_that_is_not_there():
    with pytest.raises(KeshinError, match=r"in the language 'xx'\. There are: en, ja"):
        words_in(FILES[0], "xx")
