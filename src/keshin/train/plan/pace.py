"""Samples a second, measured: some real steps of a recipe, of which nothing is kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median

import msgspec
import torch

from keshin.train.data import batches
from keshin.train.recipe import Recipe
from keshin.train.run import Opened, Run, prepare
from keshin.train.step import take_step

STEPS = 20
HEAD_START = 2
"""Steps that are not counted at least: memory is taken, threads are started."""
DECODED = 2.0
"""Seconds spent on how long a picture takes to decode."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """What some real steps took."""

    device: str
    threads: int
    steps: int
    """Counted."""
    batch: int
    seconds: float
    """Of a step on average, data included."""
    processor_seconds: float
    """Of all threads of this process, for a step: what a busy machine changes less."""
    samples_per_second: float
    data_wait: float
    """Share of the time in which the towers waited for pictures."""
    decoding: float
    """Seconds of one core for a sample: read, decoded, cropped."""
    start_up: float
    """Seconds until the first step: model, optimiser, the loader's processes."""
    peak_bytes: int | None
    """The most memory above what there was before the model; ``None`` where nobody counts it."""


def measure(
    recipe: Recipe,
    opened: Opened,
    *,
    steps: int = STEPS,
    progress: Callable[[int, int], None] = lambda done, steps: None,
) -> Pace:
    """``steps`` steps of the recipe's own model on its own data, counted after the loader's head
    start is used up. Writes nothing."""
    began = time.perf_counter()
    meter = _Meter()
    run = prepare(recipe, Path(os.devnull), opened=opened)
    skipped = HEAD_START + _ahead(recipe)
    every, waits = list[float](), list[float]()
    mark, start_up, busy = time.perf_counter(), 0.0, 0.0
    for batch in batches(run.pool, recipe, 0, skipped + steps, run.world):
        ready = time.perf_counter()
        start_up = start_up or ready - began
        take_step(run, batch)
        _finished(run.device)
        waits.append(ready - mark)
        every.append(time.perf_counter() - mark)
        mark = time.perf_counter()
        busy = time.process_time() if len(every) == skipped else busy
        progress(len(every), skipped + steps)
    busy = time.process_time() - busy
    # A wait for pictures is part of the work and comes in bursts: its mean. A stall of the machine
    # is not: the median of the rest.
    waited = mean(waits[skipped:])
    rest = (one - wait for one, wait in zip(every[skipped:], waits[skipped:], strict=True))
    spent = waited + median(rest)
    batch_size = recipe.optim.batch_size
    return Pace(
        device=_name(run.device),
        threads=torch.get_num_threads(),
        steps=steps,
        batch=batch_size,
        seconds=spent,
        processor_seconds=busy / steps,
        samples_per_second=batch_size / spent,
        data_wait=waited / spent,
        decoding=_decoding(run),
        start_up=start_up,
        peak_bytes=meter.peak(run.device),
    )


def _ahead(recipe: Recipe) -> int:
    """Batches that the loader has ready before the first step."""
    return 4 * recipe.data.workers


def _decoding(run: Run) -> float:
    """Seconds for a sample in this process, over up to ``DECODED`` seconds."""
    from keshin.train.order import Order

    order = Order(run.pool.extents, 64, run.recipe.run.seed)
    began, count = time.perf_counter(), 0
    for place in order.places(0, 1024):
        run.pool[place]
        count += 1
        if time.perf_counter() - began > DECODED:
            break
    return (time.perf_counter() - began) / count


def _finished(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


class _Meter:
    """The most memory since it was made: of the GPU, or of this process (Linux)."""

    def __init__(self) -> None:
        self.before = 0
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
            self.before = _status("VmRSS")
        except OSError:
            pass
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def peak(self, device: torch.device) -> int | None:
        if device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(device))
        return _status("VmHWM") - self.before if self.before else None


def _status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in (
        Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    ):
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")
