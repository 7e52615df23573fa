"""SentencePiece's own ``.model`` files, as a backend of ``tokenizers``.

Only the kind "unigram" is read: its pieces, scores and character map are all there is to it. (The
kind "bpe" would need merges, which the file does not hold.) The file is a protocol buffer; the few
fields needed are taken from its bytes. Source: sentencepiece_model.proto of google/sentencepiece.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from keshin.errors import CheckpointError

LARGEST = 50_000_000  # bytes; a vocabulary of 256,000 pieces has about five million
PIECES, TRAINER, NORMALIZER = 1, 2, 3  # fields of ModelProto
TEXT, SCORE, KIND = 1, 2, 3  # of a piece
MODEL_TYPE, BYTE_FALLBACK, UNKNOWN_ID, END_ID = 3, 35, 40, 42  # of the trainer's settings
CHARACTER_MAP, DUMMY_PREFIX, EXTRA_SPACES, ESCAPE = 2, 3, 4, 5  # of the normaliser's
UNIGRAM = 1
CONTROL, UNKNOWN = 3, 2  # kinds of a piece
SPACE = "\u2581"
Value = int | bytes


def read_sentencepiece(path: Path) -> tuple[tokenizers.Tokenizer, int | None, int]:
    """The backend, and the ids that begin and end a text (T5's: nothing, and ``</s>``).

    Raises ``CheckpointError`` for damaged files and for kinds that cannot be converted exactly.
    """
    data = path.read_bytes() if path.stat().st_size <= LARGEST else b""
    try:
        fields = list(_fields(data))
        trainer = _one(fields, TRAINER)
        normalizer = _one(fields, NORMALIZER)
        pieces = [_piece(value) for number, value in fields if number == PIECES]
    except (LookupError, struct.error, UnicodeDecodeError, TypeError) as error:
        raise CheckpointError(
            f"{path} is not a SentencePiece model, or is damaged ({error}). Fetch it again."
        ) from error
    supported = (
        trainer.get(MODEL_TYPE, UNIGRAM) == UNIGRAM
        and not trainer.get(BYTE_FALLBACK, 0)
        and all(normalizer.get(field, 1) == 1 for field in (DUMMY_PREFIX, EXTRA_SPACES, ESCAPE))
    )
    if not pieces or not supported:
        raise CheckpointError(
            f"{path} is a SentencePiece model of a kind that keshin cannot convert exactly (it "
            "converts 'unigram' with the usual settings). Put its tokenizer.json beside it: "
            "save_pretrained of the fast tokenizer in transformers writes it."
        )
    try:
        backend = _backend(pieces, int(trainer.get(UNKNOWN_ID, 0)), normalizer.get(CHARACTER_MAP))
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(
            f"{path} holds pieces or a character map that 'tokenizers' cannot use ({error}). "
            "Fetch it again."
        ) from error
    return backend, None, int(trainer.get(END_ID, 2))


def _backend(
    pieces: list[tuple[str, float, int]], unknown: int, character_map: Value | None
) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.Unigram([piece[:2] for piece in pieces], unknown, False))
    steps: list[normalizers.Normalizer] = [normalizers.Replace(Regex(" {2,}"), " ")]
    if character_map:
        steps.insert(0, normalizers.Precompiled(_as_bytes(character_map)))
    backend.normalizer = normalizers.Sequence(steps)
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    backend.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    special = [text for text, _, kind in pieces if kind in (CONTROL, UNKNOWN)]
    backend.add_special_tokens([AddedToken(text, normalized=False) for text in special])
    return backend


def _piece(value: Value) -> tuple[str, float, int]:
    found = dict(_fields(_as_bytes(value)))
    score = struct.unpack("<f", _as_bytes(found.get(SCORE, b"\0\0\0\0")))[0]
    return _as_bytes(found[TEXT]).decode(), score, int(found.get(KIND, 1))


def _one(fields: list[tuple[int, Value]], number: int) -> dict[int, Value]:
    parts = [value for found, value in fields if found == number]
    return dict(_fields(_as_bytes(parts[-1]))) if parts else {}


def _as_bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("a number where text was expected")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """(number, value) of each field of a message; numbers of fixed width as their bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield number, value
            continue
        if kind == 2:
            length, place = _varint(data, place)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise IndexError(f"field {number} has the unknown kind {kind}")
        if place + length > len(data):
            raise IndexError(f"field {number} is cut short")
        yield number, data[place : place + length]
        place += length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise IndexError("a number has more than ten bytes")
