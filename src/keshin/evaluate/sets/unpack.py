"""Archives of strangers: unpacked beside their place, within bounds, then moved in.

Only files and folders come out: links and devices are left out and named. No member gets out of the
folder (absolute paths and ``..`` are refused), and what comes out may not be many times larger than
what went in.
"""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from keshin.errors import DataError

TIMES = 100
SLACK = 64 << 20
"""An archive may become ``TIMES`` its size and this many bytes."""
MEMBERS = 5_000_000
CHUNK = 1 << 20
SCRATCH = "unpacking-"


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Room:
    """What an archive may still become."""

    def __init__(self, archive: Path) -> None:
        self.name = archive.name
        self._bytes = TIMES * archive.stat().st_size + SLACK
        self._members = MEMBERS

    def take(self, size: int) -> None:
        """Raises ``DataError`` where it is too much."""
        self._bytes -= size
        if self._bytes < 0:
            raise DataError(
                f"{self.name} becomes more than {TIMES} times as large as it is. It was not "
                "unpacked: archives of pictures do not."
            )

    def member(self) -> None:
        """One more."""
        self._members -= 1
        if self._members < 0:
            raise DataError(f"{self.name} has more than {MEMBERS:,} members. It was not unpacked.")


def unpack(
    archive: Path, into: Path, *, inner: Sequence[str] = (), scratch: Path | None = None
) -> list[str]:
    """Unpack a tar (also compressed), a zip, or one compressed file, told apart by their names,
    and the archives ``inner`` in it. Files that are there of the same names are replaced. Returns
    the members left out.

    Nothing is in ``into`` before all is unpacked. Raises ``DataError`` for an archive that is
    damaged or that would do harm.
    """
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=scratch or into.parent) as name:
        place = Path(name)
        left_out = _one(archive, place)
        for member in inner:
            path = place / member
            if not path.is_file():
                raise DataError(f"{archive} has no {member}, which is to be unpacked.")
            left_out += _one(path, place)
            path.unlink()
        _move(place, into)
    return left_out


def _one(archive: Path, place: Path) -> list[str]:
    try:
        if archive.suffix == ".zip" and zipfile.is_zipfile(archive):
            return _zip(archive, place)
        if archive.suffix == ".gz" and not archive.stem.endswith(".tar"):
            with gzip.open(archive) as source:
                _copy(source, place / archive.stem, Room(archive))
            return []
        if archive.suffix != ".zip" and tarfile.is_tarfile(archive):
            return _tar(archive, place)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        EOFError,
        zlib.error,
        NotImplementedError,
    ) as error:
        raise DataError(f"{archive} is damaged, or would do harm: {error}.") from error
    except RuntimeError as error:  # zipfile asks for a password
        raise DataError(f"{archive} is protected: {error}.") from error
    except gzip.BadGzipFile as error:
        raise DataError(f"{archive} is damaged: {error}.") from error
    raise DataError(
        f"{archive} is not the tar or zip file that its name says. Was a web page saved in its "
        "stead?"
    )


def _tar(archive: Path, place: Path) -> list[str]:
    if not hasattr(tarfile, "data_filter"):
        raise DataError("This Python unpacks tar files unsafely. Use 3.11.4 or later.")
    left_out, room = [], Room(archive)
    with tarfile.open(archive, "r:*") as source:
        for member in source:
            room.member()
            if member.isdir():
                continue  # made with the files in it
            if not member.isreg():
                left_out.append(member.name)
                continue
            _within(member.name, archive)
            room.take(member.size)
            source.extract(member, place, set_attrs=False, filter="data")
    return left_out


def _zip(archive: Path, place: Path) -> list[str]:
    left_out, room = [], Room(archive)
    with zipfile.ZipFile(archive) as source:
        for member in source.infolist():
            room.member()
            if member.is_dir():
                continue
            mode = member.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                left_out.append(member.filename)
                continue
            parts = _within(member.filename, archive)
            with source.open(member) as content:
                _copy(content, place.joinpath(*parts), room)
    return left_out


def _within(name: str, archive: Path) -> tuple[str, ...]:
    """The parts of a member's name. Raises ``DataError`` if it leads out of the folder."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or not parts:
        raise DataError(f"{archive} has a member '{name}', which leads out of its folder.")
    if len(parts[0]) > 1 and parts[0][1] == ":":
        raise DataError(f"{archive} has a member '{name}', which names a drive.")
    return parts


def _copy(source: _Readable, target: Path, room: Room) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        while chunk := source.read(CHUNK):
            room.take(len(chunk))
            file.write(chunk)


def _move(place: Path, into: Path) -> None:
    """Each file to its place, in one step each."""
    for path in sorted(place.rglob("*")):
        if path.is_file():
            target = into / path.relative_to(place)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)


def clean(folder: Path) -> None:
    """Remove what an ended process left half unpacked."""
    for path in folder.glob(f"{SCRATCH}*"):
        shutil.rmtree(path, ignore_errors=True)
