"""Image-text pairs from webdataset shards, without holding where each lies."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from keshin.errors import DataError
from keshin.train import remote
from keshin.train.pairs import Pair, flatten
from keshin.train.recipe import Source
from keshin.train.shards import PICTURES, BrokenShard, Index, index_of, sample_counts

HELD = 256 << 20
"""Bytes of indices that are held: those of some 400 shards of 10,000 samples, more than a window of
the order has."""


class TarPairs:
    """Webdataset shards: members of one sample share a name up to the first dot.

    Captions are the lines of ``.txt`` and the recipe's caption fields of ``.json``, each once;
    weights are a field of ``.json`` too. Only the number of samples of each shard is held. What
    lies where in a shard is found when one of its samples is asked for, and held within
    ``HELD`` bytes; a picture is then read at its offset.
    """

    def __init__(self, source: Source, shards: Sequence[str], *, tolerant: bool = False) -> None:
        self.shards = list(shards)
        self.broken: list[str] = []
        """Why some shards cannot be read, for whoever is ``tolerant``; they have no samples."""
        self.fields, self.weights = source.captions, source.caption_weights
        self.limit = source.keep_gb << 30
        self.pieces = sample_counts(self.shards, self.broken if tolerant else None)
        self.ends = np.cumsum(self.pieces)
        self._held: OrderedDict[int, Index] = OrderedDict()
        self._bad: dict[int, str] = {}  # shards that were read in vain: once is enough
        self._bytes = 0

    def __len__(self) -> int:
        return int(self.ends[-1])

    def _place(self, index: int) -> tuple[int, int]:
        """(shard, sample within it)."""
        shard = int(np.searchsorted(self.ends, index, side="right"))
        return shard, index - int(self.ends[shard] - self.pieces[shard])

    def _index(self, shard: int) -> Index:
        if shard in self._bad:
            raise BrokenShard(self._bad[shard])
        known = self._held.pop(shard, None)
        try:
            found = known if known is not None else index_of(self.shards[shard], self.limit)
        except BrokenShard as error:
            self._bad[shard] = str(error)
            raise
        self._held[shard] = found
        self._bytes += 0 if known else found.nbytes
        while self._bytes > HELD and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1].nbytes
        return found

    def name(self, index: int) -> str:
        shard, sample = self._place(index)
        try:
            key = self._index(shard).key(sample)
        except DataError:  # the shard is broken: its number must do
            key = f"sample {sample}"
        return f"{self.shards[shard]}: {key or f'sample {sample}'}"

    def __getitem__(self, index: int) -> Pair:
        number, sample = self._place(index)
        members, shard = self._index(number), self.shards[number]
        if sample >= len(members):
            raise DataError(
                f"the shard has {len(members):,} samples, but the file beside it that counts them "
                f"says {self.pieces[number]:,}: write that anew"
            )
        read = self._read(shard, members.members(sample))
        picture = next((read[kind] for kind in PICTURES if kind in read), b"")
        captions = flatten(read.get("txt", b"").decode("utf-8", "replace").splitlines())
        more, weights = self._from_json(read["json"]) if "json" in read else ((), None)
        if weights is not None and len(weights) == len(more):
            return Pair(picture, more, weights)
        return Pair(picture, tuple(dict.fromkeys(captions + more)))

    def _read(self, shard: str, members: dict[str, tuple[int, int]]) -> dict[str, bytes]:
        try:
            file = remote.local(shard, self.limit).open("rb")
        except FileNotFoundError:  # fetched, and deleted in this moment by another process
            file = remote.local(shard, self.limit).open("rb")
        with file:
            found = {}
            for kind, (offset, size) in members.items():
                file.seek(offset)
                found[kind] = file.read(size)
        return found

    def _from_json(self, data: bytes) -> tuple[tuple[str, ...], tuple[float, ...] | None]:
        """Captions and their weights."""
        try:
            values: Any = json.loads(data)
        except ValueError:
            return (), None
        if not isinstance(values, dict):
            return (), None
        weights = values.get(self.weights) if self.weights else None
        captions = flatten(values.get(field) for field in self.fields)
        return captions, tuple(map(float, weights)) if isinstance(weights, list) else None
