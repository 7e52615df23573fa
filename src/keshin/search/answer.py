"""What a search answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Hit:
    """One picture that a search found."""

    path: str
    """Its file; joined to the folder as that was given."""
    score: float
    """The product of its vector and the query's: the cosine, for a query of one part."""
    relevance: float | None
    """0 to 1 (``search.relevance``): 0.9 says that of ten queries for something that is not here
    one has a result like the best, and that of the results down to this one a tenth is expected to
    be there by chance, or less of either. None: the library is too small to say."""
    copies: tuple[str, ...] = ()
    """Other files with the same content."""
    width: int = 0
    height: int = 0
    taken: str = ""


@dataclass(frozen=True)
class Found:
    """The answer to a query."""

    hits: tuple[Hit, ...]
    """The best first; only those that reach the least relevance asked for."""
    searched: int
    """Pictures (different contents) that were compared."""
    best: Hit | None
    """The best one, whether or not it reaches that; None if the index is empty."""
    least: float
    """The least relevance asked for."""

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        yield from self.hits

    @property
    def nothing(self) -> bool:
        """Whether nothing here matches."""
        return not self.hits
