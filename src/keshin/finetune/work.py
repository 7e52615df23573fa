"""Folds that are done, kept on the disk until all is: what an interrupted run goes on from."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from keshin.core.writing import entries, whole
from keshin.errors import DataError

WORK, REPORT, KEY = "work", "report.json", "key.json"


@dataclass(frozen=True)
class Work:
    """A folder with a small file for each thing that is done."""

    folder: Path | None
    """None: nothing is kept."""

    def get(self, name: str, kind: Any) -> Any:
        """What was put there, or None; a damaged file counts as none."""
        if self.folder is None:
            return None
        path = self.folder / f"{name}.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except (OSError, msgspec.MsgspecError):
            return None

    def put(self, name: str, value: Any) -> None:
        if self.folder is not None:
            with whole(self.folder / f"{name}.json") as scratch:
                scratch.write_bytes(msgspec.json.encode(value))

    def state(self, name: str) -> Path | None:
        """Where a training under way keeps its state."""
        return None if self.folder is None else self.folder / f"{name}.pt"

    def clear(self) -> None:
        """All is done."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def check_free(output: Path) -> None:
    """Raise ``DataError`` unless there is nothing at ``output``, or an interrupted fine-tune."""
    if output.exists() and not output.is_dir():
        raise DataError(f"{output} is a file. Name a new folder for the result.")
    others = sorted(entry.name for entry in entries(output) if entry.name != WORK)
    if REPORT in others:
        raise DataError(
            f"{output} holds a finished fine-tune, and it is not overwritten. Name another folder."
        )
    begun = (output / WORK / KEY).is_file()
    if others and not begun:
        raise DataError(
            f"{output} holds other files ('{others[0]}'), which are not touched. Name a new folder."
        )


def open_work(output: Path, asked: Any) -> Work:
    """The work folder of a question. Raises ``DataError`` if another one was begun there."""
    key = hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()
    folder = output / WORK
    path = folder / KEY
    if path.is_file():
        try:
            before = msgspec.json.decode(path.read_bytes(), type=str)
        except msgspec.MsgspecError:
            before = ""
        if before != key:
            raise DataError(
                f"{output} holds an interrupted fine-tune of other pictures, of another model or "
                "with other settings. Name another folder, or remove this one."
            )
        return Work(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with whole(path) as scratch:
        scratch.write_bytes(msgspec.json.encode(key))
    return Work(folder)
