"""Which templates a label is put into.

Nothing given: the paper's default, "a photo of a {}.", and "{}の写真" for a name in Japanese
script. A name is in Japanese script if it holds hiragana, katakana or kanji and no Hangul; kanji
alone cannot be told from Chinese, so give templates of your own for Chinese labels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from keshin.core.scripts import in_japanese_script
from keshin.errors import LabelError
from keshin.facts import prompts

Templates: TypeAlias = str | Sequence[str] | None
"""A template, the name of a set (``imagenet``, ``cifar10``, ``ja``), several of both, or None."""

SLOT = "{}"


def resolve_templates(templates: Templates) -> tuple[str, ...] | None:
    """The templates meant, in order and each once; None stands for the default of each label.

    What holds ``{}`` is a template, everything else the name of a set. Raises ``LabelError``.
    """
    if templates is None:
        return None
    given = [templates] if isinstance(templates, str) else list(templates)
    found: list[str] = []
    for entry in given:
        if SLOT in entry:
            found.append(entry)
        elif re.search(r"\{\w*\}|\s|%s", entry):
            raise LabelError(
                f"The template '{entry}' has no {SLOT}. Write {SLOT} where the label goes, "
                'for example "a drawing of a {}."'
            )
        else:
            found.extend(prompts.templates(entry))
    if not found:
        raise LabelError("The list of templates is empty. Leave it out for the default.")
    return tuple(dict.fromkeys(found))


def templates_from_file(path: str | Path) -> tuple[str, ...]:
    """One template a line; empty lines and lines that begin with ``#`` are skipped."""
    lines = [line.strip() for line in read_text(path, "templates").splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise LabelError(f"{path} holds no template. Write one a line, with {SLOT} for the label.")
    without = [line for line in found if SLOT not in line]
    if without:
        raise LabelError(f"{path}: the template '{without[0]}' has no {SLOT} for the label.")
    return tuple(found)


def templates_for(name: str, templates: tuple[str, ...] | None) -> tuple[str, ...]:
    """The templates of one name, where None stands for the default."""
    if templates is not None:
        return templates
    return prompts.japanese_default() if in_japanese_script(name) else prompts.DEFAULT


def fill(template: str, name: str) -> str:
    """The prompt of a name."""
    return template.replace(SLOT, name)


def read_text(path: str | Path, what: str) -> str:
    """A UTF-8 text file, with or without a byte order mark; ``LabelError`` if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise LabelError(f"Cannot read the {what} in {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise LabelError(
            f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8."
        ) from error
