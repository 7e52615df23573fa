"""Which script a text is written in, as far as prompts and warnings need to know."""

from __future__ import annotations

import re

_KANA_OR_KANJI = re.compile(
    "[\u3005\u3041-\u309f\u30a1-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uff66-\uff9d]"
)
_HANGUL = re.compile("[\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3]")


def in_japanese_script(text: str) -> bool:
    """Whether the text is written with kana or kanji, and not with Hangul."""
    return bool(_KANA_OR_KANJI.search(text)) and not _HANGUL.search(text)


SCRIPTS: dict[str, tuple[str, re.Pattern[str]]] = {
    "Japanese": ("ja", re.compile("[\u3041-\u309f\u30a1-\u30ff\uff66-\uff9d]")),
    "Korean": ("ko", _HANGUL),
    "Chinese or Japanese": ("ja", _KANA_OR_KANJI),
    "Cyrillic": ("ru", re.compile("[\u0400-\u052f]")),
    "Greek": ("el", re.compile("[\u0370-\u03ff\u1f00-\u1fff]")),
    "Arabic": ("ar", re.compile("[\u0600-\u06ff\u0750-\u077f]")),
    "Hebrew": ("he", re.compile("[\u0590-\u05ff]")),
    "Devanagari": ("hi", re.compile("[\u0900-\u097f]")),
    "Thai": ("th", re.compile("[\u0e00-\u0e7f]")),
}
"""Name -> the language to ask of a model that is to read it (ISO 639-1), and its signs."""


def script_of(text: str) -> str | None:
    """The first script of the table that the text has a sign of; None if it has none."""
    return next((name for name, (_, signs) in SCRIPTS.items() if signs.search(text)), None)
