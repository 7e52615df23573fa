"""Models that other projects saved, as keshin's fact sheet, tensors and tokenizer.

OpenCLIP's and transformers' folders say all that is needed; a bare file of weights in OpenAI's
layout does not. What files do not say is stated by people (``core/stated.py``) or stands in the
table of releases (``facts/releases.toml``); otherwise an error names all of it. To add a layout,
add its module and its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keshin.core.checkpoint import save_checkpoint
from keshin.core.foreign.assembly import ForeignModel, Layout
from keshin.core.foreign.known import OPENAI_FACTS, MissingFacts
from keshin.core.foreign.open_clip import OPEN_CLIP
from keshin.core.foreign.openai import OPENAI
from keshin.core.foreign.transformers import TRANSFORMERS
from keshin.core.stated import LIKE, fill, gather
from keshin.errors import CheckpointError
from keshin.facts import releases
from keshin.facts.releases import Release

__all__ = [
    "LAYOUTS",
    "OPENAI_FACTS",
    "ForeignModel",
    "Layout",
    "MissingFacts",
    "convert",
    "read_foreign",
]

LAYOUTS: tuple[Layout, ...] = (OPEN_CLIP, TRANSFORMERS, OPENAI)
"""In the order in which they are tried: some folders hold OpenCLIP's files beside transformers'."""


def read_foreign(
    path: str | Path,
    facts: Mapping[str, Any] | str | None = None,
    *,
    release: Release | None = None,
) -> ForeignModel:
    """Read a model of another layout.

    Arguments:
        facts: what its files do not state, or the name of a release whose facts they are.
        release: the release that this is; it fills what neither files nor facts state.

    Raises ``CheckpointError`` if no layout fits, if a fact is missing (``MissingFacts``) or
    contradicted, or if names and shapes of the tensors are not what the facts call for.
    """
    path = Path(path)
    stated = gather(path, facts)
    like = stated.pop(LIKE, None)
    if like is not None:
        release = releases.get(like)
    for layout in LAYOUTS:
        if layout.matches(path):
            try:
                return layout.read(path, stated)
            except MissingFacts as missing:
                found = fill(path, missing.names, release)
                if found is None:
                    raise
                return layout.read(path, {**stated, **found})
    what = "is none of the layouts that keshin reads" if path.exists() else "does not exist"
    tried = "; ".join(f"{layout.name}: {layout.looks_like}" for layout in LAYOUTS)
    raise CheckpointError(f"{path} {what} ({tried}).")


def convert(
    path: str | Path,
    directory: str | Path,
    facts: Mapping[str, Any] | str | None = None,
    *,
    release: Release | None = None,
) -> Path:
    """Write a model of another layout as a keshin checkpoint, and return its directory."""
    model = read_foreign(path, facts, release=release)
    return save_checkpoint(directory, model.config, model.tensors, model.tokenizer)
