"""A study as data: which pictures people are asked about, in which order, with which examples.

Paper, section 4: people name the class of each picture of Oxford-IIIT Pets, first without any
example (zero-shot), then with one picture of each class (one-shot), then with two. The people and
the pictures stay the same, and examples are never asked about.

A study is one folder: ``study.json`` (this module), ``answers/`` (``journal``) and what models said
(``model_answers``). The dataset stays where it is; each picture is known by its SHA-256.
"""

from __future__ import annotations

import datetime
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from keshin import __version__
from keshin.core.pictures import Picture, open_picture
from keshin.core.writing import whole
from keshin.errors import DataError, PictureError
from keshin.evaluate.human.source import Source, digest_of
from keshin.evaluate.sets.labelled import Labelled

IntArray = npt.NDArray[np.int64]
T = TypeVar("T")
FILE = "study.json"
ROUNDS = (0, 1, 2)
"""How many examples of each class a round may show, as in the paper."""
MOST_PEOPLE = 100
LONGEST_NAME = 60


class Question(msgspec.Struct, frozen=True):
    """A picture that is asked about."""

    row: int
    """Its place in the split."""
    target: int
    """Its class, an index into ``Study.names``."""
    digest: str


class Example(msgspec.Struct, frozen=True):
    """A picture that shows what a class looks like."""

    row: int
    digest: str


