"""Models that other projects saved, as keshin's fact sheet, tensors and tokenizer.

OpenCLIP's and transformers' folders say all that is needed; a bare file of weights in OpenAI's
layout does not, and its reader asks for the rest. To add a layout, add its module and its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keshin.core.checkpoint import save_checkpoint
from keshin.core.foreign.assembly import ForeignModel, Layout
from keshin.core.foreign.known import OPENAI_FACTS
from keshin.core.foreign.open_clip import OPEN_CLIP
from keshin.core.foreign.openai import OPENAI
from keshin.core.foreign.transformers import TRANSFORMERS
from keshin.errors import CheckpointError

__all__ = ["LAYOUTS", "OPENAI_FACTS", "ForeignModel", "Layout", "convert", "read_foreign"]

LAYOUTS: tuple[Layout, ...] = (OPEN_CLIP, TRANSFORMERS, OPENAI)
"""In the order in which they are tried: some folders hold OpenCLIP's files beside transformers'."""


def read_foreign(path: str | Path, facts: Mapping[str, Any] | None = None) -> ForeignModel:
    """Read a model of another layout. ``facts`` state what its files do not.

    Raises ``CheckpointError`` if no layout fits, if a fact is missing or contradicted, or if names
    and shapes of the tensors are not what the facts call for.
    """
    path = Path(path)
    for layout in LAYOUTS:
        if layout.matches(path):
            return layout.read(path, facts)
    what = "is none of the layouts that keshin reads" if path.exists() else "does not exist"
    tried = "; ".join(f"{layout.name}: {layout.looks_like}" for layout in LAYOUTS)
    raise CheckpointError(f"{path} {what} ({tried}).")


def convert(
    path: str | Path, directory: str | Path, facts: Mapping[str, Any] | None = None
) -> Path:
    """Write a model of another layout as a keshin checkpoint, and return its directory."""
    model = read_foreign(path, facts)
    return save_checkpoint(directory, model.config, model.tensors, model.tokenizer)
