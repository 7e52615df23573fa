"""The paper's own comparison with people (section 4, Table 2), beside which a study is shown."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

FILE = Path(__file__).parent / "human.toml"


class PaperRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row, in percent."""

    setting: str
    accuracy: float
    majority: float
    accuracy_on_guesses: float
    majority_on_guesses: float
    shots: int | None = None
    """Examples of each class that people saw; None for the model."""


class PaperTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table 2."""

    dataset: str
    title: str
    source: str
    people: int
    pictures: int
    classes: int
    rows: tuple[PaperRow, ...]


@cache
def paper_table() -> PaperTable:
    """The paper's Table 2."""
    return msgspec.toml.decode(FILE.read_bytes(), type=PaperTable)
