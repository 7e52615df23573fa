"""Prompts as published: template sets and class names of the paper's 27 data sets, Japanese ones,
and the background prompts behind "none of these". The texts lie in ``prompts/*.json`` with source
and licence; a template holds ``{}`` where the class name goes.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from keshin.errors import LabelError

FOLDER = Path(__file__).parent / "prompts"
DEFAULT = ("a photo of a {}.",)
"""The paper's default template (section 3.1.4)."""
BEST_SEVEN = "imagenet7"
"""OpenAI's choice of 7 among ImageNet's 80 templates."""


def template_sets() -> tuple[str, ...]:
    """The names that ``templates`` knows."""
    return (*_datasets(), BEST_SEVEN, "ja")


def templates(name: str) -> tuple[str, ...]:
    """The templates of a set by its name. Raises ``LabelError`` for a name that is not known."""
    if name == "ja":
        return tuple(_read("ja")["templates"])
    if name == BEST_SEVEN:
        return tuple(_datasets()["imagenet"]["templates_best7"])
    if name not in _datasets():
        raise LabelError(_unknown(name, template_sets(), "set of templates"))
    return tuple(_datasets()[name]["templates"])


def japanese_default() -> tuple[str, ...]:
    """The default template for a label in Japanese script."""
    return tuple(_read("ja")["default"])


def class_names(name: str) -> tuple[tuple[str, ...], ...]:
    """The class names of one of the paper's data sets, each with its aliases, in label order."""
    if name not in _datasets():
        raise LabelError(_unknown(name, tuple(_datasets()), "data set"))
    return tuple(
        (entry,) if isinstance(entry, str) else tuple(entry)
        for entry in _datasets()[name]["classes"]
    )


def background() -> tuple[str, ...]:
    """Prompts that name no kind of thing, against which "none of these" is decided."""
    return tuple(_read("background")["prompts"])


def captions(language: str = "en") -> tuple[str, ...]:
    """Captions of every kind of thing, English (``en``) or Japanese (``ja``): what a query for
    something else is like (``keshin.search.relevance``)."""
    return tuple(_read("captions")[language])


@cache
def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return content


def _datasets() -> dict[str, Any]:
    found: dict[str, Any] = _read("clip")["datasets"]
    return found


def _unknown(name: str, known: tuple[str, ...], what: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return f"There is no {what} named '{name}'. {hint}Known are: {', '.join(known)}."
