"""Fetch many small files of other people's servers without being a burden to them.

One connection a host, a pause between requests, a name to complain to; what the server asks for
(``Retry-After``) is done, what fails is tried later, and a host that fails again and again is left
alone. Nothing is believed: a body that is too long, too short or not what was expected is a
failure.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from keshin import __version__
from keshin.errors import DownloadError

if TYPE_CHECKING:
    import httpx2

AGENT = f"keshin/{__version__} (dataset reader; one request at a time)"
GONE = (404, 410)
LATER = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Manners:
    """How patient and how polite. Seconds, attempts, bytes."""

    pause: float = 0.5
    """Between the end of one request and the next to the same host."""
    waits: tuple[float, ...] = (2.0, 5.0, 15.0, 45.0)
    """Before each further attempt at the same file."""
    longest_wait: float = 300.0
    """That a server may ask for; if it asks for more, it is left alone for this run."""
    silence: float = 30.0
    """Without a byte."""
    longest: float = 120.0
    """For one file, however steadily it drips."""
    largest: int = 32 << 20
    failures: int = 5
    """Files in a row that failed, after which the host is left alone."""


class Stopped(Exception):
    """The work is to end; nothing is wrong."""


class HostLost(Exception):
    """A host that is left alone for this run; the message says why."""


@dataclass(frozen=True)
class Fetched:
    """What became of one address: a body, or the reason why there is none."""

    body: bytes | None
    reason: str = ""
    gone: bool = False
    """The server says that there is no such file, so that it need not be asked again."""


class _Later(Exception):
    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass
class Caller:
    """Asks one host, one request at a time. Not for several threads."""

    host: str
    manners: Manners = field(default_factory=Manners)
    stop: threading.Event = field(default_factory=threading.Event)
    _client: httpx2.Client | None = None
    _ended: float = float("-inf")
    _failed: int = 0

    def __enter__(self) -> Caller:
        import httpx2

        self._client = httpx2.Client(
            headers={"User-Agent": AGENT, "Accept-Encoding": "identity"},
            timeout=self.manners.silence,
            follow_redirects=True,
            max_redirects=5,
            limits=httpx2.Limits(max_connections=1, max_keepalive_connections=1),
        )
        return self

    def __exit__(self, *how: object) -> None:
        if self._client is not None:
            self._client.close()

    def fetch(self, url: str, accept: Callable[[bytes], None]) -> Fetched:
        """The body at ``url``; ``accept`` raises ``ValueError`` for one that is not what was meant.

        Raises ``Stopped`` when ``stop`` is set, and ``HostLost`` for a host to be left alone.
        """
        reason = ""
        for wait in (0.0, *self.manners.waits):
            self._sleep(wait)
            try:
                found = self._once(url, accept)
            except _Later as later:
                reason = str(later)
                if later.wait is not None and later.wait > self.manners.longest_wait:
                    raise HostLost(
                        f"{self.host} asks to be left alone for {later.wait:.0f} seconds"
                    ) from later
                self._sleep(later.wait or 0.0)
                continue
            self._failed = 0
            return found
        self._failed += 1
        if self._failed >= self.manners.failures:
            raise HostLost(f"{self.host} failed {self._failed} times in a row: {reason}")
        return Fetched(None, reason)

    def _once(self, url: str, accept: Callable[[bytes], None]) -> Fetched:
        import httpx2

        if self._client is None:
            raise RuntimeError("a Caller is used in a with block")
        self._sleep(self._ended + self.manners.pause - time.monotonic())
        try:
            with self._client.stream("GET", url) as response:
                status = response.status_code
                if status in GONE:
                    return Fetched(None, f"the server answers {status}", gone=True)
                if status in LATER:
                    raise _Later(f"the server answers {status}", _asked(response))
                if status in (401, 403):
                    raise HostLost(f"{self.host} refuses ({status})")
                if status != 200:
                    return Fetched(None, f"the server answers {status}")
                body = self._body(response)
        except (httpx2.TransportError, httpx2.TooManyRedirects, httpx2.DecodingError) as error:
            raise _Later(f"the connection failed ({str(error) or type(error).__name__})") from error
        except httpx2.InvalidURL as error:
            return Fetched(None, f"not an address: {error}")
        finally:
            self._ended = time.monotonic()
        try:
            accept(body)
        except ValueError as error:  # a cut body or a page of apology; the next answer may be good
            raise _Later(str(error)) from error
        return Fetched(body)

    def _body(self, response: httpx2.Response) -> bytes:
        parts, size, began = [], 0, time.monotonic()
        for part in response.iter_bytes():
            size += len(part)
            if size > self.manners.largest:
                raise _Later(f"the answer is longer than {self.manners.largest} bytes")
            if time.monotonic() - began > self.manners.longest:
                raise _Later(f"the answer took longer than {self.manners.longest:.0f} seconds")
            if self.stop.is_set():
                raise Stopped
            parts.append(part)
        return b"".join(parts)

    def _sleep(self, seconds: float) -> None:
        if self.stop.wait(max(0.0, seconds)):
            raise Stopped


def fetch_one(url: str, accept: Callable[[bytes], None], manners: Manners) -> bytes:
    """A single file that must come. Raises ``DownloadError``."""
    try:
        with Caller(url, manners) as caller:
            found = caller.fetch(url, accept)
    except HostLost as lost:
        found = Fetched(None, str(lost))
    if found.body is None:
        raise DownloadError(
            f"{url} did not come: {found.reason}. What is here already is kept; try again later."
        )
    return found.body


def _asked(response: httpx2.Response) -> float | None:
    """The seconds that a server asks for, as a number or as a date."""
    text = response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
