"""Where a study's pictures and classes come from: a dataset by its name, or a folder per class."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from keshin.classify import Labels
from keshin.core.content import content_of
from keshin.core.picture_files import name_of
from keshin.core.pictures import Picture
from keshin.errors import DataError
from keshin.evaluate.sets.datasets import Opened, missing, open_dataset
from keshin.evaluate.sets.labelled import Labelled

TRAIN = "train"


@dataclass(frozen=True, eq=False)
class Source:
    """Pictures to ask about, pictures to show as examples, and what the classes are called."""

    title: str
    origin: str
    """What ``open_source`` finds it by again, from any folder."""
    data: Labelled
    split: str
    examples: Labelled
    example_split: str
    """Equal to ``split`` where there is no other: then examples are not asked about."""
    labels: Labels
    """In the order of ``data.names``."""
    templates: tuple[str, ...] | None

    @property
    def names(self) -> tuple[str, ...]:
        """(k,) what people read: the first name that prompts say, or where two classes share it
        the label."""
        first = [said[0] for said in self.labels.names.values()]
        pairs = zip(self.labels.names, first, strict=True)
        return tuple(name if first.count(name) == 1 else label for label, name in pairs)


def open_source(
    name: str | os.PathLike[str], split: str = "test", *, with_examples: bool = True
) -> Source:
    """The pictures of a dataset by its name, or of people's own by their path (a path that is
    there wins over a name).

    Examples come from the split "train" where there is one; ``with_examples=False`` does not look
    for it. Raises ``DataError``.
    """
    place = Path(name) if Path(name).exists() else os.fspath(name)
    opened = open_dataset(place, split)
    data, examples, example_split = opened.labelled, opened.labelled, split
    if with_examples and _has_train(opened, split):
        examples, example_split = open_dataset(place, TRAIN).labelled, TRAIN
    if examples.names != data.names:
        raise DataError(
            f"'{opened.title}' has other classes in its split '{TRAIN}' than in '{split}', so "
            "there is no example of each. Ask without examples (--shots 0), or make them alike."
        )
    if data.targets.ndim != 1:
        raise DataError(
            f"The pictures of '{opened.title}' may show several classes each. People are compared "
            "on pictures of one class: choose another dataset."
        )
    if len(opened.labels.names) != len(data.names) or len(data.names) < 2:
        raise DataError(
            f"'{opened.title}' has {len(data.names)} classes with {len(opened.labels.names)} "
            "different names. Give each of two classes or more a name of its own."
        )
    origin = place if isinstance(place, str) else os.fspath(place.resolve())
    return Source(
        opened.title, origin, data, split, examples, example_split, opened.labels, opened.templates
    )


def _has_train(opened: Opened, split: str) -> bool:
    """Whether pictures of another split are there to be shown."""
    if split == TRAIN:
        return False
    if opened.dataset is not None:
        there = TRAIN in opened.dataset.splits
        return there and not missing(opened.dataset, opened.path, TRAIN)
    return (opened.path / TRAIN).is_dir() and (opened.path / split).is_dir()


def digest_of(picture: Picture) -> str:
    """SHA-256 of a picture's content. Raises ``DataError`` if its file cannot be read."""
    try:
        return content_of(picture).hex()
    except OSError as error:
        raise DataError(f"Cannot read {name_of(picture)!r}: {error.strerror}.") from error
