"""The tokenizers of models that do not use OpenAI's: ``tokenizer.json`` with what stands beside it.

The file says how a text becomes tokens and which special tokens surround them; the padding is said
by it, by ``tokenizer_config.json`` or by ``special_tokens_map.json``. A SentencePiece file alone
is converted where that can be exact. How a text is cleaned first, the caller knows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers

from keshin.core.cleaning import CleaningName
from keshin.core.config import TokenizerFacts
from keshin.core.foreign.sentencepiece import read_sentencepiece
from keshin.core.foreign.weights import first_of, read_json
from keshin.core.tokenizer import Tokenizer, read_backend
from keshin.errors import CheckpointError

FILE = "tokenizer.json"
VOCABULARIES = (FILE, "spiece.model", "tokenizer.model", "sentencepiece.model")
SETTINGS = "tokenizer_config.json"
SPECIAL = "special_tokens_map.json"
PROBE = "a"


def read_vocabulary(path: Path, cleaning: CleaningName, context_length: int) -> Tokenizer:
    """The tokenizer of a folder. Raises ``CheckpointError`` if its files leave something open."""
    file = first_of(path, VOCABULARIES)
    if file is None:
        raise CheckpointError(
            f"{path} has no {FILE}. Save the tokenizer there (save_pretrained of a fast tokenizer "
            "writes it), since this model does not use OpenAI's."
        )
    settings = read_settings(path)
    if settings.get("padding_side", "right") != "right":
        raise CheckpointError(
            f"{path / SETTINGS} sets 'padding_side' to {settings['padding_side']!r}. keshin fills "
            "rows at their right, as these models were trained."
        )
    if file.name == FILE:
        backend = read_backend(file)
        padding = backend.padding or {}
        start, end = _surroundings(backend, file)
        pad = padding.get("pad_id", _id_of(path, settings, "pad_token", backend))
    else:
        backend, start, end = read_sentencepiece(file)
        pad = _id_of(path, settings, "pad_token", backend)
    if pad is None:
        raise CheckpointError(
            f'{path} does not say which token fills a row. Add "pad_token" to {SETTINGS}.'
        )
    facts = TokenizerFacts(cleaning=cleaning, start=start, end=end, pad=pad)
    return Tokenizer(backend, facts, context_length)


def read_settings(path: Path) -> dict[str, Any]:
    """``tokenizer_config.json``, or nothing."""
    found = first_of(path, (SETTINGS,))
    return {} if found is None else read_json(found)


def _surroundings(backend: tokenizers.Tokenizer, file: Path) -> tuple[int | None, int]:
    """The start and the end token that the file puts around a text."""
    backend.no_padding()
    backend.no_truncation()
    plain = backend.encode(PROBE, add_special_tokens=False).ids
    whole = backend.encode(PROBE, add_special_tokens=True).ids
    for before in range(len(whole) - len(plain) + 1):
        start, end = whole[:before], whole[before + len(plain) :]
        if whole[before : before + len(plain)] == plain and len(start) <= 1 and len(end) == 1:
            return (start[0] if start else None), end[0]
    raise CheckpointError(
        f"{file} makes {whole} of the tokens {plain}. keshin needs one token at the end of a text "
        "and at most one at its start; save the file with its post-processor (add_eos_token)."
    )


def _id_of(
    path: Path, settings: dict[str, Any], name: str, backend: tokenizers.Tokenizer
) -> int | None:
    """The id of a special token that a file beside the vocabulary names."""
    others = first_of(path, (SPECIAL,))
    for source in (settings, {} if others is None else read_json(others)):
        token = source.get(name)
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str):
            found: int | None = backend.token_to_id(token)
            return found
    return None
