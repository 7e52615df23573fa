"""A bound on the pixels that are decoded at the same time, by all threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Room:
    """Pixels in use. Whoever needs more than is free waits, unless nobody else holds any: a picture
    that is as large as the limit goes alone, so several huge ones take the memory of one."""

    def __init__(self) -> None:
        self._changed, self._used = threading.Condition(), 0

    @contextmanager
    def share(self, limit: int) -> Iterator[Callable[[int], None]]:
        """Gives a function that takes a number of pixels, once; they are free again at the end."""
        taken = 0

        def take(pixels: int) -> None:
            nonlocal taken
            with self._changed:
                while self._used and self._used + pixels > limit:
                    self._changed.wait()
                self._used += pixels
                taken = pixels

        try:
            yield take
        finally:
            with self._changed:
                self._used -= taken
                self._changed.notify_all()
