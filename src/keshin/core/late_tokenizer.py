"""A tokenizer that is read with the first text, for a cached classifier needs none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keshin.core.tokenizer import Tokenizer


class LateTokenizer(Tokenizer):
    """A tokenizer that is read when it is first used: it takes 0.1 s."""

    def __init__(self, read: Callable[[], Tokenizer]) -> None:
        self._read = read

    def __getattr__(self, name: str) -> Any:
        """Called for what is not here, which is everything as long as nothing was read."""
        if name == "_read" or "backend" in self.__dict__:
            raise AttributeError(f"A tokenizer has no '{name}'.")
        self.__dict__.update(self._read().__dict__)
        return getattr(self, name)