class Study(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked of whom."""

    format: Literal[1] = 1
    title: str
    dataset: str
    """A dataset's name, or an absolute folder."""
    split: str
    example_split: str
    seed: int
    order: Literal["own", "same"]
    """Whether each person gets an order of their own, or all the same."""
    rounds: tuple[int, ...]
    """Examples of each class shown in each round, rising."""
    people: tuple[str, ...]
    """Who answers; empty: whoever comes."""
    names: tuple[str, ...]
    """The k classes."""
    aliases: tuple[tuple[str, ...], ...]
    """(k,) other names of each class, by which people find it too."""
    questions: tuple[Question, ...]
    """In random order, so that a number says nothing about the class."""
    examples: tuple[tuple[Example, ...], ...]
    """(k,) examples of each class; a round shows the first of them."""
    created: str
    keshin: str = __version__

    @property
    def targets(self) -> IntArray:
        """(n,) the right classes."""
        return np.array([question.target for question in self.questions], np.int64)

    @property
    def key(self) -> str:
        """Identifies the study."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]

    def sequence(self, person: str, shots: int) -> tuple[int, ...]:
        """The order in which a person is asked the questions in a round."""
        whose = person if self.order == "own" else ""
        return tuple(_shuffled(range(len(self.questions)), self.seed, "order", whose, shots))


def plan(
    source: Source,
    dataset: str,
    *,
    questions: int = 100,
    rounds: Iterable[int] = (0,),
    seed: int = 0,
    order: Literal["own", "same"] = "own",
    people: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Study, list[str]]:
    """A new study, and a sentence about each picture that was passed over.

    Arguments:
        source: where the pictures come from.
        dataset: how ``open_source`` finds it again.
        questions: how many pictures, drawn as evenly over the classes as these allow, since the
            metric is the mean over classes; 0 asks about all.
        rounds: numbers of examples of each class, among 0, 1 and 2.
        people: their names; none: whoever comes.
        progress: called with the number of pictures that were read, and of all that will be.

    Every picture is read once, so that nobody meets one that cannot be shown. Of pictures that are
    equal, byte by byte, one is used. Raises ``DataError``.
    """
    shots = tuple(sorted(set(rounds)))
    if not shots or not set(shots) <= set(ROUNDS):
        raise DataError(f"Rounds show 0, 1 or 2 examples of each class, not {list(shots)}.")
    named = tuple(person_name(name) for name in people)
    if len({name.casefold() for name in named}) < len(named) or len(named) > MOST_PEOPLE:
        raise DataError(f"Give up to {MOST_PEOPLE} people names that differ, not {list(named)}.")
    data, notes, used = source.data, list[str](), set[str]()
    count = min(questions or len(data), len(data))
    if count == 0:
        raise DataError(f"'{source.title}' has no pictures in its split '{source.split}'.")
    wanted = count + shots[-1] * len(data.names)

    def readable(pictures: Labelled, rows: Iterable[int]) -> Iterator[tuple[int, str]]:
        for row in rows:
            digest = _looked_at(pictures.pictures[row], notes)
            if digest and digest not in used:
                used.add(digest)
                if progress is not None:
                    progress(min(len(used), wanted), wanted)
                yield row, digest

    examples = []
    for index, name in enumerate(source.names):
        rows = np.flatnonzero(source.examples.targets == index).tolist() if shots[-1] else []
        found = readable(source.examples, _shuffled(rows, seed, "examples", index))
        shown = [Example(*next(found, (-1, ""))) for _ in range(shots[-1])]
        if any(example.row < 0 for example in shown):
            raise DataError(
                f"The class '{name}' has too few pictures in the split '{source.example_split}' "
                f"to show {shots[-1]} of it. Ask for fewer shots, or add pictures."
            )
        examples.append(tuple(shown))
    turns = _in_turns(data.targets, len(data.names), seed)
    drawn = [
        Question(row, int(data.targets[row]), digest)
        for (row, digest), _ in zip(readable(data, turns), range(count), strict=False)
    ]
    if not drawn:
        raise DataError(f"No picture of '{source.title}' is left to ask about.")
    made = Study(
        title=source.title,
        dataset=dataset,
        split=source.split,
        example_split=source.example_split,
        seed=seed,
        order=order,
        rounds=shots,
        people=named,
        names=source.names,
        aliases=tuple(
            tuple(alias for alias in said if alias != name)
            for name, said in zip(source.names, source.labels.names.values(), strict=True)
        ),
        questions=tuple(_shuffled(drawn, seed, "questions")),
        examples=tuple(examples),
        created=now(),
    )
    return made, notes


def _looked_at(picture: Picture, notes: list[str]) -> str:
    """The digest of a picture that can be shown, or "" and a note."""
    try:
        digest = digest_of(picture)
        open_picture(picture)
    except (DataError, PictureError) as error:
        notes.append(str(error))
        return ""
    return digest


def _in_turns(targets: IntArray, classes: int, seed: int) -> Iterator[int]:
    """All rows, each class in turn, so that any beginning of them is balanced."""
    every = (
        _shuffled(np.flatnonzero(targets == index).tolist(), seed, "class", index)
        for index in _shuffled(range(classes), seed, "classes")
    )
    for layer in zip_longest(*every):
        yield from (row for row in layer if row is not None)


def _shuffled(items: Iterable[T], *key: object) -> list[T]:
    """The items in an order that the key alone decides, with any version of NumPy: a study that is
    resumed years later asks what is left."""
    text = "\0".join(map(str, key))

    def place(number: int) -> bytes:
        return hashlib.sha256(f"{text}\0{number}".encode()).digest()

    given = list(items)
    return [given[number] for number in sorted(range(len(given)), key=place)]


def person_name(text: str) -> str:
    """A person's name without spaces around it. Raises ``DataError`` for one that cannot be."""
    name = " ".join(text.split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise DataError(f"A person's name has 1 to {LONGEST_NAME} printable characters.")
    return name


def save_study(study: Study, folder: Path) -> None:
    """Write a new study, whole or not at all. Raises ``DataError`` if there is one already."""
    path = folder / FILE
    if path.exists():
        raise DataError(f"There is a study in {folder} already. Name another folder.")
    (folder / "answers").mkdir(parents=True, exist_ok=True)
    with whole(path) as scratch, scratch.open("wb") as stream:
        stream.write(msgspec.json.format(msgspec.json.encode(study), indent=1))
        stream.flush()
        os.fsync(stream.fileno())


def load_study(folder: Path) -> Study:
    """The study of a folder. Raises ``DataError``."""
    path = folder / FILE
    try:
        study = msgspec.json.decode(path.read_bytes(), type=Study)
    except FileNotFoundError as error:
        raise DataError(f"There is no study in {folder}: it has no {FILE}.") from error
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error
    except msgspec.DecodeError as error:
        raise DataError(f"{path} is not a study that this version reads: {error}.") from error
    classes = len(study.names)
    whole_ = len(study.aliases) == len(study.examples) == classes and study.questions
    if not whole_ or any(not 0 <= q.target < classes for q in study.questions):
        raise DataError(f"{path} contradicts itself: classes and questions do not fit.")
    return study


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
