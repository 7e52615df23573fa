"""Tokenizers as other programs load them: what stands beside ``tokenizer.json``."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from keshin.core.config import Config, TextTransformer
from keshin.core.tokenizer import SUFFIX, Tokenizer
from keshin.errors import CheckpointError

SETTINGS = "tokenizer_config.json"


@functools.cache
def _openai() -> Any:
    return _model(Tokenizer.clip())


def _model(tokenizer: Tokenizer) -> Any:
    return msgspec.json.decode(tokenizer.backend.to_str())["model"]


def is_openai(tokenizer: Tokenizer) -> bool:
    """Whether this is OpenAI's tokenizer, which every program has: pieces, merges and rules."""
    facts = tokenizer.facts
    if (facts.cleaning, facts.start, facts.end, facts.pad) != ("clip", 49406, 49407, 0):
        return False
    mine, theirs = _model(tokenizer), _openai()
    return all(
        _plain(mine.get(part)) == _plain(theirs[part])
        for part in ("vocab", "merges", "end_of_word_suffix")
    )


def _plain(part: Any) -> Any:
    """Merges are pairs in new files and "a b" in old ones."""
    if isinstance(part, list):
        return [tuple(row.split(" ")) if isinstance(row, str) else tuple(row) for row in part]
    return part


def is_of_clips_kind(tokenizer: Tokenizer) -> bool:
    """Byte pairs that end words as OpenAI's do, though perhaps with another vocabulary."""
    return tokenizer.facts.cleaning == "clip" and _model(tokenizer).get("end_of_word_suffix") == (
        SUFFIX
    )


def tokenizer_settings(config: Config, tokenizer: Tokenizer, kind: str) -> dict[str, Any]:
    """``tokenizer_config.json`` of transformers; ``kind`` is the class that it names.

    Where padding cannot change a feature a row is filled with the end token, as CLIP's own files
    do: the token that keshin fills with may be an ordinary one ("!" in OpenAI's vocabulary), and
    a token named here is cut out of texts as a special one. Raises ``CheckpointError`` if padding
    is seen and its token is no special one.
    """
    facts = tokenizer.facts
    free = isinstance(config.text, TextTransformer) and config.text.trims
    pad = facts.end if free else facts.pad  # others see the padding, or know it by its id
    special = {
        token["id"]
        for token in msgspec.json.decode(tokenizer.backend.to_str())["added_tokens"]
        if token["special"]
    }
    if pad not in special:
        raise CheckpointError(
            f"The tokenizer of '{config.name}' fills rows with the token {pad}, which its "
            "tokenizer.json does not list as a special one, so that other programs would cut it "
            "out of texts. Formats that can hold this model: onnx, keshin."
        )
    unknown = _model(tokenizer).get("unk_token") or tokenizer.backend.id_to_token(facts.end)
    settings = {
        "tokenizer_class": kind,
        "model_max_length": tokenizer.context_length,
        "padding_side": "right",
        "clean_up_tokenization_spaces": False,
        "eos_token": tokenizer.backend.id_to_token(facts.end),
        "pad_token": tokenizer.backend.id_to_token(pad),
        "unk_token": "<unk>" if tokenizer.unknown is not None else unknown,
    }
    if facts.start is not None:
        settings["bos_token"] = tokenizer.backend.id_to_token(facts.start)
    return settings
