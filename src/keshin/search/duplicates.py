"""Pictures that are there more than once: the same file, nearly the same picture, one of a burst.

- ``same``: equal content (SHA-256).
- ``near``: among the ``NEIGHBOURS`` nearest of each picture by the model's vectors, which picks
  what is worth comparing with any model, those whose pixels agree (``signatures``). The threshold
  does not depend on the model; benchmarks/duplicates.py has its rate of false alarms.
- ``burst``: taken one after the other within some seconds (EXIF), and nearer to each other than all
  but one of a hundred pairs of pictures of this library.

Pairs are joined to groups: two pictures are in one group if a chain of pairs leads from one to the
other. The first of a group is the one to keep: most pixels, then most bytes, then the oldest.
"""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np

from keshin.core.writing import whole
from keshin.encode.pipeline import available_cores
from keshin.errors import PictureError
from keshin.search.index import PictureIndex
from keshin.search.rows import Ints
from keshin.search.signatures import NEAR, Signatures, signature, similarity
from keshin.search.table import Shown

NEIGHBOURS = 8
BURST = 10.0
"""Seconds between two pictures of a burst."""
ALIKE = 99
"""Percentile of the cosines of random pairs that two pictures of a burst exceed."""
PAIRS = 20_000
KEPT = "signatures.npz"
Pair = tuple[int, int]


@dataclass(frozen=True)
class Copy:
    """A file of a group."""

    path: str
    bytes: int
    width: int
    height: int
    taken: str
    """The EXIF time; "" is unknown."""


@dataclass(frozen=True)
class Group:
    """Files that show one picture, or one moment; the first is the one to keep."""

    kind: str
    """``same``, ``near`` or ``burst``: the loosest of the links that hold it together."""
    files: tuple[Copy, ...]


def duplicates(
    index: PictureIndex,
    *,
    near: bool = True,
    burst: float | None = BURST,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Group]:
    """The groups in an index as it is, the largest first.

    Arguments: ``near``: also what is not the same file; ``burst``: seconds, None for no bursts;
    ``progress``: called with a stage, how many are done and how many there are.
    """
    ids = _ids(index)
    files = index.files_of(ids)
    links: dict[str, set[Pair]] = {"near": set(), "burst": set()}
    if near and len(files) > 1:
        links["near"] = set(_near(index, files, progress or (lambda *_: None)))
    if burst is not None and len(files) > 1:
        links["burst"] = set(_bursts(index, files, burst))
    return _groups(index, files, links)


def _ids(index: PictureIndex) -> Ints:
    snapshot = index.snapshot
    keep = np.ones(len(snapshot.rows), bool)
    keep[snapshot.gone] = False
    return snapshot.rows.ids[keep]


def _near(
    index: PictureIndex, files: dict[int, list[Shown]], progress: Callable[[str, int, int], None]
) -> Iterable[Pair]:
    known = _signatures(index, files, progress)
    ids = np.array(sorted(known), np.int64)
    rows, worth = index.snapshot.rows, set()
    for start in range(0, len(ids), 256):
        some = ids[start : start + 256]
        vectors = rows.vectors[rows.places(some)].astype(np.float32)
        for one, (others, _) in zip(some, index.nearest(vectors, NEIGHBOURS + 1), strict=True):
            worth |= {tuple(sorted((int(one), int(other)))) for other in others if other != one}
        progress("neighbours", start + len(some), len(ids))
    pairs = sorted(pair for pair in worth if pair[0] in known and pair[1] in known)
    for place, (one, other) in enumerate(pairs):
        if similarity(known[one], known[other]) >= NEAR:
            yield one, other
        if place % 1000 == 0:
            progress("compared", place, len(pairs))


def _signatures(
    index: PictureIndex, files: dict[int, list[Shown]], progress: Callable[[str, int, int], None]
) -> dict[int, Signatures]:
    """By vector, since equal contents have equal pixels; those made before are kept."""
    path = index.folder / KEPT
    known: dict[int, Signatures] = {}
    unreadable = OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile
    mark = index.facts().get("made", "")
    with suppress(*unreadable), np.load(path, allow_pickle=False) as kept:
        if str(kept["mark"]) == mark:
            known = dict(zip(kept["ids"].tolist(), kept["signatures"], strict=True))
    missing = [number for number in files if number not in known]

    def read(number: int) -> Signatures | None:
        try:
            return signature(index.path_of(files[number][0]))
        except PictureError:  # gone or damaged since: the next update says so
            return None

    with ThreadPoolExecutor(available_cores(), "keshin-signatures") as pool:
        for done, (number, made) in enumerate(zip(missing, pool.map(read, missing), strict=True)):
            if made is not None:
                known[number] = made
            progress("read", done + 1, len(missing))
    known = {number: known[number] for number in files if number in known}
    if missing and known:
        with suppress(OSError), whole(path) as scratch, scratch.open("wb") as file:
            ids, values = np.array(list(known)), np.stack(list(known.values()))
            np.savez(file, ids=ids, signatures=values, mark=np.array(mark))
    return known


def _bursts(index: PictureIndex, files: dict[int, list[Shown]], seconds: float) -> Iterable[Pair]:
    timed = sorted(
        (datetime.fromisoformat(shown[0].taken), number)
        for number, shown in files.items()
        if shown[0].taken
    )
    rows = index.snapshot.rows
    sample, dice = index.snapshot.sample, np.random.default_rng(0)
    one, other = dice.integers(len(sample), size=(2, PAIRS))
    different = one != other
    alike = np.percentile((sample[one] * sample[other]).sum(axis=1)[different], ALIKE)
    for (before, first), (after, second) in pairwise(timed):
        if (after - before).total_seconds() <= seconds:
            vectors = rows.vectors[rows.places(np.sort([first, second]))].astype(np.float32)
            if vectors[0] @ vectors[1] >= alike:
                yield first, second


def _groups(
    index: PictureIndex, files: dict[int, list[Shown]], links: dict[str, set[Pair]]
) -> list[Group]:
    parent = {number: number for number in files}

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for pairs in links.values():
        for one, other in sorted(pairs):
            parent[root(one)] = root(other)
    kinds: dict[int, str] = {}
    for kind in ("near", "burst"):  # the looser one last
        kinds |= {root(one): kind for one, _ in links[kind]}
    members: dict[int, list[Shown]] = defaultdict(list)
    for number, shown in files.items():
        members[root(number)] += shown
    found = [
        Group(kinds.get(number, "same"), _ordered(index, shown))
        for number, shown in members.items()
        if len(shown) > 1
    ]
    return sorted(found, key=lambda group: (-len(group.files), group.files[0].path))


def _ordered(index: PictureIndex, shown: list[Shown]) -> tuple[Copy, ...]:
    best = sorted(
        shown, key=lambda one: (-one.width * one.height, -one.size, one.mtime_ns, one.path)
    )
    return tuple(
        Copy(index.path_of(one), one.size, one.width, one.height, one.taken) for one in best
    )


def spare_bytes(groups: Iterable[Group]) -> int:
    """What would be free without all but the first of each group."""
    return sum(copy.bytes for group in groups for copy in group.files[1:])
