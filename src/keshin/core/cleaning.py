"""What is done to a text before it is cut into tokens: the rules by their names in the fact sheet.

``clip``       OpenAI: mended, HTML entities, white space, lower case (and OpenAI's words follow)
``mend``       the same without lower case: OpenCLIP's texts for tokenizers of transformers
``canonical``  ``mend``, then "_" becomes a space, ASCII punctuation goes, lower case: SigLIP's
               prompts (big_vision's ``canonicalize_text``), and OpenCLIP's for SigLIP 2
``lower``      lower case only: what the authors of SigLIP 2 do before tokenising
``whitespace`` runs of white space become one space
``none``       nothing

docs/decisions.md says which release uses which, and how that was established.
"""

from __future__ import annotations

import html
import string
from collections.abc import Callable
from typing import Literal

CleaningName = Literal["clip", "whitespace", "none", "mend", "lower", "canonical"]

WITHOUT_PUNCTUATION = str.maketrans({"_": " "} | dict.fromkeys(set(string.punctuation) - {"_"}))


def _collapse(text: str) -> str:
    return " ".join(text.split())


def _mend(text: str) -> str:
    """Repaired, unescaped twice, white space collapsed."""
    if not (text.isascii() and text.isprintable() and "&" not in text):
        import ftfy  # here, because it takes 50 ms to load and plain prompts never need it

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return _collapse(text)


def _clip(text: str) -> str:
    return _mend(text).lower()


def _canonical(text: str) -> str:
    return _collapse(_mend(text).translate(WITHOUT_PUNCTUATION).lower())


CLEANING: dict[CleaningName, Callable[[str], str]] = {
    "clip": _clip,
    "whitespace": _collapse,
    "none": str,
    "mend": _mend,
    "lower": str.lower,
    "canonical": _canonical,
}
