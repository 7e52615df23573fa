"""What a run leaves behind to read: metrics, and the pairs that could not be used."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from keshin.train.data import Batch

Record = Mapping[str, float | int | str | None]
Item = TypeVar("Item")
METRICS = "metrics.jsonl"


class Clock:
    """Throughput, share of time spent waiting for data, time left.

    Validation and checkpoints count for the time left only.
    """

    def __init__(self) -> None:
        self.mark = self.began = time.perf_counter()
        self.waited, self.worked, self.pairs, self.steps = 0.0, 0.0, 0, 0

    def timed(self, loader: Iterable[Item]) -> Iterator[Item]:
        """The same, with the time noted that each takes to come."""
        left = iter(loader)
        while True:
            asked = time.perf_counter()
            try:
                item = next(left)
            except StopIteration:
                return
            self.mark = time.perf_counter()
            self.waited += self.mark - asked
            yield item

    def step_done(self, pairs: int) -> None:
        self.worked += time.perf_counter() - self.mark
        self.pairs += pairs
        self.steps += 1

    def rates(self, steps_left: int) -> dict[str, float]:
        """Since the last call; seconds left at this pace."""
        busy = max(1e-9, self.waited + self.worked)
        elapsed = time.perf_counter() - self.began
        found = {
            "pairs_per_second": self.pairs / busy,
            "data_wait": self.waited / busy,
            "seconds_left": steps_left * elapsed / max(1, self.steps),
        }
        self.began = time.perf_counter()
        self.waited, self.worked, self.pairs, self.steps = 0.0, 0.0, 0, 0
        return found


def write(path: Path, record: Record) -> None:
    """Append one record."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(plain(record), ensure_ascii=False) + "\n")


def plain(record: Record) -> dict[str, float | int | str | None]:
    """The same with nothing in the place of numbers that are not finite, which JSON has not."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.items()
    }


def skipped(rank: int = 0) -> str:
    """The file in which a process lists the pairs that could not be used."""
    return f"skipped-{rank}.txt" if rank else "skipped.txt"


def note_skipped(path: Path, batch: Batch) -> None:
    """Add the pairs of this batch that could not be used, each once."""
    if batch.bad:
        known = set(path.read_text(encoding="utf-8").splitlines()) if path.exists() else set()
        with path.open("a", encoding="utf-8") as file:
            file.writelines(f"{name}\n" for name in dict.fromkeys(batch.bad) if name not in known)


def trim(path: Path, step: int) -> None:
    """Drop records of steps after the checkpoint that is resumed; they will come again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError):
            continue  # a line that a crash cut short
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    temporary.replace(path)
