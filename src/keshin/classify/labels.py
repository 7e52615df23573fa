"""Where labels come from: a list, a text, a file, the names of folders.

A class has a label, which is the answer, and names, which the prompts say: the label itself and its
aliases. Only folders differ: ``golden_retriever`` is the answer, "golden retriever" is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from keshin.classify.templates import read_text
from keshin.errors import LabelError

SEPARATORS = ",、，"
"""A comma, and the two that Japanese texts use. A backslash before one makes it part of a label."""


@dataclass(frozen=True)
class Labels:
    """Classes in order."""

    names: Mapping[str, tuple[str, ...]]
    """label -> what the prompts say, at least one name each."""
    repeated: tuple[str, ...] = ()
    """Labels that were given more than once; each is used once."""

    def with_aliases(self, aliases: Mapping[str, Sequence[str]]) -> Labels:
        """The same classes with more names. Raises ``LabelError`` for a label that is not here."""
        unknown = [label for label in aliases if label not in self.names]
        if unknown:
            raise LabelError(
                f"There are aliases for '{unknown[0]}', which is not among the labels. "
                f"Labels are: {', '.join(list(self.names)[:20])}."
            )
        merged = {
            label: _names(label, [*names, *_as_list(aliases.get(label, ()))])
            for label, names in self.names.items()
        }
        return Labels(merged, self.repeated)


def make_labels(
    labels: Iterable[str] | Mapping[str, Sequence[str]],
    aliases: Mapping[str, Sequence[str]] | None = None,
) -> Labels:
    """Labels from a list, or from a mapping of labels to aliases. Raises ``LabelError``."""
    if isinstance(labels, str):
        raise LabelError(
            f"Labels are a list of texts, got the text {labels!r}. Pass a list, or split it "
            "with labels_from_text."
        )
    given = dict(labels) if isinstance(labels, Mapping) else None
    ordered = [_label(label, place) for place, label in enumerate(labels, start=1)]
    if not ordered:
        raise LabelError("There are no labels. Give at least one.")
    found = Labels(
        {label: (label,) for label in ordered},
        tuple(dict.fromkeys(label for label in ordered if ordered.count(label) > 1))
        if len(set(ordered)) < len(ordered)
        else (),
    )
    if given:
        found = found.with_aliases({label.strip(): names for label, names in given.items()})
    return found.with_aliases(aliases) if aliases else found


def labels_from_text(text: str) -> Labels:
    r"""Labels from one text, as "cat, dog"; ``\,`` is a comma within a label."""
    return make_labels(_split(text))


def alias_from_text(text: str) -> dict[str, tuple[str, ...]]:
    """Aliases of one label, as "cat=kitten, tabby"."""
    label, sign, rest = text.partition("=")
    if not sign or not label.strip() or not rest.strip():
        raise LabelError(f"'{text}' names no alias. Write it as 'label=alias, alias'.")
    return {label.strip(): tuple(_split(rest))}


def labels_from_file(path: str | Path) -> Labels:
    r"""Labels from a text or JSON file.

    Text: one label a line; its aliases follow a colon and a space, or a tab, with commas between;
    ``\:`` and ``\,`` are plain signs; empty lines and lines that begin with ``#`` are skipped.
    JSON: a list of labels, or an object of labels with lists of aliases.
    """
    text = read_text(path, "labels")
    if Path(path).suffix.lower() == ".json" or text.lstrip()[:1] in ("{", "["):
        return _from_json(text, path)
    entries: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        label, *rest = re.split(r"\t|(?<!\\):\s", line.strip(), maxsplit=1)
        entries.append((re.sub(r"\\([:,#\\])", r"\1", label), _split(rest[0]) if rest else []))
    if not entries:
        raise LabelError(f"{path} holds no label. Write one a line.")
    found = make_labels([label for label, _ in entries])
    aliases: dict[str, list[str]] = {}
    for label, names in entries:
        aliases.setdefault(label.strip(), []).extend(names)
    return found.with_aliases(aliases)


def labels_from_folders(directory: str | Path) -> Labels:
    """Labels from the names of the folders in a directory, sorted; ``_`` is said as a space."""
    directory = Path(directory)
    try:
        folders = sorted(
            entry.name
            for entry in directory.iterdir()
            if entry.is_dir() and not entry.name.startswith(".")
        )
    except OSError as error:
        raise LabelError(f"Cannot list the folders of {directory}: {error.strerror}.") from error
    if not folders:
        raise LabelError(f"{directory} has no folder in it, so there are no labels to take.")
    return Labels({name: (name.replace("_", " ").strip() or name,) for name in folders})


def _from_json(text: str, path: str | Path) -> Labels:
    kind: Any = list[str] | dict[str, list[str] | str]
    try:
        content = msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as error:
        raise LabelError(
            f"{path} is not a JSON list of labels or an object of labels with lists of aliases "
            f"({error})."
        ) from error
    return make_labels(content)


def _split(text: str) -> list[str]:
    """Pieces between separators, where a backslash keeps the sign that follows."""
    pieces = re.split(rf"(?<!\\)[{SEPARATORS}]", text)
    return [re.sub(rf"\\([{SEPARATORS}:#\\])", r"\1", piece).strip() for piece in pieces]


def _label(label: object, place: int) -> str:
    if not isinstance(label, str):
        raise LabelError(f"Label {place} is {label!r}, not a text.")
    if not label.strip():
        raise LabelError(f"Label {place} is empty. Remove it, or look for a comma too many.")
    return label.strip()


def _names(label: str, names: Sequence[str]) -> tuple[str, ...]:
    if not all(name.strip() for name in names):
        raise LabelError(f"An alias of '{label}' is empty. Remove it, or a comma too many.")
    return tuple(dict.fromkeys(name.strip() for name in names))


def _as_list(names: Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
