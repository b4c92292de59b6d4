"""The way to a notebook's current host, through swaps: a request that no host took is offered to the next one."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import web

from kaosd.front import answers
from kaosd.front.headers import Back, to_host
from kaosd.front.relay import HostAway, HostBroke, ask, pass_back
from kaosd.front.routes import Directory, Route
from kaosd.front.sockets import Sockets, is_websocket, open_to_host
from kaosd.front.summary import is_coming
from kaosd.front.upstream import Upstreams
from kaosd.model import NotebookState

_PATIENCE = 10.0  # seconds that a program's request waits for a host; a swap is over in less
_PAGE_PATIENCE = 1.0  # a person rather sees a page that says what goes on
_AGAIN = 0.1  # between two tries at the same address, when no event says that something changed


class Passage:
    """Passes requests on to the hosts of *directory*. A request in flight stays with the host that took it."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._upstreams = Upstreams(lambda name: route.upstream if (route := directory.route(name)) else None)
        self._sockets = Sockets()

    async def take(self, request: web.BaseRequest, target: str, back: Back, *, page: bool) -> web.StreamResponse | None:
        """Pass *request* on as one for *target* and return its answer, or None when no host took it in time.

        page: a person looks at the answer. While no host is there at all, a page does not wait for one; a stopped
        notebook is started for it.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + (_PAGE_PATIENCE if page else _PATIENCE)
        seen, woken = await self._directory.changed(-1, 0), False
        while (route := self._directory.route(back.name)) is not None:
            if route.upstream is not None:
                try:
                    with self._directory.using(back.name):
                        return await self._through(route, route.upstream, request, target, back)
                except HostAway:
                    pause = _AGAIN
            elif page and route.state == NotebookState.STOPPED and not woken:
                woken, pause = True, _PAGE_PATIENCE
                await self._directory.wake(back.name)
            elif page or not is_coming(route):
                break
            else:
                pause = _PATIENCE
            left = deadline - now()
            if left <= 0:
                break
            seen = await self._directory.changed(seen, min(pause, left))
        return None

    async def close(self) -> None:
        """End the websockets; the rest ends with the server."""
        await self._sockets.close()

    async def release(self) -> None:
        """Close the connections to the hosts."""
        await self._upstreams.close()

    async def _through(
        self, route: Route, address: str, request: web.BaseRequest, target: str, back: Back
    ) -> web.StreamResponse:
        headers = to_host(request.headers, route.token, request.remote or "127.0.0.1")
        async with self._upstreams.use(route.name, address) as upstream:
            if is_websocket(request):
                async with upstream.turn():
                    host = await open_to_host(upstream, request, target, headers)
                if isinstance(host, aiohttp.WSServerHandshakeError):
                    return answers.problem(max(host.status, 400), "Websocket refused", "The host refused it.")
                return await self._sockets.join(request, host)
            try:
                async with upstream.turn():
                    answer = await ask(upstream, request, target, headers)
            except HostBroke:
                text = "The host went away while it was answering; it may or may not have acted on the request."
                return answers.problem(502, "Host went away", text)
            return await pass_back(answer, request, back)
