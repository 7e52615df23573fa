"""What people answered, kept at once: a file of JSON lines for each person, only ever added to.

An answer counts when its line is on the disk (``fsync``), and only then is it acknowledged. A crash
can leave a last line that is not whole; it was never acknowledged, so it is cut off, and the page
sends it again. One process at a time may write to a study: the system's lock on ``lock`` says so,
which ends with the process however it ends.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TypeAlias

import msgspec

from keshin.errors import DataError
from keshin.evaluate.human.sitting import Event, Joined, Sitting
from keshin.evaluate.human.study import MOST_PEOPLE, Study, now, person_name

FOLDER, SUFFIX, LOCK = "answers", ".jsonl", "lock"
_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
Found: TypeAlias = tuple[Sitting, int]


class Stale(DataError):
    """What a page sent belongs to a state that is past: it has to look again."""


class Journal:
    """One person's file, open for writing."""

    def __init__(self, path: Path, sitting: Sitting, size: int) -> None:
        self.path, self.sitting = path, sitting
        self._lock, self._size, self._broken = threading.Lock(), size, False
        new = not path.exists()
        self._file: IO[bytes] = path.open("ab", buffering=0)
        self._file.truncate(size)  # a line that a crash cut off
        if new:
            _flush_folder(path.parent)

    def record(self, event: Event, after: int) -> None:
        """Write one event, if ``after`` events came before it. It is on the disk on return.

        Raises ``Stale`` if others came, and ``DataError`` if the event cannot follow them or
        cannot be written.
        """
        with self._lock:
            if after != self.sitting.revision:
                raise Stale(f"{self.sitting.person} has gone on elsewhere. Look again.")
            self.sitting.check(event)
            self._write(_ENCODER.encode(event) + b"\n")
            self.sitting.apply(event)

    def _write(self, line: bytes) -> None:
        if self._broken:
            raise DataError("A write to the disk failed before. Start the server again.")
        try:
            if self._file.write(line) != len(line):
                raise OSError("the disk is full")
            os.fsync(self._file.fileno())
        except OSError as error:
            self._broken = True  # what is on the disk is not known: only reading it again tells
            with suppress(OSError):
                self._file.truncate(self._size)
            why = error.strerror or str(error)
            raise DataError(f"The answer could not be kept: {why}. Make room, restart.") from error
        self._size += len(line)

    def close(self) -> None:
        self._file.close()


class Answers:
    """All people's answers of a study, for the one process that may write; ``open_answers``."""

    def __init__(self, folder: Path, study: Study) -> None:
        self.study, self._folder, self._lock = study, folder / FOLDER, threading.Lock()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._journals: list[Journal] = []
        for path, (sitting, size) in _found(self._folder, study):
            self._journals.append(Journal(path, sitting, size))
        for name in study.people:
            if self._number(name) is None:
                self._add(name)

    @property
    def sittings(self) -> list[Sitting]:
        """Everybody who has joined, by number."""
        return [journal.sitting for journal in list(self._journals)]

    def journal(self, number: int) -> Journal:
        """Raises ``DataError`` for a number that nobody has."""
        if not 0 <= number < len(self._journals):
            raise DataError(f"Nobody has the number {number}.")
        return self._journals[number]

    def join(self, text: str) -> int:
        """The number of a person, new or known. Raises ``DataError`` where names are given."""
        name = person_name(text)
        with self._lock:
            number = self._number(name)
            if number is not None:
                return number
            if self.study.people:
                raise DataError(f"This study is for {', '.join(self.study.people)}.")
            if len(self._journals) >= MOST_PEOPLE:
                raise DataError(f"{MOST_PEOPLE} people have joined. Start another study.")
            return self._add(name)

    def close(self) -> None:
        for journal in self._journals:
            journal.close()

    def _number(self, name: str) -> int | None:
        known = [journal.sitting.person.casefold() for journal in self._journals]
        return known.index(name.casefold()) if name.casefold() in known else None

    def _add(self, name: str) -> int:
        number = len(self._journals)
        taken = max((int(journal.path.stem) for journal in self._journals), default=0)
        path = self._folder / f"{taken + 1:03d}{SUFFIX}"
        journal = Journal(path, Sitting(self.study, name), 0)
        journal.record(Joined(person=name, at=now()), 0)
        self._journals.append(journal)
        return number


@contextmanager
def open_answers(folder: Path, study: Study) -> Iterator[Answers]:
    """The answers of a study, to add to. Raises ``DataError`` if another process does so."""
    with _only_here(folder):
        answers = Answers(folder, study)
        try:
            yield answers
        finally:
            answers.close()


def read_answers(folder: Path, study: Study) -> list[Sitting]:
    """What people answered so far, also while a server adds to it. Raises ``DataError``."""
    return [sitting for _, (sitting, _) in _found(folder / FOLDER, study)]


def _found(folder: Path, study: Study) -> Iterator[tuple[Path, Found]]:
    """Everybody's file with what it says, by number. A file without a whole line is passed over:
    its person was never told of having joined."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        found = _read(path, study) if path.stem.isdecimal() else None
        if found is not None:
            yield path, found


def _read(path: Path, study: Study) -> Found | None:
    """A person's events from a file, and the bytes that they take."""
    content = path.read_bytes()
    content = content[: content.rfind(b"\n") + 1]
    sitting: Sitting | None = None
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            event = _DECODER.decode(line)
            if sitting is None:
                sitting = Sitting(study, event.person if isinstance(event, Joined) else "")
            sitting.check(event)
        except (msgspec.DecodeError, DataError) as error:
            raise DataError(
                f"{path}, line {number} is not what this study wrote: {error} Take the file out "
                "of the folder to go on without this person."
            ) from error
        sitting.apply(event)
    return (sitting, len(content)) if sitting is not None else None


@contextmanager
def _only_here(folder: Path) -> Iterator[None]:
    path = folder / LOCK
    try:
        stream = path.open("a+b")
    except OSError as error:
        raise DataError(f"Cannot write to {folder}: {error.strerror}.") from error
    with stream:
        try:
            _take(stream)
        except OSError as error:
            raise DataError(
                f"The study in {folder} is open in another process. Stop that one, or use it: "
                "several people can answer on one page at the same time."
            ) from error
        yield


def _take(stream: IO[bytes]) -> None:
    """The system's lock of a file, without waiting; it ends when the file is closed."""
    if sys.platform == "win32":
        import msvcrt

        stream.seek(0)
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _flush_folder(folder: Path) -> None:
    """The name of a new file outlasts a crash too, where the system can say so of a folder."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
