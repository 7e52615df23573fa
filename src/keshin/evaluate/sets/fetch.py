"""Fetch a known data set: resumed, checked by the published hashes, unpacked safely.

``DATA/KEY/.keshin/`` holds what is on its way and, for each file that is done, a record with its
size and hashes as they came. An archive is deleted once it is unpacked.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from keshin.core.download import PART, ROOM_LEFT, alone, is_offline
from keshin.core.transfer import Progress, Stream, Wanted, plain_refusal, plain_stream, transfer
from keshin.core.writing import whole
from keshin.errors import DataError, DownloadError
from keshin.evaluate.sets.datasets import data_folder
from keshin.evaluate.sets.fetchers import FETCHERS
from keshin.evaluate.sets.unpack import clean, unpack
from keshin.facts.datasets import Dataset, Download, sources

OWN = ".keshin"
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip", ".gz")


class Arrived(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The record of a file that came."""

    url: str
    size: int
    sha256: str
    md5: str
    checked: bool
    """Whether a hash is published, and was the file's."""
    left_out: tuple[str, ...] = ()
    """Members of the archive that were not unpacked: links and devices."""


def fetch_dataset(
    dataset: Dataset,
    data_dir: str | Path | None = None,
    *,
    splits: Sequence[str] = (),
    offline: bool = False,
    progress: Progress = lambda _name, _here, _all: None,
    stream: Stream = plain_stream,
) -> list[Arrived]:
    """Fetch what is not here yet of a set, or of some ``splits`` of it, where its makers publish
    them apart; what came, with the hashes that it has. Of a set whose pictures come one by one
    (``Dataset.fetcher``) all splits are fetched, and nothing is listed.

    Raises ``DownloadError``, ``DataError`` for a set that is to be got by hand or an archive that
    is damaged. What is here already is kept.
    """
    if dataset.by_hand or not (dataset.downloads or dataset.fetcher):
        raise DataError(
            f"{dataset.title} is not fetched by keshin. {dataset.by_hand or ''}".strip()
        )
    folder = data_folder(data_dir) / dataset.place
    left = left_to_fetch(dataset, folder, splits)
    if (left or dataset.fetcher) and is_offline(offline):
        raise DownloadError(
            f"{dataset.title} is not on this machine, and the network is switched off (--offline "
            "or HF_HUB_OFFLINE)."
        )
    if dataset.fetcher:
        with _working(folder):
            FETCHERS[dataset.fetcher](dataset, folder, progress)
        return []
    try:
        with _working(folder) as own:
            _make_room(left, own)
            return [_fetch(download, folder, own, progress, stream) for download in left]
    except OSError as error:
        raise DownloadError(
            f"Cannot write to {error.filename or folder}: {error.strerror or error}. What is here "
            "already is kept."
        ) from error


def left_to_fetch(dataset: Dataset, folder: Path, splits: Sequence[str] = ()) -> list[Download]:
    """The files of a set, or of some splits of it, that have not come yet."""
    wanted = dataset.downloads_of(splits or tuple(dataset.splits))
    return [entry for entry in wanted if arrived(folder, entry) is None]


def arrived(folder: Path, download: Download) -> Arrived | None:
    """The record of a file, if it has come."""
    try:
        record = msgspec.json.decode(_record(folder / OWN, download).read_bytes(), type=Arrived)
    except (OSError, msgspec.MsgspecError):
        return None
    return record if record.url == download.url else None


def _fetch(
    download: Download, folder: Path, own: Path, progress: Progress, stream: Stream
) -> Arrived:
    with alone(own / f"{download.name}.lock"):
        if (record := arrived(folder, download)) is not None:  # by another process meanwhile
            return record
        part = own / (download.name + PART)
        into, file = folder / download.into, own / download.name
        # an archive that is here whole was left by an unpacking that ended
        record = _look(download, file) if file.is_file() else None
        if record is None or not record.checked:
            record = _arrive(download, part, progress, stream)
            part.replace(file)
        if not download.keep and download.name.endswith(ARCHIVES):
            left_out = unpack(file, into, inner=download.inner, scratch=own)
            record = msgspec.structs.replace(record, left_out=tuple(left_out))
            file.unlink()
        else:
            into.mkdir(parents=True, exist_ok=True)
            file.replace(into / download.name)
        with whole(_record(own, download)) as scratch:
            scratch.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2))
        return record


def _arrive(download: Download, part: Path, progress: Progress, stream: Stream) -> Arrived:
    """The file, whole and checked; fetched a second time if it is not what its makers publish."""
    origin = urlsplit(download.url).hostname or download.url
    if download.digest is None:
        part.unlink(missing_ok=True)  # parts of two versions could not be told from a whole one
    found = None
    for _ in range(2):
        part.touch()
        wanted = Wanted(download.url, download.name, download.size, origin, stream, plain_refusal)
        transfer(wanted, part, progress)
        found = _look(download, part)
        if found.checked or not download.digest:
            return found
        part.unlink()
    came = found.sha256 if found and download.sha256 else found.md5 if found else ""
    published = (download.digest or "")[:12]
    raise DownloadError(
        f"{download.name} arrived twice with the hash {came[:12]}..., published is "
        f"{published}... ({sources()[download.origin]}). It was thrown away. Its makers "
        f"have replaced it, or something between here and {origin} changes files."
    )


def _look(download: Download, path: Path) -> Arrived:
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
            md5.update(chunk)
    found = (sha256.hexdigest(), md5.hexdigest())
    return Arrived(download.url, path.stat().st_size, *found, download.digest in found)


@contextmanager
def _working(folder: Path) -> Iterator[Path]:
    own = folder / OWN
    own.mkdir(parents=True, exist_ok=True)
    with alone(own / "unpack.lock"):
        clean(own)
        yield own


def _make_room(left: list[Download], own: Path) -> None:
    """Raise ``DownloadError`` if the disk cannot hold what is missing, packed and unpacked."""
    sizes = [download.size or download.about or 0 for download in left]
    here = [own / (download.name + PART) for download in left]
    packed = sum(sizes) - sum(path.stat().st_size for path in here if path.is_file())
    largest = max(sizes, default=0)
    free = shutil.disk_usage(own).free
    if sum(sizes) and packed + largest + ROOM_LEFT > free:
        raise DownloadError(
            f"The disk of {own.parent} has {free / 1e9:.1f} GB free; {packed / 1e9:.1f} GB are to "
            f"be fetched, and the largest archive takes {largest / 1e9:.1f} GB more while it is "
            "unpacked. Make room, or name another folder with KESHIN_DATA."
        )


def _record(own: Path, download: Download) -> Path:
    return own / f"{download.name}.json"
