"""The API's life: takes the socket, answers requests by the table of routes, gives the socket back."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, cast

import structlog
from aiohttp import web

from kaosd.api import problems, request_checks
from kaosd.api.connection import Connection, ConnectionLimiter, Limits, peer
from kaosd.api.listener import BACKLOG, given, identity, listen
from kaosd.api.problems import Refusal
from kaosd.api.request_table import ROUTES, ApiRoute, Ask, Events, Json, find
from kaosd.errors import KaosError
from kaosd.metrics import CONTENT_TYPE
from kaosd.model import check_name
from kaosd.requests import Requests

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path
    from socket import socket as Socket  # noqa: N812

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger(__name__)
FAREWELL = 1.0  # seconds that requests in progress have when the API closes


class Api:
    """The control socket of one daemon.

    socket: its path; the caller holds the lock of the state directory. activated: what systemd listens on for us at
    that path, which then is not ours to remove. peers: user ids that may connect; default: our own and root.
    draining: set it when the daemon starts to end, and changes are refused from then on.
    """

    def __init__(
        self,
        answering: Requests,
        socket: Path,
        *,
        limits: Limits | None = None,
        peers: frozenset[int] | None = None,
        activated: Socket | None = None,
    ) -> None:
        self.draining = False
        self._answering = answering
        self._path = socket
        self._activated = activated
        self._limits = limits or Limits()
        self._peers = frozenset({os.geteuid(), 0}) if peers is None else peers
        self._streams: set[asyncio.Task[object]] = set()
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.Server | None = None
        self._identity: tuple[int, int] | None = None
        self._ours = False  # whether we made what stands at the path
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take the socket and answer from now on. Raises ConfigError: see listener.listen."""
        app = web.Application(middlewares=[self._around], client_max_size=self._limits.body_bytes)
        for route in ROUTES:
            app.router.add_route(route.method, route.path, self._endpoint(route))
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, shutdown_timeout=FAREWELL)
        await self._runner.setup()
        door = ConnectionLimiter(cast("web.Server", self._runner.server), self._peers, self._limits)
        try:
            await self._listen(door)
        except BaseException:
            await self._runner.cleanup()
            raise
        self._watch = asyncio.create_task(self._watch_path(door), name="socket watch")

    async def close(self) -> None:
        """Answer no more, end what waits, remove the socket; idempotent."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        if self._listening is not None:
            self._listening.close()
        for stream in self._streams:
            stream.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._ours and self._identity is not None and identity(self._path) == self._identity:
            self._path.unlink()
        self._watch = self._listening = self._runner = self._identity = None

    # -- the socket ----------------------------------------------------------------------------------------

    async def _listen(self, door: ConnectionLimiter) -> None:
        activated, self._activated = self._activated, None
        taken = listen(self._path) if activated is None else given(activated, self._path)
        self._ours = activated is None
        self._identity = identity(self._path)
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(door.connection, sock=taken, backlog=BACKLOG)

    async def _watch_path(self, door: ConnectionLimiter) -> None:
        """Listen again when somebody (a cleaner of /run, a person) removed the socket's path."""
        while True:
            await asyncio.sleep(self._limits.watch)
            found = identity(self._path)
            if found == self._identity:
                continue
            if found is not None:
                log.error("socket_replaced", path=str(self._path), hint="remove it, and kaosd listens there again")
                continue
            log.warning("socket_gone", path=str(self._path))
            if self._listening is not None:
                self._listening.close()
            try:
                await self._listen(door)
            except KaosError as error:
                log.error("socket_not_remade", error=str(error))  # noqa: TRY400 - tried again, no bug

    # -- requests ------------------------------------------------------------------------------------------

    async def ask(self, method: str, name: str, verb: str, query: str, body: bytes) -> tuple[int, Json]:
        """Answer a request that did not come over the socket: its status, and its JSON or problem document.

        name: of the notebook that *verb* is for; "" for the daemon itself. query: percent-encoded.
        """
        try:
            route = find(method, f"/v1/notebooks/{{name}}/{verb}".rstrip("/") if name else f"/v1/{verb}")
            if route is None:
                raise Refusal(404, "no_such_route", f"this kaosd has no {verb!r}")
            self._refuse_while_draining(route)
            ask = Ask(name, request_checks.query_of(query), request_checks.parse(body) if body else {})
            if route.mutating:
                log.info("asked", method=method, verb=verb, notebook=name, by="front")
            answer = await self._answer(route, ask)
            if isinstance(answer, dict):
                return 200, answer
            raise Refusal(404, "no_such_route", f"{verb!r} is answered on the control socket only")
        except KaosError as error:
            return problems.status_of(error), problems.document(error)

    def _refuse_while_draining(self, route: ApiRoute) -> None:
        if route.mutating and self.draining:
            raise Refusal(503, "draining", "kaosd is stopping and takes no changes", hint="start it again first")

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What holds for every request: who may ask, and what an error looks like."""
        connection = cast("Connection", request.protocol)
        connection.begin()
        try:
            request_checks.refuse_browsers(request)
            answer = await handler(request)
        except KaosError as error:
            answer = problems.problem(error)
        except web.HTTPException as error:
            answer = problems.problem(problems.of_http(error, request.method))
        except ConnectionError:
            raise  # the client left; there is nobody to answer
        except Exception:
            log.exception("request_failed", method=request.method, path=request.path)
            text = "kaosd failed to answer: this is a bug of kaosd"
            answer = problems.problem(Refusal(500, "bug", text, hint="see `kaosctl logs --stage daemon`"))
        finally:
            connection.end()
        return answer

    async def _metrics(self, request: web.Request) -> web.StreamResponse:  # noqa: ARG002 - a handler of aiohttp
        body = (await self._answering.daemon.metrics()).encode()
        return web.Response(body=body, headers={**problems.HEADERS, "Content-Type": CONTENT_TYPE})

    def _endpoint(self, route: ApiRoute) -> Handler:
        async def endpoint(request: web.Request) -> web.StreamResponse:
            self._refuse_while_draining(route)
            given = request.match_info.get("name")
            name = "" if given is None else check_name(given)
            body = {} if route.method == "GET" else await request_checks.body_of(request, self._limits)
            ask = Ask(name, request_checks.query_of(request.rel_url.raw_query_string), body)
            if route.mutating:
                log.info("asked", method=route.method, path=request.path, pid=_pid(request))
            if route.stream:
                with self._stream(request):
                    answer = await self._answer(route, ask)
                    return _json(answer) if isinstance(answer, dict) else await _lines(request, answer)
            return _json(await self._answer(route, ask))

        return endpoint

    async def _answer(self, route: ApiRoute, ask: Ask) -> Json | Events:
        """The answer to a request, once it is certain whether the notebook that it is for is there."""
        if ask.name:
            await self._answering.daemon.certain(ask.name)
        return await route.answer(self._answering, ask)

    @contextmanager
    def _stream(self, request: web.Request) -> Iterator[None]:
        """A request that may last: it ends with its connection and with the API, and there are only so many."""
        if len(self._streams) >= self._limits.streams:
            raise Refusal(503, "busy", f"{len(self._streams)} requests wait already", hint="try again later")
        task = cast("asyncio.Task[object]", asyncio.current_task())
        cast("Connection", request.protocol).stream = task
        self._streams.add(task)
        try:
            yield
        finally:
            self._streams.discard(task)


def _json(answer: object) -> web.Response:
    body = json.dumps(answer, allow_nan=False).encode()
    return web.Response(body=body, content_type="application/json", headers=problems.HEADERS)


async def _lines(request: web.Request, events: Events) -> web.StreamResponse:
    """Answer with a line of JSON for each event; an error after the first is the last line. Raises an earlier one."""
    async with aclosing(events) as coming:
        first = await anext(coming, None)
        response = web.StreamResponse(headers=problems.HEADERS | {"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        try:
            if first is not None:
                await response.write(_line(first))
            async for event in coming:
                await response.write(_line(event))
        except KaosError as error:
            await response.write(_line({"event": "error", **problems.document(error)}))
        await response.write_eof()
    return response


def _line(event: Json) -> bytes:
    return json.dumps(event).encode() + b"\n"


def _pid(request: web.Request) -> int | None:
    return peer(request.transport)[0] if request.transport is not None else None
