"""Where a study's pictures and classes come from: a dataset by its name, or a folder per class."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keshin.classify import Labels, Templates
from keshin.core.pictures import Picture
from keshin.errors import DataError
from keshin.evaluate.datasets import open_dataset
from keshin.evaluate.labelled import Labelled

OWN = "test"
"""What the split of a folder without splits is called."""
EXAMPLES = "train"


@dataclass(frozen=True, eq=False)
class Source:
    """Pictures to ask about, pictures to show as examples, and what the classes are called."""

    title: str
    data: Labelled
    split: str
    examples: Labelled
    example_split: str
    """Equal to ``split`` where there is no other: then examples are not asked about."""
    labels: Labels
    """In the order of ``data.names``."""
    templates: Templates


def open_source(name: str | os.PathLike[str], split: str = OWN) -> Source:
    """A known set by its name, or labelled pictures by their path. Raises ``DataError``.

    Examples come from the train split of a known set, so that they are never asked about; pictures
    of people's own are both, and the study keeps the examples out of the questions.
    """
    opened = open_dataset(Path(name) if Path(name).exists() else os.fspath(name), split)
    examples, example_split = opened.labelled, split
    if opened.dataset is not None and split != EXAMPLES:
        examples, example_split = open_dataset(os.fspath(name), EXAMPLES).labelled, EXAMPLES
    return checked(
        Source(
            opened.title,
            opened.labelled,
            split,
            examples,
            example_split,
            opened.labels,
            opened.templates,
        )
    )


def checked(source: Source) -> Source:
    """The same, if a study can be made of it: one class a picture, names that people can tell."""
    data = source.data
    if data.targets.ndim != 1:
        raise DataError(
            f"The pictures of '{source.title}' may show several classes each. People are compared "
            "on pictures of one class: choose another dataset."
        )
    if len(source.labels.names) != len(data.names) or len(data.names) < 2:
        raise DataError(
            f"'{source.title}' has {len(data.names)} classes with {len(source.labels.names)} "
            "different names. Give each of two classes or more a name of its own."
        )
    return source


def digest_of(picture: Picture) -> str:
    """SHA-256 of a picture's bytes. Raises ``DataError`` if its file cannot be read."""
    if isinstance(picture, bytes):
        return hashlib.sha256(picture).hexdigest()
    if isinstance(picture, str | os.PathLike):
        try:
            return hashlib.sha256(Path(picture).read_bytes()).hexdigest()
        except OSError as error:
            raise DataError(f"Cannot read {os.fspath(picture)!r}: {error.strerror}.") from error
    array = np.ascontiguousarray(picture)
    head = f"{array.shape} {array.dtype} ".encode()
    return hashlib.sha256(head + array.tobytes()).hexdigest()
