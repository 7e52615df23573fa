"""Fetch a model from the Hugging Face hub: resumed, checked by hash, into the hub's own cache.

The hub's library finds the repository, the hashes, the user's token and the proxies. The transfer
itself is done here, since that library (2.4) starts a file anew when a run is interrupted and
compares lengths only. A file gets its name in the cache once its hash is the one that the hub
states; until then it is ``blobs/HASH.keshin-part``, where the next run goes on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from keshin import __version__
from keshin.core.hub import SILENCE, Hub, Remote
from keshin.core.pulled import (
    BRANCH,
    Pulled,
    choose,
    compute_digest,
    hub_cache,
    pulled_file,
    storage,
)
from keshin.core.transfer import Progress, Wanted, transfer
from keshin.errors import DownloadError

if TYPE_CHECKING:
    import httpx2

PART = ".keshin-part"
ROOM_LEFT = 64 << 20  # bytes on the disk that a download does not take


def is_offline(offline: bool = False) -> bool:
    """Whether the network must not be used."""
    return offline or os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "on", "yes", "true")


def pull(
    name: str,
    repo: str,
    *,
    revision: str | None = None,
    layout: str | None = None,
    offline: bool = False,
    progress: Progress = lambda _name, _here, _all: None,
) -> Pulled:
    """Fetch what is not here yet, and return where it lies.

    Raises ``DownloadError`` in sentences, ``CheckpointError`` if the repository holds no model.
    """
    if is_offline(offline):
        raise DownloadError(
            f"{name} is not on this machine, and the network is switched off (--offline or "
            "HF_HUB_OFFLINE)."
        )
    hub = Hub(repo, revision)
    commit, listing = hub.listing()
    files = [hub.remote(listing, file) for file in choose(listing, layout, repo)]
    home = storage(hub_cache(), repo)
    folder = home / "snapshots" / commit
    try:
        _make_room(home, files)
        found = []
        for file in files:
            blob = home / "blobs" / file.digest
            with alone(home.parent / ".locks" / home.name / f"{file.digest}.lock"):
                _ensure(hub, commit, file, blob, progress)
                _link(blob, folder / file.name)
            found.append(pulled_file(folder / file.name, file.digest))
        _remember_ref(home, revision or BRANCH, commit)
    except OSError as error:
        raise DownloadError(_disk_sentence(error, home)) from error
    return Pulled(name, repo, commit, str(folder), tuple(found))


def _ensure(hub: Hub, commit: str, file: Remote, blob: Path, progress: Progress) -> None:
    """The blob, whole and checked; one that is damaged is fetched again, once."""
    if blob.is_file():
        if blob.stat().st_size == file.size and compute_digest(blob, file.digest) == file.digest:
            progress(file.name, file.size, file.size)
            return
        blob.unlink()  # another program's, or a failing disk's
    part = blob.with_name(blob.name + PART)
    part.parent.mkdir(parents=True, exist_ok=True)
    digest = ""
    for _ in range(2):  # the first part of an old download may be what is wrong
        part.touch()
        transfer(_wanted(hub, commit, file), part, progress)
        digest = compute_digest(part, file.digest)
        if digest == file.digest:
            part.replace(blob)
            return
        part.unlink()
    raise DownloadError(
        f"{file.name} of {hub.repo} arrived twice with the hash {digest[:12]}..., the hub says "
        f"{file.digest[:12]}... It was thrown away. Something between here and {hub.endpoint} "
        "changes files, such as a proxy or a mirror."
    )


def _wanted(hub: Hub, commit: str, file: Remote) -> Wanted:
    """The file as the hub serves it, with the user's token."""
    from huggingface_hub import get_session, utils

    def stream(url: str, headers: dict[str, str]) -> AbstractContextManager[httpx2.Response]:
        return get_session().stream("GET", url, headers=headers, timeout=SILENCE)

    headers = utils.build_hf_headers(  # type: ignore[attr-defined]  # exported lazily
        library_name="keshin", library_version=__version__
    )
    url = hub.url(commit, file.name)
    return Wanted(url, file.name, file.size, hub.endpoint, stream, hub.refuse, headers)


def _make_room(home: Path, files: list[Remote]) -> None:
    """Raise ``DownloadError`` if the disk cannot hold what is missing."""
    (home / "blobs").mkdir(parents=True, exist_ok=True)
    missing = 0
    for file in files:
        blob = home / "blobs" / file.digest
        part = blob.with_name(blob.name + PART)
        here = next((path.stat().st_size for path in (blob, part) if path.is_file()), 0)
        missing += max(0, file.size - here)
    free = shutil.disk_usage(home).free
    if missing and missing + ROOM_LEFT > free:
        raise DownloadError(
            f"The disk of {home} has {free / 1e9:.1f} GB free; {missing / 1e9:.1f} GB are to be "
            "fetched. Make room, or set HF_HUB_CACHE to a folder on another disk."
        )


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """No other process does the same meanwhile; the hub's library keeps to its locks too."""
    from huggingface_hub import utils

    lock.parent.mkdir(parents=True, exist_ok=True)
    with utils.WeakFileLock(lock):  # type: ignore[attr-defined]  # exported lazily
        yield


def _link(blob: Path, place: Path) -> None:
    """``snapshots/COMMIT/NAME`` for a blob, as the hub's library makes it."""
    if place.is_symlink() and place.resolve() == blob.resolve():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    try:
        place.symlink_to(os.path.relpath(blob, place.parent))
    except OSError:  # Windows without the right to make links
        shutil.copyfile(blob, place)


def _remember_ref(home: Path, revision: str, commit: str) -> None:
    if revision != commit:
        ref = home / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(commit, encoding="utf-8")


def _disk_sentence(error: OSError, home: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk of {home} is full. What is here already is kept; make room, pull again."
    where = f" '{error.filename}'" if error.filename else ""
    return f"Cannot write to the cache {home}: {error.strerror or error}{where}."
