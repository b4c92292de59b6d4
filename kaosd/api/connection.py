"""What one client may cost: who it is, how long it may take to ask and to take the answer, how many there are.

aiohttp waits for ever for the rest of a request's head and for a client to read; here every connection is always
in one of four states with an end: head awaited (`head` s), asked (the body has `body` s, see requests), answer
not taken (`stall` s), idle (`idle` s).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web import RequestHandler

from kaosd.api.problems import Refusal, problem

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest, Server, StreamResponse

log = structlog.get_logger(__name__)
LINE = 16384  # bytes of a request line: a path of 4096 bytes, each percent-encoded, fits
FIELD, FIELDS = 4096, 50  # bytes of one header, number of headers
LINGER = 1.0  # seconds in which a body that nobody wants is read, so that the client sees the answer
TELL_EVERY = 60.0  # seconds between two log lines about refused connections


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, counts, bytes. watch: how often the socket's path is looked at."""

    head: float = 5.0
    body: float = 10.0
    idle: float = 30.0
    stall: float = 30.0
    watch: float = 60.0
    connections: int = 64
    streams: int = 32
    body_bytes: int = 2**20


class ConnectionLimiter:
    """Lets connections in, and shuts the one that has been idle longest when there are too many.

    peers: user ids that may come in. server: aiohttp's, which hands requests on. Owned by the event loop.
    """

    def __init__(self, server: Server, peers: frozenset[int], limits: Limits) -> None:
        self.limits = limits
        self._server = server
        self._peers = peers
        self._open: set[Connection] = set()
        self._idle: dict[Connection, None] = {}  # the longest idle first
        self._untold = 0
        self._tell_at = 0.0

    def connection(self) -> Connection:
        """A protocol for the next connection."""
        return Connection(self, self._server)

    def admit(self, connection: Connection, transport: asyncio.Transport) -> bool:
        """Whether a new connection may stay."""
        _, uid = peer(transport)
        if uid not in self._peers:
            self.refused("foreign user", uid=uid)
            return False
        if len(self._open) >= self.limits.connections:
            oldest = next(iter(self._idle), None)
            if oldest is None:
                self.refused("too many connections", uid=uid)
                return False
            self.left(oldest)
            oldest.force_close()
        self._open.add(connection)
        self._idle[connection] = None
        return True

    def asked(self, connection: Connection) -> None:
        """A request is being answered there."""
        self._idle.pop(connection, None)

    def answered(self, connection: Connection) -> None:
        """It is idle again."""
        if connection in self._open:
            self._idle[connection] = None

    def left(self, connection: Connection) -> None:
        """It is gone."""
        self._open.discard(connection)
        self._idle.pop(connection, None)

    def refused(self, reason: str, **values: object) -> None:
        """Log that something was turned away: one line a minute, however many there are."""
        self._untold += 1
        now = asyncio.get_running_loop().time()
        if now >= self._tell_at:
            log.warning("connection_refused", reason=reason, times=self._untold, **values)
            self._untold, self._tell_at = 0, now + TELL_EVERY


class Connection(RequestHandler):
    """aiohttp's protocol with ends to its waiting. stream: the task of a long request, ended with the connection."""

    __slots__ = ("_busy", "_door", "_late", "_stalled", "stream")

    def __init__(self, door: ConnectionLimiter, server: Server) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=door.limits.idle,
            access_log=None,  # type: ignore[arg-type] # None means none, as everywhere in aiohttp
            max_line_size=LINE,
            max_field_size=FIELD,
            max_headers=FIELDS,
            lingering_time=LINGER,
            auto_decompress=False,  # nobody sends us compressed bodies but to blow them up
        )
        self._door = door
        self._busy = False
        self._late: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self.stream: asyncio.Task[Any] | None = None

    def begin(self) -> None:
        """The head of a request is here, and its answer is being made."""
        self._busy = True
        _cancel(self._late)
        self._late = None
        self._door.asked(self)

    def end(self) -> None:
        """The answer is ready."""
        self._busy = False
        self.stream = None
        self._door.answered(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let it in, or close it at once."""
        if not isinstance(transport, asyncio.Transport) or not self._door.admit(self, transport):
            transport.close()
            return
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # any byte that is not taken counts as stalled
        self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End what belongs to it."""
        self._door.left(self)
        _cancel(self._late)
        _cancel(self._stalled)
        if self.stream is not None:
            self.stream.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """The clock runs from the first byte of a head to its last."""
        super().data_received(data)
        if not self._busy and self._late is None:
            self._await_head()

    def pause_writing(self) -> None:
        """The client does not take the answer."""
        super().pause_writing()
        if self.transport is not None:
            self._stalled = self._loop.call_later(self._door.limits.stall, self.transport.abort)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        _cancel(self._stalled)

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> StreamResponse:
        """The answer to what is not HTTP; nothing of what was sent is repeated or logged."""
        if status != 400:
            return super().handle_error(request, status, exc, message)
        self._door.refused("malformed request")
        if isinstance(exc, LineTooLong):
            answer = problem(Refusal(431, "too_large", "a header or the address of the request is too long"))
        else:
            answer = problem(Refusal(400, "bad_request", "this is not a valid HTTP/1.1 request"))
        answer.force_close()
        return answer

    def _await_head(self) -> None:
        self._late = self._loop.call_later(self._door.limits.head, self._give_up)

    def _give_up(self) -> None:
        self._late = None
        if self.transport is not None:
            self.transport.abort()


def peer(transport: asyncio.BaseTransport) -> tuple[int, int]:
    """Process and user id of who connected, as they were at that moment."""
    connected = transport.get_extra_info("socket")
    pid, uid, _ = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
