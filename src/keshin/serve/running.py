"""Running a local page until it is told to stop."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from keshin.errors import KeshinError, require
from keshin.serve.guard import LARGEST_HEAD, App, Guard

SECONDS_TO_END = 3
ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


@dataclass(frozen=True)
class Place:
    """Where a page is to be found."""

    host: str
    port: int
    """0: any that is free."""
    token: str
    """The secret in the address; "" on this machine only."""

    def url(self, port: int) -> str:
        """The address to type; of "every interface", the one that others reach this machine by."""
        shown = _own_address() if self.host in ANYWHERE else self.host
        shown = f"[{shown}]" if ":" in shown else shown
        return f"http://{shown}:{port}/" + (f"{self.token}/" if self.token else "")


def place_for(host: str, port: int) -> Place:
    """This machine only needs no secret; everything else gets a new one."""
    return Place(host, port, "" if is_loopback(host) else secrets.token_urlsafe(18))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


def serve(app: App, place: Place, ready: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or a signal to end; requests that have begun are finished.

    ``ready`` is called with the address when the page can be opened. Raises ``KeshinError`` if the
    port cannot be had.
    """
    uvicorn = require("uvicorn", extra="serve")
    local = is_loopback(place.host)
    hosts = {place.host, *(("localhost", "127.0.0.1", "::1") if local else (socket.gethostname(),))}
    guard = Guard(app, hosts=hosts, addresses=not local, token=place.token)
    with closing(_listening(place)) as listener:
        config = uvicorn.Config(
            guard,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            ws="none",
            http="h11",  # its limits are known, and it is there without compiled extras
            limit_concurrency=256,
            h11_max_incomplete_event_size=LARGEST_HEAD,
            timeout_graceful_shutdown=SECONDS_TO_END,
        )
        ready(place.url(listener.getsockname()[1]))
        uvicorn.Server(config).run(sockets=[listener])


def _listening(place: Place) -> socket.socket:
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise KeshinError(f"There is no address '{place.host}': {error.strerror}.") from error
    try:
        if os.name == "posix":  # elsewhere it would let two programs have the same port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise KeshinError(
            f"Port {place.port} of {place.host} cannot be had: {error.strerror}. "
            "Choose another with --port, or 0 for any."
        ) from error
    return listener


def _own_address() -> str:
    """The address by which the local network reaches this machine; nothing is sent to find it."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
