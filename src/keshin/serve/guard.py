"""What may reach a local page: a guard around an ASGI application.

A page on this machine is within reach of every page that the same browser shows, so
- the name in ``Host`` must be one of ours (against DNS rebinding);
- what changes something must come from our own page: ``Origin`` must say so (against CSRF), and the
  browser's ``Sec-Fetch-Site`` must not say that another site asks;
- where the network can reach it, the path begins with a secret, compared in constant time;
- a body is small and comes soon; only GET, HEAD and POST of JSON are known.
Answers are never kept by caches, never shown in frames, and load nothing from elsewhere.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGEST_BODY = 8192
LARGEST_HEAD = 16_384
SECONDS_FOR_BODY = 10.0
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """Lets through to ``app`` what may come in; answers everything else itself.

    Arguments: ``hosts``: names that ``Host`` may say, without port; ``addresses``: whether any IP
    address may stand there too (no name can be rebound to it); ``token``: the first part of every
    path, or "" for none.
    """

    def __init__(
        self, app: App, *, hosts: Iterable[str], addresses: bool = False, token: str = ""
    ) -> None:
        self._app, self._addresses, self._token = app, addresses, token
        self._hosts = {host.casefold() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no websockets, no lifespan
        status, why = self._refusal(scope)
        if status:
            await _say(send, status, why)
            return
        if self._token:
            path = scope["path"].removeprefix(f"/{self._token}")
            if not path:  # relative addresses of the page need the slash
                await _say(send, 307, "See there.", [(b"location", f"/{self._token}/".encode())])
                return
            scope = {**scope, "path": path, "raw_path": path.encode()}
        body = b""
        if scope["method"] == "POST":
            try:
                async with asyncio.timeout(SECONDS_FOR_BODY):
                    body = await _body(receive)
            except TimeoutError:
                await _say(send, 408, "The body did not come in time.")
                return
            if len(body) > LARGEST_BODY:
                await _say(send, 413, f"The body is over {LARGEST_BODY} bytes.")
                return
        await self._app(scope, _again(body, receive), _with_headers(send))

    def _refusal(self, scope: Scope) -> tuple[int, str]:
        """A status and a sentence, or 0 where the request may come in."""
        given: dict[bytes, list[bytes]] = {}
        head = sum(len(name) + len(value) for name, value in scope["headers"])
        if head + len(scope["path"]) > LARGEST_HEAD:
            return 431, f"The head is over {LARGEST_HEAD} bytes."
        for name, value in scope["headers"]:
            given.setdefault(name.lower(), []).append(value)
        hosts = given.get(b"host", [])
        if len(hosts) != 1 or not self._known(hosts[0].decode("latin-1")):
            return 421, "This page is not served under that name."
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "Only GET, HEAD and POST are known."
        if self._token and not self._has_token(scope["path"]):
            return 404, "There is nothing here. The address must be complete, as it was printed."
        site = given.get(b"sec-fetch-site", [b"none"])[0]
        follows = given.get(b"sec-fetch-mode", [b""])[0] == b"navigate"
        if site not in (b"none", b"same-origin") and not (follows and scope["method"] == "GET"):
            return 403, "Another site may not ask this."
        if scope["method"] == "POST":
            own = f"{scope['scheme']}://".encode() + hosts[0]
            if given.get(b"origin", []) != [own]:
                return 403, "Only the page itself may change something."
            kind = given.get(b"content-type", [b""])[0].split(b";")[0].strip().lower()
            if kind != b"application/json":
                return 415, "The body must be application/json."
            length = given.get(b"content-length", [b"0"])[0]
            if not length.isdigit() or len(length) > 9 or int(length) > LARGEST_BODY:
                return 413, f"The body is over {LARGEST_BODY} bytes."
        return 0, ""

    def _known(self, host: str) -> bool:
        name = host_name(host).casefold()
        return name in self._hosts or (self._addresses and _is_address(name))

    def _has_token(self, path: str) -> bool:
        first = path.removeprefix("/").split("/", 1)[0]
        return hmac.compare_digest(first.encode(), self._token.encode())


def host_name(host: str) -> str:
    """The name in a ``Host`` header: without port, and without the brackets of IPv6."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _body(receive: Receive) -> bytes:
    """All of the body, or a little more than may be."""
    body = b""
    while len(body) <= LARGEST_BODY:
        message = await receive()
        if message["type"] != "http.request":
            break
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    given = False

    async def once() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return once


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message.get("headers", [])}
            extra = [
                (k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in names
            ]
            if b"cache-control" not in names:
                extra.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await send(message)

    return wrapped


async def _say(
    send: Send, status: int, why: str, extra: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    body = (why + "\n").encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close"), *extra]
    headers.append((b"content-length", str(len(body)).encode()))
    wrapped = _with_headers(send)
    await wrapped({"type": "http.response.start", "status": status, "headers": headers})
    await wrapped({"type": "http.response.body", "body": body})
