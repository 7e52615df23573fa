"""Class weights that were computed before, kept in the cache folder.

An entry is found by everything that the weights and the warnings depend on: the checkpoint, the
precision of its towers, labels, aliases, templates, background prompts, and keshin's version. So
nothing has to be thrown away when one of them changes, and a second run with the same labels needs
neither text tower nor tokenizer. The folder keeps 256 MB, a hundred classifiers of ImageNet.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np

from keshin import __version__
from keshin.classify.checks import LabelWarning
from keshin.classify.labels import Labels
from keshin.core.cache import read_entry, write_entry
from keshin.core.kept import CLASSIFIERS
from keshin.encode.encoder import Encoder, FloatArray

CALCULATION = 1
"""Raise it when the same labels get other weights or warnings within one version."""
AT_MOST = 1 << 28
STORED = np.dtype("<f4")


class Weighed(msgspec.Struct, frozen=True):
    """What is computed from labels alone."""

    weights: FloatArray
    """(k, d), unit length."""
    background: FloatArray
    """(m, d), unit length."""
    warnings: tuple[LabelWarning, ...]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same in a file."""

    key: str
    weights: bytes
    background: bytes
    warnings: tuple[LabelWarning, ...]


def key_of(
    encoder: Encoder, labels: Labels, templates: tuple[str, ...] | None, background: tuple[str, ...]
) -> str:
    """Stands for all that the weights depend on; "" where the encoder cannot be recognised."""
    mark = encoder.mark
    if not mark:
        return ""
    names = list(labels.names.items())
    content = (
        (CALCULATION, __version__, mark, encoder.computed),
        (names, labels.repeated, templates, background),
    )
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()


def stored(key: str, counts: tuple[int, int], width: int) -> Weighed | None:
    """The entry of a key, with ``counts`` rows of weights and background, or None."""
    path = _path(key)
    data = read_entry(path) if path else None
    if data is None:
        return None
    try:
        entry = msgspec.msgpack.decode(data, type=Entry)
    except msgspec.MsgspecError:
        return None
    sizes = [STORED.itemsize * width * count for count in counts]
    if entry.key != key or [len(entry.weights), len(entry.background)] != sizes:
        return None
    weights, background = (
        np.frombuffer(array, STORED).reshape(count, width).astype(np.float32)
        for array, count in zip((entry.weights, entry.background), counts, strict=True)
    )
    return Weighed(weights, background, entry.warnings)


def store(key: str, weighed: Weighed) -> None:
    """Keep an entry, where that is possible."""
    if path := _path(key):
        weights = weighed.weights.astype(STORED).tobytes()
        background = weighed.background.astype(STORED).tobytes()
        entry = Entry(key, weights, background, weighed.warnings)
        write_entry(path, msgspec.msgpack.encode(entry), at_most=AT_MOST)


def _path(key: str) -> Path | None:
    if not key:
        return None
    try:
        return CLASSIFIERS.folder / key
    except RuntimeError:  # there is no home folder
        return None
