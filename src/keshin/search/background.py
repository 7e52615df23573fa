"""The background queries of a model: captions of every kind of thing, encoded once an index."""

from __future__ import annotations

import hashlib
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from keshin.core.writing import whole
from keshin.encode.encoder import Encoder
from keshin.facts import prompts
from keshin.search.rows import Floats

NAME = "background.npz"


def background_vectors(folder: Path, encoder: Encoder) -> Floats:
    """(b, d) unit vectors; kept in the folder of the index if it can be written."""
    captions = prompts.captions()
    key = hashlib.sha256(repr((encoder.fingerprint, encoder.computed, captions)).encode())
    mark, path = key.hexdigest(), folder / NAME
    with suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile), np.load(path) as kept:
        if str(kept["mark"]) == mark:
            vectors: Floats = kept["vectors"].astype(np.float32)
            return vectors
    vectors = encoder.encode_texts(captions)
    with suppress(OSError), whole(path) as scratch, scratch.open("wb") as file:
        np.savez(file, vectors=vectors, mark=np.array(mark))
    return vectors
