"""What keshin keeps on the disk of what it made: its kinds, one folder each below ``cache_folder``.

All of it can be made again. What was fetched is not of these: the hub's cache holds the files of
pulled models, and ``pulled/`` beside the folders here only remembers which were checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from keshin.core.cache import cache_folder

HEX = "[0-9a-f]"


@dataclass(frozen=True)
class Kind:
    """One kind of what is kept."""

    name: str
    """Of its folder too."""
    holds: str
    """For people."""
    patterns: tuple[str, ...]
    """Of keshin's own files in the folder, so that nothing else is counted or deleted. In the order
    in which they are deleted."""

    @property
    def folder(self) -> Path:
        """Where it is kept. It need not be there."""
        return cache_folder() / self.name

    def files(self) -> Iterator[Path]:
        """keshin's own files, in the order in which they are deleted."""
        for pattern in self.patterns:
            yield from sorted(self.folder.glob(pattern))

    def size(self) -> tuple[int, int]:
        """How many files there are, and their bytes."""
        sizes = []
        for path in self.files():
            with suppress(FileNotFoundError):  # another process has just deleted it
                sizes.append(path.lstat().st_size)
        return len(sizes), sum(sizes)

    def clear(self) -> int:
        """Delete keshin's own files and the folders that are empty then; the bytes it freed."""
        freed, folders = 0, {self.folder}
        for path in list(self.files()):
            with suppress(FileNotFoundError):
                size = path.lstat().st_size
                path.unlink()
                freed += size
                folders.add(path.parent)
        for folder in sorted(folders, reverse=True):  # what lies within comes first
            with suppress(OSError):  # not there, or not empty
                folder.rmdir()
        return freed


EMBEDDINGS = Kind(
    "embeddings",
    "vectors of pictures, by their content",
    ("*.sqlite-journal", "*.sqlite"),
)
CLASSIFIERS = Kind("classifiers", "class weights of labels", (HEX * 64, f".{HEX * 64}.*.tmp"))
QUANTISED = Kind("quantised", "weights of the modes of int8", ("*.safetensors", ".*.tmp"))
HASHES = Kind("hashes", "hashes of weights", (HEX * 64, f".{HEX * 64}.*.tmp"))
CONVERTED = Kind(
    "converted",
    "checkpoints made of other projects' files, pulled ones too",
    # The fact sheet first: without it the rest counts for nothing.
    ("*/keshin.json", "*/model.safetensors", "*/tokenizer.json", "*/*.tmp"),
)
SHARDS = Kind("shards", "what lies where in training shards", (HEX * 64, f".{HEX * 64}.*.tmp"))
FEATURES = Kind("features", "what locked image towers make of training pictures", ("*/*.features",))
FETCHED = Kind("fetched", "training shards from addresses", (HEX * 64, f".{HEX * 64}.*.tmp"))
INDEXES = Kind(
    "indexes",
    "what 'search' and 'duplicates' know of folders",
    # The table first: without it the rest counts for nothing.
    ("*/pictures.sqlite-journal", "*/pictures.sqlite", "*/*-*.f16", "*/*-*.i8", "*/*-*.bin",
     "*/background-*.npz", "*/signatures.npz", "*/.*.tmp", "*/writer.lock"),
)  # fmt: skip
KINDS = {
    kind.name: kind
    for kind in (
        *(EMBEDDINGS, CLASSIFIERS, QUANTISED, HASHES, CONVERTED),
        *(SHARDS, FEATURES, FETCHED, INDEXES),
    )
}
