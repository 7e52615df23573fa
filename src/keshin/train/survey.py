"""What there is to know of each pair before training, found by many processes.

A pair becomes a few numbers (its sizes, the hashes of its picture and captions, their lengths), so
that memory is some 40 bytes a pair and 13 a caption, whatever the pictures weigh.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from keshin.core.checkpoint import load_checkpoint
from keshin.core.pictures import open_picture
from keshin.core.scripts import SCRIPTS, script_of
from keshin.core.tokenizer import Tokenizer
from keshin.errors import DataError, PictureError
from keshin.train.pairs import Pair, Pairs, open_source
from keshin.train.parallel import in_order
from keshin.train.recipe import Source
from keshin.train.shards import BrokenShard

SCRIPT_NAMES = (*SCRIPTS, "Latin or other", "no letters")
CHUNK = 64
"""Pairs that a process takes at once."""
LISTED = 10_000
"""Broken pictures whose reasons are kept; the others are counted."""


@dataclass(frozen=True)
class Findings:
    """Arrays over n pairs and over their m captions, and why some cannot be used."""

    sizes: npt.NDArray[np.int32]
    """(n, 2) width and height; 0 where the picture cannot be read."""
    pictures: npt.NDArray[np.uint64]
    """(n,) hashes of the pictures' files; 0 where there is none."""
    counts: npt.NDArray[np.int32]
    """(n,) captions of each pair."""
    captions: npt.NDArray[np.uint64]
    """(m,) hashes of the captions."""
    tokens: npt.NDArray[np.int32]
    """(m,) tokens, with start and end."""
    scripts: npt.NDArray[np.uint8]
    """(m,) places in ``SCRIPT_NAMES``."""
    broken: tuple[str, ...]
    """Sentences on pictures that cannot be read, the first ``LISTED``."""
    shards: tuple[str, ...] = ()
    """Sentences on shards that cannot be read; their samples are not among the n, or are broken."""


@dataclass(frozen=True)
class Task:
    """Some pairs of a source, for one process."""

    source: Source
    rows: tuple[int, ...]
    model: str | None
    """Folder of a checkpoint whose tokenizer counts; ``None``: CLIP's."""


def survey(
    source: Source,
    *,
    model: Path | None = None,
    sample: int | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Findings, npt.NDArray[np.int64]]:
    """What there is to know of the pairs of a source, and which pairs (n,) were looked at.

    ``sample``: look at that many pairs, evenly drawn, and not at all. ``progress`` is told how many
    of how many are done. Raises ``DataError`` if the source itself cannot be read.
    """
    pairs = open_source(source, whole=False, tolerant=True)
    total = len(pairs)
    count = min(sample or total, total)
    rows = np.arange(count, dtype=np.int64) * total // count
    chunks = [rows[start : start + CHUNK] for start in range(0, count, CHUNK)]
    folder = None if model is None else str(model)
    tasks = (Task(source, tuple(map(int, chunk)), folder) for chunk in chunks)
    parts, done, kept = list[Findings](), 0, 0
    for part in in_order(look_at, tasks, min(workers, len(chunks))):
        done += len(part.counts)
        progress(done, count)
        parts.append(part if kept < LISTED else _without_reasons(part))
        kept += len(part.broken)
    return _joined(parts, getattr(pairs, "broken", ())), rows


def look_at(task: Task) -> Findings:
    """The findings of some pairs."""
    pairs = _opened(task.source)
    tokenizer = _tokenizer(task.model)
    sizes, pictures, counts, broken = [], [], [], []
    shards = dict[str, None]()
    captions, tokens, scripts = list[int](), list[int](), list[int]()
    for row in task.rows:
        size, digest = (0, 0), 0
        found: tuple[str, ...] = ()
        try:
            pair = pairs[row]
            found = pair.captions
            data = picture_bytes(pair)
            digest = hash_of(data)
            size = open_picture(data).size
        except BrokenShard as error:
            shards[str(error)] = None  # once, not for each of its samples
        except (PictureError, DataError, OSError) as error:
            broken.append(f"{pairs.name(row)}: {error}")
        sizes.append(size)
        pictures.append(digest)
        counts.append(len(found))
        captions += [hash_of(text.encode("utf-8", "surrogatepass")) for text in found]
        tokens += map(int, _lengths(tokenizer, found))
        scripts += map(_script, found)
    return Findings(
        np.array(sizes, np.int32).reshape(-1, 2),
        np.array(pictures, np.uint64),
        np.array(counts, np.int32),
        np.array(captions, np.uint64),
        np.array(tokens, np.int32),
        np.array(scripts, np.uint8),
        tuple(broken),
        tuple(shards),
    )


def picture_bytes(pair: Pair) -> bytes:
    """The picture's file. Raises ``DataError``, ``OSError``."""
    data = pair.picture if isinstance(pair.picture, bytes) else pair.picture.read_bytes()
    if not data:
        raise DataError("it has no picture")
    return data


def hash_of(data: bytes) -> int:
    """64 bits of BLAKE2b: among 400 million, two that differ have the same with a chance of 0.4 %.
    Never 0."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") or 1


def _lengths(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[int]:
    """Tokens of each text in full, with start and end."""
    more = 2 if tokenizer.facts.start is not None else 1
    return (len(tokenizer.encode(text)) + more for text in texts)


def _script(text: str) -> int:
    name = script_of(text)
    if name is None:
        name = SCRIPT_NAMES[-2] if any(map(str.isalpha, text)) else SCRIPT_NAMES[-1]
    return SCRIPT_NAMES.index(name)


@lru_cache(maxsize=2)
def _opened(source: Source) -> Pairs:
    return open_source(source, whole=False, tolerant=True)


@cache
def _tokenizer(model: str | None) -> Tokenizer:
    return tokenizer_of(Path(model) if model else None)


def tokenizer_of(model: Path | None) -> Tokenizer:
    """The tokenizer of a checkpoint's folder; of ``None`` CLIP's."""
    return Tokenizer.clip() if model is None else load_checkpoint(model).tokenizer()


def _without_reasons(part: Findings) -> Findings:
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    return Findings(**values | {"broken": ()})


def _joined(parts: Sequence[Findings], shards: Iterable[str]) -> Findings:
    def all_of(name: str) -> npt.NDArray[np.generic]:
        return np.concatenate([getattr(part, name) for part in parts])

    arrays = {field.name: all_of(field.name) for field in fields(Findings)[:-2]}
    broken = tuple(reason for part in parts for reason in part.broken)[:LISTED]
    unread = dict.fromkeys([*shards, *(reason for part in parts for reason in part.shards)])
    return Findings(**arrays, broken=broken, shards=tuple(unread))  # type: ignore[arg-type]
