"""The listening socket and the number of connections: what keeps the address ours, and open to those who ask."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import pwd
import resource
import socket
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from kaosd.errors import ConfigError

log = structlog.get_logger("kaosd.front")
_http_log = logging.getLogger("kaosd.front.http")
_http_log.setLevel(logging.CRITICAL)  # anybody can send rubbish; our own mistakes are logged by Server
_IDLE_SECONDS = 30.0  # for a connection without a complete request; browsers simply connect again
_MOST = 512
_LISTENING = "0A"
_MEND = "kaosd install-service --now writes the port of [front] into kaosd-front.socket"


def listen(port: int, given: Iterable[socket.socket] = ()) -> list[socket.socket]:
    """Sockets that listen at *port* (0: any) of all that localhost may mean. ConfigError names who holds the port.

    A browser may take localhost for ::1: if that were left free, another user could listen there.
    given: sockets to be used where they fit; the others are closed.
    """
    found: dict[str, socket.socket] = {}
    for one in given:
        address = one.getsockname()[:2] if one.family in (socket.AF_INET, socket.AF_INET6) else ("", 0)
        if address in (("127.0.0.1", port), ("::1", port)) and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            one.setblocking(False)
            found[address[0]] = one
        else:
            log.warning("socket_does_not_fit", listens_at=str(one.getsockname()), port=port, mend=_MEND)
            one.close()
    try:
        if "127.0.0.1" not in found:
            found["127.0.0.1"] = _listening(socket.AF_INET, "127.0.0.1", port)
        if "::1" not in found and has_ipv6():
            found["::1"] = _listening(socket.AF_INET6, "::1", found["127.0.0.1"].getsockname()[1])
    except ConfigError:
        for one in found.values():
            one.close()
        raise
    return [found[address] for address in sorted(found)]


def _listening(family: int, address: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            text = f"port {port} of {address} is taken by {_holder(port)}"
            raise ConfigError(text, hint="set front.port to a free port, or end that program") from error
        text = f"port {port} of {address} cannot be used: {os.strerror(error.errno or 0)}"
        raise ConfigError(text, hint="set front.port to a free port above 1023") from error
    listener.setblocking(False)
    return listener


def has_ipv6() -> bool:
    """Whether this machine has the address ::1."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _holder(port: int) -> str:
    """Who listens on *port*, as well as /proc tells it."""
    lines: list[str] = []
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):  # who listens on [::] has 127.0.0.1 as well
        with contextlib.suppress(OSError):  # no such protocol here
            lines += table.read_text().splitlines()[1:]
    for line in lines:
        fields = line.split()
        if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
            return _process_of(f"socket:[{fields[9]}]") or f"a program of user {_user_name(int(fields[7]))}"
    return "another program"


def _process_of(link: str) -> str | None:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # not ours to look at, or gone
            if any(os.readlink(fd) == link for fd in entry.joinpath("fd").iterdir()):
                return f"{entry.joinpath('comm').read_text().strip()} (process {entry.name})"
    return None


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def most_connections() -> int:
    """How many connections the front takes: each may need a second one to a host, and the daemon needs files too."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST if files == resource.RLIM_INFINITY else max(16, min(_MOST, (files - 128) // 3))


class Server(web.Server):
    """An HTTP server that idle or slow connections cannot starve.

    most: of all connections. Above it the one that has been waiting longest without an admitted request is closed;
    when none is, the new one. handler: answers every request; it calls admitted() for those that may take their time.
    """

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], most: int) -> None:
        options: dict[str, Any] = {
            "access_log": None,  # addresses may hold tokens
            "auto_decompress": False,
            "keepalive_timeout": _IDLE_SECONDS,
            "lingering_time": 5.0,
            "logger": _http_log,
            "max_field_size": 32 * 1024,
            "max_line_size": 32 * 1024,
        }
        super().__init__(self._handle, handler_cancellation=True, **options)
        self._most = most
        self._answer = handler
        self._admitted: set[RequestHandler] = set()

    def admitted(self, request: web.BaseRequest) -> None:
        """The request showed its credentials: its connection is kept until it is answered."""
        self._admitted.add(request.protocol)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        try:
            return await self._answer(request)
        except (web.HTTPException, ConnectionError):  # an answer, or nobody to answer
            raise
        except Exception:
            log.exception("request_failed", method=request.method, path=request.path)
            raise
        finally:
            self._admitted.discard(connection)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Called by aiohttp for every new connection."""
        super().connection_made(handler, transport)
        standing = [one for one in self.connections if one.transport is not None]  # None: closed by us
        if len(standing) > self._most:
            next(one for one in standing if one not in self._admitted).force_close()
