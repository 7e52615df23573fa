"""The background queries of a model: captions of every kind of thing, encoded once an index."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from keshin.core.scripts import in_japanese_script
from keshin.core.writing import whole
from keshin.encode.encoder import Encoder
from keshin.facts import prompts
from keshin.search.rows import Floats

NAMES = {"en": "background.npz", "ja": "background-ja.npz"}


def language_of(texts: Iterable[str]) -> str:
    """Of the captions to compare a query with: a model may read one language better."""
    return "ja" if any(map(in_japanese_script, texts)) else "en"


def background_vectors(folder: Path, encoder: Encoder, language: str) -> Floats:
    """(b, d) unit vectors; kept in the folder of the index if it can be written."""
    captions = prompts.captions(language)
    key = hashlib.sha256(repr((encoder.fingerprint, encoder.computed, captions)).encode())
    mark, path = key.hexdigest(), folder / NAMES[language]
    unreadable = OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile
    with suppress(*unreadable), np.load(path, allow_pickle=False) as kept:
        if str(kept["mark"]) == mark:
            vectors: Floats = kept["vectors"].astype(np.float32)
            return vectors
    vectors = replace(encoder, on_truncation=None).encode_texts(captions)
    with suppress(OSError), whole(path) as scratch, scratch.open("wb") as file:
        np.savez(file, vectors=vectors, mark=np.array(mark))
    return vectors
