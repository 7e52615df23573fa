"""Features of a locked image tower, computed once for each picture and kept on the disk.

Kept by the picture's content, in a folder whose name is a hash of all that the features depend on
(weights, facts, preprocessing, precision). So an exchanged picture is computed anew, a repeated one
is not, and other runs with the same tower find what is there. The first epoch computes what it
meets; whoever is killed has lost nothing but the last step.

Each process that finds something new appends it to a file of its own, and all read all files: no
locks. A file is a row of records (key, float32 vector, CRC-32); one that was cut short by a crash
is passed over. The features of a picture are those that were kept first, so that a run computes the
same however often it was interrupted. An index entry takes some 200 bytes of memory in each
process.
"""

from __future__ import annotations

import hashlib
import os
import weakref
import zlib
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from keshin.core.kept import FEATURES
from keshin.encode.torch_model import CLIP
from keshin.errors import TrainingError
from keshin.train.recipe import Recipe

FORMAT = 1
KEY = 16
"""Bytes of a picture's key."""
CHUNK = 4096
"""Records that are read at once."""
Vector = npt.NDArray[np.float32]


def key_of(picture: bytes | Path) -> bytes:
    """The key of an encoded picture. Raises ``OSError`` if its file cannot be read."""
    content = picture.read_bytes() if isinstance(picture, Path) else picture
    return hashlib.blake2b(content, digest_size=KEY).digest()


def folder_of(recipe: Recipe, model: CLIP, precision: str) -> Path:
    """Where the features that this tower makes of pictures are kept."""
    digest = hashlib.sha256()
    facts = (FORMAT, precision, model.config.vision, model.config.preprocess)
    digest.update(msgspec.json.encode(facts, order="deterministic"))
    for name, value in sorted(model.visual.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} ".encode())
        digest.update(value.detach().cpu().contiguous().float().numpy().tobytes())
    base = FEATURES.folder if recipe.lock.features is None else Path(recipe.lock.features)
    return base / digest.hexdigest()


@dataclass
class _File:
    """A file of features, and how far it is known."""

    handle: int
    known: int = 0


class Features:
    """The kept features of one tower, of ``width`` numbers each. A copy in another process (of a
    loader's worker) reads and does not write."""

    def __init__(self, folder: Path, width: int) -> None:
        self.folder, self.width = folder, width
        self.record = np.dtype([("key", f"V{KEY}"), ("vector", "<f4", (width,)), ("crc", "<u4")])
        self.size = self.record.itemsize
        self._files: dict[str, _File] = {}
        self._places: dict[bytes, tuple[str, int]] = {}
        self._handles: list[int] = []
        self._own: int | None = None
        weakref.finalize(self, _close, self._handles)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._failed(error) from error

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "width": self.width}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __len__(self) -> int:
        self._look()
        return len(self._places)

    def get(self, key: bytes) -> Vector | None:
        """The features of a picture, or None if they are not kept yet."""
        if key not in self._places:
            self._look()
        place = self._places.get(key)
        if place is None:
            return None
        name, offset = place
        data = os.pread(self._files[name].handle, self.size, offset)
        vector: Vector = np.frombuffer(data, self.record)[0]["vector"]
        return vector

    def add(self, keys: list[bytes], vectors: Vector) -> None:
        """Keep new features; a key that is there already keeps its first ones.

        Raises ``TrainingError`` if they cannot be written.
        """
        rows = {key: row for row, key in reversed(list(enumerate(keys))) if self.get(key) is None}
        if not rows:
            return
        records = np.zeros(len(rows), self.record)
        ordered = sorted(rows.items(), key=lambda item: item[1])
        for record, (key, row) in zip(records, ordered, strict=True):
            record["key"], record["vector"] = np.void(key), vectors[row]
            record["crc"] = zlib.crc32(record.tobytes()[:-4])
        try:
            if self._own is None:
                path = self.folder / f"{os.getpid()}-{os.urandom(8).hex()}.features"
                self._own = self._open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            data = records.tobytes()
            while data:
                data = data[os.write(self._own, data) :]
        except OSError as error:
            raise self._failed(error) from error
        self._look()

    def _look(self) -> None:
        """Take in what was added to the files since the last time."""
        for path in sorted(self.folder.glob("*.features")):
            file = self._files.get(path.name)
            if file is None:
                file = self._files[path.name] = _File(self._open(path, os.O_RDONLY))
            end = os.fstat(file.handle).st_size
            while file.known + self.size <= end:
                count = min(CHUNK, (end - file.known) // self.size)
                data = os.pread(file.handle, count * self.size, file.known)
                for index in range(len(data) // self.size):
                    record = data[index * self.size : (index + 1) * self.size]
                    place = path.name, file.known + index * self.size
                    if zlib.crc32(record[:-4]).to_bytes(4, "little") == record[-4:]:
                        self._places.setdefault(record[:KEY], place)
                file.known += len(data) // self.size * self.size

    def _open(self, path: Path, how: int) -> int:
        handle = os.open(path, how, 0o666)
        self._handles.append(handle)
        return handle

    def _failed(self, error: OSError) -> TrainingError:
        return TrainingError(
            f"Cannot keep features of the locked image tower in {self.folder}: {error.strerror}. "
            "Free some space, name another folder in lock.features, or set lock.cache = false."
        )


def _close(handles: list[int]) -> None:
    for handle in handles:
        os.close(handle)
