"""A run over 400 million pairs in 10,000 shards that are not there: plan, resumption, order, speed.

The shards are numbers of samples only, and every picture is the same small JPEG, made in memory; so
what is measured is what grows with the data: the order, and the loader around it.

    python benchmarks/loader_scale.py --output benchmarks/results/loader_scale.json
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from PIL import Image

from keshin.train import data as loading
from keshin.train.distributed import World
from keshin.train.order import Extent, Order
from keshin.train.pairs import Pair
from keshin.train.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[1]
BATCH, SEED = 32768, 0


class Fake:
    """Shards of ``samples`` pairs each."""

    def __init__(self, shards: int, samples: int) -> None:
        rng = np.random.default_rng(SEED)
        low, high = samples * 9 // 10, samples * 11 // 10
        self.pieces = rng.integers(
            low, high, shards, np.int64, endpoint=True
        )  # as real ones differ
        stream = io.BytesIO()
        Image.effect_noise((256, 256), 60).convert("RGB").save(stream, "JPEG", quality=85)
        self.jpeg = stream.getvalue()

    def __len__(self) -> int:
        return int(self.pieces.sum())

    def name(self, index: int) -> str:
        return str(index)

    def __getitem__(self, index: int) -> Pair:
        return Pair(self.jpeg, (f"a photo of thing number {index}",))


@contextmanager
def cpu(found: dict[str, Any], name: str) -> Iterator[None]:
    start = time.process_time()
    yield
    found[name] = round(time.process_time() - start, 4)


def quality(order: Order, shard_of: Any, window: int) -> dict[str, Any]:
    """How well neighbours are parted, beside a shuffle of all pairs at once."""
    length, batch = order.length, order.batch_size
    rng = np.random.default_rng(1)
    batches = rng.choice(length // batch, 24, replace=False)
    plan = order.epoch(0)
    counts = np.diff(plan.ends, prepend=0)
    moved = np.average(np.abs(plan.ends - counts - plan.first), weights=counts) / length
    together, shards = [], []
    for number in batches:
        start = int(number) * batch
        rows = np.array([row for _, _, row, _ in order.places(start, start + batch)])
        ordered = np.sort(rows)
        together.append(float((np.diff(ordered) == 1).mean()))
        shards.append(len(np.unique(shard_of(rows))))
    inside = order.shuffled(0, 3)
    gaps = np.abs(np.diff(np.argsort(inside))) / len(inside)
    count = len(order.extents[0].pieces)
    return {
        "window": window,
        "mean displacement (share of the data)": round(float(moved), 4),
        "of a full shuffle": 0.3333,
        "stored neighbour is in the same batch": round(float(np.mean(together)), 4),
        "of a full shuffle, neighbour": round(batch / length, 6),
        "distance of stored neighbours in a window (share of it)": round(float(gaps.mean()), 4),
        "shards in a batch": round(float(np.mean(shards)), 1),
        "of a full shuffle, shards": round(count * (1 - (1 - 1 / count) ** batch), 1),
    }


def same_window_again(order: Order) -> float:
    """Of pairs of shards that share a window in one epoch, how many do in the next."""
    sets = []
    for epoch in (0, 1):
        plan = order.epoch(epoch)
        windows = plan.ends // order.window
        sets.append({tuple(sorted(p)) for p in _neighbours(windows, plan.first)})
    return len(sets[0] & sets[1]) / len(sets[0])


def _neighbours(windows: Any, first: Any) -> Iterator[tuple[int, int]]:
    for window in np.unique(windows)[:2000]:
        members = first[windows == window].tolist()
        yield from ((a, b) for i, a in enumerate(members) for b in members[:i])


def lanes(fake: Fake, shard_of: Any, number: int, window: int) -> float:
    """Shards that one of 8 machines reads in a window."""
    order = Order([Extent(fake.pieces)], BATCH, SEED, window=window, lanes=number)
    share, seen = BATCH // 8, set()
    for batch in range(order.window // BATCH):
        rows = np.array([r for _, _, r, _ in order.places(batch * BATCH, batch * BATCH + share)])
        seen |= set(np.unique(shard_of(rows)).tolist())
    return len(seen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=40_000, help="of a shard")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    fake = Fake(arguments.shards, arguments.samples)
    ends = np.cumsum(fake.pieces)

    def shard_of(rows: Any) -> Any:
        return np.searchsorted(ends, rows, side="right")

    found: dict[str, Any] = {"pairs": len(fake), "shards": len(fake.pieces), "batch": BATCH}
    seconds: dict[str, Any] = {}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with cpu(seconds, "plan of an epoch"):
        Order([Extent(fake.pieces)], BATCH, SEED).epoch(0)
    steps = len(fake) // BATCH
    with cpu(seconds, "first batch of a fresh start"):
        Order([Extent(fake.pieces)], BATCH, SEED).places(0, BATCH)
    with cpu(seconds, "first batch of a resumption, 31 epochs on"):
        Order([Extent(fake.pieces)], BATCH, SEED).places(
            (31 * steps + 777) * BATCH, (31 * steps + 778) * BATCH
        )
    found["memory of the order, MB"] = round(
        (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1
    )
    order = Order([Extent(fake.pieces)], BATCH, SEED)
    with cpu(seconds, "64 whole batches of places"):
        for batch in range(64):
            order.places(batch * BATCH, (batch + 1) * BATCH)
    with cpu(seconds, "64 batches, the part of 1 of 256 processes"):
        for batch in range(64):
            order.places(batch * BATCH, batch * BATCH + BATCH // 256)
    found["CPU seconds"] = seconds
    found["quality"] = [
        quality(Order([Extent(fake.pieces)], BATCH, SEED, window=w), shard_of, w)
        for w in (1 << 16, 1 << 18, 1 << 20, 1 << 22)
    ]
    found["shards that share a window do so in the next epoch"] = round(same_window_again(order), 5)
    found["shards that 1 of 8 machines reads in a window of 2^22"] = {
        str(n): lanes(fake, shard_of, n, 1 << 22) for n in (1, 8)
    }
    found["loader"] = loader(fake)
    text = json.dumps(found, indent=1)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")


def loader(fake: Fake) -> list[dict[str, Any]]:
    """Pairs a CPU second, decoded and cropped, of 400 million and of 2,000."""
    recipe = read_recipe(ROOT / "recipes" / "mini" / "recipe.toml")
    source = replace(recipe.data.sources[0], repeat=1.0, templates=(), templates_ja=())
    recipe = replace(
        recipe,
        data=replace(recipe.data, sources=(source,), workers=0),
        optim=replace(recipe.optim, batch_size=256),
    )
    rows = []
    for pairs in (fake, Fake(2, 1000)) * 3:
        loading.open_source = lambda source, pairs=pairs: pairs  # type: ignore[assignment]
        pool = loading.Pool(recipe)
        start = time.process_time()
        count = sum(len(b.texts) for b in loading.batches(pool, recipe, 5, 9, World()))
        rows.append(
            {
                "pairs": len(pairs),
                "pairs a CPU second": round(count / (time.process_time() - start)),
            }
        )
    return rows


if __name__ == "__main__":
    main()
