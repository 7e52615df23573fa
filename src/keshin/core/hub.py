"""The Hugging Face hub, asked through its own library: what a repository holds, and its answers.

``HF_ENDPOINT``, ``HF_TOKEN``, ``HTTPS_PROXY`` and ``NO_PROXY`` count, as in all that uses it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keshin import __version__
from keshin.core.pulled import HEX_SHA1, HEX_SHA256
from keshin.errors import CheckpointError, DownloadError

if TYPE_CHECKING:
    import httpx2

ENDPOINT = "https://huggingface.co"
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds between attempts that brought nothing
LONGEST_WAIT = 60.0  # that a server may ask for
SILENCE = 20.0  # seconds without a byte
RETRIED = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Remote:
    """One file of a repository."""

    name: str
    size: int
    digest: str


class Again(Exception):
    """An attempt that failed in a way that may pass."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class Patience:
    """Waits longer after each attempt that brought nothing, and gives up in the end."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.renew()

    def renew(self) -> None:
        """Something came: begin with short waits again."""
        self.waits = iter(WAITS)

    def wait(self, again: Again) -> None:
        """Wait, or raise ``DownloadError``."""
        wait = next(self.waits, None)
        if wait is None:
            raise DownloadError(
                f"{self.what} did not come in {len(WAITS) + 1} attempts: {again}. What is here "
                "already is kept; try again later."
            ) from again
        time.sleep(wait if again.wait is None else min(again.wait, LONGEST_WAIT))


class Hub:
    """One repository of one endpoint."""

    def __init__(self, repo: str, revision: str | None) -> None:
        self.endpoint = (os.environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")
        self.repo, self.revision = repo, revision

    def listing(self) -> tuple[str, dict[str, Any]]:
        """The commit, and what the hub says of each file."""
        patience = Patience(f"The list of files of {self.repo}")
        info = None
        while info is None:
            try:
                info = self._ask()
            except Again as again:
                patience.wait(again)
        if not HEX_SHA1.fullmatch(info.sha or ""):
            raise DownloadError(f"{self.endpoint} names no commit of {self.repo}. Is it a hub?")
        return info.sha, {file.rfilename: file for file in info.siblings or ()}

    def _ask(self) -> Any:
        import httpx2
        from huggingface_hub import HfApi, errors

        api = HfApi(endpoint=self.endpoint, library_name="keshin", library_version=__version__)
        try:
            return api.model_info(
                self.repo, revision=self.revision, files_metadata=True, timeout=SILENCE
            )
        except errors.GatedRepoError as error:
            raise DownloadError(self._gated()) from error
        except errors.RepositoryNotFoundError as error:
            raise DownloadError(
                f"{self.endpoint} has no model {self.repo}, or it is private. If it is yours, log "
                "in with `hf auth login` or set HF_TOKEN."
            ) from error
        except errors.RevisionNotFoundError as error:
            raise DownloadError(f"{self.repo} has no revision '{self.revision}'.") from error
        except errors.HFValidationError as error:
            raise CheckpointError(f"'{self.repo}' is no name of a repository: {error}") from error
        except errors.OfflineModeIsEnabled as error:
            raise DownloadError("The network is switched off by HF_HUB_OFFLINE.") from error
        except errors.HfHubHTTPError as error:
            self.refuse(error.response, f"the list of files of {self.repo}")
            raise
        except httpx2.TransportError as error:
            raise transport_error(error, self.endpoint) from error
        except (ValueError, KeyError, TypeError) as error:  # JSON of another kind of server
            raise DownloadError(
                f"{self.endpoint} does not answer as a hub does ({type(error).__name__}). Is "
                "HF_ENDPOINT right, and is there a page to log in to this network?"
            ) from error

    def remote(self, listing: dict[str, Any], name: str) -> Remote:
        """Size and hash of a file. Raises ``DownloadError`` if the hub does not state them."""
        entry = listing[name]
        digest = entry.lfs.sha256 if entry.lfs else entry.blob_id
        pattern = HEX_SHA256 if entry.lfs else HEX_SHA1
        if not isinstance(entry.size, int) or not pattern.fullmatch(digest or ""):
            raise DownloadError(
                f"{self.endpoint} states no size or hash of {name} in {self.repo}, so that it "
                "could not be checked. It is not fetched."
            )
        return Remote(name, entry.size, digest)

    def url(self, commit: str, name: str) -> str:
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self.repo, name, revision=commit, endpoint=self.endpoint)

    def refuse(self, response: httpx2.Response, what: str) -> None:
        """Raise what a status means, unless it is fine."""
        status = response.status_code
        if status in RETRIED:
            raise Again(f"the server answered {status}", asked_wait(response))
        if status in (401, 403):
            raise DownloadError(self._gated())
        if status == 404:
            raise DownloadError(f"{self.endpoint} has {what} no more (404). Pull again.")
        if status not in (200, 206, 416):
            raise DownloadError(f"{self.endpoint} answered {status} to the request for {what}.")

    def _gated(self) -> str:
        return (
            f"{self.repo} asks for permission. Accept its terms at {self.endpoint}/{self.repo}, "
            "then log in with `hf auth login` or set HF_TOKEN."
        )


def asked_wait(response: httpx2.Response) -> float | None:
    """The seconds that a server asks to wait."""
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None


def transport_error(error: httpx2.TransportError, endpoint: str) -> Exception:
    """What a failed connection means: to be tried again, or a sentence."""
    import httpx2

    if isinstance(error, httpx2.TimeoutException):
        return Again(f"{endpoint} did not answer within {SILENCE:.0f} seconds")
    if isinstance(error, httpx2.ProxyError):
        return DownloadError(f"The proxy refuses ({error}). HTTPS_PROXY and NO_PROXY name it.")
    if isinstance(error, httpx2.ConnectError | httpx2.UnsupportedProtocol):
        return DownloadError(
            f"{endpoint} cannot be reached ({error}). Is there a network, and a proxy to name in "
            "HTTPS_PROXY?"
        )
    return Again(f"the connection broke ({error})")
