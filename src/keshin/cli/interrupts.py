"""Ctrl-C between two records, not within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Inside it, an interrupt that comes while something is ``held`` waits until that is done.

    A second one does not wait: the reader of our output may have stopped reading.
    """

    def __init__(self) -> None:
        self.holding = self.waiting = self.installed = False

    def __enter__(self) -> Interrupts:
        usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if usual and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._interrupted)
            self.installed = True
        return self

    def __exit__(self, *how: object) -> None:
        if self.installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """What happens inside is not interrupted; ``KeyboardInterrupt`` may follow it."""
        self.holding = True
        try:
            yield
        finally:
            self.holding = False
        if self.waiting:
            self.waiting = False
            raise KeyboardInterrupt

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.holding and not self.waiting:
            self.waiting = True
        else:
            raise KeyboardInterrupt
