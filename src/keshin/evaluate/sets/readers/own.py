"""What readers share: the labels that a set uses, and finding its files in an unpacked folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from keshin.core.pictures import Picture
from keshin.errors import DataError
from keshin.evaluate.sets.labelled import IntArray, Labelled
from keshin.facts.datasets import EITHER, plain

SHOWN = 12
"""Names in a message."""


class Own:
    """A set's own labels in the order that is wanted, or, if none are given, those that come.

    Labels are compared without case, signs and leading zeros, so ``British_Shorthair`` is
    "british shorthair" and ``00007`` is 7.
    """

    def __init__(self, labels: Sequence[str] = ()) -> None:
        self.labels = tuple(labels)
        self._places = {plain(label): place for place, label in enumerate(labels)}
        if len(self._places) != len(labels):
            raise DataError(f"Two of the labels {', '.join(labels[:SHOWN])} ... are alike.")

    def knows(self, label: str) -> bool:
        """Whether this is one of the labels; every one is if none were given."""
        return not self.labels or plain(label) in self._places

    def place(self, label: str, where: object) -> int:
        """The index of a label. Raises ``DataError`` with the place where it was found."""
        found = self._places.get(plain(label))
        if found is None:
            raise DataError(
                f"{where} has the label '{label}', which is none of the {len(self.labels)} that "
                f"this data set has: {_some(self.labels)}."
            )
        return found

    def data(
        self,
        pictures: Sequence[Picture],
        found: Sequence[str],
        where: object,
        *,
        groups: Sequence[str] | None = None,
        ids: Iterable[str] = (),
    ) -> Labelled:
        """Labelled pictures from the labels found for them."""
        own = self if self.labels else Own(in_order(found))
        places = {label: own.place(label, where) for label in dict.fromkeys(found)}
        targets = np.array([places[label] for label in found], np.int64)
        return Labelled(pictures, targets, own.labels, numbered(groups), tuple(ids))


def in_order(labels: Iterable[str]) -> list[str]:
    """Different labels, numbers by value, else as text."""
    distinct = list(dict.fromkeys(labels))
    if all(label.isascii() and label.isdigit() for label in distinct):
        return sorted(distinct, key=int)
    return sorted(distinct)


def numbered(groups: Sequence[str] | None) -> IntArray | None:
    """Groups as numbers, in the order in which they come."""
    if groups is None:
        return None
    places: dict[str, int] = {}
    return np.array([places.setdefault(group, len(places)) for group in groups], np.int64)


def locate(root: Path, names: str) -> Path | None:
    """The first that is there of names between ``|``, each below ``root``, or with its first
    folders left out, as where people point into an unpacked archive. ``root`` itself counts where
    its name is the last one."""
    for name in names.split(EITHER):
        parts = PurePosixPath(name).parts
        for start in range(max(len(parts), 1)):
            path = root.joinpath(*parts[start:])
            if path.exists():
                return path
        if parts and root.name == parts[-1] and root.exists():
            return root
    return None


def needed(root: Path, names: str) -> Path:
    """The same. Raises ``DataError`` that says what was expected and what is there."""
    found = locate(root, names)
    if found is None:
        expected = " or ".join(names.split(EITHER))
        raise DataError(f"{root} has no {expected}. {holds(root)}")
    return found


def holds(folder: Path) -> str:
    """A sentence on what a folder holds."""
    if not folder.is_dir():
        return "It is not a folder." if folder.exists() else "There is no such folder."
    names = sorted(
        entry.name + "/" * entry.is_dir()
        for entry in folder.iterdir()
        if not entry.name.startswith(".")
    )
    return f"It holds: {_some(names)}." if names else "It is empty."


def below(folder: Path, name: str, where: object) -> Path:
    """A path that a list names, within ``folder``. Raises ``DataError`` if it leads out."""
    parts = PurePosixPath(name.lstrip("/")).parts
    if ".." in parts or "\\" in name or not parts or ":" in parts[0]:
        raise DataError(f"{where} names '{name}', which is no path within {folder}.")
    return folder.joinpath(*parts)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty. Raises ``DataError``."""
    try:
        return [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read the list {path}: {error}.") from error


def drawn(names: Iterable[str], seed: str) -> list[str]:
    """Names in an order that depends on nothing but the names: that of SHA-256 of SEED/NAME."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
