"""What every layout's writer gives: the files of a folder that the other project's program loads.

Writers are the readers' inverse and share their tables of names. Whatever a layout cannot state is
a ``CheckpointError`` that says so; nothing is written that the other program would read otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from keshin.core.config import Config
from keshin.core.foreign.keys import Array, KeyTable
from keshin.core.tensors import write_tensors
from keshin.core.tokenizer import Tokenizer
from keshin.errors import CheckpointError


@dataclass(frozen=True)
class Outward:
    """One model in another layout, still to be written."""

    table: KeyTable
    weights: str
    """The name of the file of weights."""
    sheets: Mapping[str, Any]
    """JSON files by name."""
    vocabulary: bool
    """Whether ``tokenizer.json`` stands beside them."""
    notes: tuple[str, ...] = ()
    """Sentences for the model card: what the other program does otherwise."""

    def write(self, folder: Path, tensors: Mapping[str, Array], tokenizer: Tokenizer) -> None:
        """Fill an empty folder. ``tensors`` have keshin's names; their types are kept."""
        write_tensors(folder / self.weights, self.table.export_tensors(tensors))
        if self.vocabulary:
            tokenizer.save(folder / "tokenizer.json")
        for name, sheet in self.sheets.items():
            text = msgspec.json.format(msgspec.json.encode(sheet), indent=2)
            (folder / name).write_bytes(text + b"\n")


def refuse(config: Config, layout: str, reason: str, others: str) -> CheckpointError:
    """The error for what a layout cannot state. ``others`` names the formats that can."""
    return CheckpointError(
        f"The model '{config.name}' cannot be exported to {layout}: {reason}. "
        f"Formats that can hold it: {others}."
    )
