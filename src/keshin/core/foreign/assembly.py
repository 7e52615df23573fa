"""What every layout's reader ends with: facts, tensors and tokenizer that go together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from keshin.core.config import FORMAT, Config, parse_config
from keshin.core.foreign.keys import Array, KeyTable
from keshin.core.foreign.known import Known
from keshin.core.foreign.weights import as_float32
from keshin.core.shapes import expected_shapes
from keshin.core.tokenizer import Tokenizer
from keshin.errors import CheckpointError


@dataclass(frozen=True)
class ForeignModel:
    """A model of another layout in keshin's terms."""

    config: Config
    tensors: Mapping[str, Array]
    """float32, under OpenAI's names; mapped from the file where it holds them so."""
    tokenizer: Tokenizer


@dataclass(frozen=True)
class Layout:
    """One way of laying out a model on the disk."""

    name: str
    looks_like: str
    matches: Callable[[Path], bool]
    read: Callable[[Path, Mapping[str, Any] | None], ForeignModel]


def assemble(
    known: Known,
    table: KeyTable,
    tensors: Mapping[str, Array],
    tokenizer: Tokenizer,
    sheet: Mapping[str, Any],
    score: str = "softmax",
) -> ForeignModel:
    """Check everything against everything. ``tensors`` have our names already.

    ``sheet`` holds embed_dim, vision and text as the fact sheet names them.
    """
    picture = known.require(("resize", "interpolation", "mean", "std"))
    tokens = tokenizer.facts
    facts = {
        "format": FORMAT,
        "name": known.label("name", known.path.stem if known.path.is_file() else known.path.name),
        **sheet,
        "tokenizer": {
            "cleaning": tokens.cleaning,
            "start": tokens.start,
            "end": tokens.end,
            "pad": tokens.pad,
        },
        "preprocess": {"size": sheet["vision"]["image_size"], **picture},
        "score": {"kind": score},
        "licence": known.label("licence", "unknown"),
        "source": known.label("source", f"{known.path.name}, {table.layout} layout"),
    }
    config = parse_config(msgspec.json.encode(facts), origin=f"{known.path} (as read)")
    return joined(config, table, tensors, tokenizer, origin=str(known.path))


def joined(
    config: Config,
    table: KeyTable,
    tensors: Mapping[str, Array],
    tokenizer: Tokenizer,
    *,
    origin: str,
) -> ForeignModel:
    """A model whose fact sheet is complete, checked against its tensors and tokenizer."""
    table.check_shapes(tensors, expected_shapes(config), origin=origin)
    if tokenizer.vocab_size > config.text.vocab_size:
        raise CheckpointError(
            f"{origin}: the tokenizer has {tokenizer.vocab_size} tokens, the text tower "
            f"{config.text.vocab_size}. They belong to two models."
        )
    return ForeignModel(config, as_float32(dict(tensors), origin=origin), tokenizer)
