"""Work over processes, its results in order, with a bounded number under way."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
AHEAD = 3
"""Tasks under way for each process: enough that none waits, few enough to hold their results."""


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_order(
    work: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> Iterator[Result]:
    """``work`` of each task, in the order of the tasks; by this process where ``workers`` is 1.

    ``work`` is a function of a module. The processes are new ones (spawned), so that no lock or
    thread of this one is copied into them.
    """
    if workers == 1:
        yield from map(work, tasks)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
    left, running = iter(tasks), deque[Future[Result]]()
    try:
        running.extend(pool.submit(work, task) for task in islice(left, AHEAD * workers))
        while running:
            yield running.popleft().result()
            running.extend(pool.submit(work, task) for task in islice(left, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """A process of the pool leaves interrupts to its parent, and ends with it, however it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end, daemon=True).start()
