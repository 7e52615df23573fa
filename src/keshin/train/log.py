"""What a run leaves behind to read: metrics, and the pairs that could not be used."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from keshin.train.data import Batch

Record = Mapping[str, float | int | str]
METRICS = "metrics.jsonl"


class Clock:
    """Throughput, share of time spent waiting for data, time left."""

    def __init__(self) -> None:
        self.mark = self.began = time.perf_counter()
        self.waited, self.pairs, self.steps = 0.0, 0, 0

    def data_ready(self) -> None:
        self.waited += time.perf_counter() - self.mark

    def step_done(self, pairs: int) -> None:
        self.mark = time.perf_counter()
        self.pairs += pairs
        self.steps += 1

    def rates(self, steps_left: int) -> dict[str, float]:
        """Since the last call; seconds left at this pace."""
        elapsed = max(1e-9, time.perf_counter() - self.began)
        found = {
            "pairs_per_second": self.pairs / elapsed,
            "data_wait": self.waited / elapsed,
            "seconds_left": steps_left * elapsed / max(1, self.steps),
        }
        self.began = time.perf_counter()
        self.waited, self.pairs, self.steps = 0.0, 0, 0
        return found


def write(path: Path, record: Record) -> None:
    """Append one record."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")


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
