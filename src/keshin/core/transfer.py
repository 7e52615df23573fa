"""One file over HTTP into a part file: goes on where it ends, waits and tries again, never trusts
the length. Who asks for it checks what came and gives it its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from keshin.core.hub import RETRIED, SILENCE, Again, Patience, asked_wait, transport_error
from keshin.errors import DownloadError

if TYPE_CHECKING:
    import httpx2

Progress = Callable[[str, int, int], None]
"""Called with a file's name, its bytes here and its bytes in all (0 if that is not known)."""
Stream = Callable[[str, dict[str, str]], "AbstractContextManager[httpx2.Response]"]
"""Begins to answer a request for an address with headers."""


@dataclass
class Wanted:
    """A file to be fetched."""

    url: str
    name: str
    """What messages call it."""
    size: int | None
    """Its bytes; ``None`` where nobody says before the server does."""
    origin: str
    """Whom messages name: the server."""
    stream: Stream
    refuse: Callable[[httpx2.Response, str], None]
    """Raises what a status means, unless it is fine."""
    headers: dict[str, str] = field(default_factory=dict)


def transfer(wanted: Wanted, part: Path, progress: Progress) -> None:
    """Fill ``part`` up to the file's size, going on where it ends. Raises ``DownloadError``."""
    patience = Patience(wanted.name)
    while wanted.size is None or part.stat().st_size < wanted.size:
        here = part.stat().st_size
        try:
            whole = _attempt(wanted, part, progress)
        except Again as again:
            if part.stat().st_size > here:
                patience.renew()
            else:
                patience.wait(again)
        else:
            if whole:
                return


def plain_stream(url: str, headers: dict[str, str]) -> AbstractContextManager[httpx2.Response]:
    """A request of its own to any server, redirects followed; proxies as the environment says."""
    import httpx2

    return httpx2.stream("GET", url, headers=headers, timeout=SILENCE, follow_redirects=True)


def plain_refusal(response: httpx2.Response, what: str) -> None:
    """What a status of any server means."""
    status = response.status_code
    if status in RETRIED:
        raise Again(f"the server answered {status}", asked_wait(response))
    if status not in (200, 206, 416):
        raise DownloadError(
            f"{response.url.host} answered {status} to the request for {what}. It may have moved; "
            "the page of the data set says where it is now."
        )


def _attempt(wanted: Wanted, part: Path, progress: Progress) -> bool:
    """One request for the rest of a file; may end early. True if the whole file is here."""
    import httpx2

    here = part.stat().st_size
    headers = {**wanted.headers, "Accept-Encoding": "identity"}
    if here:
        headers["Range"] = f"bytes={here}-"
    try:
        with wanted.stream(wanted.url, headers) as response:
            wanted.refuse(response, wanted.name)
            if response.status_code == 200:
                here = 0  # the whole file, whatever was asked for
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {here}-"):
                part.write_bytes(b"")
                raise Again("the server does not go on where the file ends")
            if wanted.size is None:
                wanted.size = _stated(response)
            _store(response, wanted, part, here, progress)
    except httpx2.TransportError as error:
        raise transport_error(error, wanted.origin) from error
    if part.stat().st_size <= here:
        raise Again("the server sent nothing")
    return wanted.size is None or part.stat().st_size >= wanted.size


def _stated(response: httpx2.Response) -> int | None:
    """The whole file's size by the server's answer."""
    text = response.headers.get("Content-Range", "").rpartition("/")[2]
    if response.status_code == 200:
        text = response.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _store(
    response: httpx2.Response, wanted: Wanted, part: Path, here: int, progress: Progress
) -> None:
    with part.open("r+b") as target:
        target.truncate(here)
        target.seek(here)
        for chunk in response.iter_bytes():
            here += len(chunk)
            if wanted.size is not None and here > wanted.size:
                target.truncate(0)
                raise DownloadError(
                    f"The server sends more of {wanted.name} than the {wanted.size} bytes that "
                    f"{wanted.origin} states. What came was thrown away."
                )
            target.write(chunk)
            progress(wanted.name, here, wanted.size or 0)
        target.flush()
        os.fsync(target.fileno())
